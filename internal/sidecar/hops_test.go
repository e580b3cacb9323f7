package sidecar

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/relay"
)

// door sends every request to one upstream, as a gateway with one replica does.
type door struct{ up *relay.Upstream }

func (d door) Admit(_ *relay.Exchange, again int) (relay.Place, *relay.Answer) {
	if again > 2 {
		return nil, &relay.Answer{Status: 503, Code: "gave_up"}
	}
	return d, nil
}
func (d door) Upstream() *relay.Upstream { return d.up }
func (d door) Done(int)                  {}
func (d door) Unreached(error)           {}

// before runs a relay in front of the sidecar at url and returns its address.
func before(t *testing.T, url string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := relay.NewUpstream(strings.TrimPrefix(url, "http://"))
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- relay.NewServer(relay.Config{Handler: door{up}, Behind: true}).Serve(ctx, ln, 10*time.Second)
	}()
	t.Cleanup(func() {
		stop()
		<-served
		up.Close()
	})
	return ln.Addr().String()
}

// TestSecondHopTakesWhatTheFirstDoes: what the gateway adds to a head, and the
// sidecar to an answer, must not make the next hop refuse it.
func TestSecondHopTakesWhatTheFirstDoes(t *testing.T) {
	t.Parallel()
	r := start(t, quick(4, 4), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(r.URL.Query().Get("answer")); err == nil {
			w.Header().Set("X-Big", strings.Repeat("b", n))
		}
	}))
	addr := before(t, r.url)
	const bound = 64 << 10
	for name, head := range map[string]string{
		"a large head": "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Big: " + strings.Repeat("a", bound-100),
		"a large host": "GET / HTTP/1.1\r\nConnection: close\r\nHost: " + strings.Repeat("a", bound/2+1000),
		"many fields":  "GET / HTTP/1.1\r\nHost: a\r\nConnection: close" + strings.Repeat("\r\nA: b", 498),
		"large answer": fmt.Sprintf("GET /?answer=%d HTTP/1.1\r\nHost: a\r\nConnection: close", bound-150),
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "%s\r\n\r\n", head)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if resp.StatusCode != 200 {
			t.Errorf("%s = %d %s, want 200", name, resp.StatusCode, resp.Header.Get("X-Cortex-Reason"))
		}
	}
}

// TestContainersCannotSpeakForTheSidecar: a gateway sends a request elsewhere when
// a sidecar says so. By either protocol, no container can.
func TestContainersCannotSpeakForTheSidecar(t *testing.T) {
	t.Parallel()
	r := start(t, quick(4, 4), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Cortex-Reason", relay.Unreached)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	second := &http.Transport{Protocols: &p}
	t.Cleanup(second.CloseIdleConnections)
	for name, tt := range map[string]struct {
		tr   http.RoundTripper
		kind string
	}{
		"HTTP/1.1": {http.DefaultTransport, "text/plain"},
		"HTTP/2":   {second, "text/plain"},
		"gRPC":     {second, "application/grpc"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/a/b", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", tt.kind)
		resp, err := tt.tr.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("X-Cortex-Reason"); got != "" || resp.StatusCode != 503 {
			t.Errorf("%s = %d with the reason %q, want 503 without one", name, resp.StatusCode, got)
		}
	}
}

// TestDrainsWhileItEnds: containers may ask at any time, also at the very end.
func TestDrainsWhileItEnds(t *testing.T) {
	t.Parallel()
	for range 30 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg := quick(1, 1)
		cfg.Target = 1
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ran, asked := make(chan error, 1), make(chan struct{})
		go func() { ran <- s.Run(ctx, ln) }()
		go func() {
			defer close(asked)
			for range 20 {
				s.came.Store(time.Now().UnixNano()) // as if a request had come: a drain of its own
				_ = s.Drain(context.Background())
			}
		}()
		stop()
		if err := <-ran; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
		<-asked
	}
}
