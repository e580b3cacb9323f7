// Package operatorserver is the server of the management API: TLS, who is
// calling, what they may do, and the record of it, before any workload.Service.
//
// It promises the same server wherever it runs, on one machine and on
// Kubernetes: there is this one way of joining iam, policy, audit and guard. It
// bounds what callers without an identity can take: connections, and time.
//
// It must not decide anything about callers (guard does) or workloads, nor know
// where state is kept.
package operatorserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/audit"
	"cortex.dev/cortex/internal/auth/guard"
	"cortex.dev/cortex/internal/auth/iam"
	"cortex.dev/cortex/internal/auth/policy"
	"cortex.dev/cortex/internal/certificate"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// Config says whose identities are accepted, and what they are shown.
type Config struct {
	hostconfig.Management
	Certificate *certificate.Source // that callers see; required
	Shared      store.Shared        // what replicas agree on; required
	Telemetry   *telemetry.Registry
	Log         *slog.Logger
}

// Info is what those who configure clients have to know.
type Info struct {
	Account     string
	Policy      string
	Audit       string
	Fingerprint string // of the certificate
	ClusterID   string
}

// Server is the server side of the management API. Make one with New; its methods may be called at once.
type Server struct {
	cfg    Config
	iam    *iam.IAM
	policy *policy.Authorizer
	audit  *audit.Log
	guard  *guard.Guard
}

// New reads what the server needs, and asks STS for the account when none is given.
// It starts nothing. What is wrong with the configuration is a fault.
func New(ctx context.Context, cfg Config) (*Server, error) {
	s := &Server{}
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
			// What runs beside this program may get at its own role.
			roles = append(roles, own.ARN)
		}
	}
	partition := iam.PartitionOf(cfg.Region)
	if s.policy, err = policy.New(policy.Config{
		Account: cfg.Account, Partition: partition, Environment: cfg.ClusterName,
		PlatformRoles: roles, File: cfg.PolicyFile, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	if s.iam, err = iam.New(ctx, iam.Config{
		Account: cfg.Account, Partition: partition, Region: cfg.Region, ClusterName: cfg.ClusterName,
		STS: asked, SessionTTL: cfg.SessionTTL, Shared: cfg.Shared, Fingerprint: cfg.Certificate.Fingerprint,
		Limits:    iam.Limits{STSPerSecond: cfg.STSPerSecond, STSBurst: burst(cfg.STSPerSecond)},
		Telemetry: cfg.Telemetry, Log: cfg.Log,
	}); err != nil {
		return nil, err
	}
	record := audit.Config{Path: cfg.AuditFile, Out: cfg.AuditOut, MaxBytes: cfg.AuditBytes, Keep: cfg.AuditKeep, Log: cfg.Log}
	if cfg.AuditCopy {
		record.Copy = cfg.AuditOut
	}
	if s.audit, err = audit.Open(record); err != nil {
		return nil, err
	}
	s.guard = guard.New(guard.Config{IAM: s.iam, Policy: s.policy, Audit: s.audit, Environment: cfg.ClusterName})
	s.cfg = cfg
	s.measure()
	return s, nil
}

// Check returns what New would say of the policy, the roles and how STS is reached, and
// asks nobody.
func Check(ctx context.Context, cfg hostconfig.Management) error {
	if _, err := iam.NewSTS(ctx, iam.STSConfig{Region: cfg.Region, Endpoint: cfg.STSEndpoint, Proxy: cfg.STSProxy}); err != nil {
		return err
	}
	roles, err := platformRoles(cfg.PlatformRoles)
	if err != nil {
		return err
	}
	// The account decides for whom policies hold, not whether they can be read; it may
	// be one that only STS knows.
	_, err = policy.New(policy.Config{
		Account: cmp.Or(cfg.Account, "000000000000"), Partition: iam.PartitionOf(cfg.Region), Environment: cfg.ClusterName,
		PlatformRoles: roles, File: cfg.PolicyFile, Log: slog.New(slog.DiscardHandler),
	})
	return err
}

// Guard stands before every operation; it is for httpapi.Options.
func (s *Server) Guard() auth.Guard { return s.guard }

// Permit is what the operator asks before it deploys what a file has.
func (s *Server) Permit() func(context.Context, []workload.Subject) error {
	return httpapi.Permit(s.guard)
}

// UseSecrets is what the operator asks before it deploys what can read secrets.
func (s *Server) UseSecrets() func(context.Context, []string) error {
	return httpapi.UseSecrets(s.guard)
}

// UseVolumes is what the operator asks before it deploys what mounts volumes.
func (s *Server) UseVolumes() func(context.Context, []string) error {
	return httpapi.UseVolumes(s.guard)
}

// CreateKeys is what the operator asks before it makes access keys for APIs, RevokeKeys
// before it revokes them.
func (s *Server) CreateKeys() func(context.Context, []workload.Subject) error {
	return httpapi.PermitKeys(s.guard, auth.ActionCreateKey)
}

// RevokeKeys is asked as CreateKeys is.
func (s *Server) RevokeKeys() func(context.Context, []workload.Subject) error {
	return httpapi.PermitKeys(s.guard, auth.ActionRevokeKey)
}

// Calls returns what a session for calls says; false: it is none of this server's.
func (s *Server) Calls(token []byte) (auth.CallSession, bool) { return s.iam.VerifyCall(token) }

// CallKeys is what gateways in other programs verify sessions for calls with.
func (s *Server) CallKeys() access.SessionKeys { return s.iam.CallKeys() }

// Info describes the server as it is now.
func (s *Server) Info() Info {
	return Info{
		Account: s.cfg.Account, Policy: s.policy.Describe(), Audit: s.cfg.AuditFile,
		Fingerprint: s.cfg.Certificate.Fingerprint(), ClusterID: s.iam.ClusterID(),
	}
}

// Upkeep is what has to run while requests are served: sessions' keys are rotated,
// the policy and the certificate followed.
func (s *Server) Upkeep() []lifecycle.Task {
	return []lifecycle.Task{
		{Name: "sessions", Run: s.iam.Run},
		{Name: "policy", Run: s.policy.Run},
		{Name: "certificate", Run: s.cfg.Certificate.Run},
	}
}

// Listener accepts connections of ln that come from the allowed networks (from
// anywhere when there are none), not too many of them, with TLS.
func (s *Server) Listener(ln net.Listener, allowed []netip.Prefix) net.Listener {
	return Secure(ln, s.cfg.Certificate, allowed, s.cfg.Log)
}

// Secure is Server.Listener for what is no management API and has its own way to know
// its callers.
func Secure(ln net.Listener, c *certificate.Source, allowed []netip.Prefix, log *slog.Logger) net.Listener {
	return tls.NewListener(bounded(AllowOnly(ln, allowed, log)), c.TLS())
}

// Close ends the record. Nothing may be served afterwards.
func (s *Server) Close() error { return s.audit.Close() }

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
func (s *Server) measure() {
	r := s.cfg.Telemetry
	r.Collect(telemetry.Metric{Name: "cortex_auth_decisions_total", Help: "Decisions of the policy.", Type: telemetry.Counter, Labels: []string{"decision"}},
		func(emit telemetry.Emit) {
			c := s.policy.Counts()
			emit(float64(c.Allowed), auth.Allow)
			emit(float64(c.Denied), auth.Deny)
		})
	r.Collect(telemetry.Metric{Name: "cortex_auth_policy_reload_failures_total", Help: "Policy files that could not be put in force.", Type: telemetry.Counter},
		func(emit telemetry.Emit) { emit(float64(s.policy.Counts().ReloadFailures)) })
	r.Collect(telemetry.Metric{Name: "cortex_certificate_expiry_timestamp_seconds", Help: "When the certificate of the management API ends, in seconds since 1970.", Type: telemetry.Gauge},
		func(emit telemetry.Emit) { emit(float64(s.cfg.Certificate.NotAfter().Unix())) })
	r.Collect(telemetry.Metric{Name: "cortex_audit_dropped_total", Help: "Audit entries that could not be written.", Type: telemetry.Counter},
		func(emit telemetry.Emit) { emit(float64(s.audit.Dropped())) })
}
