package solo

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cortex.dev/cortex/internal/certificate"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/operatorserver"
	"cortex.dev/cortex/internal/store/nats"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/workload"
)

// ServerConfig is what a one-machine system for a team needs to know.
type ServerConfig struct {
	StateDir      string
	Listen        string // host:port of the management API, with TLS
	APIListen     string // host:port on which APIs are served
	MetricsListen string // host:port of the metrics page, without TLS or identity; empty: none
	OperatorCIDRs []netip.Prefix
	APICIDRs      []netip.Prefix
	Account       string // 12 digits; empty: discovered with the server's own credentials
	Region        string
	ClusterName   string
	STSEndpoint   string // empty: the region's public one
	STSProxy      string
	ImagesOnly    bool    // refuse containers without an image
	STSPerSecond  float64 // calls to STS; 0: the default
	SessionTTL    time.Duration
	PolicyFile    string   // empty: the default policy
	PlatformRoles []string // ARNs of roles that may never manage
	TLSCert       string
	TLSKey        string
	TLSNames      []string // more names of a certificate of our own
	AuditFile     string   // "-" is AuditOut; empty is the state folder
	AuditOut      io.Writer
	Tick          time.Duration
	TraceEndpoint string // of a collector; empty: no traces
	TraceRatio    float64
	Version       string
	Log           *slog.Logger
	Ready         func(ServerInfo) // called once, when requests are accepted
}

// ServerInfo is what those who configure clients have to know.
type ServerInfo struct {
	Endpoint    string // https://host:port of the management API
	APIEndpoint string
	Metrics     string // URL of the metrics page, or ""
	Authority   string // file of the certificate authority; "" when the certificate is somebody else's
	Fingerprint string
	Account     string
	Policy      string
	Audit       string
	ClusterID   string
}

// Serve is Run for a team: the same system, managed over the network by whoever
// proves an AWS identity and is allowed to. There is no management socket.
func Serve(ctx context.Context, cfg ServerConfig) error {
	if err := makeStateDir(cfg.StateDir); err != nil {
		return err
	}
	st, err := nats.Open(ctx, nats.Config{Dir: filepath.Join(cfg.StateDir, "store"), Log: cfg.Log})
	if err != nil {
		return err
	}
	defer st.Close()
	metrics := telemetry.New()
	f, err := newFace(ctx, cfg, st, metrics)
	if err != nil {
		return err
	}
	defer f.Close()
	apis, err := listenTCP(cfg.APIListen, "--api-listen")
	if err != nil {
		return err
	}
	defer apis.Close()
	if err := f.listen(cfg); err != nil {
		return err
	}
	defer f.close()

	tracer, err := tracing.New(tracing.Config{
		Endpoint: cfg.TraceEndpoint, Ratio: cfg.TraceRatio, Service: "cortex-gateway", Version: cfg.Version,
		Resource: []tracing.Attribute{tracing.Text("cortex.cluster.name", cfg.ClusterName)}, Telemetry: metrics, Log: cfg.Log,
	})
	if err != nil {
		return err
	}
	local := Config{StateDir: cfg.StateDir, Tick: cfg.Tick, Version: cfg.Version, Log: cfg.Log}
	parts, err := assemble(local, st, operatorserver.AllowOnly(apis, cfg.APICIDRs, cfg.Log), metrics, f.managed(cfg, tracer))
	if err != nil {
		return err
	}
	info := f.info
	info.APIEndpoint = endpoint(apis.Addr())
	cfg.Log.Info("serving", "management", info.Endpoint, "apis", info.APIEndpoint, "account", info.Account, "policy", info.Policy)
	if cfg.Ready != nil {
		cfg.Ready(info)
	}
	return lifecycle.Run(ctx, parts...)
}

// face is the network face with the listeners of this machine.
type face struct {
	*operatorserver.Face
	telemetry *telemetry.Registry
	operator  net.Listener
	metrics   net.Listener // nil: none
	info      ServerInfo
}

func newFace(ctx context.Context, cfg ServerConfig, st *nats.Store, metrics *telemetry.Registry) (*face, error) {
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
		Account: cfg.Account, Region: cfg.Region, ClusterName: cfg.ClusterName,
		STSEndpoint: cfg.STSEndpoint, STSProxy: cfg.STSProxy, STSPerSecond: cfg.STSPerSecond, SessionTTL: cfg.SessionTTL,
		PolicyFile: cfg.PolicyFile, PlatformRoles: cfg.PlatformRoles, AuditFile: cfg.AuditFile, AuditOut: cfg.AuditOut,
		Certificate: shown, Shared: st, Telemetry: metrics, Log: cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	is := m.Info()
	return &face{Face: m, telemetry: metrics, info: ServerInfo{
		Authority: shown.Authority(), Fingerprint: is.Fingerprint, Account: is.Account,
		Policy: is.Policy, Audit: is.Audit, ClusterID: is.ClusterID,
	}}, nil
}

func (f *face) listen(cfg ServerConfig) (err error) {
	if f.operator, err = listenTCP(cfg.Listen, "--listen"); err != nil {
		return err
	}
	f.info.Endpoint = "https://" + named(f.operator.Addr(), cfg.Listen)
	if cfg.MetricsListen != "" {
		if f.metrics, err = listenTCP(cfg.MetricsListen, "--metrics-listen"); err != nil {
			f.operator.Close()
			return err
		}
		f.info.Metrics = "http://" + named(f.metrics.Addr(), cfg.MetricsListen) + "/metrics"
	}
	f.operator = f.Listener(f.operator, cfg.OperatorCIDRs)
	return nil
}

func (f *face) close() {
	f.operator.Close()
	if f.metrics != nil {
		f.metrics.Close()
	}
}

// managed is the face as assemble wants it.
func (f *face) managed(cfg ServerConfig, tracer *tracing.Tracer) managed {
	m := managed{
		info:     workload.Info{Environment: cfg.ClusterName},
		permit:   f.Permit(),
		images:   cfg.ImagesOnly,
		listener: f.operator,
		options:  httpapi.Options{Guard: f.Guard()},
		tasks:    f.Upkeep(),
		tracer:   tracer,
	}
	if f.metrics != nil {
		page := http.NewServeMux()
		page.Handle("GET /metrics", f.telemetry.Handler())
		m.tasks = append(m.tasks, lifecycle.Task{Name: "metrics", Run: func(ctx context.Context) error {
			return operatorserver.Serve(ctx, f.metrics, page)
		}})
	}
	return m
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

func makeStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.New(fault.Unavailable, "local.state_dir", "making the state folder: %w", err).
			WithHint("choose a folder that you can write, with --state-dir or CORTEX_CLI_CONFIG_DIR")
	}
	return nil
}

func listenTCP(address, flag string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "server.cannot_listen", "listening on %s: %w", address, err).
			WithHint("choose another address with %s", flag)
	}
	return ln, nil
}
