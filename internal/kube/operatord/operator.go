// Package operatord is the program cortex-operator: the control plane on Kubernetes,
// of whose replicas one leads.
//
// It promises that there is one operator that decides and writes at a time, and that
// a replica which is no longer it ends.
//
// It must not have a rule of its own: as in solo, a decision found here belongs to one
// of the roles.
package operatord

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/certificate"
	"cortex.dev/cortex/internal/controlapi"
	"cortex.dev/cortex/internal/engine"
	enginekube "cortex.dev/cortex/internal/engine/kube"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/httpserve"
	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/operator"
	"cortex.dev/cortex/internal/operatorserver"
	storekube "cortex.dev/cortex/internal/store/kube"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/workload"
)

// Config is what the operator needs to know; see its flags.
type Config struct {
	Pod             string // this replica
	SystemNamespace string // of the operator, the gateways and their keys
	Namespace       string // of workloads
	Kubeconfig      string // empty: as a pod

	hostconfig.Management

	SidecarImage   string
	SidecarSize    capacity.Amount // what a sidecar requests
	PullPolicy     string
	PodSecurity    string // standard that the namespace of workloads enforces
	PullSecrets    []string
	Unconfined     []string // api/container: run privileged
	NodeGroups     []NodeGroup
	LargestNodes   map[string][]capacity.Amount // by group: sizes that nodes may come to have
	NodeReserve    capacity.Amount              // of each node, for daemon sets
	CapacityCheck  bool                         // refuse what no node could ever hold
	RequireAuth    bool                         // refuse APIs that anybody may call
	APIHosts       []string                     // names that APIs may have: names, and *.example.com
	HostsHTTPS     bool                         // they are reached by https
	APIEndpoint    string                       // empty: that of the gateways' service
	Tick           time.Duration
	ShutdownDelay  time.Duration    // from giving up the lead to ending
	Traces         tracing.Settings // of sidecars
	GatewayAccount string
	Items          items.Settings // where those of AsyncAPIs are kept

	Listen, InternalListen, HealthListen string

	Version string
	Log     *slog.Logger

	REST   *rest.Config  // nil: by Kubeconfig
	Engine engine.Engine // nil: that of Kubernetes; tests have no nodes
}

// NodeGroup is a group of nodes that APIs may ask for, how much it is preferred, and the
// taints of its nodes.
type NodeGroup struct {
	Name     string
	Priority int32
	Taints   []workload.Toleration
}

// The audit that a pod keeps is at most auditFiles of auditBytes, for which the volume of
// the chart has room (128Mi).
const (
	auditBytes = 16 << 20
	auditFiles = 6
)

// Names that the chart and this program agree on.
const (
	leaseName       = "cortex-operator"
	operatorPublic  = "cortex-operator-lb"
	gatewayService  = "cortex-gateway"
	authorityMap    = "cortex-authority"
	authorityKey    = "ca.crt"      // the authority's certificate
	fingerprintKey  = "fingerprint" // of the certificate of the management API
	certificateName = "tls-operator"
)

// Main is the program: it runs until ctx ends and returns the code to exit with.
func Main(ctx context.Context, args []string, streams program.Streams, getenv func(string) string, version string) int {
	log := program.LogTo(streams)
	cfg, err := parse(args, getenv)
	if err == nil {
		cfg.Version, cfg.Log, cfg.AuditOut = version, log, streams.Out
		err = Run(ctx, cfg)
	}
	return program.Exit(err, streams, "cortex-operator", usage)
}

// operatorProgram is one life of the operator.
type operatorProgram struct {
	cfg     Config
	rest    *rest.Config
	client  kubernetes.Interface
	metrics *telemetry.Registry
	health  *program.Health
	room    *enginekube.Room                 // nil when capacity is not checked
	standby atomic.Bool                      // what is deployed was read: this replica can lead
	leading atomic.Bool                      // the lease is held
	serving atomic.Bool                      // and requests are answered
	loads   atomic.Pointer[controlapi.Loads] // of who leads
}

// Run runs a replica of the operator until ctx ends, or leadership is lost.
func Run(ctx context.Context, cfg Config) error {
	p := &operatorProgram{cfg: cfg, metrics: telemetry.New("cortex-operator", cfg.Version)}
	var err error
	if p.rest = cfg.REST; p.rest == nil {
		if p.rest, err = program.RESTConfig(cfg.Kubeconfig, "cortex-operator", cfg.Version); err != nil {
			return err
		}
	}
	if p.client, err = kubernetes.NewForConfig(p.rest); err != nil {
		return fmt.Errorf("preparing to speak to the API server: %w", err)
	}
	ln, err := program.Listen(cfg.HealthListen, "health-listen")
	if err != nil {
		return err
	}
	defer ln.Close()
	p.health = &program.Health{Listener: ln, Metrics: p.metrics, Ready: p.ready}
	p.metrics.Collect(telemetry.Metric{Name: "cortex_operator_leading", Type: telemetry.Gauge,
		Help: "Whether this replica of the operator leads, and answers."}, func(emit telemetry.Emit) {
		leads := 0.0
		if p.serving.Load() {
			leads = 1
		}
		emit(leads)
	})
	return lifecycle.Run(ctx,
		[]lifecycle.Task{{Name: "health", Run: p.health.Run}},
		[]lifecycle.Task{{Name: "operator", Run: p.run}},
	)
}

// ready says whether this replica leads or could take over at once. Which one
// answers requests is in a label of its pod.
func (p *operatorProgram) ready() error {
	if !p.standby.Load() {
		return errors.New("not yet, or no longer, able to lead")
	}
	return nil
}

// run reads what there is, so that taking over is quick, and then waits to lead.
func (p *operatorProgram) run(ctx context.Context) error {
	// A container that is started anew finds the labels of the one before.
	if err := p.label().clear(ctx); err != nil {
		return err
	}
	st, err := storekube.Open(ctx, storekube.Config{
		REST: p.rest, Namespace: p.cfg.Namespace, SystemNamespace: p.cfg.SystemNamespace, Log: p.cfg.Log,
	})
	if err != nil {
		return err
	}
	defer st.Close()
	if p.cfg.CapacityCheck {
		if p.room, err = newRoom(p.rest, p.cfg); err != nil {
			return err
		}
	}
	eng := p.cfg.Engine
	if eng == nil {
		if eng, err = p.newEngine(); err != nil {
			return err
		}
	}
	working := []lifecycle.Task{{Name: "engine", Run: eng.Run}}
	if p.room != nil {
		working = append(working, lifecycle.Task{Name: "nodes", Run: p.room.Run})
	}
	if err := p.canLead(ctx); err != nil {
		return err
	}
	if err := p.makeLedgerSecret(ctx); err != nil {
		return err
	}
	p.standby.Store(true)
	defer context.AfterFunc(ctx, func() { p.standby.Store(false) })()
	election := electionConfig{
		REST: p.rest, Namespace: p.cfg.SystemNamespace, Identity: p.cfg.Pod, Log: p.cfg.Log, Leading: &p.leading,
	}
	return lifecycle.Run(ctx,
		working,
		[]lifecycle.Task{{Name: "leader", Run: func(ctx context.Context) error {
			p.readNodes(ctx)
			led := false
			err := lead(ctx, election, func(ctx context.Context) error { led = true; return p.lead(ctx, st, eng) })
			if led && ctx.Err() != nil {
				p.stay()
			}
			return err
		}}},
	)
}

// canLead reads what only a leader uses. A replica that it is wrong with ends here and is
// never ready, so that a rollout stops while those before it still serve.
func (p *operatorProgram) canLead(ctx context.Context) error {
	if p.cfg.TLSCert != "" || p.cfg.TLSKey != "" {
		if _, err := certificate.Open(ctx, certificate.Config{Cert: p.cfg.TLSCert, Key: p.cfg.TLSKey, Log: p.cfg.Log}); err != nil {
			return err
		}
	}
	return operatorserver.Check(ctx, p.cfg.Management)
}

// stay keeps this pod's address alive for a moment, in which services learn who leads
// now. A connection that still comes is refused at once, and whoever made it tries
// again; to an address that is gone it would hang until it is given up.
func (p *operatorProgram) stay() {
	p.cfg.Log.Info("stopping", "in", p.cfg.ShutdownDelay)
	<-time.After(p.cfg.ShutdownDelay)
}

// readNodes waits a little for the first look at the nodes, without which nothing is
// refused. It is no reason not to lead.
func (p *operatorProgram) readNodes(ctx context.Context) {
	if p.room != nil && !p.room.Wait(ctx) && ctx.Err() == nil {
		p.cfg.Log.Warn("the nodes are not known yet; until they are, no deploy is refused for its size")
	}
}

func (p *operatorProgram) label() podLabel {
	return podLabel{pods: p.client.CoreV1().Pods(p.cfg.SystemNamespace), pod: p.cfg.Pod, log: p.cfg.Log}
}

// leader is everything that only one replica does.
type leader struct {
	*operatorProgram
	store     *storekube.Store
	server    *operatorserver.Server
	own       *certificate.Source // of our own authority: what gateways trust
	shown     *certificate.Source // what users see; own when there are no files
	addresses *addresses
	operator  *operator.Operator
	fleet     *access.Fleet
	items     []lifecycle.Task
}

// lead runs what only the leader does, until ctx ends.
func (p *operatorProgram) lead(ctx context.Context, st *storekube.Store, eng engine.Engine) error {
	began := time.Now()
	l := &leader{operatorProgram: p, store: st, fleet: access.NewFleet()}
	p.loads.Store(controlapi.NewLoads(nil))
	if err := l.prepare(ctx, eng); err != nil {
		return err
	}
	defer l.server.Close()
	users, err := program.Listen(p.cfg.Listen, "listen")
	if err != nil {
		return err
	}
	defer users.Close()
	gateways, err := program.Listen(p.cfg.InternalListen, "internal-listen")
	if err != nil {
		return err
	}
	defer gateways.Close()
	parts, err := l.parts(users, gateways)
	if err != nil {
		return err
	}
	info := l.server.Info()
	p.cfg.Log.Info("leading", "after", time.Since(began).Round(time.Millisecond), "account", info.Account, "policy", info.Policy,
		"cluster", info.ClusterID, "certificate", info.Fingerprint)
	p.serving.Store(true)
	defer p.serving.Store(false)
	return lifecycle.Run(ctx, parts...)
}

// prepare makes the roles. Nothing runs yet.
func (l *leader) prepare(ctx context.Context, eng engine.Engine) (err error) {
	cfg := l.cfg
	l.addresses = &addresses{client: l.client, namespace: cfg.SystemNamespace, log: cfg.Log}
	l.addresses.look(ctx)
	own := certificate.Config{
		Values: l.store, Value: certificateName, Names: l.internalNames(), MoreNames: l.addresses.operatorNames, Log: cfg.Log,
	}
	if l.own, err = certificate.Open(ctx, own); err != nil {
		return err
	}
	l.shown = l.own
	if cfg.TLSCert != "" || cfg.TLSKey != "" {
		if l.shown, err = certificate.Open(ctx, certificate.Config{Cert: cfg.TLSCert, Key: cfg.TLSKey, Log: cfg.Log}); err != nil {
			return err
		}
	}
	if l.server, err = operatorserver.New(ctx, operatorserver.Config{
		Management: cfg.Management, Certificate: l.shown, Shared: l.store, Telemetry: l.metrics, Log: cfg.Log,
	}); err != nil {
		return err
	}
	role := operator.Config{
		Store: l.store, Engine: eng, Source: l.store, Jobs: l.store, Telemetry: l.metrics, Log: cfg.Log, ImagesOnly: true,
		Engines: l.engines, Permit: l.server.Permit(), Caller: httpapi.Caller, Secrets: l.store, UseSecrets: l.server.UseSecrets(), UseVolumes: l.server.UseVolumes(), Keys: l.store, Calls: l.store, Identities: true, RequireAuth: cfg.RequireAuth, CreateKeys: l.server.CreateKeys(), RevokeKeys: l.server.RevokeKeys(),
		Info: workload.Info{
			Environment: cfg.ClusterName, Version: cfg.Version, StartedAt: time.Now().UTC(),
		},
		APIEndpoint: l.apiEndpoint, HostEndpoint: l.hostEndpoint, Hosts: append([]string{}, cfg.APIHosts...), // never nil: that is any
	}
	if l.room != nil {
		role.Room = l.room
	}
	if cfg.Items.URL != "" {
		if err := l.manageItems(&role); err != nil {
			return errors.Join(err, l.server.Close())
		}
	}
	if l.operator, err = operator.New(role); err != nil {
		return errors.Join(err, l.server.Close())
	}
	return nil
}

// internalNames are those under which the certificate of our own authority is
// shown inside the cluster, and those that the installation adds.
func (l *leader) internalNames() []string {
	var names []string
	for _, service := range []string{program.OperatorService, operatorPublic} {
		name := service + "." + l.cfg.SystemNamespace
		names = append(names, service, name, name+".svc", name+".svc.cluster.local")
	}
	return append(append(names, "localhost", "127.0.0.1", "::1"), l.cfg.TLSNames...)
}

// apiEndpoint is what users are told to call.
func (l *leader) apiEndpoint() string {
	if l.cfg.APIEndpoint != "" {
		return l.cfg.APIEndpoint
	}
	return l.addresses.endpoint()
}

// hostEndpoint is where an API with a host name of its own is reached.
func (l *leader) hostEndpoint(host string) string {
	if l.cfg.HostsHTTPS {
		return "https://" + host
	}
	return "http://" + host
}

// engines says how containers run here.
func (l *leader) engines(context.Context) []workload.Engine {
	v, err := l.client.Discovery().ServerVersion()
	if err != nil {
		return []workload.Engine{{Name: "kubernetes", Detail: err.Error()}}
	}
	return []workload.Engine{{Name: "kubernetes", Available: true, Detail: v.GitVersion}}
}

// parts says in which order the roles run: what comes later relies on what comes
// before, and stops first.
func (l *leader) parts(users, gateways net.Listener) ([][]lifecycle.Task, error) {
	cfg := l.cfg
	scaler, err := autoscaler.NewLoop(autoscaler.Config{
		Tick: cfg.Tick, Source: l.loads.Load(), Target: l.operator, Log: cfg.Log, Telemetry: l.metrics,
	})
	if err != nil {
		return nil, err
	}
	calls, err := controlapi.NewServer(controlapi.ServerConfig{
		Reviewer: reviewer{l.client}, Gateway: accountName(cfg.SystemNamespace, cfg.GatewayAccount),
		Loads: l.loads.Load(), Waker: l.operator, Tell: l.told, Calls: l.store, Telemetry: l.metrics, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	handler := httpapi.NewHandler(l.operator, httpapi.Options{
		Guard: l.server.Guard(), Log: cfg.Log, Version: cfg.Version, Kind: l.operator.Kind,
	})
	publish := &publisher{maps: l.client.CoreV1().ConfigMaps(cfg.SystemNamespace), text: l.published, log: cfg.Log}
	upkeep := append(l.server.Upkeep(),
		lifecycle.Task{Name: "addresses", Run: l.addresses.run},
		lifecycle.Task{Name: "authority", Run: publish.run},
		lifecycle.Task{Name: "state", Run: l.store.Run},
	)
	upkeep = append(upkeep, l.items...)
	if l.own != l.shown {
		upkeep = append(upkeep, lifecycle.Task{Name: "internal certificate", Run: l.own.Run})
	}
	return [][]lifecycle.Task{
		{{Name: "operator", Run: l.operator.Run}},
		upkeep,
		{
			{Name: "autoscaler", Run: scaler.Run},
			{Name: "management", Run: func(ctx context.Context) error {
				return httpserve.Serve(ctx, l.server.Listener(users, nil), handler)
			}},
			{Name: "control api", Run: func(ctx context.Context) error {
				return httpserve.Serve(ctx, operatorserver.Secure(gateways, l.own, nil, cfg.Log), calls)
			}},
		},
		{{Name: "label", Run: l.label().run}},
	}, nil
}

// told is what a gateway hears of this leader.
func (l *leader) told(gateway string, uses []access.Use, again bool) controlapi.Told {
	keys := l.server.CallKeys()
	return controlapi.Told{Sessions: &keys, Shares: l.fleet.Heard(gateway, uses, again, time.Now())}
}

// published is what gateways and clients may know.
func (l *leader) published() map[string]string {
	return map[string]string{authorityKey: string(l.own.AuthorityPEM()), fingerprintKey: l.shown.Fingerprint()}
}
