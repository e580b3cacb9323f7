// Package ledgerd is the program cortex-ledger: a server of NATS JetStream that keeps the
// items of AsyncAPIs on Kubernetes, alone or as one of several.
//
// It promises that what it has confirmed is on its disk, that it serves nobody without the
// credentials of the installation, and that it hands over what it leads before it ends. It
// must not know what an item is: what is kept is internal/ledger/jetstream's.
package ledgerd

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/telemetry"
)

// stopWithin is how long a server may take to hand over and end. The chart gives a pod
// more.
const stopWithin = 40 * time.Second

// Config is what a server needs to know; see its flags.
type Config struct {
	Pod, Namespace string // this server
	Kubeconfig     string // empty: as a pod

	Listen, RoutesListen, HealthListen string

	Data     string
	MaxBytes int64 // 0: three quarters of what is free
	Servers  int
	Service  string
	Secret   string

	Version string
	Log     *slog.Logger

	REST               *rest.Config // nil: by Kubeconfig
	Username, Password string       // given: the Secret is not asked for
	Peers              []string     // host:port for routes, of all servers; nil: by their names in the service
}

// Main is the program: it runs until ctx ends and returns the code to exit with.
func Main(ctx context.Context, args []string, streams program.Streams, getenv func(string) string, version string) int {
	log := program.LogTo(streams)
	cfg, err := parse(args, getenv)
	if err == nil {
		cfg.Version, cfg.Log = version, log
		err = Run(ctx, cfg)
	}
	return program.Exit(err, streams, "cortex-ledger", usage)
}

// ledgerProcess is one run of a server.
type ledgerProcess struct {
	cfg      Config
	server   atomic.Pointer[server.Server] // nil: not made yet
	whole    atomic.Bool                   // it has had everything that the others have
	stopping atomic.Bool
}

// Run runs a server until ctx ends and it has handed over what it led.
func Run(ctx context.Context, cfg Config) error {
	p := &ledgerProcess{cfg: cfg}
	if p.cfg.REST == nil && p.cfg.Username == "" {
		var err error
		if p.cfg.REST, err = program.RESTConfig(cfg.Kubeconfig, "cortex-ledger", cfg.Version); err != nil {
			return err
		}
	}
	if err := claim(cfg.Data, cfg.Servers); err != nil {
		return err
	}
	metrics := telemetry.New("cortex-ledger", cfg.Version)
	p.measure(metrics)
	watched, err := program.Listen(cfg.HealthListen, "health-listen")
	if err != nil {
		return err
	}
	defer watched.Close()
	h := &program.Health{Listener: watched, Metrics: metrics, Ready: p.ready}
	return lifecycle.Run(ctx,
		[]lifecycle.Task{{Name: "health", Run: h.Run}},
		[]lifecycle.Task{{Name: "ledger", Run: p.run}},
	)
}

// run is a server from its credentials to its end.
func (p *ledgerProcess) run(ctx context.Context) error {
	username, password := p.cfg.Username, p.cfg.Password
	if username == "" {
		var err error
		if username, password, err = program.Credentials(ctx, p.cfg.REST, p.cfg.Namespace, p.cfg.Secret, p.cfg.Log); err != nil {
			return err
		}
	}
	opts, err := p.cfg.options(username, password)
	if err != nil {
		return err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return fault.New(fault.Unavailable, "ledger.cannot_start", "the server cannot start: %w", err)
	}
	log := &serverLog{log: p.cfg.Log, fatal: make(chan string, 1)}
	s.SetLoggerV2(log, false, false, false)
	started := make(chan struct{})
	go func() {
		defer close(started)
		s.Start()
	}()
	p.server.Store(s)
	select {
	case why := <-log.fatal:
		err = fault.New(fault.Unavailable, "ledger.cannot_start", "the server cannot go on: %s", why)
	case <-ctx.Done():
	}
	p.stopping.Store(true)
	return errors.Join(err, p.stop(s, started))
}

// stop has the other servers take over, and returns when everything is on the disk.
func (p *ledgerProcess) stop(s *server.Server, started <-chan struct{}) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-started // what it has is read, which cannot be broken off
		if p.cfg.Servers > 1 {
			s.LameDuckShutdown()
		}
		s.Shutdown()
		s.WaitForShutdown()
	}()
	late := time.NewTimer(stopWithin)
	defer late.Stop()
	select {
	case <-ended:
		return nil
	case <-late.C:
		return fault.New(fault.Unavailable, "ledger.cannot_stop", "the server has not ended in %s; what it confirmed is kept", stopWithin)
	}
}

// ready is what the probes ask.
func (p *ledgerProcess) ready() error {
	s := p.server.Load()
	switch {
	case p.stopping.Load():
		return errors.New("stopping")
	case s == nil:
		return errors.New("the credentials are not known yet")
	case !s.ReadyForConnections(time.Millisecond):
		return errors.New("starting")
	}
	state, err := s.Jsz(nil)
	switch {
	case err != nil:
		return err
	case state.Disabled:
		return errors.New("it keeps nothing any more: its log says why")
	case p.cfg.Servers > 1 && (state.Meta == nil || state.Meta.Leader == ""):
		return errors.New("too few servers are there to agree on anything")
	}
	// What it lacks after a start it gets from the others before the next of them may go.
	if !p.whole.Load() {
		if health := s.Healthz(nil); health.Error != "" {
			return errors.New(health.Error)
		}
		p.whole.Store(true)
	}
	return nil
}

// measure has the metrics read from the server.
func (p *ledgerProcess) measure(metrics *telemetry.Registry) {
	stored := func(value func(*server.JSInfo) float64) func(telemetry.Emit) {
		return func(emit telemetry.Emit) {
			if s := p.server.Load(); s != nil {
				if state, err := s.Jsz(nil); err == nil && !state.Disabled {
					emit(value(state))
				}
			}
		}
	}
	metrics.Collect(telemetry.Metric{Name: "cortex_ledger_bytes", Type: telemetry.Gauge, Help: "Bytes of items that this server keeps."},
		stored(func(i *server.JSInfo) float64 { return float64(i.Store) }))
	metrics.Collect(telemetry.Metric{Name: "cortex_ledger_max_bytes", Type: telemetry.Gauge, Help: "Bytes of items that this server may keep; what is over it is refused."},
		stored(func(i *server.JSInfo) float64 { return float64(i.Config.MaxStore) }))
	metrics.Collect(telemetry.Metric{Name: "cortex_ledger_connections", Type: telemetry.Gauge, Help: "Connections of gateways and operators to this server."},
		func(emit telemetry.Emit) {
			if s := p.server.Load(); s != nil {
				emit(float64(s.NumClients()))
			}
		})
}
