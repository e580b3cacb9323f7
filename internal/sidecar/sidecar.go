// Package sidecar is the small process beside each replica: it holds the replica's
// max_concurrency exactly, however many gateways there are, says when the replica
// can take requests, and lets its containers end only when nothing is in flight.
//
// It promises to add little to a request and to a pod: it is one hop of the relay,
// and links neither Kubernetes nor Docker. It must not know revisions, other
// replicas or where requests come from.
package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/limiter"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/telemetry/proxymetrics"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/tracing/proxyspan"
	"cortex.dev/cortex/internal/workload"
)

// Config of a Sidecar.
type Config struct {
	APIName        string // of which this is a replica, for metrics
	Target         int    // port of the container, on this host
	MaxConcurrency int    // requests that the container gets at once, at least 1
	MaxQueueLength int    // requests that wait for it
	// ProbePort makes readiness depend on the target's accepting connections: no
	// readiness probe of the user looks at it.
	ProbePort bool
	// CancelWhenGone: see relay.Exchange. The caller here is a gateway.
	CancelWhenGone bool
	// Grace bounds a drain; 60 s.
	Grace time.Duration
	// Folder is where answers to items are kept that are large; empty: the system's.
	Folder string
	// Least and Quiet: a drain takes at least so long, and ends only when no request
	// came for so long, because gateways hear of it from elsewhere, a moment later;
	// 1 s and 500 ms.
	Least, Quiet time.Duration
	Telemetry    *telemetry.Registry // nil: no metrics
	Tracer       *tracing.Tracer     // nil: no traces
	Log          *slog.Logger        // nil: none
}

// Sidecar forwards to one container. All methods may be called at once.
type Sidecar struct {
	cfg      Config
	log      *slog.Logger
	limit    *limiter.Limiter
	upstream *relay.Upstream
	spans    *proxyspan.Recorder // nil: no traces
	place    place
	items    *executions

	came     atomic.Int64 // Unix nanoseconds of the last request
	refusals atomic.Int64 // to the kubelet since it was last told that the replica is ready
	requests *proxymetrics.Series

	drainMu  sync.Mutex
	draining *drain // the latest; nil: none yet
	over     bool   // Run waits for drains, or did: no more may begin
	drains   sync.WaitGroup
}

// New returns a sidecar that serves nothing yet.
func New(cfg Config) (*Sidecar, error) {
	if cfg.Target < 1 || cfg.Target > 65535 {
		return nil, fmt.Errorf("the target port %d is not a port (1 to 65535)", cfg.Target)
	}
	if cfg.MaxConcurrency < 1 || cfg.MaxQueueLength < 0 {
		return nil, errors.New("max_concurrency must be at least 1, and max_queue_length must not be negative")
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&cfg.Grace, time.Minute}, {&cfg.Least, time.Second}, {&cfg.Quiet, 500 * time.Millisecond}} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sidecar{
		cfg: cfg, log: cfg.Log, spans: proxyspan.New(cfg.Tracer, false), limit: limiter.New(cfg.MaxConcurrency, cfg.MaxQueueLength),
		upstream: relay.NewUpstream(net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.Target))),
	}
	s.place.s, s.requests = s, proxymetrics.NewOfAPI()
	s.items = newExecutions(s, cfg.Folder)
	s.refusals.Store(workload.SidecarUnreadyAfter) // a new pod is not ready
	s.measure()
	return s, nil
}

// Run serves requests from data until ctx ends, drains, finishes what was accepted
// and returns.
func (s *Sidecar) Run(ctx context.Context, data net.Listener) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	server := relay.NewServer(relay.Config{Handler: s, Front: true, Log: s.log,
		Observers: append(s.spans.Observers(), proxymetrics.Observer(s.seriesOf, s.requests))})
	var all sync.WaitGroup
	all.Go(func() { s.sweep(serving) })
	ended := make(chan error, 1)
	all.Go(func() { ended <- server.Serve(serving, data, s.cfg.Grace) })
	var err error
	select {
	case err = <-ended: // the listener failed
	case <-ctx.Done():
		// Bounded by the grace, so it ends.
		if err := s.Drain(context.WithoutCancel(ctx)); err != nil {
			s.log.Warn("stopping with requests in flight", "error", err)
		}
		stop()
		err = <-ended
	}
	stop()
	all.Wait()
	s.drainMu.Lock()
	s.over = true
	s.drainMu.Unlock()
	s.drains.Wait()
	s.upstream.Close()
	return err
}

// sweepEvery is how often idle connections to the container are looked at.
const sweepEvery = 5 * time.Second

func (s *Sidecar) sweep(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			s.upstream.Sweep(now)
			s.items.sweep(now)
		}
	}
}

// How the kubelet's question whether the replica is ready is answered.
const (
	readyWithin = workload.SidecarProbeTimeout - 10*time.Second // an answer that can wait comes within it
	readyEvery  = 20 * time.Millisecond                         // how often it is looked meanwhile
)

// tellReady is Ready for the kubelet, which asks once a second: where it knows
// already that the container cannot be given requests, the answer waits for the
// moment when it can, so that nobody waits for the next question.
func (s *Sidecar) tellReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	again := time.NewTicker(readyEvery)
	defer again.Stop()
	for {
		err := s.Ready(ctx)
		if err == nil {
			s.refusals.Store(0)
			return nil
		}
		if s.refusals.Load() < workload.SidecarUnreadyAfter || s.isDraining() {
			s.refusals.Add(1)
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-again.C:
		}
	}
}

// Ready returns nil when the container can be given requests, or why not.
func (s *Sidecar) Ready(ctx context.Context) error {
	if s.isDraining() {
		return errors.New("draining: a container is about to be stopped")
	}
	if !s.cfg.ProbePort {
		return nil
	}
	d := net.Dialer{Timeout: 900 * time.Millisecond}
	c, err := d.DialContext(ctx, "tcp", s.upstream.Addr())
	if err != nil {
		return fmt.Errorf("nothing listens on port %d", s.cfg.Target)
	}
	return c.Close()
}
