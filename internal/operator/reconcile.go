package operator

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Delays between tries of something in the background that fails.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// pendingEvents bounds the engine's events that wait to be written.
const pendingEvents = 1024

// Run keeps the engine at what the store says: everything that is stored is
// applied, everything else removed, now and after every change; what fails is
// tried again. It writes the engine's events into the store. With a source it
// deploys what others declare there, and shows what becomes of it; with a source of
// jobs it says why they do not run. It returns ctx's error after everything it started has ended.
func (o *Operator) Run(ctx context.Context) error {
	work := newWorkqueue(o.attempt, func(name string, err error) {
		o.log.Warn("will try again", "api", name, "error", err)
	})
	sources, jobs := newSourceController(o), newJobController(o)
	events := make(chan workload.Event, pendingEvents)
	var group tasks
	group.start(func() {
		_ = o.change(ctx, func(ctx context.Context) error {
			o.collectCode(ctx, 0) // nothing is running yet
			return nil
		})
	})
	group.start(func() {
		o.retry(ctx, "watching the store", func() error {
			o.cache.restart()
			return o.store.Watch(ctx, func(c store.Change) {
				for _, name := range o.cache.changed(c) {
					work.add(ctx, name)
					sources.changed(ctx, name)
				}
				if c.Name == "" {
					group.start(func() { o.repair(ctx) })
				}
			})
		})
	})
	group.start(func() {
		o.retry(ctx, "watching the engine", func() error {
			return o.engine.Watch(ctx, func(es engine.Status) {
				o.observe(es, events)
				if o.cache.seen(es) || o.hasNews(es) {
					work.add(ctx, es.Name)
				}
				sources.look(ctx, es.Name)
			})
		})
	})
	group.start(func() { sources.run(ctx) })
	group.start(func() { sources.follow(ctx) })
	group.start(func() { jobs.run(ctx) })
	group.start(func() { o.write(ctx, events) })
	group.start(func() { o.measureAll(ctx) })
	<-ctx.Done()
	group.wait()
	work.wait()
	sources.wait()
	jobs.wait()
	return ctx.Err()
}

// retry runs fn again and again until ctx ends, with longer pauses while it fails
// at once.
func (o *Operator) retry(ctx context.Context, what string, fn func() error) {
	for pause := firstRetry; ctx.Err() == nil; pause = min(2*pause, lastRetry) {
		began := time.Now()
		err := fn()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > lastRetry {
			pause = firstRetry
		}
		o.log.Warn("will try again", "doing", what, "error", err, "in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// attempt reconciles one workload, and keeps why that failed for whoever asks.
func (o *Operator) attempt(ctx context.Context, name string) error {
	err := o.reconcile(ctx, name)
	if ctx.Err() == nil {
		o.cache.tried(name, err)
	}
	return err
}

// reconcile makes the engine do what the store says about one workload, and writes
// into the store what has become of its revision.
func (o *Operator) reconcile(ctx context.Context, name string) error {
	w, ok, known := o.cache.want(name)
	switch {
	case ok && w.Revision.Kind.Scales():
		if err := o.engine.Apply(ctx, deploymentOf(w)); err != nil {
			return err
		}
		return o.note(ctx, name)
	case known:
		// Deleted, or a kind that runs nothing.
		return o.engine.Remove(ctx, name)
	default:
		return nil // the store has not told everything yet
	}
}

// repair puts into the history what an earlier life could not.
func (o *Operator) repair(ctx context.Context) {
	list, _ := o.cache.workloads()
	for _, w := range list {
		err := o.change(ctx, func(ctx context.Context) error {
			w, err := o.store.Get(ctx, w.Name())
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			return o.remember(ctx, w)
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			o.log.Warn("repairing the history", "api", w.Name(), "error", err)
		}
	}
}

// observe queues the engine's events, and one of our own when a workload becomes
// live or fails. The engine waits for this, so it never blocks.
func (o *Operator) observe(es engine.Status, events chan<- workload.Event) {
	queued := es.Events
	if w, ok, _ := o.cache.want(es.Name); ok && !es.Removed {
		if e, ok := phaseEvent(w, o.cache.status(es.Name), &es, o.now()); ok {
			queued = append(queued[:len(queued):len(queued)], e)
		}
	}
	for _, e := range queued {
		if e.API == "" {
			e.API = es.Name
		}
		select {
		case events <- e:
		default:
			o.log.Warn("an event was lost: too many at once", "api", e.API, "event", e.Reason)
		}
	}
}

// phaseEvent is the event of a workload that has become live or has failed.
func phaseEvent(w store.Workload, before, after *engine.Status, now time.Time) (workload.Event, bool) {
	was, is := statusOf(w, before), statusOf(w, after)
	e := workload.Event{Time: now.UTC(), API: w.Name(), Kind: w.Revision.Kind, Type: normal}
	switch {
	case was.Phase == is.Phase:
		return e, false
	case is.Phase == workload.PhaseLive:
		e.Reason, e.Message = "Live", count(is.UpToDate, "replica")+" ready"
	case is.Phase == workload.PhaseFailed:
		e.Type, e.Reason, e.Message = warning, "Failed", is.Reason
	case is.Phase == workload.PhaseDegraded:
		e.Type, e.Reason, e.Message = warning, "Degraded", is.Reason
	default:
		return e, false
	}
	return e, true
}

// write keeps the queued events until ctx ends, and then those that still wait.
func (o *Operator) write(ctx context.Context, events <-chan workload.Event) {
	keep := func(ctx context.Context, e workload.Event) {
		if e.Kind == "" { // an engine does not know it
			e.Kind = o.cachedKind(e.API)
		}
		if err := o.store.Record(ctx, e); err != nil {
			o.log.Warn("an event was lost", "api", e.API, "event", e.Reason, "error", err)
		}
	}
	for {
		select {
		case e := <-events:
			keep(ctx, e)
			continue
		case <-ctx.Done():
		}
		break
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	for {
		select {
		case e := <-events:
			keep(ctx, e)
		default:
			return
		}
	}
}
