package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
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
	run   engine.Run
	files string        // folder of its files
	done  chan struct{} // closed when nothing of it runs any more

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

// resultFile is the name of the file of Run.Result.
const resultFile = "result"

// each calls fn with every file of the run, and where it is on this machine.
func (o *once) each(fn func(f engine.RunFile, path string, readOnly bool)) {
	if o == nil {
		return
	}
	for i, f := range o.run.Files {
		fn(f, filepath.Join(o.files, strconv.Itoa(i)), true)
	}
	if o.run.Result != nil {
		fn(*o.run.Result, filepath.Join(o.files, resultFile), false)
	}
}

// write makes the files of the run. Containers run as whatever user their image says, in a
// folder that only we can enter.
func (o *once) write() (err error) {
	if err := os.MkdirAll(o.files, 0o700); err != nil {
		return err
	}
	o.each(func(f engine.RunFile, path string, readOnly bool) {
		mode := os.FileMode(0o666)
		if readOnly {
			mode = 0o644
		}
		if err == nil {
			err = os.WriteFile(path, f.Data, mode)
		}
		if err == nil {
			err = os.Chmod(path, mode) // whatever the umask is
		}
	})
	return err
}

// mounts are the files of the run, as containers with an image have them.
func (o *once) mounts() (all []Mount) {
	o.each(func(f engine.RunFile, path string, readOnly bool) {
		all = append(all, Mount{Source: path, Target: f.Target, ReadOnly: readOnly})
	})
	return all
}

// addTo adds the variables of the run.
func (o *once) addTo(env map[string]string, image bool) {
	if o == nil {
		return
	}
	maps.Copy(env, o.run.Env)
	o.each(func(f engine.RunFile, path string, _ bool) {
		env[f.Variable] = path
		if image {
			env[f.Variable] = f.Target
		}
	})
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
	o := &once{run: run, files: filepath.Join(e.scratchRoot(), "files-"+rand.Text()), done: make(chan struct{}), has: make(chan struct{})}
	if err := o.write(); err != nil {
		_ = os.RemoveAll(o.files) // or with the next start
		return nil, fmt.Errorf("making the files of the run %s: %w", run.Name, err)
	}
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

// toRuns is how requests reach runs: each is one of a kind, so that none is kept for another.
var toRuns = sync.OnceValue(func() *http.Transport {
	return &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 256 << 10}
})

// Send implements engine.Running.
func (r running) Send(req *http.Request, _ string) (*http.Response, error) {
	req.URL.Scheme, req.URL.Host = "http", r.r.snapshot().Address
	return toRuns().RoundTrip(req)
}

// Sent implements engine.Running: nothing is taken over here.
func (r running) Sent(context.Context) ([]string, error) { return nil, nil }

// Settle implements engine.Running: no answer is kept here.
func (r running) Settle(context.Context, []string) {}

// Reason implements engine.Running.
func (r running) Reason() *workload.Reason { return r.r.snapshot().Reason }

// Stop implements engine.Running.
func (r running) Stop(why string) { r.r.stop(why) }

// Leave implements engine.Running: nothing outlives this process.
func (r running) Leave() { r.r.stop("the environment is stopping") }

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

// Result implements engine.Running.
func (r running) Result(_ context.Context, most int) ([]byte, error) {
	o := r.r.once
	if o.run.Result == nil {
		return nil, nil
	}
	f, err := os.Open(filepath.Join(o.files, resultFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(most)+1))
}

// Forget implements engine.Running.
func (r running) Forget(context.Context) {
	_ = os.RemoveAll(r.r.once.files) // or with the next start
}

// Runs implements engine.Runner.
func (e *Engine) Runs(context.Context) ([]engine.RunName, error) { return nil, nil }

// EndRun implements engine.Runner.
func (e *Engine) EndRun(context.Context, engine.RunName) error { return nil }

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
func (e *Engine) ForgetRuns(_ context.Context, name string) {
	if isRun(name) {
		_ = os.RemoveAll(filepath.Join(e.runs.root, name)) // what stays is a folder of logs
	}
}
