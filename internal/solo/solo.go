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

	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/codesnapshot"
	"cortex.dev/cortex/internal/engine/docker"
	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/engine/process"
	"cortex.dev/cortex/internal/gateway"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/httpserve"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/operator"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/workload"
)

// Config is what a one-machine system needs to know.
type Config struct {
	hostconfig.Local
	Version string
	Log     *slog.Logger

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

	metrics := telemetry.New("cortex", cfg.Version)
	parts, err := assemble(cfg, st, apis, metrics, managed{
		listener: socket, options: httpapi.Options{Metrics: metrics.Handler()},
		info:   workload.Info{Environment: "local", StateDir: cfg.StateDir, PID: os.Getpid(), MetricsEndpoint: page.url},
		tasks:  page.tasks(metrics),
		locate: process.Locate, // who deploys is a user of this machine
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
	images   bool // no processes
	locate   func(pod *workload.Pod, directory, path string) *workload.Programs
	code     operator.Code // nil: processes run in their folder
	tasks    []lifecycle.Task
	tracer   *tracing.Tracer // nil: no traces
}

// assemble builds the roles and says in which order they run: what comes later
// relies on what comes before, and stops first.
func assemble(cfg Config, st *bolt.Store, apis net.Listener, metrics *telemetry.Registry, m managed) ([][]lifecycle.Task, error) {
	// The engine drains replicas through the gateway, and the gateway watches the
	// engine: one of the two has to be named before it exists.
	var gate *gateway.Gateway
	processes, err := process.New(process.Config{StateDir: cfg.StateDir, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	images, err := docker.New(docker.Config{StateDir: cfg.StateDir, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	eng, err := local.New(local.Config{
		StateDir: cfg.StateDir, CodeDir: cfg.codeDir(), Process: processes, Docker: images, Env: cfg.Env, Version: cfg.Version, Log: cfg.Log,
		APIEndpoint: endpoint(apis.Addr()), APIEndpointInDocker: endpointInDocker(apis.Addr(), runtime.GOOS),
		Drain:    func(ctx context.Context, name, replica string) error { return gate.Drain(ctx, name, replica) },
		InFlight: func(name string) map[string]int { return gate.InFlight(name) },
	})
	if err != nil {
		return nil, err
	}
	m.info.Version, m.info.APIEndpoint, m.info.StartedAt = cfg.Version, endpoint(apis.Addr()), time.Now().UTC()
	op, err := operator.New(operator.Config{
		Store: st, Engine: eng, Telemetry: metrics, Log: cfg.Log, Engines: eng.Engines, Info: m.info, Permit: m.permit, ImagesOnly: m.images, OneMachine: true, Locate: m.locate, Code: m.code,
		Traffic: func(name string) (workload.Traffic, bool) { return gate.Traffic(name) },
		Usage:   func(name string) map[string]workload.Usage { return usageOf(eng.Usage(name), gate.InFlight(name)) },
	})
	if err != nil {
		return nil, err
	}
	front := gateway.Config{Store: st, Engine: eng, Wake: op.Wake, Telemetry: metrics, Tracer: m.tracer, Log: cfg.Log, Trusted: cfg.trusted}
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
	return [][]lifecycle.Task{
		{{Name: "engine", Run: eng.Run}, {Name: "traces", Run: m.tracer.Run}},
		{{Name: "gateway", Run: gate.Run}},
		{{Name: "operator", Run: op.Run}},
		m.tasks,
		{
			{Name: "api listener", Run: func(ctx context.Context) error { return gate.Serve(ctx, apis) }},
			{Name: "autoscaler", Run: scaler.Run},
			{Name: "management", Run: func(ctx context.Context) error { return httpserve.Serve(ctx, m.listener, handler) }},
		},
	}, nil
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
