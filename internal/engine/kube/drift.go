package kube

import (
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/workload"
)

// reasonDrifted is the event of what somebody else changed and this engine put right.
const reasonDrifted = "Drifted"

// applied knows what this engine made of each Deployment. The API server counts the
// changes of a specification (its generation), so whatever has another count, or is not
// there any more, was changed by somebody else. A life that has just begun knows
// nothing, and applies everything once.
type applied struct {
	mu      sync.Mutex
	states  map[string]appliedState
	pending map[string][]workload.Event // that the next look tells
	wake    func(name string)           // asks for a look; nil before Run
}

type appliedState struct {
	busy       int       // Applies under way: what is seen meanwhile may be theirs
	uid        types.UID // empty: not known
	generation int64
	budget     types.UID // of the Deployment whose budget is there
}

func newApplied() *applied {
	return &applied{states: map[string]appliedState{}, pending: map[string][]workload.Event{}}
}

// follow has wake called whenever something is to be looked at again.
func (a *applied) follow(wake func(name string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wake = wake
}

// begin notes that name is being applied.
func (a *applied) begin(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.states[name]
	s.busy++
	a.states[name] = s
}

// end notes what came of it; nil when nothing did.
func (a *applied) end(name string, d *appsv1.Deployment) {
	a.mu.Lock()
	s := a.states[name]
	s.busy--
	if d != nil {
		s.uid, s.generation = d.UID, d.Generation
	}
	a.states[name] = s
	wake := a.wake
	a.mu.Unlock()
	if wake != nil {
		wake(name)
	}
}

// forget notes that nothing is to be there under a name.
func (a *applied) forget(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, name)
	s := a.states[name]
	if s.uid, s.generation = "", 0; s.busy == 0 {
		delete(a.states, name)
		return
	}
	a.states[name] = s
}

// isDrifted reports whether d (nil: there is none) is not what was applied under a name.
func (a *applied) isDrifted(name string, d *appsv1.Deployment) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.states[name]
	if s.busy > 0 || s.uid == "" {
		return false
	}
	return d == nil || d.UID != s.uid || d.Generation > s.generation
}

// drift says what somebody had made of before, which after is the answer to; drifted is
// false when nobody had changed it.
func (a *applied) drift(name string, before, after *appsv1.Deployment) (what string, drifted bool) {
	if before == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		return "the Deployment was deleted", a.states[name].uid != ""
	}
	same := before.Annotations[annotationApplied] == after.Annotations[annotationApplied] && after.Annotations[annotationApplied] != ""
	if !same || before.UID != after.UID || before.Generation == after.Generation {
		return "", false // it is we who changed it, or nobody
	}
	return changedBy(before, after), true
}

// say has the next look at a workload tell an event.
func (a *applied) say(name string, e workload.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending[name] = append(a.pending[name], e)
}

// events takes what is to be told of a workload.
func (a *applied) events(name string) []workload.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.pending[name]
	delete(a.pending, name)
	return list
}

func (a *applied) hasBudget(name string, of types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.states[name].budget == of
}

func (a *applied) setBudget(name string, of types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.states[name]
	s.budget = of
	a.states[name] = s
}
