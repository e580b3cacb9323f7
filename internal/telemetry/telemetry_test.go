package telemetry

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandlerServesWhatIsCollected(t *testing.T) {
	t.Parallel()
	r := New()
	r.Collect(Metric{Name: "cortex_in_flight_requests", Help: "h", Type: Gauge, Labels: []string{"api_name"}}, func(emit Emit) {
		emit(3, "iris")
	})
	observe := r.Distribution(Metric{Name: "cortex_cold_start_seconds", Help: "h", Labels: []string{"api_name"}}, []float64{0.1, 1})
	observe(0.5, "iris")
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`cortex_in_flight_requests{api_name="iris"} 3`,
		`cortex_cold_start_seconds_bucket{api_name="iris",le="1"} 1`,
		"go_goroutines",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestNilRegistryIgnores(t *testing.T) {
	t.Parallel()
	var r *Registry
	r.Collect(Metric{Name: "x"}, nil)
	r.Distribution(Metric{Name: "y"}, nil)(1)
}
