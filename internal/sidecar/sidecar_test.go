package sidecar

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// replica is a container with its sidecar.
type replica struct {
	*Sidecar
	url  string
	stop context.CancelFunc
	done chan error
}

// start runs a sidecar in front of h, which may be nil: nothing listens.
func start(t *testing.T, cfg Config, h http.Handler) *replica {
	t.Helper()
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Target = target.Addr().(*net.TCPAddr).Port
	if h == nil {
		target.Close()
	} else {
		var p http.Protocols
		p.SetHTTP1(true)
		p.SetUnencryptedHTTP2(true)
		server := &http.Server{Handler: h, Protocols: &p, ReadHeaderTimeout: time.Minute}
		go server.Serve(target)
		t.Cleanup(func() { server.Close() })
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	data, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{Sidecar: s, url: "http://" + data.Addr().String(), stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx, data); close(r.done) }()
	t.Cleanup(func() {
		cancel()
		if err := <-r.done; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
	return r
}

// quick is a Config whose drains take no time.
func quick(concurrency, queue int) Config {
	return Config{MaxConcurrency: concurrency, MaxQueueLength: queue, Least: time.Nanosecond, Quiet: time.Nanosecond}
}

func get(t *testing.T, url string) (status int, reason, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Error(err)
		return 0, "", ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, resp.Header.Get("X-Cortex-Reason"), string(text)
}

func TestNeverMoreThanMaxConcurrency(t *testing.T) {
	t.Parallel()
	const limit, callers = 3, 60
	var now, most atomic.Int64
	r := start(t, quick(limit, callers), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		fmt.Fprint(w, "ok")
	}))
	var all sync.WaitGroup
	for range callers { // each as a gateway of its own: with a connection of its own
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for range 10 {
				resp, err := client.Get(r.url)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("status %d, want 200", resp.StatusCode)
				}
			}
		})
	}
	all.Wait()
	if got := most.Load(); got > limit {
		t.Errorf("%d requests were in the container at once, want at most %d", got, limit)
	}
	// A place comes back when its answer was written, which its reader may see before.
	waitFor(t, "every place come back", func() bool { running, waiting := r.limit.InFlight(); return running+waiting == 0 })
}

// held answers when it is told to.
type held struct {
	inside  chan struct{}
	release chan struct{}
}

func newHeld() *held { return &held{inside: make(chan struct{}, 100), release: make(chan struct{})} }

func (h *held) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.inside <- struct{}{}
	select {
	case <-h.release:
	case <-r.Context().Done():
	}
	fmt.Fprint(w, "late")
}

func TestPastTheLineIsRefused(t *testing.T) {
	t.Parallel()
	h := newHeld()
	r := start(t, quick(1, 1), h)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if status, _, body := get(t, r.url); status != 200 || body != "late" {
				t.Errorf("GET = %d %q, want 200 late", status, body)
			}
		})
	}
	<-h.inside
	waitFor(t, "one that waits", func() bool { _, waiting := r.limit.InFlight(); return waiting == 1 })
	status, reason, body := get(t, r.url)
	if status != 503 || reason != "queue_full" || !strings.Contains(body, "pending request queue full") {
		t.Errorf("a third request = %d, %q, %q; want 503 queue_full", status, reason, body)
	}
	close(h.release)
	all.Wait()
}

func TestContainerThatDoesNotListen(t *testing.T) {
	t.Parallel()
	r := start(t, quick(1, 1), nil)
	for range 3 { // no place is lost by it
		if status, reason, _ := get(t, r.url); status != 503 || reason != "replica_unreachable" {
			t.Errorf("GET = %d %q, want 503 replica_unreachable", status, reason)
		}
	}
	r.cfg.ProbePort = true
	if err := r.Ready(t.Context()); err == nil {
		t.Error("Ready() = nil while nothing listens")
	}
}

// TestTheKubeletHearsAtOnce: a pod becomes ready when its container listens, not when
// it is asked next, and stops being so with the first answer.
func TestTheKubeletHearsAtOnce(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().(*net.TCPAddr)
	s, err := New(Config{Target: address.Port, MaxConcurrency: 1, ProbePort: true})
	if err != nil {
		t.Fatal(err)
	}
	admin := s.Admin(nil)
	ask := func() int {
		w := httptest.NewRecorder()
		admin.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ready", nil))
		return w.Code
	}
	if got := ask(); got != 200 {
		t.Errorf("/ready = %d while the container listens, want 200", got)
	}
	ln.Close()
	for range workload.SidecarUnreadyAfter {
		begun := s.refusals.Load()
		if got := ask(); got != 503 || s.refusals.Load() != begun+1 {
			t.Errorf("/ready = %d and %d refusals, want 503 and one more than %d", got, s.refusals.Load(), begun)
		}
	}
	// The kubelet knows by now.
	answer := make(chan int, 1)
	go func() { answer <- ask() }()
	select {
	case got := <-answer:
		t.Errorf("/ready = %d at once, want it to wait", got)
		return
	case <-time.After(100 * time.Millisecond):
	}
	if ln, err = net.Listen("tcp", address.String()); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if got := <-answer; got != 200 {
		t.Errorf("/ready = %d when the container began to listen, want 200", got)
	}
	ln.Close()
	if got := ask(); got != 503 || s.refusals.Load() != 1 {
		t.Errorf("/ready = %d and %d refusals, want 503 and the first", got, s.refusals.Load())
	}
}

func TestWhatTheGatewaySaysOfTheClientStands(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 2)
	r := start(t, quick(1, 1), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	var h2 http.Protocols
	h2.SetUnencryptedHTTP2(true)
	for name, transport := range map[string]*http.Transport{"HTTP/1": {}, "HTTP/2": {Protocols: &h2}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		req.Header.Set("X-Forwarded-Proto", "https")
		req.Header.Set("X-Forwarded-Host", "api.example.com")
		req.Header.Set("X-Request-Id", "abc")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp.Body.Close()
		got := <-seen
		for field, want := range map[string]string{
			"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "api.example.com", "X-Request-Id": "abc",
		} {
			if v := strings.Join(got.Values(field), "|"); v != want {
				t.Errorf("%s: the container saw %s %q, want %q", name, field, v, want)
			}
		}
		transport.CloseIdleConnections()
	}
}

func TestDrainWaitsForWhatIsInFlight(t *testing.T) {
	t.Parallel()
	h := newHeld()
	r := start(t, quick(2, 2), h)
	var all sync.WaitGroup
	all.Go(func() { get(t, r.url) })
	<-h.inside
	drained := make(chan error, 2)
	for range 2 { // two containers of the pod ask
		go func() { drained <- r.Drain(context.Background()) }()
	}
	waitFor(t, "that the replica is not ready", func() bool { return r.Ready(t.Context()) != nil })
	all.Go(func() { // a gateway that has not heard of it yet
		if status, _, _ := get(t, r.url); status != 200 {
			t.Errorf("a request during the drain = %d, want 200", status)
		}
	})
	<-h.inside
	select {
	case err := <-drained:
		t.Fatalf("Drain() = %v with requests in flight", err)
	default:
	}
	close(h.release)
	all.Wait()
	for range 2 {
		if err := <-drained; err != nil {
			t.Errorf("Drain() = %v, want nil", err)
		}
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Errorf("Ready() = %v after the drain of a pod that stays, want nil", err)
	}
}

func TestEndOfRunAnswersWhatWasAccepted(t *testing.T) {
	t.Parallel()
	h := newHeld()
	r := start(t, quick(1, 1), h)
	var all sync.WaitGroup
	all.Go(func() {
		if status, _, body := get(t, r.url); status != 200 || body != "late" {
			t.Errorf("GET = %d %q, want 200 late", status, body)
		}
	})
	<-h.inside
	r.stop()
	waitFor(t, "the drain", r.isDraining)
	close(h.release)
	all.Wait()
}

func TestDrainEndsWithTheGrace(t *testing.T) {
	t.Parallel()
	h := newHeld()
	cfg := quick(1, 1)
	cfg.Grace = 50 * time.Millisecond
	r := start(t, cfg, h)
	var all sync.WaitGroup
	all.Go(func() { get(t, r.url) })
	<-h.inside
	if err := r.Drain(t.Context()); err == nil || !strings.Contains(err.Error(), "1 requests are in flight") {
		t.Errorf("Drain() = %v, want what is left", err)
	}
	close(h.release)
	all.Wait()
}

// A request that is longer than the grace is broken by us: whoever sent it is not told
// that the server is to blame.
func TestWhatTheGraceCutsSaysSo(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		grace time.Duration
		want  string
	}{
		{"in the grace", time.Minute, "upstream_closed"},
		{"past the grace", 20 * time.Millisecond, "grace_period_over"},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(tt.name+" "+proto, func(t *testing.T) {
				t.Parallel()
				inside, ends := make(chan struct{}, 1), make(chan struct{})
				cfg := quick(1, 1)
				cfg.Grace = tt.grace
				r := start(t, cfg, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
					inside <- struct{}{}
					<-ends
					panic(http.ErrAbortHandler) // as a server does that is told to end
				}))
				client := http.DefaultClient
				if proto == "HTTP/2" {
					var p http.Protocols
					p.SetUnencryptedHTTP2(true)
					client = &http.Client{Transport: &http.Transport{Protocols: &p}}
				}
				said := make(chan string, 1)
				go func() {
					resp, err := client.Get(r.url)
					if err != nil {
						said <- err.Error()
						return
					}
					resp.Body.Close()
					said <- fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Cortex-Reason"))
				}()
				<-inside
				drained := make(chan error, 1)
				go func() { drained <- r.Drain(context.Background()) }()
				if tt.grace < time.Minute {
					if err := <-drained; err == nil {
						t.Error("Drain() = nil with a request in flight")
					}
				}
				close(ends)
				if got := <-said; got != "502 "+tt.want {
					t.Errorf("the request was answered with %s, want 502 %s", got, tt.want)
				}
			})
		}
	}
}

func TestOnlyThisPodMayDrain(t *testing.T) {
	t.Parallel()
	r := start(t, quick(1, 1), newHeld())
	for addr, want := range map[string]int{"10.88.0.7:4242": 403, "[::1]:1": 200, "127.0.0.1:9": 200, "nonsense": 403} {
		req := httptest.NewRequest(http.MethodPost, "/drain", nil)
		req.RemoteAddr = addr
		w := httptest.NewRecorder()
		r.Admin(nil).ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("POST /drain from %s = %d, want %d", addr, w.Code, want)
		}
	}
}

func TestBodiesAreStreamed(t *testing.T) {
	t.Parallel()
	r := start(t, quick(1, 1), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	}))
	const size = 64 << 20
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("the echo had %d bytes, %v; want %d", n, err, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWaitDrainsThenRunsTheHook(t *testing.T) {
	t.Parallel()
	r := start(t, quick(1, 1), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	var order []string
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		order = append(order, req.Method+" "+req.URL.Path)
		r.Admin(nil).ServeHTTP(w, req)
	}))
	defer admin.Close()
	address := strings.TrimPrefix(admin.URL, "http://")
	_, port, _ := net.SplitHostPort(address)

	if err := Wait(t.Context(), address, Hook{Get: port + "/stop/now?x=1"}, io.Discard); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("Wait with a hook that answers 404 = %v, want to hear of it", err)
	}
	if got := strings.Join(order, ", "); got != "POST /drain, GET /stop/now" {
		t.Errorf("asked %s, want the drain and then the hook", got)
	}
	file := filepath.Join(t.TempDir(), "touched")
	if err := Wait(t.Context(), address, Hook{Command: []string{"sh", "-c", "echo bye > " + file}}, io.Discard); err != nil {
		t.Errorf("Wait with a command = %v", err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "bye\n" {
		t.Errorf("the command wrote %q, %v", data, err)
	}
	var said bytes.Buffer
	if err := Wait(t.Context(), "127.0.0.1:1", Hook{}, &said); err != nil || !strings.Contains(said.String(), "without a drain") {
		t.Errorf("Wait without a sidecar = %v, said %q; want nil and to hear of it", err, said.String())
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	env := map[string]string{"CORTEX_TARGET_PORT": "8080", "CORTEX_MAX_CONCURRENCY": "7", "CORTEX_MAX_QUEUE_LENGTH": "9", "CORTEX_PROBE_PORT": "true", "CORTEX_GRACE": "30",
		"CORTEX_TRACE_ENDPOINT": "http://collector:4318", "CORTEX_TRACE_RATIO": "0.5", "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=iris-1"}
	s, err := read(func(name string) string { return env[name] })
	if err != nil || s.Target != 8080 || s.MaxConcurrency != 7 || s.MaxQueueLength != 9 || !s.ProbePort || s.Grace != 30*time.Second || s.listen != ":8888" || s.admin != ":15000" {
		t.Errorf("read() = %+v, %v", s, err)
	}
	if c := s.traces; c.Endpoint != "http://collector:4318" || c.Ratio != 0.5 || len(c.Resource) != 1 || c.Service != "cortex-sidecar" {
		t.Errorf("read() has the traces %+v", c)
	}
	_, err = read(func(name string) string {
		return map[string]string{"CORTEX_GRACE": "soon", "CORTEX_MAX_CONCURRENCY": "-1",
			"CORTEX_TRACE_ENDPOINT": "collector:4317", "CORTEX_TRACE_RATIO": "most", "OTEL_RESOURCE_ATTRIBUTES": "a"}[name]
	})
	for _, want := range []string{"CORTEX_TARGET_PORT is not set", `CORTEX_GRACE is "soon"`, `CORTEX_MAX_CONCURRENCY is "-1"`,
		"CORTEX_TRACE_ENDPOINT: ", `CORTEX_TRACE_RATIO is "most"`, "OTEL_RESOURCE_ATTRIBUTES: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("read() = %v, want all problems, %q among them", err, want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"run", "wait --http-get", "wait --", "wait now", "--verbose"} {
		var said bytes.Buffer
		if code := Main(t.Context(), strings.Fields(args), io.Discard, &said, os.Getenv, ""); code != usage || !strings.Contains(said.String(), "usage:") {
			t.Errorf("cortex-sidecar %s = %d, said %q; want 2 and the usage", args, code, said.String())
		}
	}
}

// patience is how long anything may take; nothing that works comes near it.
const patience = 30 * time.Second

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("never saw " + what)
		case <-tick.C:
		}
	}
}

func TestLeaveProgram(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "bin")
	if err := leaveProgram(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "cortex-sidecar"))
	if err != nil || info.Mode().Perm() != 0o755 || info.Size() == 0 {
		t.Errorf("the program is %v, %v; want one that everybody may run", info, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %s files, %v; want the program alone", strconv.Itoa(len(entries)), err)
	}
}
