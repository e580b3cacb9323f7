// Package hostconfig is what the programs that host the system are told: by the flags of
// `cortex local` and `cortex server`, and those of cortex-operator.
//
// It promises that each setting has one home, from the flag to whoever works by it,
// and that everything that is wrong is said at once, in words of the flags.
//
// It must not read flags or the environment, nor know what is done with a setting.
package hostconfig

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/webhook"
)

// Local is the environment of one machine for its owner.
type Local struct {
	Front
	StateDir   string // state, logs and scratch folders; made if it does not exist
	Socket     string // the Unix socket of the management API
	APIAddress string // host:port on which APIs are served; port 0 takes any free one
	// MetricsListen is host:port of a metrics page for a Prometheus, which cannot read the
	// socket; empty: none.
	MetricsListen string
	Tick          time.Duration     // of the autoscaler; 0 means 10 s
	Env           map[string]string // given to every container, such as AWS credentials
}

// Management says whose identities may manage, how they are proven and what is recorded.
type Management struct {
	Account       string // 12 digits; empty: discovered with the program's own credentials
	Region        string // in whose STS identities are proven
	ClusterName   string
	STSEndpoint   string // empty: the region's public one
	STSProxy      string
	STSPerSecond  float64 // calls to STS; 0: the default
	SessionTTL    time.Duration
	PolicyFile    string   // empty: the default policy
	PlatformRoles []string // ARNs of roles that may never manage
	S3Paths       []string // that jobs may read: s3://BUCKET, with a prefix or without, or s3://*
	TLSCert       string   // PEM files; both or neither
	TLSKey        string
	TLSNames      []string  // more names of a certificate of our own
	AuditFile     string    // "-" is AuditOut
	AuditOut      io.Writer // the standard output of the program
	AuditCopy     bool      // what is written to a file goes to AuditOut too
	AuditBytes    int64     // of one file; 0: the audit's own default
	AuditKeep     int       // how many older files; 0: the audit's own default
}

// Server is the environment of one machine for a team. AuditFile may be empty here: a
// file in the state folder.
type Server struct {
	Management
	Front
	StateDir       string
	Listen         string // host:port of the management API, with TLS
	APIListen      string // host:port on which APIs are served
	MetricsListen  string // host:port of the metrics page, without TLS or identity; empty: none
	OperatorCIDRs  []netip.Prefix
	APICIDRs       []netip.Prefix
	TrustedProxies []netip.Prefix // in front of APIs; what they say of their callers is passed on
	APIConns       int            // connections of one address to APIs
	ImagesOnly     bool           // refuse containers without an image
	APIHosts       []string       // names that APIs may have: names, and *.example.com for those below one
	RequireAuth    bool           // refuse APIs that anybody may call
	HostPaths      []string       // folders of the machine that APIs may mount, to read
	WebhookHosts   []string       // hosts that webhook messages may go to beside public addresses
	Tick           time.Duration
	Traces         tracing.Settings
}

// ServerInfo is what those who configure clients of a server have to know.
type ServerInfo struct {
	Endpoint    string // https://host:port of the management API
	APIEndpoint string
	APITLS      string // https://host:port of APIs with TLS, or ""
	Metrics     string // URL of the metrics page, or ""
	Authority   string // file of the certificate authority; "" when the certificate is somebody else's
	Fingerprint string
	Account     string
	Policy      string
	Audit       string
	ClusterID   string
}

// problems collects what is wrong.
type problems []string

func (p *problems) when(bad bool, format string, args ...any) {
	if bad {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

func (p *problems) of(flag string, err error) { p.when(err != nil, "--%s: %v", flag, err) }

// clusterNameShape is the rule of cluster.yaml (REFERENCE 2.1).
var clusterNameShape = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

var s3Shape = regexp.MustCompile(`^s3://(\*|[a-zA-Z0-9._-]{3,255}(/.*)?)$`)

// Problems returns everything that is wrong with m.
func (m *Management) Problems() []string {
	var p problems
	p.when(m.Region == "", "--region is missing: the AWS region in whose STS identities are proven")
	p.when(m.Region != "" && !auth.IsRegion(m.Region), "--region %q is not an AWS region", m.Region)
	p.when(m.Account != "" && !auth.IsAccount(m.Account), "--account-id %q is not an AWS account id: it has 12 digits", m.Account)
	p.when(len(m.ClusterName) < 3 || len(m.ClusterName) > 54 || !clusterNameShape.MatchString(m.ClusterName),
		"--cluster-name %q: 3 to 54 lower-case letters and digits, with single dashes between", m.ClusterName)
	p.when((m.TLSCert == "") != (m.TLSKey == ""), "--tls-cert and --tls-key go together: a certificate and its key")
	p.when(m.SessionTTL < time.Minute || m.SessionTTL > time.Hour, "--session-ttl %s is not between 1m and 1h", m.SessionTTL)
	p.when(!(m.STSPerSecond >= 0.1 && m.STSPerSecond <= 1000), "--sts-calls-per-second %g is not between 0.1 and 1000", m.STSPerSecond)
	for _, arn := range m.PlatformRoles {
		role, err := auth.ParseARN(arn)
		p.when(err != nil || role.Type != auth.Role, "--platform-role %q is not the ARN of a role", arn)
	}
	for _, path := range m.S3Paths {
		p.when(!s3Shape.MatchString(path), "--s3-paths %q is not s3://BUCKET, s3://BUCKET/PREFIX or s3://*", path)
	}
	return p
}

// CheckTick reports a time between two decisions of the autoscaler that is out of bounds.
func CheckTick(d time.Duration) error {
	if d < autoscaler.MinTick || d > time.Hour {
		return fmt.Errorf("%s is not between %s and 1h", d, autoscaler.MinTick)
	}
	return nil
}

// Problems returns everything that is wrong with s.
func (s *Server) Problems() []string {
	p := problems(slices.Concat(s.Management.Problems(), s.Front.Problems(), HostProblems(s.APIHosts)))
	for _, l := range []struct{ flag, address string }{{"listen", s.Listen}, {"api-listen", s.APIListen}, {"metrics-listen", s.MetricsListen}} {
		_, port, err := net.SplitHostPort(l.address)
		p.when((err != nil || port == "") && (l.address != "" || l.flag != "metrics-listen"), "--%s %q is not an address: host:port", l.flag, l.address)
	}
	p.of("autoscaling-tick", CheckTick(s.Tick))
	p.when(s.APIConns < 0 || s.APIConns > 20_000, "--api-connections-per-address %d is not between 1 and 20000", s.APIConns)
	for _, path := range s.HostPaths {
		p.when(!filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/",
			"--host-paths %q is not the path of a folder: written from / on, without /./, /../ and / at its end, and not / itself", path)
	}
	_, err := webhook.ParseAllowed(s.WebhookHosts)
	p.of("webhook-hosts", err)
	return append(p, s.Traces.Problems()...)
}

// ParseCIDRs reads networks as net.ParseCIDR does: host bits may be set.
func ParseCIDRs(texts []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range texts {
		network, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%q is not a network such as 10.0.0.0/8", text)
		}
		networks = append(networks, network.Masked())
	}
	return networks, nil
}

// Verified is what was found in a state folder: every record and content in it was compared
// with its checksum.
type Verified struct {
	StateDir string    `json:"state_dir"`
	Records  int       `json:"records"`  // that are as they were written
	Contents int       `json:"contents"` // payloads and results in files of their own
	Jobs     int       `json:"jobs"`     // whose files were looked at
	Damaged  []Damaged `json:"damaged"`
	More     int       `json:"more,omitempty"` // that are damaged beyond those listed
}

// Damaged is something that is not what was written.
type Damaged struct {
	What    string `json:"what,omitempty"` // such as "item"; empty: whose it was cannot be told
	API     string `json:"api,omitempty"`
	Name    string `json:"name,omitempty"` // the id of an item or a job, the name of a secret
	File    string `json:"file"`           // within the state folder
	Problem string `json:"problem"`
}
