// Package solo wires every role into one process: the whole product on one machine.
//
// It promises the order of things: the state is locked before anything listens,
// and on the way out accepted requests are answered before any replica is
// stopped. It must not contain a rule of its own; a decision found here belongs
// to one of the roles.
package solo

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/async"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/codesnapshot"
	"cortex.dev/cortex/internal/deadletters"
	"cortex.dev/cortex/internal/engine/docker"
	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/engine/process"
	"cortex.dev/cortex/internal/gateway"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/httpserve"
	"cortex.dev/cortex/internal/jobs"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/objects"
	"cortex.dev/cortex/internal/operator"
	"cortex.dev/cortex/internal/schedule"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/volumes"
	"cortex.dev/cortex/internal/webhook"
	"cortex.dev/cortex/internal/workload"
)

// Config is what a one-machine system needs to know.
type Config struct {
	hostconfig.Local
	Version string
	Log     *slog.Logger

	hooks   []string       // hosts that webhook messages may go to beside public addresses
	trusted []netip.Prefix // proxies in front of APIs
	conns   int            // connections of one address to APIs; 0: the default
}

// codeDir has the copies of the folders of processes.
func (c Config) codeDir() string { return filepath.Join(c.StateDir, "code") }

// Run serves until ctx ends, then answers what was accepted, stops every replica
// and returns. Errors are faults that say what to do: the state folder is in use,
// the port is taken, the disk is full.
func Run(ctx context.Context, cfg Config) error {
	if err := makeStateDir(cfg.StateDir, cfg.Log); err != nil {
		return err
	}
	st, err := bolt.Open(ctx, bolt.Config{Dir: filepath.Join(cfg.StateDir, "store"), Log: cfg.Log})
	if err != nil {
		return err
	}
	defer st.Close()
	apis, err := listenAPI(cfg.APIAddress)
	if err != nil {
		return err
	}
	defer apis.Close()
	socket, err := listenManagement(cfg.Socket, cfg.Log)
	if err != nil {
		return err
	}
	defer socket.Close()
	page, err := listenMetrics(cfg.MetricsListen)
	if err != nil {
		return err
	}
	defer page.close()

	cfg.hooks = webhook.Loopback() // what a developer tries out is on this machine
	items, err := openItems(ctx, cfg)
	if err != nil {
		return err
	}
	defer items.close()
	metrics := telemetry.New("cortex", cfg.Version)
	door, err := listenSecure(cfg, cfg.Front, metrics)
	if err != nil {
		return err
	}
	defer door.close()
	parts, err := assemble(ctx, cfg, st, items, apis, metrics, managed{
		secure:   door,
		listener: socket, options: httpapi.Options{Metrics: metrics.Handler()},
		info:   workload.Info{Environment: "local", StateDir: cfg.StateDir, PID: os.Getpid(), MetricsEndpoint: page.url},
		tasks:  page.tasks(metrics),
		s3:     []string{"s3://*"}, // with credentials of the owner's own
		locate: process.Locate,     // who deploys is a user of this machine
		code:   codesnapshot.Open(cfg.codeDir(), codesnapshot.Bounds(), cfg.Log),
	})
	if err != nil {
		return err
	}
	cfg.Log.Info("serving", "apis", apis.Addr().String(), "management", cfg.Socket, "state", cfg.StateDir)
	return lifecycle.Run(ctx, parts...)
}

// managed is how the system is managed: where, by whom, and what runs for that.
type managed struct {
	listener net.Listener
	options  httpapi.Options
	info     workload.Info // what it says of itself
	permit   func(context.Context, []workload.Subject) error
	caller   func(context.Context) string
	secrets  func(context.Context, []string) error // may be used
	mounts   func(context.Context, []string) error // may be mounted
	newKeys  operator.PermitKeys                   // for which APIs keys may be made
	endKeys  operator.PermitKeys                   // and revoked
	s3       []string                              // what jobs may read there
	secure   secure                                // where APIs are served with TLS
	hosts    []string                              // that APIs may have as their own; nil: any
	folders  []string                              // of the machine that may be mounted; nil: all
	images   bool                                  // no processes
	closed   bool                                  // no APIs that anybody may call
	sessions func(token []byte) (access.Session, bool)
	locate   func(pod *workload.Pod, directory, path string) *workload.Programs
	code     operator.Code // nil: processes run in their folder
	tasks    []lifecycle.Task
	tracer   *tracing.Tracer // nil: no traces
}

// assemble builds the roles and says in which order they run: what comes later
// relies on what comes before, and stops first.
func assemble(ctx context.Context, cfg Config, st *bolt.Store, records items, apis net.Listener, metrics *telemetry.Registry, m managed) ([][]lifecycle.Task, error) {
	// The engine drains replicas through the gateway, and the gateway watches the
	// engine: one of the two has to be named before it exists.
	// So do the gateway and who hands items out.
	var gate *gateway.Gateway
	allowed, err := webhook.ParseAllowed(cfg.hooks)
	if err != nil {
		return nil, err
	}
	sender := webhook.NewSender(allowed)
	work, err := async.New(async.Config{
		Ledger: records.ledger, Blobs: records.blobs, Deployed: st, Telemetry: metrics, Log: cfg.Log,
		Webhooks: async.Webhooks{Send: sender.Send, CheckURL: allowed.CheckURL, Secret: st.SecretValue, Endpoint: func() string { return endpoint(apis.Addr()) }},
		Acquire: func(ctx context.Context, api string, wake bool) (async.Place, error) {
			seat, err := gate.Seat(ctx, api, wake)
			if err != nil {
				return nil, err
			}
			return seat, nil
		},
		Door: func(spec *workload.Spec) string {
			if c := spec.Pod.Containers; len(c) > 0 && c[0].Image == "" {
				return endpoint(apis.Addr())
			}
			return endpointInDocker(apis.Addr(), runtime.GOOS)
		},
	})
	if err != nil {
		return nil, err
	}
	processes, err := process.New(process.Config{StateDir: cfg.StateDir, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	images, err := docker.New(docker.Config{StateDir: cfg.StateDir, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	kept := volumes.New(volumes.Config{
		Dir: filepath.Join(cfg.StateDir, "volumes"), Allowed: m.folders, Private: neverMounted(cfg.StateDir, images.Socket()),
	})
	if err := kept.Sweep(); err != nil {
		cfg.Log.Warn("what containers left in a volume has another owner", "error", err)
	}
	eng, err := local.New(local.Config{
		StateDir: cfg.StateDir, CodeDir: cfg.codeDir(), Process: processes, Docker: images, Env: cfg.Env, Secret: st.SecretValue, Volumes: kept, Version: cfg.Version, Log: cfg.Log,
		APIEndpoint: endpoint(apis.Addr()), APIEndpointInDocker: endpointInDocker(apis.Addr(), runtime.GOOS),
		Drain:    func(ctx context.Context, name, replica string) error { return gate.Drain(ctx, name, replica) },
		InFlight: func(name string) map[string]int { return gate.InFlight(name) },
	})
	if err != nil {
		return nil, err
	}
	runs, err := jobs.Open(ctx, jobs.Config{
		Records: records.records, Files: records.jobs, Runner: eng, Deployed: st, Folders: m.folders, Objects: objects.New(), S3Paths: m.s3, Queues: deadletters.New(), Closed: m.permit != nil, Telemetry: metrics, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	m.info.Version, m.info.APIEndpoint, m.info.StartedAt = cfg.Version, endpoint(apis.Addr()), time.Now().UTC()
	timetable, err := schedule.New(schedule.Config{
		Deployed: st, States: st, Runners: map[workload.Kind]schedule.Runner{workload.Async: work.Scheduled(), workload.Batch: runs.Scheduled(), workload.Task: runs.Scheduled()}, Telemetry: metrics, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	op, err := operator.New(operator.Config{
		Store: st, Engine: eng, Telemetry: metrics, Log: cfg.Log, Engines: eng.Engines, Info: m.info, Permit: m.permit, Caller: m.caller, Secrets: st, UseSecrets: m.secrets, Keys: st, Calls: st, CreateKeys: m.newKeys, RevokeKeys: m.endKeys, Volumes: kept, UseVolumes: m.mounts, ImagesOnly: m.images, RequireAuth: m.closed, Identities: m.sessions != nil, OneMachine: true, HostEndpoint: m.secure.at(apis.Addr()), Hosts: m.hosts, Items: work, RunJobs: runs, Schedules: timetable, Locate: m.locate, Code: m.code,
		Copies:  func(name string) (workload.Copies, bool) { return gate.Copies(name) },
		Traffic: func(name string) (workload.Traffic, bool) { return gate.Traffic(name) },
		Took:    func(name string) (workload.Took, bool) { return gate.Took(name) },
		Usage:   func(name string) map[string]workload.Usage { return usageOf(eng.Usage(name), gate.InFlight(name)) },
	})
	if err != nil {
		return nil, err
	}
	front := gateway.Config{Store: st, Keys: st, Calls: st, Fetch: sender.Fetch, Sessions: m.sessions, Engine: eng, Wake: op.Wake, Items: work, Jobs: runs, Telemetry: metrics, Tracer: m.tracer, Log: cfg.Log, Names: m.secure.names(), Trusted: cfg.trusted}
	front.Limits.ConnsPerAddr = cfg.conns
	gate, err = gateway.New(front)
	if err != nil {
		return nil, err
	}
	scaler, err := autoscaler.NewLoop(autoscaler.Config{
		Tick: cfg.Tick, Source: gate, Target: op, Log: cfg.Log, Telemetry: metrics,
	})
	if err != nil {
		return nil, err
	}
	m.options.Log, m.options.Version, m.options.Kind = cfg.Log, cfg.Version, op.Kind
	handler := httpapi.NewHandler(op, m.options)
	upkeep, secured := m.secure.tasks(gate)
	return [][]lifecycle.Task{
		{{Name: "engine", Run: eng.Run}, {Name: "traces", Run: m.tracer.Run}},
		{{Name: "gateway", Run: gate.Run}},
		{{Name: "operator", Run: op.Run}},
		append(m.tasks, upkeep...),
		append([]lifecycle.Task{
			{Name: "api listener", Run: func(ctx context.Context) error { return gate.Serve(ctx, apis) }},
			{Name: "items", Run: work.Run},
			{Name: "jobs", Run: runs.Run},
			{Name: "schedules", Run: timetable.Run},
			{Name: "autoscaler", Run: scaler.Run},
			{Name: "management", Run: func(ctx context.Context) error { return httpserve.Serve(ctx, m.listener, handler) }},
		}, secured...),
	}, nil
}

// neverMounted is what no API gets as a folder: the state, in which everybody's secrets and
// volumes are, and the socket of Docker, by which everything on the machine can be had.
func neverMounted(state, socket string) []string {
	if socket == "" {
		return []string{state}
	}
	return []string{state, socket}
}

// endpointInDocker is the address by which containers reach the APIs; empty where they do
// not: a loopback address is that of the container itself, but where Docker runs in a
// virtual machine of its own and lends it the host's.
func endpointInDocker(addr net.Addr, goos string) string {
	tcp, ok := addr.(*net.TCPAddr)
	switch {
	case !ok, tcp.IP.IsLoopback() && goos != "darwin":
		return ""
	case tcp.IP.IsLoopback(), tcp.IP.IsUnspecified():
		return fmt.Sprintf("http://%s:%d", docker.HostName, tcp.Port)
	}
	return "http://" + tcp.String()
}

// endpoint is the address users are told: the name localhost for a loopback one.
func endpoint(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return "http://" + addr.String()
	}
	if tcp.IP.IsLoopback() || tcp.IP.IsUnspecified() {
		return fmt.Sprintf("http://localhost:%d", tcp.Port)
	}
	return "http://" + tcp.String()
}
