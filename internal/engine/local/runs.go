package local

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// once is what a replica that runs to its end has besides. Its methods may be called on
// nil, of a replica that is kept running.
type once struct {
	run  engine.Run
	done chan struct{} // closed when nothing of it runs any more

	begin sync.Once
	first *container    // that ended; set before hasEnd is closed
	has   chan struct{} // closed when a container has ended
}

func (o *once) over() <-chan struct{} {
	if o == nil {
		return nil
	}
	return o.has
}

func (o *once) ended(c *container) {
	o.begin.Do(func() {
		o.first = c
		close(o.has)
	})
}

// mounts are the files of the run, as containers with an image have them.
func (o *once) mounts() (all []Mount) {
	if o == nil {
		return nil
	}
	for _, f := range o.run.Files {
		all = append(all, Mount{Source: f.Source, Target: f.Target, ReadOnly: f.ReadOnly})
	}
	return all
}

// addTo adds the variables of the run.
func (o *once) addTo(env map[string]string, image bool) {
	if o == nil {
		return
	}
	maps.Copy(env, o.run.Env)
	for _, f := range o.run.Files {
		env[f.Variable] = f.Source
		if image {
			env[f.Variable] = f.Target
		}
	}
}

// runLogs bounds what is kept of the output of runs of one name.
func runLogs(l LogLimits) LogLimits {
	if l.FileBytes <= 0 {
		l.FileBytes = 5 << 20
	}
	if l.Files <= 0 {
		l.Files = 2
	}
	if l.Retired <= 0 {
		l.Retired = 10
	}
	return l
}

// running is a replica as a run.
type running struct{ r *replica }

var (
	_ engine.Runner  = (*Engine)(nil)
	_ engine.Running = running{}
)

// StartRun implements engine.Runner.
func (e *Engine) StartRun(ctx context.Context, run engine.Run) (engine.Running, error) {
	select {
	case <-e.up:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fault.New(fault.Unavailable, "engine.stopping", "the engine is stopping")
	}
	o := &once{run: run, done: make(chan struct{}), has: make(chan struct{})}
	r := newReplica(e, func() {}, run.Revision, o)
	e.wg.Go(func() {
		defer close(o.done)
		gone := make(chan struct{})
		defer close(gone)
		e.wg.Go(func() {
			select {
			case <-e.down:
				r.stop("the engine is stopping")
			case <-gone:
			}
		})
		r.run()
	})
	return running{r}, nil
}

// ID implements engine.Running.
func (r running) ID() string { return r.r.id }

// AwaitReady implements engine.Running.
func (r running) AwaitReady(ctx context.Context) bool {
	ready := false
	return r.r.await(ctx, func() bool {
		ready = r.r.ready
		return ready || r.r.stopping
	}) && ready
}

// Address implements engine.Running.
func (r running) Address() string { return r.r.snapshot().Address }

// Reason implements engine.Running.
func (r running) Reason() *workload.Reason { return r.r.snapshot().Reason }

// Stop implements engine.Running.
func (r running) Stop(why string) { r.r.stop(why) }

// Done implements engine.Running.
func (r running) Done() <-chan struct{} { return r.r.once.done }

// End implements engine.Running.
func (r running) End() engine.RunEnd {
	o := r.r.once
	if o.first == nil {
		return engine.RunEnd{Stopped: true}
	}
	r.r.mu.Lock()
	v := o.first.view
	r.r.mu.Unlock()
	switch {
	case v.failed != nil:
		reason := v.failed.Reason
		return engine.RunEnd{Unmade: true, Reason: &reason}
	case v.exit == nil:
		return engine.RunEnd{Stopped: true}
	}
	end := engine.RunEnd{Code: v.exit.Code, OOM: v.exit.OOM}
	if end.Code != 0 {
		v.ends, v.pause = 1, 0 // it is the first, and nobody here starts it again
		end.Reason = exited(v)
	}
	return end
}

// isRun reports whether a name can be that of runs: one part of a path.
func isRun(name string) bool { return filepath.IsLocal(name) && !strings.ContainsAny(name, `/\`) }

// RunLogs implements engine.Runner.
func (e *Engine) RunLogs(ctx context.Context, name string, q workload.LogQuery, fn func(workload.LogLine) error) error {
	if !isRun(name) {
		return fault.New(fault.NotFound, "logs.none", "there are no logs of %q", name)
	}
	q.Name = name
	return e.runs.read(ctx, q, time.Time{}, fn)
}

// ForgetRuns implements engine.Runner.
func (e *Engine) ForgetRuns(name string) {
	if isRun(name) {
		_ = os.RemoveAll(filepath.Join(e.runs.root, name)) // what stays is a folder of logs
	}
}
