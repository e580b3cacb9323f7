// Package gateway is the front door of the data plane: it finds the workload of a
// request by its path, divides the traffic of splitters, chooses the replica that
// has the least to do, keeps to what each replica takes at once, and holds
// requests while a workload starts.
//
// It promises that an accepted request is answered, that no replica ever works on
// more requests than its pod allows, that a held request is bounded in number,
// bytes and time, and that the cost of a request does not grow with the number of
// workloads.
//
// It must not read or write bytes of HTTP (relay does), decide how many replicas
// there are, or change desired state other than by asking for a wake-up.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/executions"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/telemetry/proxymetrics"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/tracing/proxyspan"
	"cortex.dev/cortex/internal/workload"
)

// Routes tells what is deployed. Every store.Store is one.
type Routes interface {
	Watch(ctx context.Context, fn func(store.Change)) error
}

// Replicas tells what runs. Every engine.Engine is one.
type Replicas interface {
	Watch(ctx context.Context, fn func(engine.Status)) error
}

// HoldLimits bound what may wait for a workload of which no replica is ready. The
// zero value of each means its default.
type HoldLimits struct {
	Requests int           // per workload; max_concurrency + max_queue_length of its pod
	Bytes    int64         // of memory kept by waiting requests, per workload; 64 MiB
	Time     time.Duration // 20 minutes
}

// Config is what a Gateway needs.
type Config struct {
	Store  Routes
	Engine Replicas
	// Wake asks for a first replica of a workload that has none and is asked for.
	// It may be called again while that is still so, not more than once a second.
	Wake      func(ctx context.Context, name string) error
	Telemetry *telemetry.Registry // nil: no metrics
	Tracer    *tracing.Tracer     // nil: no traces
	Log       *slog.Logger        // nil: none
	Hold      HoldLimits
	Limits    relay.Limits
	// Items has the requests of AsyncAPIs, and Jobs those of BatchAPIs and TaskAPIs. Nil:
	// none are served here.
	Items Items
	Jobs  Inside
	// Keys are those that callers show to APIs that ask for one. Nil: there are none.
	Keys Keys
	// Fetch gets the public keys of issuers of tokens. Nil: there are none.
	Fetch func(ctx context.Context, url string, most int) ([]byte, error)
	// Sessions returns what a session for calls says; false: it is none. Nil: there are none.
	Sessions func(token []byte) (access.Session, bool)
	// Calls keeps who called what, for each caller that was asked who it is. Nil: nobody.
	Calls store.Calls
	// Shared says that there are other gateways: what is used of limits is told by Uses, and
	// heard by Hear.
	Shared bool
	// Names knows which host names have certificates. Nil: none have.
	Names Names
	// Trusted are proxies in front; see relay.Config.
	Trusted []netip.Prefix
	// Sidecars says that replicas are reached through sidecars: what those say of a
	// request that did not reach the container is heard.
	Sidecars bool
	// DrainTimeout is how long accepted requests may take to finish when Serve's
	// context ends; 60 s.
	DrainTimeout time.Duration
	// ReplicasGoOn says that replicas are started while Serve drains too, because
	// others do that: requests that wait for one are held on, and refused only
	// shortly before DrainTimeout is over. Else they are refused at once.
	ReplicasGoOn bool
}

// Gateway serves the data plane. All methods may be called at once.
type Gateway struct {
	cfg   Config
	log   *slog.Logger
	spans *proxyspan.Recorder // nil: no traces
	snap  atomic.Pointer[snapshot]

	known     context.Context // ends when what is deployed is known, and which keys there are
	know      context.CancelFunc
	unknown   atomic.Int32 // of these two
	stopping  atomic.Bool
	serving   sync.WaitGroup    // Serve calls
	tasks     sync.WaitGroup    // wake-ups, copies, and the ends of attempts
	inside    *inside           // where requests to AsyncAPIs go
	waiting   atomic.Int64      // that are answered in the goroutine that has read them
	executing http.RoundTripper // by which items are executed
	proofs    access.Proofs
	calls     *calls
	shared    shared
	life      context.Context
	end       context.CancelFunc

	mu      sync.Mutex
	works   map[string]*work
	ended   bool                 // Run's context ended
	shaken  [2]atomic.Uint64     // handshakes of TLS: that failed, and that did not
	nowhere *proxymetrics.Series // requests under no endpoint, and what is no request
}

// New returns a gateway that knows nothing until Run.
func New(cfg Config) (*Gateway, error) {
	if cfg.Store == nil || cfg.Engine == nil {
		return nil, errors.New("a gateway needs a store and an engine to watch")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Wake == nil {
		cfg.Wake = func(context.Context, string) error { return nil }
	}
	if cfg.Hold.Bytes <= 0 {
		cfg.Hold.Bytes = 64 << 20
	}
	if cfg.Hold.Time <= 0 {
		cfg.Hold.Time = 20 * time.Minute
	}
	if cfg.DrainTimeout <= 0 {
		cfg.DrainTimeout = time.Minute
	}
	g := &Gateway{cfg: cfg, log: cfg.Log, spans: proxyspan.New(cfg.Tracer, true), works: map[string]*work{}, nowhere: proxymetrics.New()}
	g.inside, g.executing, g.calls = newInside(), executions.Transport(), newCalls()
	g.proofs = access.Proofs{Keys: &access.Keyring{}, Issuers: access.NewIssuers(cfg.Fetch, cfg.Log), Sessions: cfg.Sessions}
	g.life, g.end = context.WithCancel(context.Background())
	g.known, g.know = context.WithCancel(context.Background())
	g.snap.Store(&snapshot{})
	g.unknown.Store(1)
	if cfg.Keys != nil {
		g.unknown.Store(2)
	}
	g.register(cfg.Telemetry)
	return g, nil
}

// Run follows the store and the engine until ctx ends and every Serve has
// drained. It fails only when one of them can no longer be watched.
func (g *Gateway) Run(ctx context.Context) error {
	watch, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, 3)
	var all sync.WaitGroup
	if g.cfg.Keys != nil {
		told := sync.OnceFunc(g.knows)
		all.Go(func() {
			failed <- g.cfg.Keys.WatchKeys(watch, func(keys []store.Key) { g.keysChanged(keys); told() })
		})
	}
	all.Go(func() { failed <- g.cfg.Store.Watch(watch, g.storeChanged) })
	all.Go(func() { failed <- g.cfg.Engine.Watch(watch, g.replicasChanged) })
	all.Go(func() { g.tend(watch) })
	if g.cfg.Items != nil || g.cfg.Jobs != nil {
		all.Go(func() { g.inside.serve(watch, g) })
	}
	if g.cfg.Fetch != nil {
		all.Go(func() { g.proofs.Issuers.Run(watch) })
	}
	if g.cfg.Calls != nil {
		all.Go(func() { g.keepCalls(watch, g.cfg.Calls) })
	}
	if g.cfg.Shared {
		all.Go(func() { g.tendShared(watch) })
	}
	var err error
	select {
	case <-ctx.Done():
		g.mu.Lock()
		g.ended = true
		g.mu.Unlock()
		g.serving.Wait()
	case err = <-failed:
		err = fmt.Errorf("watching what to serve: %w", err)
	}
	stop()
	g.end()
	all.Wait()
	g.tasks.Wait()
	return err
}

// knows notes that one more of what is unknown at first is known.
func (g *Gateway) knows() {
	if g.unknown.Add(-1) == 0 {
		g.know()
	}
}

// Known is closed once Serve answers requests.
func (g *Gateway) Known() <-chan struct{} { return g.known.Done() }

// Serve accepts requests from ln until ctx ends, and returns when the accepted ones
// are finished, or after DrainTimeout. Before Run knows what is deployed, and which keys
// there are, callers wait in the listener's queue: after a restart nobody is told that an
// API does not exist, or a key.
func (g *Gateway) Serve(ctx context.Context, ln net.Listener) error { return g.serve(ctx, ln, nil) }

// ServeTLS is Serve for clients who speak TLS, with the certificates that cfg has.
func (g *Gateway) ServeTLS(ctx context.Context, ln net.Listener, cfg *tls.Config) error {
	return g.serve(ctx, ln, cfg)
}

func (g *Gateway) serve(ctx context.Context, ln net.Listener, secure *tls.Config) error {
	g.mu.Lock()
	if g.ended { // Run has stopped following what there is to serve
		g.mu.Unlock()
		return ln.Close()
	}
	g.serving.Add(1)
	g.mu.Unlock()
	defer g.serving.Done()
	served, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	stop := context.AfterFunc(ctx, func() {
		if g.cfg.ReplicasGoOn {
			select {
			case <-time.After(g.cfg.DrainTimeout - min(lastWords, g.cfg.DrainTimeout/4)):
			case <-served.Done():
			}
		}
		g.refuseHeld()
	})
	defer stop()
	select {
	case <-g.known.Done():
	case <-ctx.Done():
	}
	s := relay.NewServer(relay.Config{
		Handler: g, Limits: g.cfg.Limits, Log: g.log, Behind: g.cfg.Sidecars, Trusted: g.cfg.Trusted,
		TLS: secure, Shook: g.shook,
		Observers: append(g.spans.Observers(), proxymetrics.Observer(g.seriesOf, g.nowhere), leaving{g}),
	})
	return s.Serve(ctx, ln, g.cfg.DrainTimeout)
}

// lastWords is for the refusals of requests that are held when a gateway has to end.
const lastWords = 2 * time.Second

// refuseHeld ends the wait of requests for which nothing is ready: nothing more
// will be started.
func (g *Gateway) refuseHeld() {
	g.stopping.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.works {
		w.pool.Refuse(errStopping)
	}
}

// Drain takes a replica out of the choice at once and returns when it works on no
// request, or with ctx's error.
func (g *Gateway) Drain(ctx context.Context, workload, replicaID string) error {
	g.mu.Lock()
	w := g.works[workload]
	if w == nil {
		g.mu.Unlock()
		return nil
	}
	r := w.drain(replicaID)
	g.mu.Unlock()
	err := r.backend.Idle(ctx)
	if err != nil {
		r.upstream.Cut() // whoever asked for the drain stops the replica now
	}
	return err
}

// Samples returns the load of every deployed API that has replicas: how many requests, or
// items, were in flight on average since it was called before. One caller only.
func (g *Gateway) Samples() []workload.Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	samples := make([]workload.Load, 0, len(g.works))
	for _, w := range g.works {
		if w.deployed.Load() && !w.jobs.Load() {
			load := workload.Load{Name: w.name, InFlight: w.pool.MeanLoad()}
			if w.items.Load() { // which wait elsewhere, and are more than one
				load.InFlight, load.Backlog = g.cfg.Items.MeanLoad(w.name), g.cfg.Items.Backlog(w.name)
			}
			samples = append(samples, load)
		}
	}
	return samples
}

// Traffic returns what an API has to do; false when it is not known here.
func (g *Gateway) Traffic(name string) (workload.Traffic, bool) {
	g.mu.Lock()
	w := g.works[name]
	g.mu.Unlock()
	if w == nil || !w.deployed.Load() {
		return workload.Traffic{}, false
	}
	load := w.pool.Load()
	if w.items.Load() && !w.jobs.Load() {
		load.Waiting, load.Running = g.cfg.Items.Load(name)
	}
	requests, took := w.counts.requests.Worked()
	over, failed := w.counts.requests.Over()
	return workload.Traffic{InFlight: load.Running + load.Waiting, Requests: requests, Seconds: took.Seconds(), Over: over, Failed: failed}, true
}

// Took returns how long the requests of an API took; false when it is not known here.
func (g *Gateway) Took(name string) (workload.Took, bool) {
	g.mu.Lock()
	w := g.works[name]
	g.mu.Unlock()
	if w == nil || !w.deployed.Load() {
		return workload.Took{}, false
	}
	bounds, counts := w.counts.requests.Took()
	return workload.Took{Bounds: bounds, Counts: counts}, true
}

// Copies returns what became of the copies that a TrafficSplitter makes; false when it has
// no shadow, or is not known here.
func (g *Gateway) Copies(name string) (workload.Copies, bool) {
	for _, rt := range g.snap.Load().routes {
		if rt.name == name && rt.split != nil && rt.split.shadow != nil {
			s := rt.split.shadow
			return workload.Copies{Answered: s.sent.Load(), Dropped: s.dropped.Load()}, true
		}
	}
	return workload.Copies{}, false
}

// InFlight returns how many requests each replica of an API works on.
func (g *Gateway) InFlight(name string) map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := g.works[name]
	if w == nil {
		return nil
	}
	running := make(map[string]int, len(w.replicas))
	for id, r := range w.replicas {
		running[id] = r.backend.Running()
	}
	return running
}

// tend does what has to be done now and then: trust suspected replicas again,
// repeat wake-ups that have not helped yet, and close idle connections.
func (g *Gateway) tend(ctx context.Context) {
	t := time.NewTicker(tendEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			g.mu.Lock()
			for _, w := range g.works {
				w.tend(now)
				if load := w.pool.Load(); load.Waiting > 0 && load.Ready == 0 {
					g.wake(w, now)
				}
			}
			g.mu.Unlock()
		}
	}
}

const (
	tendEvery = 200 * time.Millisecond
	wakeEvery = time.Second
)

// wake asks for a first replica, unless one is asked for already.
func (g *Gateway) wake(w *work, now time.Time) {
	if w.requested.Load() > 0 || g.stopping.Load() {
		return
	}
	last := w.woken.Load()
	if now.UnixNano()-last < int64(wakeEvery) || !w.woken.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	g.tasks.Go(func() {
		if err := g.cfg.Wake(g.life, w.name); err != nil && g.life.Err() == nil {
			g.log.Warn("waking a workload", "api", w.name, "error", err)
		}
	})
}
