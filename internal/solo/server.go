package solo

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/audit"
	"cortex.dev/cortex/internal/auth/guard"
	"cortex.dev/cortex/internal/auth/iam"
	"cortex.dev/cortex/internal/auth/policy"
	"cortex.dev/cortex/internal/certificate"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/store/nats"
	"cortex.dev/cortex/internal/telemetry"
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
	defer f.audit.Close()
	apis, err := listenTCP(cfg.APIListen, "--api-listen")
	if err != nil {
		return err
	}
	defer apis.Close()
	if err := f.listen(cfg); err != nil {
		return err
	}
	defer f.close()

	local := Config{StateDir: cfg.StateDir, Tick: cfg.Tick, Version: cfg.Version, Log: cfg.Log}
	stages, err := assemble(local, st, allowOnly(apis, cfg.APICIDRs, cfg.Log), metrics, f.management(cfg))
	if err != nil {
		return err
	}
	info := f.info
	info.APIEndpoint = endpoint(apis.Addr())
	cfg.Log.Info("serving", "management", info.Endpoint, "apis", info.APIEndpoint, "account", info.Account, "policy", info.Policy)
	if cfg.Ready != nil {
		cfg.Ready(info)
	}
	return runStages(ctx, stages...)
}

// face is the network face of the management API.
type face struct {
	iam         *iam.IAM
	policy      *policy.Authorizer
	audit       *audit.Log
	guard       *guard.Guard
	certificate *certificate.Source
	telemetry   *telemetry.Registry
	operator    net.Listener
	metrics     net.Listener // nil: none
	info        ServerInfo
}

func newFace(ctx context.Context, cfg ServerConfig, st *nats.Store, metrics *telemetry.Registry) (_ *face, err error) {
	f := &face{telemetry: metrics}
	asked, err := iam.NewSTS(ctx, iam.STSConfig{Region: cfg.Region, Endpoint: cfg.STSEndpoint, Proxy: cfg.STSProxy})
	if err != nil {
		return nil, err
	}
	roles, err := platformRoles(cfg.PlatformRoles)
	if err != nil {
		return nil, err
	}
	if cfg.Account == "" {
		own, err := asked.Discover(ctx, cfg.Region)
		if err != nil {
			return nil, err
		}
		cfg.Account = own.Account
		if own.Type == auth.Role {
			// What runs on this machine may get at the machine's own role.
			roles = append(roles, own.ARN)
		}
	}
	if f.certificate, err = certificate.Open(certificate.Config{
		Cert: cfg.TLSCert, Key: cfg.TLSKey, Dir: filepath.Join(cfg.StateDir, "tls"),
		Names: certificateNames(cfg.Listen, cfg.TLSNames), Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	partition := iam.PartitionOf(cfg.Region)
	if f.policy, err = policy.New(policy.Config{
		Account: cfg.Account, Partition: partition, Environment: cfg.ClusterName,
		PlatformRoles: roles, File: cfg.PolicyFile, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	if f.iam, err = iam.New(ctx, iam.Config{
		Account: cfg.Account, Partition: partition, Region: cfg.Region, ClusterName: cfg.ClusterName,
		STS: asked, SessionTTL: cfg.SessionTTL, Shared: st, Fingerprint: f.certificate.Fingerprint,
		Limits:    iam.Limits{STSPerSecond: cfg.STSPerSecond, STSBurst: burst(cfg.STSPerSecond)},
		Telemetry: metrics, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	if cfg.AuditFile == "" {
		cfg.AuditFile = filepath.Join(cfg.StateDir, "audit", "audit.log")
	}
	if f.audit, err = audit.Open(audit.Config{Path: cfg.AuditFile, Out: cfg.AuditOut, Log: cfg.Log}); err != nil {
		return nil, err
	}
	f.guard = guard.New(guard.Config{IAM: f.iam, Policy: f.policy, Audit: f.audit, Environment: cfg.ClusterName})
	f.measure()
	f.info = ServerInfo{
		Authority: f.certificate.Authority(), Fingerprint: f.certificate.Fingerprint(), Account: cfg.Account,
		Policy: f.policy.Describe(), Audit: cfg.AuditFile, ClusterID: f.iam.ClusterID(),
	}
	return f, nil
}

// burst is the burst that goes with a rate that was set: two and a half seconds of
// it. The burst of no rate is the default too.
func burst(perSecond float64) int {
	if perSecond == 0 {
		return 0
	}
	return max(1, int(perSecond*2.5))
}

func platformRoles(arns []string) ([]string, error) {
	roles := make([]string, 0, len(arns))
	for _, arn := range arns {
		p, err := auth.ParseARN(arn)
		if err != nil || p.Type != auth.Role {
			return nil, fault.New(fault.Usage, "server.bad_role", "%q is not the ARN of a role", arn).
				WithHint("such as arn:aws:iam::123456789012:role/node")
		}
		roles = append(roles, p.ARN)
	}
	return roles, nil
}

// measure counts what guard decides.
func (f *face) measure() {
	f.telemetry.Collect(telemetry.Metric{Name: "cortex_auth_decisions_total", Help: "Decisions of the policy.", Type: telemetry.Counter, Labels: []string{"decision"}},
		func(emit telemetry.Emit) {
			c := f.policy.Counts()
			emit(float64(c.Allowed), auth.Allow)
			emit(float64(c.Denied), auth.Deny)
		})
	f.telemetry.Collect(telemetry.Metric{Name: "cortex_auth_policy_reload_failures_total", Help: "Policy files that could not be put in force.", Type: telemetry.Counter},
		func(emit telemetry.Emit) { emit(float64(f.policy.Counts().ReloadFailures)) })
	f.telemetry.Collect(telemetry.Metric{Name: "cortex_audit_dropped_total", Help: "Audit entries that could not be written.", Type: telemetry.Counter},
		func(emit telemetry.Emit) { emit(float64(f.audit.Dropped())) })
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
	f.operator = tls.NewListener(bounded(allowOnly(f.operator, cfg.OperatorCIDRs, cfg.Log)), f.certificate.TLS())
	return nil
}

func (f *face) close() {
	f.operator.Close()
	if f.metrics != nil {
		f.metrics.Close()
	}
}

// management is the face as assemble wants it.
func (f *face) management(cfg ServerConfig) management {
	m := management{
		info:     workload.Info{Environment: cfg.ClusterName},
		permit:   httpapi.Permit(f.guard),
		images:   cfg.ImagesOnly,
		listener: f.operator,
		options:  httpapi.Options{Guard: f.guard},
		tasks: []task{
			{"sessions", f.iam.Run},
			{"policy", f.policy.Run},
			{"certificate", f.certificate.Run},
		},
	}
	if f.metrics != nil {
		page := http.NewServeMux()
		page.Handle("GET /metrics", f.telemetry.Handler())
		m.tasks = append(m.tasks, task{"metrics", func(ctx context.Context) error { return serve(ctx, f.metrics, page) }})
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
