// Package gatewayd is the program cortex-gateway: the front door on Kubernetes, of
// which every replica serves.
//
// It promises that it needs no operator to serve what runs, and that when it is told
// to stop it says so to its callers before it turns anybody away.
//
// It must not have a rule of its own, and must not link the control plane: what may be
// in the program is a test of cmd/cortex-gateway.
package gatewayd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/async"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/controlapi"
	"cortex.dev/cortex/internal/engine"
	enginekube "cortex.dev/cortex/internal/engine/kube"
	"cortex.dev/cortex/internal/gateway"
	"cortex.dev/cortex/internal/hostcert"
	"cortex.dev/cortex/internal/jobs"
	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/lifecycle"
	storekube "cortex.dev/cortex/internal/store/kube"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/webhook"
)

// Config is what a gateway needs to know; see its flags.
type Config struct {
	Pod             string // this replica
	SystemNamespace string // of the gateways
	Namespace       string // of workloads
	Kubeconfig      string // empty: as a pod

	Operator          string // https://host:port
	TokenFile, CAFile string

	Listen, HealthListen string
	TLSListen            string        // empty: nothing is served with TLS
	TLSSecrets           []string      // folders with tls.crt and tls.key
	RedirectPort         int           // of TLS as callers see it; 0: nobody is sent there
	ShutdownDelay        time.Duration // from being told to stop to taking no more requests
	DrainTimeout         time.Duration
	Trusted              []netip.Prefix // proxies in front
	ConnsPerAddr         int            // connections of one address
	Traces               tracing.Settings
	Resource             []tracing.Attribute // of its traces, beside the service
	Items                items.Settings      // where those of AsyncAPIs are kept

	Version string
	Log     *slog.Logger

	REST   *rest.Config  // nil: by Kubeconfig
	Engine engine.Engine // nil: that of Kubernetes; tests have no nodes
}

// Main is the program: it runs until ctx ends and returns the code to exit with.
func Main(ctx context.Context, args []string, streams program.Streams, getenv func(string) string, version string) int {
	log := program.LogTo(streams)
	cfg, err := parse(args, getenv)
	if err == nil {
		cfg.Version, cfg.Log = version, log
		err = Run(ctx, cfg)
	}
	return program.Exit(err, streams, "cortex-gateway", usage)
}

// gatewayProcess is one run of a gateway.
type gatewayProcess struct {
	cfg      Config
	rest     *rest.Config
	metrics  *telemetry.Registry
	tracer   *tracing.Tracer
	gate     atomic.Pointer[gateway.Gateway] // nil: not yet
	stopping atomic.Bool
}

// Run runs a gateway until ctx ends and what it accepted is answered.
func Run(ctx context.Context, cfg Config) error {
	p := &gatewayProcess{cfg: cfg, metrics: telemetry.New("cortex-gateway", cfg.Version)}
	var err error
	if p.rest = cfg.REST; p.rest == nil {
		if p.rest, err = program.RESTConfig(cfg.Kubeconfig, "cortex-gateway", cfg.Version); err != nil {
			return err
		}
	}
	p.tracer, err = tracing.New(tracing.Config{
		Endpoint: cfg.Traces.Endpoint, Ratio: cfg.Traces.Ratio, Service: "cortex-gateway", Version: cfg.Version, Resource: cfg.Resource,
		Telemetry: p.metrics, Log: cfg.Log,
	})
	if err != nil {
		return err
	}
	watched, err := program.Listen(cfg.HealthListen, "health-listen")
	if err != nil {
		return err
	}
	defer watched.Close()
	apis, err := program.Listen(cfg.Listen, "listen")
	if err != nil {
		return err
	}
	defer apis.Close()
	var door secure
	if cfg.TLSListen != "" {
		if door, err = p.openSecure(); err != nil {
			return err
		}
		defer door.listener.Close()
	}
	h := &program.Health{Listener: watched, Metrics: p.metrics, Ready: p.ready}
	return lifecycle.Run(ctx,
		[]lifecycle.Task{{Name: "health", Run: h.Run}, {Name: "traces", Run: p.tracer.Run}},
		[]lifecycle.Task{{Name: "gateway", Run: func(ctx context.Context) error { return p.run(ctx, apis, door) }}},
	)
}

// secure is where APIs are served with TLS. The zero value is nowhere.
type secure struct {
	listener net.Listener
	certs    *hostcert.Keeper
}

// openSecure reads the certificates, which the kubelet replaces when their Secrets change, and
// opens the address.
func (p *gatewayProcess) openSecure() (secure, error) {
	var files []hostcert.Pair
	for _, dir := range p.cfg.TLSSecrets {
		files = append(files, hostcert.Pair{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")})
	}
	certs, err := hostcert.Open(hostcert.Config{Files: files, RedirectPort: p.cfg.RedirectPort, Telemetry: p.metrics, Log: p.cfg.Log})
	if err != nil {
		return secure{}, err
	}
	ln, err := program.Listen(p.cfg.TLSListen, "tls-listen")
	return secure{ln, certs}, err
}

// tasks are what follows the certificates, and what serves with them.
func (s secure) tasks(gate *gateway.Gateway) (upkeep, serving []lifecycle.Task) {
	if s.certs == nil {
		return nil, nil
	}
	return []lifecycle.Task{{Name: "certificates", Run: func(ctx context.Context) error { return s.certs.Run(ctx, gate.Hosts) }}},
		[]lifecycle.Task{{Name: "apis with tls", Run: func(ctx context.Context) error { return gate.ServeTLS(ctx, s.listener, s.certs.TLS()) }}}
}

// ready is what the gateways' service asks.
func (p *gatewayProcess) ready() error {
	if p.stopping.Load() {
		return errors.New("stopping")
	}
	if gate := p.gate.Load(); gate != nil {
		select {
		case <-gate.Known():
			return nil
		default:
		}
	}
	return errors.New("what is deployed, and which keys there are, is not known yet")
}

func (p *gatewayProcess) run(ctx context.Context, apis net.Listener, door secure) error {
	st, err := storekube.Open(ctx, storekube.Config{REST: p.rest, Namespace: p.cfg.Namespace, ReadOnly: true, Log: p.cfg.Log})
	if err != nil {
		return err
	}
	defer st.Close()
	eng := p.cfg.Engine
	if eng == nil { // one that looks at the pods that there are
		reader := enginekube.Config{REST: p.rest, Pods: enginekube.PodConfig{Namespace: p.cfg.Namespace}, Log: p.cfg.Log, ReadOnly: true}
		if eng, err = enginekube.New(reader); err != nil {
			return err
		}
	}
	// Samples are the gateway's, and the gateway wakes through what reports them: one
	// of the two has to be named before it exists.
	var gate *gateway.Gateway
	sessions := &access.Sessions{}
	client, err := controlapi.NewClient(controlapi.ClientConfig{
		Operator: p.cfg.Operator, TokenFile: p.cfg.TokenFile, CAFile: p.cfg.CAFile, Gateway: p.cfg.Pod,
		Samples:  func() []autoscaler.Sample { return gate.Samples() },
		InFlight: func(name string) map[string]int { return gate.InFlight(name) },
		Uses:     func() []access.Use { return gate.Uses() },
		Told: func(t controlapi.Told) {
			gate.Hear(t.Shares)
			if t.Sessions != nil {
				sessions.Use(*t.Sessions)
			}
		},
		Telemetry: p.metrics, Log: p.cfg.Log,
	})
	if err != nil {
		return err
	}
	hosts, err := p.cfg.Items.Webhooks() // issuers are asked where messages may go to
	if err != nil {
		return err
	}
	front := gateway.Config{
		Store: st, Keys: st, Fetch: webhook.NewSender(hosts).Fetch, Sessions: sessions.Verify, Calls: client.Calls(), Shared: true, Engine: eng, Wake: client.Wake,
		Sidecars: true, ReplicasGoOn: true, Telemetry: p.metrics, Tracer: p.tracer, Log: p.cfg.Log, DrainTimeout: p.cfg.DrainTimeout,
		Trusted: p.cfg.Trusted, Jobs: jobs.Closed{},
	}
	front.Limits.ConnsPerAddr = p.cfg.ConnsPerAddr
	if door.certs != nil {
		front.Names = door.certs
	}
	var kept, handed []lifecycle.Task
	if p.cfg.Items.URL != "" {
		work, run, err := p.items(st,
			func(ctx context.Context, api string, wake bool) (async.Place, error) {
				return gate.Seat(ctx, api, wake)
			},
			func(ctx context.Context, api, replica string) (async.Place, error) {
				return gate.SeatAt(ctx, api, replica)
			},
		)
		if err != nil {
			return err
		}
		front.Items = work
		kept, handed = []lifecycle.Task{{Name: "ledger", Run: run}}, []lifecycle.Task{{Name: "items", Run: work.Run}}
	}
	gate, err = gateway.New(front)
	if err != nil {
		return err
	}
	certificates, secured := door.tasks(gate)
	p.gate.Store(gate)
	p.cfg.Log.Info("serving", "apis", apis.Addr().String(), "namespace", p.cfg.Namespace)
	later, end := p.delayed(ctx)
	defer end()
	return lifecycle.Run(later,
		[]lifecycle.Task{{Name: "replicas", Run: eng.Run}},
		// Load is reported while the last requests are answered: it is load.
		append(kept, lifecycle.Task{Name: "routes", Run: gate.Run}, lifecycle.Task{Name: "load", Run: client.Run}),
		certificates,
		append(append(handed, secured...), lifecycle.Task{Name: "apis", Run: func(ctx context.Context) error { return gate.Serve(ctx, apis) }}),
	)
}

// items are those of AsyncAPIs, which every gateway accepts and one at a time hands out,
// and what keeps the connection to their ledger.
func (p *gatewayProcess) items(st *storekube.Store, acquire func(context.Context, string, bool) (async.Place, error), at func(context.Context, string, string) (async.Place, error)) (*async.Service, func(context.Context) error, error) {
	kept, err := items.Open(items.Config{Settings: p.cfg.Items, REST: p.rest, Namespace: p.cfg.SystemNamespace, Program: "cortex-gateway " + p.cfg.Pod, Log: p.cfg.Log})
	if err != nil {
		return nil, nil, err
	}
	allowed, err := p.cfg.Items.Webhooks()
	if err != nil {
		return nil, nil, err
	}
	work, err := async.New(async.Config{
		Ledger: kept, Blobs: kept.Contents, Others: kept, Deployed: st, Acquire: acquire, At: at, Webhooks: async.Webhooks{CheckURL: allowed.CheckURL},
		Telemetry: p.metrics, Log: p.cfg.Log, DrainTimeout: p.cfg.DrainTimeout,
	})
	return work, kept.Run, err
}

// delayed is a context that ends some time after ctx does: until then requests still
// come, because not everybody has heard that this gateway is not ready any more. To
// one that was never ready nobody sends any.
func (p *gatewayProcess) delayed(ctx context.Context) (context.Context, context.CancelFunc) {
	later, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		wasReady := p.ready() == nil
		p.stopping.Store(true)
		if wasReady {
			p.cfg.Log.Info("stopping", "in", p.cfg.ShutdownDelay)
			wait := time.NewTimer(p.cfg.ShutdownDelay)
			defer wait.Stop()
			select {
			case <-wait.C:
			case <-later.Done():
			}
		}
		end()
	})
	return later, func() { stop(); end() }
}
