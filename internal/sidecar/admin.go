package sidecar

import (
	"io"
	"net"
	"net/http"
	"net/netip"
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
