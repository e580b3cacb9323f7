package solo

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/certificate"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/operatorserver"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/workload"
)

// ServerConfig is what a one-machine system for a team needs to know.
type ServerConfig struct {
	hostconfig.Server
	Version string
	Log     *slog.Logger
	Ready   func(hostconfig.ServerInfo) // called once, when requests are accepted
}

// Serve is Run for a team: the same system, managed over the network by whoever
// proves an AWS identity and is allowed to. There is no management socket.
func Serve(ctx context.Context, cfg ServerConfig) error {
	noCoreDumps(cfg.Log)
	if err := makeStateDir(cfg.StateDir, cfg.Log); err != nil {
		return err
	}
	st, err := bolt.Open(ctx, bolt.Config{Dir: filepath.Join(cfg.StateDir, "store"), Log: cfg.Log})
	if err != nil {
		return err
	}
	defer st.Close()
	local := Config{Local: hostconfig.Local{StateDir: cfg.StateDir, Tick: cfg.Tick}, Version: cfg.Version, Log: cfg.Log}
	items, err := openItems(ctx, local)
	if err != nil {
		return err
	}
	defer items.close()
	metrics := telemetry.New("cortex", cfg.Version)
	srv, err := newServer(ctx, cfg, st, metrics)
	if err != nil {
		return err
	}
	defer srv.Close()
	apis, err := listenTCP(cfg.APIListen, "--api-listen")
	if err != nil {
		return err
	}
	defer apis.Close()
	door, err := listenSecure(local, cfg.Front, metrics)
	if err != nil {
		return err
	}
	defer door.close()
	if door.listener != nil {
		srv.info.APITLS = "https://" + named(door.listener.Addr(), cfg.TLSListen)
		door.listener = operatorserver.AllowOnly(door.listener, cfg.APICIDRs, cfg.Log)
	}
	if err := srv.listen(cfg); err != nil {
		return err
	}
	defer srv.close()

	tracer, err := tracing.New(tracing.Config{
		Endpoint: cfg.Traces.Endpoint, Ratio: cfg.Traces.Ratio, Service: "cortex-gateway", Version: cfg.Version,
		Resource: []tracing.Attribute{tracing.String("cortex.cluster.name", cfg.ClusterName)}, Telemetry: metrics, Log: cfg.Log,
	})
	if err != nil {
		return err
	}
	local.trusted, local.conns, local.hooks = cfg.TrustedProxies, cfg.APIConns, cfg.WebhookHosts
	parts, err := assemble(ctx, local, st, items, operatorserver.AllowOnly(apis, cfg.APICIDRs, cfg.Log), metrics, srv.managed(cfg, door, tracer))
	if err != nil {
		return err
	}
	info := srv.info
	info.APIEndpoint = endpoint(apis.Addr())
	cfg.Log.Info("serving", "management", info.Endpoint, "apis", info.APIEndpoint, "account", info.Account, "policy", info.Policy)
	if cfg.Ready != nil {
		cfg.Ready(info)
	}
	return lifecycle.Run(ctx, parts...)
}

// noCoreDumps keeps what is in memory here, the keys of sessions and the values of secrets
// among it, out of the files that a system writes when a program dies. What is started here
// inherits that, and may ask for such files again: it is no limit for good.
func noCoreDumps(log *slog.Logger) {
	var bound syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_CORE, &bound)
	if err == nil {
		bound.Cur = 0
		err = syscall.Setrlimit(syscall.RLIMIT_CORE, &bound)
	}
	if err != nil {
		log.Warn("core dumps of this program are not prevented", "error", err)
	}
}

// server is the management server with the listeners of this machine.
type server struct {
	*operatorserver.Server
	telemetry *telemetry.Registry
	operator  net.Listener
	metrics   metricsPage
	info      hostconfig.ServerInfo
}

func newServer(ctx context.Context, cfg ServerConfig, st *bolt.Store, metrics *telemetry.Registry) (*server, error) {
	shown, err := certificate.Open(ctx, certificate.Config{
		Cert: cfg.TLSCert, Key: cfg.TLSKey, Dir: filepath.Join(cfg.StateDir, "tls"),
		Names: certificateNames(cfg.Listen, cfg.TLSNames), Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	if cfg.AuditFile == "" {
		cfg.AuditFile = filepath.Join(cfg.StateDir, "audit", "audit.log")
	}
	m, err := operatorserver.New(ctx, operatorserver.Config{
		Management: cfg.Management, Certificate: shown, Shared: st, Telemetry: metrics, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	is := m.Info()
	return &server{Server: m, telemetry: metrics, info: hostconfig.ServerInfo{
		Authority: shown.Authority(), Fingerprint: is.Fingerprint, Account: is.Account,
		Policy: is.Policy, Audit: is.Audit, ClusterID: is.ClusterID,
	}}, nil
}

func (s *server) listen(cfg ServerConfig) (err error) {
	if s.operator, err = listenTCP(cfg.Listen, "--listen"); err != nil {
		return err
	}
	s.info.Endpoint = "https://" + named(s.operator.Addr(), cfg.Listen)
	if s.metrics, err = listenMetrics(cfg.MetricsListen); err != nil {
		s.operator.Close()
		return err
	}
	s.info.Metrics = s.metrics.url
	s.operator = s.Listener(s.operator, cfg.OperatorCIDRs)
	return nil
}

func (s *server) close() {
	s.operator.Close()
	s.metrics.close()
}

// managed is the server as assemble wants it.
func (s *server) managed(cfg ServerConfig, door secure, tracer *tracing.Tracer) managed {
	return managed{
		info:    workload.Info{Environment: cfg.ClusterName, MetricsEndpoint: s.metrics.url},
		permit:  s.Permit(),
		caller:  httpapi.Caller,
		secrets: s.UseSecrets(),
		mounts:  s.UseVolumes(),
		newKeys: s.CreateKeys(),
		endKeys: s.RevokeKeys(),
		s3:      cfg.S3Paths,
		folders: append([]string{}, cfg.HostPaths...), // never nil: callers are elsewhere
		hosts:   append([]string{}, cfg.APIHosts...),  // likewise
		secure:  door,
		images:  cfg.ImagesOnly, closed: cfg.RequireAuth, sessions: s.sessions,
		listener: s.operator,
		options:  httpapi.Options{Guard: s.Guard()},
		tasks:    append(s.Upkeep(), s.metrics.tasks(s.telemetry)...),
		tracer:   tracer,
	}
}

// sessions is who a session for calls is of.
func (s *server) sessions(token []byte) (access.Session, bool) {
	is, ok := s.Calls(token)
	return access.Session{Identity: is.Principal.ARN, Label: is.Principal.Session, APIs: is.APIs, Expires: is.ExpiresAt}, ok
}

// named is the address to tell: as it was asked for, with the port that was taken.
func named(addr net.Addr, asked string) string {
	host, _, err := net.SplitHostPort(asked)
	_, port, ok := net.SplitHostPort(addr.String())
	if err != nil || ok != nil {
		return addr.String()
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	return net.JoinHostPort(host, port)
}

// certificateNames is under what names the server may be reached.
func certificateNames(listen string, more []string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	host, _, _ := net.SplitHostPort(listen)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		addrs, _ := net.InterfaceAddrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				names = append(names, n.IP.String())
			}
		}
	} else {
		names = append(names, host)
	}
	names = append(names, more...)
	slices.Sort(names)
	return slices.Compact(names)
}

func listenTCP(address, flag string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "server.cannot_listen", "listening on %s: %w", address, err).
			WithHint("choose another address with %s", flag)
	}
	return ln, nil
}
