package sidecar

import (
	"io"
	"net"
	"net/http"
	"net/netip"
)

// healthCheck is the method of the gRPC Health Checking Protocol, by which the kubelet asks
// whether the replica is ready (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).
const healthCheck = "/grpc.health.v1.Health/Check"

// Admin is the handler of the administration: the health check of gRPC, /ready and /live
// for the kubelet, /metrics, POST /drain for this pod only, and the executions of items for
// gateways. Metrics may be nil. It is to be served by HTTP/1.1 and by HTTP/2 without TLS.
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
	mux.HandleFunc("POST "+healthCheck, s.handleHealthCheck)
	mux.HandleFunc("POST /drain", s.handleDrain)
	s.items.routes(mux)
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	return mux
}

// handleHealthCheck answers with the one message that says "serving", or with the status
// "unavailable" and why: the kubelet shows that, and of "not serving" shows no reason.
func (s *Sidecar) handleHealthCheck(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/grpc")
	if err := s.tellReady(r.Context()); err != nil {
		w.Header().Set("Grpc-Status", "14")
		w.Header().Set("Grpc-Message", err.Error()) // of our own words, which need no escape
		return
	}
	const serving = "\x00\x00\x00\x00\x02" + "\x08\x01" // length-prefixed: field 1, SERVING
	_, _ = io.WriteString(w, serving)                   // the asker may be gone
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
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
