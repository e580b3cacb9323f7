package hostconfig

import (
	"math"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/tracing"
)

func good() Server {
	return Server{
		Management: Management{Region: "us-west-2", ClusterName: "team", SessionTTL: 15 * time.Minute, STSPerSecond: 20},
		Listen:     "127.0.0.1:8889", APIListen: ":8888", Tick: time.Second, Traces: tracing.Settings{Ratio: 0.01},
	}
}

// Everything that is wrong is said at once, in words of the flags.
func TestProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Server)
		want   []string // how each problem begins
	}{
		{"nothing", func(*Server) {}, nil},
		{"a metrics page", func(s *Server) { s.MetricsListen = "127.0.0.1:0" }, nil},
		{"account", func(s *Server) { s.Account = "12" }, []string{"--account-id \"12\""}},
		{"no region", func(s *Server) { s.Region = "" }, []string{"--region is missing"}},
		{"not a number", func(s *Server) { s.STSPerSecond = math.NaN() }, []string{"--sts-calls-per-second"}},
		{"a user as a role", func(s *Server) { s.PlatformRoles = []string{"arn:aws:iam::123456789012:user/a"} }, []string{"--platform-role"}},
		{"a tick that the autoscaler refuses", func(s *Server) { s.Tick = 50 * time.Millisecond }, []string{"--autoscaling-tick: 50ms is not between 100ms and 1h"}},
		{"folders to mount", func(s *Server) { s.HostPaths = []string{"/srv/weights", "weights", "/", "/srv/", "/srv/../etc"} },
			[]string{"--host-paths \"weights\"", "--host-paths \"/\"", "--host-paths \"/srv/\"", "--host-paths \"/srv/../etc\""}},
		{"TLS for callers", func(s *Server) {
			s.Front = Front{TLSListen: ":443", Certs: []string{"a", "b"}, Keys: []string{"a", "b"}, ACMEDirectory: "https://acme.example.com/dir", ACMEEmail: "a@example.com", RedirectPort: 443}
			s.APIHosts = []string{"iris.example.com", "*.example.com"}
		}, nil},
		{"nowhere to listen", func(s *Server) { s.Front = Front{ACMEDirectory: "https://acme.example.com/dir"} }, []string{"--api-tls-listen is missing"}},
		{"no certificates", func(s *Server) { s.Front = Front{TLSListen: ":443"} }, []string{"--api-tls-listen needs certificates"}},
		{"everything about TLS", func(s *Server) {
			s.Front = Front{TLSListen: "443", Certs: []string{"a"}, ACMEDirectory: "http://acme.example.com", ACMEEmail: "A <a@b.c>", RedirectPort: 65536}
		}, []string{"--api-tls-listen \"443\"", "--api-tls-cert and --api-tls-key go together", "--acme-directory \"http://acme.example.com\"", "--acme-email", "--https-redirect 65536"}},
		{"about no authority", func(s *Server) {
			s.Front = Front{TLSListen: ":443", Certs: []string{"a"}, Keys: []string{"a"}, ACMEEmail: "a@b.c"}
		},
			[]string{"--acme-directory is missing"}},
		{"names of APIs", func(s *Server) { s.APIHosts = []string{"*", "*.*.a.b", "A.b", "10.0.0.1", "a.b:443", "*a.b"} },
			[]string{"--api-hosts \"*\"", "--api-hosts \"*.*.a.b\"", "--api-hosts \"A.b\"", "--api-hosts \"10.0.0.1\"", "--api-hosts \"a.b:443\"", "--api-hosts \"*a.b\""}},
		{"several", func(s *Server) {
			s.Region, s.ClusterName, s.TLSCert, s.SessionTTL, s.Listen, s.Traces.Ratio = "Oregon", "A", "c.pem", time.Hour*2, "8889", 2
		}, []string{"--region \"Oregon\"", "--cluster-name", "--tls-cert and --tls-key", "--session-ttl 2h0m0s", "--listen \"8889\"", "--trace-ratio"}},
	} {
		s := good()
		tt.change(&s)
		got := s.Problems()
		if len(got) != len(tt.want) {
			t.Errorf("%s: Problems() = %q, want %q", tt.name, got, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("%s: problem %d is %q, want %q…", tt.name, i, got[i], want)
			}
		}
	}
}
