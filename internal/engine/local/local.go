// Package local runs replicas on one machine: it keeps the asked-for number of
// replicas of every workload, updates them within their strategy, restarts what
// ends, probes, drains, and keeps their logs.
//
// It promises the behaviour that enginetest demands of every engine, that it works
// by events and not by looking around every so often, and that nothing it started
// outlives it. How a container runs is a Runtime's business (process, docker):
// one with an image goes to Docker, one without to processes, and one pod may hold
// both. It must not decide how many replicas there should be, route a request or
// remember anything across its own life but logs.
package local

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Config says where and how replicas run. Only StateDir and one runtime are needed.
type Config struct {
	StateDir string  // logs and scratch folders live here
	Process  Runtime // for containers without an image; nil: they cannot run
	Docker   Runtime // for containers with one; nil: they cannot run
	// CodeDir has the copies of folders by their digests, in which the processes of
	// revisions with code run.
	CodeDir string
	// Drain takes a replica out of traffic and returns when no request is in
	// flight there. It is called before any signal and bounded by Grace.
	Drain func(ctx context.Context, workload, replica string) error
	// InFlight is how many requests each replica works on: of several, those with the
	// fewest are stopped first. It is asked with locks held, and must not call the engine.
	InFlight func(workload string) map[string]int
	// Env is given to every container, such as AWS credentials of the environment.
	// The user's own variables win.
	Env map[string]string
	// Secret returns the value of a secret, each time that a container starts which has a
	// variable with it. Nil: there are none here.
	Secret func(ctx context.Context, name string) (string, error)
	// Volumes has the folders that pods mount and that are not their own. Nil: there are none.
	Volumes Volumes
	Version string // CORTEX_VERSION
	// APIEndpoint is the front door as processes reach it, and APIEndpointInDocker as
	// containers do; empty: they do not.
	APIEndpoint, APIEndpointInDocker string
	Log                              *slog.Logger

	Grace            time.Duration // from the decision to stop a replica to SIGKILL where its file does not say; workload.DefaultGrace when zero
	ProgressDeadline time.Duration // a replica not ready by then counts as failed; 10 min when zero
	Backoff          Backoff       // between restarts
	Steady           time.Duration // engine.SteadyAfter when zero
	Logs             LogLimits
}

// Volumes are folders that outlive replicas, and folders of the machine; package volumes has
// the contract.
type Volumes interface {
	Use(name string) (path string, release func(), err error)
	Folder(path, base string) (string, error)
}

// Engine implements engine.Engine on one machine.
type Engine struct {
	cfg   Config
	logs  *logStore
	runs  *logStore // logs of runs to an end
	ports *portPool
	feed  *engine.Feed

	mu          sync.Mutex
	controllers map[string]*controller
	running     bool           // Run has opened the runtimes
	up          chan struct{}  // closed then
	closed      bool           // Run is on its way out
	down        chan struct{}  // closed with it
	wg          sync.WaitGroup // controllers
}

var _ engine.Engine = (*Engine)(nil)

// New returns an engine that starts replicas once Run is called.
func New(cfg Config) (*Engine, error) {
	if !filepath.IsAbs(cfg.StateDir) {
		return nil, errors.New("the state folder of the engine must be an absolute path")
	}
	if cfg.Process == nil && cfg.Docker == nil {
		return nil, errors.New("the engine needs a runtime for processes or for images")
	}
	if cfg.Drain == nil {
		cfg.Drain = func(context.Context, string, string) error { return nil }
	}
	if cfg.InFlight == nil {
		cfg.InFlight = func(string) map[string]int { return nil }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.ProgressDeadline <= 0 {
		cfg.ProgressDeadline = 10 * time.Minute
	}
	if cfg.Steady <= 0 {
		cfg.Steady = engine.SteadyAfter
	}
	cfg.Backoff = cfg.Backoff.defaulted()
	return &Engine{
		cfg:         cfg,
		logs:        newLogStore(filepath.Join(cfg.StateDir, "logs"), cfg.Logs),
		runs:        newLogStore(filepath.Join(cfg.StateDir, "joblogs"), runLogs(cfg.Logs)),
		ports:       newPortPool(),
		feed:        engine.NewFeed(),
		controllers: map[string]*controller{},
		up:          make(chan struct{}),
		down:        make(chan struct{}),
	}, nil
}

func (e *Engine) runtimes() []Runtime {
	var all []Runtime
	for _, r := range []Runtime{e.cfg.Process, e.cfg.Docker} {
		if r != nil {
			all = append(all, r)
		}
	}
	return all
}

// Engines says which ways of running containers work here now.
func (e *Engine) Engines(ctx context.Context) []workload.Engine {
	var all []workload.Engine
	for _, r := range e.runtimes() {
		detail, err := r.Available(ctx)
		if err != nil {
			detail = err.Error()
		}
		all = append(all, workload.Engine{Name: r.Name(), Available: err == nil, Detail: detail})
	}
	return all
}

// Run implements engine.Engine. What was applied before is started now, after
// everything an earlier life left behind is gone.
func (e *Engine) Run(ctx context.Context) error {
	for _, r := range e.runtimes() {
		if err := r.Open(ctx); err != nil {
			return err
		}
		defer func() {
			if err := r.Close(); err != nil {
				e.cfg.Log.Warn("closing a runtime", "runtime", r.Name(), "error", err)
			}
		}()
	}
	if err := os.RemoveAll(e.scratchRoot()); err != nil {
		e.cfg.Log.Warn("removing scratch folders of an earlier run", "error", err)
	}

	e.cleanLogs()

	e.mu.Lock()
	e.running = true
	close(e.up)
	for _, c := range e.controllers {
		e.wg.Go(c.run)
	}
	e.mu.Unlock()

	<-ctx.Done()
	e.mu.Lock()
	e.closed = true
	close(e.down)
	e.mu.Unlock()
	e.wg.Wait()
	e.logs.close()
	e.runs.close()
	return nil
}

// cleanLogs drops logs of workloads that went long ago.
func (e *Engine) cleanLogs() {
	present := map[string]bool{}
	for _, name := range e.names() {
		present[name] = true
	}
	e.logs.clean(present)
}

func (e *Engine) scratchRoot() string { return filepath.Join(e.cfg.StateDir, "replicas") }

// Apply implements engine.Engine.
func (e *Engine) Apply(_ context.Context, d engine.Deployment) error {
	if d.Revision == nil || d.Revision.Pod == nil || len(d.Revision.Pod.Containers) == 0 {
		return fault.New(fault.Invalid, "engine.no_pod", "a deployment without containers cannot run")
	}
	if d.Replicas < 0 {
		return fault.New(fault.Invalid, "engine.negative_replicas", "%d replicas cannot run", d.Replicas)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return fault.New(fault.Unavailable, "engine.stopping", "the engine is stopping")
	}
	c := e.controllers[d.Revision.Name]
	if c == nil {
		c = newController(e, d.Revision.Name)
		e.controllers[c.name] = c
		if e.running {
			e.wg.Go(c.run)
		}
	}
	c.apply(d)
	return nil
}

// Remove implements engine.Engine.
func (e *Engine) Remove(_ context.Context, name string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.controllers[name]; c != nil {
		c.remove()
		if !e.running {
			e.forget(c)
		}
	}
	return nil
}

// forget drops a controller that is to be removed and whose replicas are gone, and
// reports whether it did. The caller holds e.mu.
func (e *Engine) forget(c *controller) bool {
	events, gone := c.isGone()
	if gone {
		delete(e.controllers, c.name)
		e.feed.Remove(c.name, false, events...)
	}
	return gone
}

// Status implements engine.Engine.
func (e *Engine) Status(_ context.Context, name string) (engine.Status, error) {
	s, ok := e.feed.Get(name)
	if !ok {
		return engine.Status{}, fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name)
	}
	return s, nil
}

// Watch implements engine.Engine.
func (e *Engine) Watch(ctx context.Context, fn func(engine.Status)) error {
	return e.feed.Watch(ctx, fn)
}

func (e *Engine) names() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.controllers))
}

// newID returns a random name for a replica: ten letters and digits that cannot
// be misread for one another.
func newID() string {
	const alphabet = "bcdfghjkmnpqrstvwxz2456789"
	raw := make([]byte, 10)
	_, _ = rand.Read(raw) // never fails
	for i, b := range raw {
		raw[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(raw)
}
