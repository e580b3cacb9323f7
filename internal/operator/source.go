package operator

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// sourceCause is in the history of what was deployed by declaring it.
const sourceCause = "kubectl apply"

// sourceController deploys what others declare in a store.Source, and shows there what
// workloads are doing. A nil one does nothing: there is no source.
//
// What is refused because of what else is deployed, such as a splitter whose target
// is not there yet, waits. When something is deployed or deleted the store is asked
// again for everything that nobody accepted; so what was withdrawn meanwhile is not
// deployed from memory, and what waits survives the operator.
type sourceController struct {
	*Operator
	resolving  *workqueue // by resource
	publishing *workqueue // by name

	mu       sync.Mutex
	pending  map[string]store.Declaration // by resource: what is not resolved yet
	waiting  bool                         // something was refused that may be accepted later
	seen     int                          // how often what is deployed has changed
	restart  context.CancelFunc           // has the store tell its declarations again
	deployed map[string]string            // revision by name
	shown    map[string]shown             // by name: what the store has
}

// shown is what a workload's writers see. The revision is in it so that each one is
// confirmed to them, also where nothing else changes.
type shown struct {
	revision, endpoint string
	status             workload.Status
}

// newSourceController returns nil without a source.
func newSourceController(o *Operator) *sourceController {
	if o.source == nil {
		return nil
	}
	a := &sourceController{
		Operator: o, pending: map[string]store.Declaration{}, deployed: map[string]string{}, shown: map[string]shown{},
		restart: func() {},
	}
	a.resolving = newWorkqueue(a.resolve, func(source string, err error) {
		o.log.Warn("will try again", "doing", "deploying what was declared", "declared", source, "error", err)
	})
	a.publishing = newWorkqueue(a.show, func(name string, err error) {
		o.log.Warn("will try again", "doing", "writing the status", "api", name, "error", err)
	})
	return a
}

// run follows the declarations until ctx ends. It may leave goroutines behind, for
// which wait waits.
func (a *sourceController) run(ctx context.Context) {
	if a == nil {
		return
	}
	a.retry(ctx, "following declarations", func() error {
		// A round ends when something was deployed while something waits. In the next
		// one the store tells all that is pending again, and what waits on says so again.
		for {
			round, cancel := context.WithCancel(ctx)
			a.mu.Lock()
			a.waiting, a.restart = false, cancel
			a.mu.Unlock()
			err := a.source.Pending(round, func(d store.Declaration) {
				a.mu.Lock()
				a.pending[d.Resource] = d
				a.mu.Unlock()
				a.resolving.add(ctx, d.Resource)
			})
			again := round.Err() != nil && ctx.Err() == nil
			cancel()
			if !again {
				return err
			}
		}
	})
}

// wait returns when nothing is under way any more; the context of run must have ended.
func (a *sourceController) wait() {
	if a != nil {
		a.resolving.wait()
		a.publishing.wait()
	}
}

// changed hears of each workload that may have changed in the store.
func (a *sourceController) changed(ctx context.Context, name string) {
	if a == nil {
		return
	}
	a.look(ctx, name)
	for _, splitter := range a.cache.splittersOf(name) { // whose target may have come or gone
		a.look(ctx, splitter)
	}
	revision := ""
	if w, ok, _ := a.cache.want(name); ok {
		revision = w.Revision.ID
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.deployed[name] == revision {
		return // another number of replicas
	}
	if a.deployed[name] = revision; revision == "" {
		delete(a.deployed, name)
	}
	a.seen++ // for a resolve that is under way and has looked before
	if a.waiting {
		a.restart()
	}
}

// resolve deploys what was declared, and says in the store what became of it. It
// returns an error when that is not known yet.
func (a *sourceController) resolve(ctx context.Context, source string) error {
	a.mu.Lock()
	d, ok := a.pending[source]
	seen := a.seen
	a.mu.Unlock()
	if !ok {
		return nil
	}
	verdict := a.deploy(ctx, d)
	if fault.Is(verdict, fault.NotFound) { // deleted while it was deployed: so is the declaration
		a.forget(d)
		return nil
	}
	if !isFinal(verdict) { // a verdict of this moment, written down, would not be looked at again
		return verdict
	}
	verdict = asResource(verdict)
	before := a.refusals()[d.Name]
	if err := a.source.Resolve(ctx, d, verdict); err != nil {
		return err
	}
	a.forget(d)
	// What waits is judged again and again; only what is new is an event.
	if now, ok := a.refusals()[d.Name]; ok && verdict != nil && now != before {
		defer a.record(ctx, workload.Subject{Name: d.Name, Kind: d.Kind}, warning, "Refused", "%s was refused: %s", d.Resource, verdict.Error())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if fault.Is(verdict, fault.Conflict) {
		a.waiting = true
		if a.seen != seen { // after it was looked at
			a.restart()
		}
	}
	return nil
}

// forget drops what was resolved, unless something newer was told meanwhile.
func (a *sourceController) forget(d store.Declaration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.pending[d.Resource].Version == d.Version {
		delete(a.pending, d.Resource)
	}
}

// deploy deploys one declaration as Deploy does a file. Who may declare is decided
// where the declaration is made.
func (a *sourceController) deploy(ctx context.Context, d store.Declaration) error {
	file, err := manifest.Parse(d.Resource, []byte(d.Config))
	if err != nil {
		return err
	}
	return a.change(ctx, func(ctx context.Context) error {
		deployed, err := a.store.List(ctx)
		if err != nil {
			return err
		}
		if err := a.check(ctx, file, "", deployed, inResource); err != nil {
			return err
		}
		for _, e := range file.Entries {
			var was *store.Workload
			var prev *workload.Revision
			if i := slices.IndexFunc(deployed, func(w store.Workload) bool { return w.Name() == e.Spec.Name }); i >= 0 {
				was, prev = &deployed[i], deployed[i].Revision
			}
			next := workload.NewRevision(e.Spec, prev, workload.Origin{Index: e.Index, FileName: d.Resource, Submitted: e.Submitted}, a.now())
			// Forced: nobody is there to be told that an update is under way, and what
			// was declared last is what should be.
			c := plannedChange{name: e.Spec.Name, next: next, cause: sourceCause, event: "Updated", force: true}
			if _, err := a.apply(ctx, c, was); err != nil {
				return err
			}
		}
		return nil
	})
}

// isFinal reports whether an attempt to deploy says something about the
// declaration, and not about this moment.
func isFinal(err error) bool {
	if err == nil {
		return true
	}
	switch f := fault.From(err); f.Kind {
	case fault.Malformed, fault.Invalid, fault.Unsupported, fault.Forbidden:
		return true
	case fault.Conflict:
		return f.Code != store.CodeVersionConflict
	default:
		return false
	}
}

// asResource is a refusal in the words of who wrote a resource: there is no file
// with lines, and the keys are below spec. It is a Conflict when all that is wrong
// is what else is there.
func asResource(err error) error {
	f := fault.From(err)
	if f == nil {
		return nil
	}
	if len(f.Problems) == 0 {
		return f
	}
	told := *f
	told.Problems = slices.Clone(f.Problems)
	lines := make([]string, len(told.Problems))
	forNow := true
	for i := range told.Problems {
		p := &told.Problems[i]
		p.File, p.API, p.Line, p.Column = "", "", 0, 0
		switch p.Path {
		case "", "kind":
		case "name":
			p.Path = "metadata.name"
		default:
			p.Path = "spec." + p.Path
		}
		switch p.Code {
		case codeTargetMissing, codeKindChange, codeEndpointTaken, codeKindNotRunning:
		case workload.CodeNoCapacity, workload.CodeNoNodeGroup: // this is tried again when the nodes change
		default:
			forNow = false
		}
		lines[i] = p.String()
	}
	if told.Message = strings.Join(lines, "\n"); forNow {
		told.Kind = fault.Conflict
	}
	return &told
}

// look has the status of a workload shown, soon and if it is news.
func (a *sourceController) look(ctx context.Context, name string) {
	if a != nil {
		a.publishing.add(ctx, name)
	}
}

// show writes what a workload is doing into the store.
func (a *sourceController) show(ctx context.Context, name string) error {
	w, ok, _ := a.cache.want(name)
	if !ok {
		a.mu.Lock()
		delete(a.shown, name)
		a.mu.Unlock()
		return nil
	}
	now := shown{revision: w.Revision.ID, endpoint: a.endpoint(w.Revision), status: workload.Status{Phase: workload.PhaseLive}}
	if gone := a.cache.missing(w.Revision.APIs); len(gone) > 0 {
		now.status.Phase = workload.PhaseFailed
		now.status.Reason = fmt.Sprintf("%s is not deployed, so requests that go there are not answered", strings.Join(gone, ", "))
	}
	if w.Revision.Kind.Scales() {
		es := a.cache.status(name)
		if es == nil {
			return nil // a life that has just begun does not know yet; what is shown is better
		}
		now.status = *statusOf(w, es)
	}
	a.mu.Lock()
	before, ok := a.shown[name]
	a.mu.Unlock()
	if ok && reflect.DeepEqual(before, now) {
		return nil
	}
	if err := a.source.Publish(ctx, name, now.status, now.endpoint); err != nil {
		return err
	}
	// Remembered when it is there, so that one that failed is not taken for old news.
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown[name] = now
	return nil
}
