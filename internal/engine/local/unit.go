package local

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// unit keeps one workload as it is wanted. Every change (a wish, a replica that
// became ready or ended) leads to one step: look, plan, act, publish.
type unit struct {
	e    *Engine
	name string
	wake chan struct{} // something changed
	wg   sync.WaitGroup

	mu       sync.Mutex
	desired  *engine.Deployment // nil: to be removed
	failed   *workload.Reason   // why the desired revision cannot become ready
	started  bool               // run was called; replicas may be started
	stopping bool               // the engine is
	replicas []*replica         // oldest first
	events   []workload.Event   // not published yet
	last     engine.Status      // published last, without events
}

func newUnit(e *Engine, name string) *unit {
	return &unit{e: e, name: name, wake: make(chan struct{}, 1)}
}

// poke makes run take a step soon.
func (u *unit) poke() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *unit) apply(d engine.Deployment) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.desired == nil || !u.desired.Revision.SamePod(d.Revision) {
		u.failed = d.Failed
	}
	u.desired = &d
	u.step()
}

func (u *unit) remove() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.desired = nil
	u.step()
}

// isGone reports whether nothing is wanted and nothing is left, with the events
// that nobody was told yet.
func (u *unit) isGone() ([]workload.Event, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reap()
	return u.events, u.desired == nil && len(u.replicas) == 0
}

// run works until the workload is removed or the engine stops, and returns when
// every replica has ended.
func (u *unit) run() {
	defer u.wg.Wait()
	u.mu.Lock()
	u.started = true
	u.step()
	u.mu.Unlock()
	down := u.e.down
	for {
		select {
		case <-down:
			down = nil
			u.mu.Lock()
			u.stopping = true
			u.step()
			u.mu.Unlock()
		case <-u.wake:
			u.mu.Lock()
			u.step()
			u.mu.Unlock()
		}
		if u.finished() {
			u.e.cleanLogs()
			return
		}
	}
}

// finished reports whether run has nothing left to do.
func (u *unit) finished() bool {
	u.mu.Lock()
	maybe := len(u.replicas) == 0 && (u.stopping || u.desired == nil)
	stopping := u.stopping
	u.mu.Unlock()
	if !maybe {
		return false
	}
	u.e.mu.Lock() // so that no Apply comes between the look and the farewell
	defer u.e.mu.Unlock()
	return u.e.forget(u) || stopping
}

// step does what the present state asks for. The caller holds u.mu.
func (u *unit) step() {
	u.learn()
	u.reap()
	if u.started {
		u.act()
	}
	u.publish()
}

// reap drops replicas that are gone. The caller holds u.mu.
func (u *unit) reap() {
	u.replicas = slices.DeleteFunc(u.replicas, func(r *replica) bool {
		gone := r.snapshot().gone
		u.gather(r)
		return gone
	})
}

// act starts and stops replicas as planned. The caller holds u.mu.
func (u *unit) act() {
	if u.stopping || u.desired == nil {
		why := "the API was deleted"
		if u.stopping {
			why = "the engine is stopping"
		}
		for _, r := range u.replicas {
			r.stop(why)
		}
		return
	}
	rev, serving := u.desired.Revision, u.desired.Serving
	in := engine.RolloutInput{Desired: u.desired.Replicas, Serving: serving != nil, Failed: u.failed != nil, Trial: u.desired.Trial}
	in.Surge, in.Unavailable = engine.Bounds(rev.UpdateStrategy, in.Desired)
	for _, r := range u.replicas {
		if rev.SamePod(r.revision()) {
			r.adopt(rev)
		}
		s, runs := r.snapshot(), r.revision()
		in.Replicas = append(in.Replicas, engine.RolloutReplica{
			ID: r.id, Current: rev.SamePod(runs), Serving: serving != nil && serving.SamePod(runs), Ready: s.ready, Terminating: s.terminating,
		})
	}
	plan := engine.PlanRollout(in)
	for _, stop := range plan.Stop {
		for _, r := range u.replicas {
			if r.id == stop.ID {
				r.stop(stop.Reason)
			}
		}
	}
	for range plan.Restore {
		u.start(serving, plan.RestoreReason)
	}
	for range plan.Start {
		u.start(rev, plan.StartReason)
	}
}

// start starts a replica of a revision. The caller holds u.mu.
func (u *unit) start(rev *workload.Revision, why string) {
	r := newReplica(u, rev)
	u.replicas = append(u.replicas, r)
	u.record(workload.Event{Type: "normal", Reason: "ReplicaStarting", Replica: r.id, Message: "starting replica " + r.id + ": " + why})
	u.wg.Go(r.run)
}

// learn takes over what the replicas tell about the desired revision. Where another
// one serves in its place, it has failed until a replica of it becomes ready, also
// when none is left that tries: otherwise the two would take turns. The caller
// holds u.mu.
func (u *unit) learn() {
	if u.desired == nil {
		return
	}
	if u.desired.Serving == nil {
		u.failed = nil
	}
	for _, r := range u.replicas {
		s := r.snapshot()
		switch {
		case s.terminating || !u.desired.Revision.SamePod(r.revision()):
		case s.ready:
			u.failed = nil
			return
		case s.fatal:
			u.failed = s.Reason
		}
	}
}

// record queues an event for the next status. The caller holds u.mu.
func (u *unit) record(e workload.Event) {
	e.API = u.name
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	u.events = append(u.events, e)
}

// gather takes over the events of r. The caller holds u.mu.
func (u *unit) gather(r *replica) {
	for _, e := range r.takeEvents() {
		u.record(e)
	}
}

// publish hands the present status to watchers when it says anything new. The
// caller holds u.mu.
func (u *unit) publish() {
	for _, r := range u.replicas {
		u.gather(r)
	}
	s := u.status()
	if reflect.DeepEqual(s, u.last) && len(u.events) == 0 {
		return
	}
	u.last = s
	s.Events, u.events = u.events, nil
	u.e.feed.Publish(s)
}

// status is the picture of this moment. The caller holds u.mu.
func (u *unit) status() engine.Status {
	s := engine.Status{Name: u.name, Revision: u.last.Revision}
	if u.desired != nil {
		s.Revision, s.Desired = u.desired.Revision.ID, u.desired.Replicas
	}
	if u.desired != nil {
		s.Failed = u.failed
	}
	for _, r := range u.replicas {
		upToDate := u.desired != nil && u.desired.Revision.SamePod(r.revision())
		s.Replicas = append(s.Replicas, r.snapshot().replica(upToDate))
	}
	return s
}
