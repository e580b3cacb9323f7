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
