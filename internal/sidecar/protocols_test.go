package sidecar

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func TestUpgradePassesThroughAndHoldsItsPlace(t *testing.T) {
	t.Parallel()
	r := start(t, quick(1, 1), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprint(c, strings.ToUpper(line))
		}
	}))
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" {
		t.Fatalf("the upgrade = %v, %v; want 101", resp, err)
	}
	for _, word := range []string{"one\n", "two\n"} {
		fmt.Fprint(c, word)
		if got, err := in.ReadString('\n'); err != nil || got != strings.ToUpper(word) {
			t.Errorf("echo %q, %v; want %q", got, err, strings.ToUpper(word))
		}
	}
	if running, _ := r.limit.InFlight(); running != 1 {
		t.Errorf("%d in flight while the connection is open, want 1", running)
	}
	c.Close()
	waitFor(t, "the place come back", func() bool { running, _ := r.limit.InFlight(); return running == 0 })
}

func TestHTTP2IsForwardedAsTheContainerSpeaks(t *testing.T) {
	t.Parallel()
	r := start(t, quick(2, 2), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		in := bufio.NewReader(r.Body)
		for { // each line before the next one
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			fmt.Fprintf(w, "%d %s %s", r.ProtoMajor, r.Header.Get("X-Forwarded-For"), line)
			w.(http.Flusher).Flush()
		}
		w.Header().Set("Grpc-Status", "7")
	}))
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p}
	t.Cleanup(tr.CloseIdleConnections)
	for kind, major := range map[string]int{"application/grpc": 2, "text/plain": 1} {
		body, write := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/pkg.Service/Chat", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		req.Header.Set("X-Forwarded-For", "192.0.2.7")
		if major == 1 { // HTTP/1 servers read all before they answer
			go func() { fmt.Fprint(write, "hello\n"); write.Close() }()
		} else {
			go fmt.Fprint(write, "hello\n")
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		if want := fmt.Sprintf("%d 192.0.2.7 hello\n", major); line != want || err != nil {
			t.Errorf("%s: the container got %q, %v; want %q", kind, line, err, want)
		}
		write.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Error(err)
		}
		if got := resp.Trailer.Get("Grpc-Status"); got != "7" {
			t.Errorf("%s: the trailer is %q, want 7", kind, got)
		}
		resp.Body.Close()
	}
	waitFor(t, "every place come back", func() bool { running, _ := r.limit.InFlight(); return running == 0 })
}

func TestHTTP2IsForwardedWithItsTrailer(t *testing.T) {
	t.Parallel()
	r := start(t, quick(2, 2), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.ProtoMajor, err, r.Trailer)
	}))
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p}
	t.Cleanup(tr.CloseIdleConnections)
	for kind, major := range map[string]int{"application/grpc": 2, "text/plain": 1} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/pkg.Service/Say", io.MultiReader(strings.NewReader("hello")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		req.Trailer = http.Header{"X-Check": {"42"}, "X-Forwarded-For": {"10.0.0.1"}}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprint(major, " <nil> map[X-Check:[42]]"); string(text) != want {
			t.Errorf("%s: the container got %q, want %q", kind, text, want)
		}
	}
}

// nothing is a message of gRPC that is empty.
type nothing struct{}

func (nothing) Marshal(any) ([]byte, error) { return nil, nil }
func (nothing) Unmarshal([]byte, any) error { return nil }
func (nothing) Name() string                { return "nothing" }

// A gRPC call that fails before its first message ends with its head, which must stay
// one: clients take a head and nothing after it for a call that broke off.
func TestGRPCFailsWithItsStatus(t *testing.T) {
	t.Parallel()
	r := start(t, quick(8, 8), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", fmt.Sprint(int(codes.NotFound)))
	}))
	c, err := grpc.NewClient("passthrough:///"+strings.TrimPrefix(r.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(nothing{})))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 { // it is a race
				if err := c.Invoke(t.Context(), "/pkg.Service/Say", nil, nil); status.Code(err) != codes.NotFound {
					t.Errorf("the call = %v, want NotFound", err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestHTTP2RefusesASwitchOfProtocols(t *testing.T) {
	t.Parallel()
	r := start(t, quick(1, 1), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	}))
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p}
	t.Cleanup(tr.CloseIdleConnections)
	for range 3 { // more than may be in flight and wait
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("X-Cortex-Reason"); resp.StatusCode != 502 || got != "upstream_malformed" {
			t.Errorf("a switch of protocols = %s with the reason %q, want 502, upstream_malformed", resp.Status, got)
		}
	}
	waitFor(t, "every place come back", func() bool { running, _ := r.limit.InFlight(); return running == 0 })
}
