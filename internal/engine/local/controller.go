package local

import (
	"reflect"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// controller looks after one workload and keeps it as it is wanted. Every change (a wish, a replica that
// became ready or ended) leads to one step: look, plan, act, publish.
type controller struct {
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

func newController(e *Engine, name string) *controller {
	return &controller{e: e, name: name, wake: make(chan struct{}, 1)}
}

// poke makes run take a step soon.
func (c *controller) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *controller) apply(d engine.Deployment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.desired == nil || !c.desired.Revision.SamePod(d.Revision) {
		c.failed = d.Failed
	}
	c.desired = &d
	c.step()
}

func (c *controller) remove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.desired = nil
	c.step()
}

// isGone reports whether nothing is wanted and nothing is left, with the events
// that nobody was told yet.
func (c *controller) isGone() ([]workload.Event, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reap()
	return c.events, c.desired == nil && len(c.replicas) == 0
}

// run works until the workload is removed or the engine stops, and returns when
// every replica has ended.
func (c *controller) run() {
	defer c.wg.Wait()
	c.mu.Lock()
	c.started = true
	c.step()
	c.mu.Unlock()
	down := c.e.down
	for {
		select {
		case <-down:
			down = nil // it stays closed: one step is enough
			c.mu.Lock()
			c.stopping = true
			c.step()
			c.mu.Unlock()
		case <-c.wake:
			c.mu.Lock()
			c.step()
			c.mu.Unlock()
		}
		if c.finished() {
			c.e.cleanLogs()
			return
		}
	}
}

// finished reports whether run has nothing left to do. The engine is locked before a
// controller, never after; so the first look is without it and only says maybe.
func (c *controller) finished() bool {
	c.mu.Lock()
	maybe := len(c.replicas) == 0 && (c.stopping || c.desired == nil)
	stopping := c.stopping
	c.mu.Unlock()
	if !maybe {
		return false
	}
	c.e.mu.Lock() // so that no Apply comes between the look and the farewell
	defer c.e.mu.Unlock()
	return c.e.forget(c) || stopping
}

// step does what the present state asks for. The caller holds c.mu.
func (c *controller) step() {
	c.learn()
	c.reap()
	if c.started {
		c.act()
	}
	c.publish()
}

// reap drops replicas that are gone. The caller holds c.mu.
func (c *controller) reap() {
	c.replicas = slices.DeleteFunc(c.replicas, func(r *replica) bool {
		gone := r.snapshot().gone
		c.gather(r)
		return gone
	})
}

// act starts and stops replicas as planned. The caller holds c.mu.
func (c *controller) act() {
	if c.stopping || c.desired == nil {
		why := "the API was deleted"
		if c.stopping {
			why = "the engine is stopping"
		}
		for _, r := range c.replicas {
			r.stop(why)
		}
		return
	}
	rev, serving := c.desired.Revision, c.desired.Serving
	in := engine.RolloutInput{Desired: c.desired.Replicas, Serving: serving != nil, Failed: c.failed != nil, Trial: c.desired.Trial}
	in.Surge, in.Unavailable = engine.Bounds(rev.UpdateStrategy, in.Desired)
	inFlight := c.e.cfg.InFlight(c.name)
	for _, r := range c.replicas {
		if rev.SamePod(r.revision()) {
			r.adopt(rev)
		}
		s, runs := r.snapshot(), r.revision()
		in.Replicas = append(in.Replicas, engine.RolloutReplica{
			ID: r.id, Current: rev.SamePod(runs), Serving: serving != nil && serving.SamePod(runs),
			Ready: s.ready, Available: s.available, Terminating: s.terminating, Busy: inFlight[r.id],
		})
	}
	plan := engine.PlanRollout(in)
	for _, stop := range plan.Stop {
		for _, r := range c.replicas {
			if r.id == stop.ID {
				r.stop(stop.Reason)
			}
		}
	}
	for range plan.Restore {
		c.start(serving, plan.RestoreReason)
	}
	for range plan.Start {
		c.start(rev, plan.StartReason)
	}
}

// start starts a replica of a revision. The caller holds c.mu.
func (c *controller) start(rev *workload.Revision, why string) {
	r := newReplica(c.e, c.poke, rev, nil)
	c.replicas = append(c.replicas, r)
	c.record(workload.Event{Type: "normal", Reason: "ReplicaStarting", Replica: r.id, Message: "starting replica " + r.id + ": " + why})
	c.wg.Go(r.run)
}

// learn takes over what the replicas tell about the desired revision. Where another
// one serves in its place, it has failed until a replica of it is available, also
// when none is left that tries: otherwise the two would take turns. The caller
// holds c.mu.
func (c *controller) learn() {
	if c.desired == nil {
		return
	}
	if c.desired.Serving == nil {
		c.failed = nil
	}
	for _, r := range c.replicas {
		s := r.snapshot()
		switch {
		case s.terminating || !c.desired.Revision.SamePod(r.revision()):
		case s.available:
			c.failed = nil
			return
		case s.fatal:
			c.failed = s.Reason
		}
	}
}

// record queues an event for the next status. The caller holds c.mu.
func (c *controller) record(e workload.Event) {
	e.API = c.name
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	c.events = append(c.events, e)
}

// gather takes over the events of r. The caller holds c.mu.
func (c *controller) gather(r *replica) {
	for _, e := range r.takeEvents() {
		c.record(e)
	}
}

// publish hands the present status to watchers when it says anything new. The
// caller holds c.mu.
func (c *controller) publish() {
	for _, r := range c.replicas {
		c.gather(r)
	}
	s := c.status()
	if reflect.DeepEqual(s, c.last) && len(c.events) == 0 {
		return
	}
	c.last = s
	s.Events, c.events = c.events, nil
	c.e.feed.Publish(s)
}

// status is the picture of this moment. The caller holds c.mu.
func (c *controller) status() engine.Status {
	s := engine.Status{Name: c.name, Revision: c.last.Revision}
	if c.desired != nil {
		s.Revision, s.Desired = c.desired.Revision.ID, c.desired.Replicas
	}
	if c.desired != nil {
		s.Failed = c.failed
	}
	for _, r := range c.replicas {
		upToDate := c.desired != nil && c.desired.Revision.SamePod(r.revision())
		s.Replicas = append(s.Replicas, r.snapshot().replica(upToDate))
	}
	return s
}
