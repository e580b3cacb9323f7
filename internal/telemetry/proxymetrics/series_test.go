package proxymetrics

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/telemetry"
)

// told returns the values of the metric name that s has, without those that are 0.
func told(s *Series, name string) []string {
	r := telemetry.New("test", "")
	Register(r, Gateway, func(api func(string, *Series, Load), _ func(string, *Series)) { api("iris", s, Load{}) })
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, name) && !strings.HasSuffix(line, " 0\n") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestCount(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what         string
		status       int
		reason       string
		placed       bool
		code, counts string // as metrics have them
		timed        bool
	}{
		{"an answer", 200, "", true, "200", "", true},
		{"an error of the container", 503, "", true, "503", "", true},
		{"a status that HTTP does not have", 700, "", true, "599", "", true},
		{"a switch of protocols", 101, "", true, "101", "", false},
		{"a refusal", 503, "queue_full", false, "503", "queue_full", false},
		{"a refusal of the sidecar", 503, "queue_full", true, "503", "queue_full", false},
		{"a reason of a failed API", 503, "image.not_found", false, "503", "image.not_found", false},
		{"a caller that left while it waited", 0, relay.ClientGone, false, "499", relay.ClientGone, false},
		{"a caller that left the container", 0, relay.ClientGone, true, "499", relay.ClientGone, true},
		{"an answer that broke off", 0, "upstream_closed", true, "502", "upstream_closed", true},
		{"the end of the program", 0, "shutting_down", true, "503", "shutting_down", true},
		{"a word that is none of ours", 503, "Queue Full!\xff", true, "500", "other", false},
		{"what nobody names", 0, "", false, "500", "other", true},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			s := NewOfAPI()
			s.Count(tt.status, tt.reason, tt.placed, 20*time.Millisecond)
			want := []string{fmt.Sprintf(`cortex_requests_total{api_name="iris",code=%q,hop="gateway",reason=%q} 1`, tt.code, tt.counts)}
			if got := told(s, "cortex_requests_total"); !slices.Equal(got, want) {
				t.Errorf("Count(%d, %q, %v) is told as %q, want %q", tt.status, tt.reason, tt.placed, got, want)
			}
			if got := len(told(s, "cortex_request_duration_seconds_count")) == 1; got != tt.timed {
				t.Errorf("Count(%d, %q, %v) is in the histogram: %v, want %v", tt.status, tt.reason, tt.placed, got, tt.timed)
			}
		})
	}
}

// Prometheus sees a counter rise only when it has seen it before.
// Over counts whoever answered, Took what containers worked on.
func TestOverAndTook(t *testing.T) {
	t.Parallel()
	s := NewOfAPI()
	s.Count(200, "", true, 20*time.Millisecond)
	s.Count(404, "", true, 20*time.Millisecond)
	s.Count(503, "", true, 20*time.Millisecond)
	s.Count(503, "queue_full", false, time.Second)
	s.Count(0, relay.ClientGone, true, time.Second)
	if all, failed := s.Over(); all != 5 || failed != 2 {
		t.Errorf("Over() = %d, %d, want 5, 2", all, failed)
	}
	bounds, counts := s.Took()
	at := slices.Index(bounds, 25*time.Millisecond)
	if len(counts) != len(bounds)+1 || at < 0 || counts[at] != 3 {
		t.Errorf("Took() = %v, %v, want 3 up to 25ms", bounds, counts)
	}
}

func TestWhatIsLookedForIsThereFromTheStart(t *testing.T) {
	t.Parallel()
	r := telemetry.New("test", "")
	Register(r, Sidecar, func(api func(string, *Series, Load), refused func(string, *Series)) {
		api("iris", NewOfAPI(), Load{Running: 2, Waiting: 1})
		refused("", New())
	})
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`cortex_requests_total{api_name="iris",code="200",hop="sidecar",reason=""} 0`,
		`cortex_requests_total{api_name="iris",code="503",hop="sidecar",reason="queue_full"} 0`,
		`cortex_request_duration_seconds_count{api_name="iris",hop="sidecar"} 0`,
		`cortex_in_flight_requests{api_name="iris",hop="sidecar",state="running"} 2`,
		`cortex_in_flight_requests{api_name="iris",hop="sidecar",state="waiting"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(w.Body.String(), `api_name=""`) {
		t.Errorf("the page has values of no API although nothing was refused:\n%s", w.Body)
	}
}

// Whoever can make a sidecar's answers must not be able to fill Prometheus.
func TestReasonsAreBounded(t *testing.T) {
	t.Parallel()
	s := NewOfAPI()
	const many = 1000
	for i := range many {
		s.Count(503, strings.Repeat("x", i%60+1)+strings.Repeat("y", i/60), true, 0)
	}
	lines := told(s, "cortex_requests_total")
	if len(lines) > maxReasons+5 {
		t.Errorf("%d reasons are told as %d values, want at most %d", many, len(lines), maxReasons+5)
	}
	if last := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `code="500",hop="gateway",reason="other"`) }); last < 0 {
		t.Errorf("what is past the bound is not told: %q", lines)
	}
}

func TestCountAllocatesNothing(t *testing.T) { //nolint:paralleltest // it counts allocations
	s := NewOfAPI()
	if n := testing.AllocsPerRun(100, func() { s.Count(200, "", true, time.Second); s.Count(503, "queue_full", false, 0) }); n != 0 {
		t.Errorf("Count allocates %g times, want never", n)
	}
}

func BenchmarkCount(b *testing.B) {
	s := NewOfAPI()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Count(200, "", true, 3*time.Millisecond)
		}
	})
}

func BenchmarkCountRefusal(b *testing.B) {
	s := NewOfAPI()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Count(503, "queue_full", false, 0)
		}
	})
}
