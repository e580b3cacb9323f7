package http2

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"cortex.dev/cortex/internal/relay"
)

// closing is a Transport whose connections end with the test.
func closing(t *testing.T, http2 bool) http.RoundTripper {
	t.Helper()
	tr := Transport(http2)
	t.Cleanup(tr.(interface{ CloseIdleConnections() }).CloseIdleConnections)
	return tr
}

// upstream serves h by HTTP/1 and by HTTP/2, and counts connections.
func upstream(t *testing.T, h http.HandlerFunc) (url string, conns *atomic.Int32) {
	t.Helper()
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	conns = new(atomic.Int32)
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = &p
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL, conns
}

func TestTransportSpeaksAndKeepsConnections(t *testing.T) {
	t.Parallel()
	const atOnce = 8
	for want, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		arrived, goOn := make(chan struct{}, atOnce), make(chan struct{})
		url, conns := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-goOn
			if coding := r.Header.Get("Accept-Encoding"); coding != "" {
				t.Errorf("the server was asked for %s, which the client did not ask for", coding)
			}
			w.Header().Set("Trailer", "Grpc-Status")
			fmt.Fprint(w, r.Proto)
			w.Header().Set("Grpc-Status", "0")
		})
		tr := closing(t, http2)
		var all sync.WaitGroup
		ask := func() {
			resp, got := exchange(t, tr, "POST", url, "application/grpc", "hello")
			if got != want || resp.Proto != want || resp.Trailer.Get("Grpc-Status") != "0" {
				t.Errorf("Transport(%v) spoke %s, and was answered by %s with %v, want %s", http2, got, resp.Proto, resp.Trailer, want)
			}
		}
		for range atOnce {
			all.Go(ask)
		}
		for range atOnce {
			<-arrived // all are there together
		}
		close(goOn)
		all.Wait()
		// A connection of HTTP/1 is free a moment after its answer was read.
		kept := false
		for round := 0; !kept && round < 50; round++ {
			opened := conns.Load()
			for range atOnce {
				all.Go(ask)
			}
			all.Wait()
			kept = conns.Load() == opened
		}
		if !kept {
			t.Errorf("Transport(%v) opens connections for every %d requests, %d by now", http2, atOnce, conns.Load())
		}
	}
}

// Whoever sends through a Transport tries another replica when nothing was sent.
func TestTransportToNobodyIsUnreachable(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	for _, http2 := range []bool{false, true} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := closing(t, http2).RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		if !relay.Unreachable(err) {
			t.Errorf("Transport(%v) to nobody = %v, want it unreachable", http2, err)
		}
	}
}

func TestTransportRefusesASwitchOfProtocols(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	url, _ := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		c, in, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, err = io.Copy(io.Discard, in)
		ended <- err
	})
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := closing(t, false).RoundTrip(req)
	if err == nil {
		resp.Body.Close()
	}
	var refused Refused
	if !errors.As(err, &refused) || refused.Status != 502 || refused.Code != "upstream_malformed" {
		t.Errorf("a switch of protocols = %v, want it Refused as upstream_malformed", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the server's connection ended with %v, want its end", err)
	}
}
