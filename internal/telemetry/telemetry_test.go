package telemetry

import (
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
)

func page(r *Registry) string {
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestHandlerServesWhatIsCollected(t *testing.T) {
	t.Parallel()
	r := New("cortex-gateway", "1.2.3")
	r.Collect(Metric{Name: "cortex_replicas", Help: "h", Type: Gauge, Labels: []string{"api_name"}}, func(emit Emit) {
		emit(3, "iris")
	})
	h := NewDurations([]time.Duration{100 * time.Millisecond, time.Second})
	for _, d := range []time.Duration{0, 100 * time.Millisecond, 101 * time.Millisecond, time.Second, time.Minute} {
		h.Observe(d)
	}
	r.CollectDurations(Metric{Name: "cortex_cold_start_seconds", Help: "h", Labels: []string{"api_name"}}, func(emit EmitDurations) {
		emit(h, "iris")
	})
	got := page(r)
	for _, want := range []string{
		`cortex_build_info{goversion="` + runtime.Version() + `",program="cortex-gateway",version="1.2.3"} 1`,
		"# TYPE cortex_replicas gauge",
		`cortex_replicas{api_name="iris"} 3`,
		"# TYPE cortex_cold_start_seconds histogram",
		`cortex_cold_start_seconds_bucket{api_name="iris",le="0.1"} 2`, // a bound is in its bucket
		`cortex_cold_start_seconds_bucket{api_name="iris",le="1"} 4`,
		`cortex_cold_start_seconds_bucket{api_name="iris",le="+Inf"} 5`,
		`cortex_cold_start_seconds_sum{api_name="iris"} 61.201`,
		`cortex_cold_start_seconds_count{api_name="iris"} 5`,
		"go_goroutines",
	} {
		if !strings.Contains(got, want+"\n") && !strings.Contains(got, want+" ") {
			t.Errorf("metrics lack %s:\n%s", want, got)
		}
	}
}

func TestNilRegistryIgnores(t *testing.T) {
	t.Parallel()
	var r *Registry
	r.Collect(Metric{Name: "x"}, nil)
	r.CollectDurations(Metric{Name: "y"}, nil)
}

func TestObserveAllocatesNothing(t *testing.T) { //nolint:paralleltest // it counts allocations
	h := NewDurations([]time.Duration{time.Millisecond, time.Second})
	if n := testing.AllocsPerRun(100, func() { h.Observe(time.Minute) }); n != 0 {
		t.Errorf("Observe allocates %g times, want never", n)
	}
}
