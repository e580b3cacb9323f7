package sidecar

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"cortex.dev/cortex/internal/telemetry"
)

// Admin is the handler of the administration: /ready and /live for the kubelet,
// /metrics, and POST /drain for this pod only. Metrics may be nil.
func (s *Sidecar) Admin(metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := s.tellReady(r.Context()); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		say(w, http.StatusOK, "ready")
	})
	mux.HandleFunc("POST /drain", s.handleDrain)
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}

// handleDrain answers when the drain is over. Who asks from elsewhere could keep a
// replica from stopping, so it is asked from this pod only.
func (s *Sidecar) handleDrain(w http.ResponseWriter, r *http.Request) {
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err != nil || !isLoopback(host) {
		say(w, http.StatusForbidden, "only this pod may ask for that")
		return
	}
	if err := s.Drain(r.Context()); err != nil {
		say(w, http.StatusGatewayTimeout, err.Error())
		return
	}
	say(w, http.StatusOK, "drained")
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the asker may be gone
}

// counts is what the metrics say.
type counts struct {
	byClass [6]atomic.Uint64 // by hundreds of the status; 0: no answer
	mu      sync.Mutex
	refused map[string]uint64
}

func (c *counts) answered(status int) {
	if class := status / 100; class >= 0 && class < len(c.byClass) {
		c.byClass[class].Add(1)
	}
}

func (c *counts) refuse(code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = map[string]uint64{}
	}
	c.refused[code]++
}

var classes = [...]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx"}

func (s *Sidecar) measure(r *telemetry.Registry) {
	r.Collect(telemetry.Metric{Name: "cortex_sidecar_in_flight_requests", Help: "Requests in the container, and waiting for it.", Type: telemetry.Gauge, Labels: []string{"state"}},
		func(emit telemetry.Emit) {
			running, waiting := s.limit.InFlight()
			emit(float64(running), "running")
			emit(float64(waiting), "waiting")
		})
	r.Collect(telemetry.Metric{Name: "cortex_sidecar_requests_total", Help: "Requests the container answered, by class of the status.", Type: telemetry.Counter, Labels: []string{"class"}},
		func(emit telemetry.Emit) {
			for i := range s.counts.byClass {
				emit(float64(s.counts.byClass[i].Load()), classes[i])
			}
		})
	r.Collect(telemetry.Metric{Name: "cortex_sidecar_refused_total", Help: "Requests that did not reach the container, by reason.", Type: telemetry.Counter, Labels: []string{"reason"}},
		func(emit telemetry.Emit) {
			s.counts.mu.Lock()
			defer s.counts.mu.Unlock()
			for code, n := range s.counts.refused {
				emit(float64(n), code)
			}
		})
}
