package proxyspan_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/gateway"
	"cortex.dev/cortex/internal/sidecar"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/tracing/tracingtest"
	"cortex.dev/cortex/internal/workload"
)

const (
	traceOf   = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerOf  = "00f067aa0ba902b7"
	parentOn  = "00-" + traceOf + "-" + callerOf + "-01"
	parentOff = "00-" + traceOf + "-" + callerOf + "-00"
)

// feed is a watch that tells what it is sent.
type feed[T any] chan T

func (f feed[T]) Watch(ctx context.Context, fn func(T)) error {
	for {
		select {
		case v := <-f:
			fn(v)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rig is a gateway before a sidecar before a container, which both send traces.
type rig struct {
	*tracingtest.Collector
	t        *testing.T
	url      string
	replicas feed[engine.Status]
	sidecar  string // its address
	got      atomic.Pointer[http.Header]
	woken    chan struct{} // something is held
	flush    func()        // ends gateway and sidecar
}

func run(t *testing.T, name string, fn func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- fn(ctx); close(ended) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil && err != context.Canceled { //nolint:errorlint // it is returned as it is
			t.Errorf("%s ended with %v, want nil", name, err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// start runs the rig with iris at /iris and a splitter at /split, without a replica.
func start(t *testing.T, ratio float64, h http.HandlerFunc) *rig {
	t.Helper()
	r := &rig{Collector: tracingtest.New(t), t: t, replicas: make(feed[engine.Status]), woken: make(chan struct{}, 1)}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	container := &http.Server{Protocols: &protocols, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		r.got.Store(&in.Header)
		h(w, in)
	})}
	target := listen(t)
	go container.Serve(target)
	t.Cleanup(func() { container.Close() })

	tracer := func(service string) (*tracing.Tracer, func()) {
		tr, err := tracing.New(tracing.Config{Endpoint: r.URL, Ratio: ratio, Service: service})
		if err != nil {
			t.Fatal(err)
		}
		return tr, run(t, service+"'s traces", tr.Run)
	}
	back, endBack := tracer("cortex-sidecar")
	s, err := sidecar.New(sidecar.Config{Target: target.Addr().(*net.TCPAddr).Port, MaxConcurrency: 1, MaxQueueLength: 5, CancelWhenGone: true, Least: time.Nanosecond, Quiet: time.Nanosecond, Tracer: back})
	if err != nil {
		t.Fatal(err)
	}
	data := listen(t)
	r.sidecar = data.Addr().String()
	endSidecar := run(t, "sidecar", func(ctx context.Context) error { return s.Run(ctx, data) })

	front, endFront := tracer("cortex-gateway")
	routes := make(feed[store.Change])
	wake := func(context.Context, string) error {
		select {
		case r.woken <- struct{}{}:
		default: // once is enough
		}
		return nil
	}
	g, err := gateway.New(gateway.Config{Store: routes, Engine: r.replicas, Wake: wake, Tracer: front, Sidecars: true, DrainTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	r.url = "http://" + ln.Addr().String()
	endGateway := run(t, "gateway", g.Run)
	endServe := run(t, "listener", func(ctx context.Context) error { return g.Serve(ctx, ln) })
	for _, spec := range []workload.Spec{
		{Name: "iris", Kind: workload.Realtime, Networking: &workload.Networking{Endpoint: "/iris"}, Pod: &workload.Pod{MaxConcurrency: 2, MaxQueueLength: 0, OnClientGone: workload.Cancel}},
		{Name: "split", Kind: workload.Splitter, Networking: &workload.Networking{Endpoint: "/split"}, APIs: []workload.Target{{Name: "iris", Weight: 100}}},
		{Name: "ahead", Kind: workload.Splitter, Networking: &workload.Networking{Endpoint: "/ahead"}, APIs: []workload.Target{{Name: "later", Weight: 100}}},
	} {
		routes <- store.Change{Name: spec.Name, Workload: &store.Workload{Revision: &workload.Revision{Spec: spec, ID: spec.Name + "-1"}, Version: 1}}
	}
	routes <- store.Change{}
	r.flush = func() { endServe(); endGateway(); endFront(); endSidecar(); endBack() }
	return r
}

// ready makes replicas at these addresses run.
func (r *rig) ready(addresses ...string) {
	s := engine.Status{Name: "iris", Desired: len(addresses)}
	for i, addr := range addresses {
		s.Replicas = append(s.Replicas, engine.Replica{MaxConcurrency: 2, Replica: workload.Replica{
			ID: fmt.Sprint("replica-", i), APIID: "iris-1", State: workload.Ready, UpToDate: true, Address: addr}})
	}
	r.replicas <- s
}

func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			r.t.Fatal("waited in vain for " + what)
		case <-tick.C:
		}
	}
}

func (r *rig) request(ctx context.Context, method, path, traceparent string, body io.Reader) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	if traceparent != "" {
		req.Header.Set("Traceparent", traceparent)
	}
	return req
}

// do sends a request on a connection of its own and reads the answer.
func (r *rig) do(rt http.RoundTripper, req *http.Request) (status int, body string) {
	r.t.Helper()
	resp, err := rt.RoundTrip(req)
	if err != nil {
		r.t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Error(err)
	}
	return resp.StatusCode, string(text)
}

func transport(http2 bool) *http.Transport {
	var p http.Protocols
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	return &http.Transport{Protocols: &p, DisableKeepAlives: true}
}

// trace is the spans of one request.
type trace struct {
	server, client, sidecar *tracingtest.Span // nil: there is none
}

// trace flushes and returns the one trace there is.
func (r *rig) trace() trace {
	r.t.Helper()
	r.flush()
	var s trace
	for _, span := range r.Spans() {
		to := map[string]**tracingtest.Span{"cortex-gateway SERVER": &s.server, "cortex-gateway CLIENT": &s.client, "cortex-sidecar SERVER": &s.sidecar}[span.Service+" "+span.Kind]
		if to == nil || *to != nil {
			r.t.Fatalf("an unexpected span, or a second one: %+v", span)
		}
		*to = &span
	}
	return s
}

// tree checks that each span is the child of the one before, and that the container
// got the last one as its parent.
func (r *rig) tree(s trace) {
	r.t.Helper()
	if s.server == nil || s.client == nil || s.sidecar == nil {
		r.t.Fatalf("the spans are %+v, want a gateway's two and a sidecar's", s)
	}
	if s.server.Parent != callerOf || !s.server.Remote || s.client.Parent != s.server.ID || s.client.Remote || s.sidecar.Parent != s.client.ID || !s.sidecar.Remote {
		r.t.Errorf("the spans are\n%+v\n%+v\n%+v\nwant a chain below %s", s.server, s.client, s.sidecar, callerOf)
	}
	for _, span := range []*tracingtest.Span{s.server, s.client, s.sidecar} {
		if span.Trace != traceOf {
			r.t.Errorf("a span of the trace %s, want %s", span.Trace, traceOf)
		}
	}
	if got, want := r.got.Load().Get("Traceparent"), "00-"+traceOf+"-"+s.sidecar.ID+"-01"; got != want {
		r.t.Errorf("the container got the traceparent %q, want %q", got, want)
	}
}

// wantAttributes checks some attributes; "*" is any value.
func wantAttributes(t *testing.T, what string, span *tracingtest.Span, want map[string]string) {
	t.Helper()
	if span == nil {
		t.Fatalf("there is no span of the %s", what)
	}
	for key, value := range want {
		if got, ok := span.Attributes[key]; !ok || value != "*" && got != value {
			t.Errorf("%s: %s = %q, want %q (all: %v)", what, key, got, value, span.Attributes)
		}
	}
}

func TestOneRequest(t *testing.T) {
	t.Parallel()
	r := start(t, 0, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "answer") })
	r.ready(r.sidecar)
	req := r.request(t.Context(), "POST", "/iris/predict?secret=1", parentOn, strings.NewReader("{}"))
	req.Header.Set("X-Request-Id", "me")
	if status, body := r.do(transport(false), req); status != 200 || body != "answer" {
		t.Errorf("POST = %d %q, want 200 answer", status, body)
	}
	s := r.trace()
	r.tree(s)
	wantAttributes(t, "gateway", s.server, map[string]string{
		"http.request.method": "POST", "http.route": "/iris", "url.path": "/iris/predict", "url.scheme": "http", "network.protocol.version": "1.1",
		"http.response.status_code": "200", "cortex.request_id": "me", "cortex.api.name": "iris", "cortex.api.kind": "RealtimeAPI",
		"cortex.replica": "replica-0", "cortex.revision": "iris-1",
	})
	wantAttributes(t, "way to the replica", s.client, map[string]string{"http.response.status_code": "200", "cortex.replica": "replica-0", "cortex.first_byte.seconds": "*"})
	wantAttributes(t, "sidecar", s.sidecar, map[string]string{
		"url.path": "/predict", "http.response.status_code": "200", "cortex.request_id": "me", "cortex.upstream.seconds": "*", "cortex.first_byte.seconds": "*",
	})
	if s.server.Name != "POST /iris" || s.client.Name != "POST /iris" || s.sidecar.Name != "POST" || s.server.Failed {
		t.Errorf("the spans are called %q, %q, %q, failed: %v", s.server.Name, s.client.Name, s.sidecar.Name, s.server.Failed)
	}
	for _, span := range r.Spans() {
		for key, value := range span.Attributes {
			if strings.Contains(value, "secret") {
				t.Errorf("%s = %q: a query is recorded", key, value)
			}
		}
	}
}

func TestProtocols(t *testing.T) {
	t.Parallel()
	answer := func(w http.ResponseWriter, in *http.Request) {
		if in.Header.Get("Upgrade") != "" {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			line, _ := rw.ReadString('\n')
			fmt.Fprint(c, line)
			return
		}
		w.Header().Set("Trailer", "Grpc-Status")
		for range 3 { // in pieces
			fmt.Fprint(w, "piece ")
			w.(http.Flusher).Flush()
		}
		w.Header().Set("Grpc-Status", "14")
	}
	upgrade := func(t *testing.T, r *rig) {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /iris/ HTTP/1.1\r\nHost: a\r\nTraceparent: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n", parentOn)
		in := bufio.NewReader(c)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("the upgrade = %v, %v; want 101", resp, err)
		}
		if line, err := in.ReadString('\n'); err != nil || line != "hello\n" {
			t.Errorf("echo %q, %v; want hello", line, err)
		}
	}
	send := func(http2 bool, kind string) func(*testing.T, *rig) {
		return func(t *testing.T, r *rig) {
			req := r.request(t.Context(), "POST", "/iris/pkg.Service/Method", parentOn, strings.NewReader("hello"))
			req.Header.Set("Content-Type", kind)
			if status, body := r.do(transport(http2), req); status != 200 || body != "piece piece piece " {
				t.Errorf("POST = %d %q", status, body)
			}
		}
	}
	for name, tt := range map[string]struct {
		send    func(*testing.T, *rig)
		version string
		want    map[string]string
		failed  bool
	}{
		"streamed":  {send(false, "text/plain"), "1.1", map[string]string{"http.response.status_code": "200"}, false},
		"websocket": {upgrade, "1.1", map[string]string{"http.response.status_code": "101"}, false},
		"HTTP/2":    {send(true, "text/plain"), "2", map[string]string{"http.response.status_code": "200"}, false},
		"gRPC":      {send(true, "application/grpc"), "2", map[string]string{"http.response.status_code": "200", "rpc.system": "grpc", "rpc.grpc.status_code": "14", "error.type": "14"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, 0, answer)
			r.ready(r.sidecar)
			tt.send(t, r)
			s := r.trace()
			r.tree(s)
			for what, span := range map[string]*tracingtest.Span{"gateway": s.server, "client": s.client, "sidecar": s.sidecar} {
				wantAttributes(t, what, span, tt.want)
				if span.Failed != tt.failed {
					t.Errorf("%s: failed is %v, want %v: %v", what, span.Failed, tt.failed, span.Attributes)
				}
			}
			wantAttributes(t, "gateway", s.server, map[string]string{"network.protocol.version": tt.version, "cortex.api.name": "iris"})
		})
	}
}

// TestOutcomes: how a request ended is in its spans, by both protocols.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	answers := func(w http.ResponseWriter, in *http.Request) {
		code, err := strconv.Atoi(strings.Trim(in.URL.Path, "/"))
		if err != nil {
			panic(http.ErrAbortHandler) // the connection breaks off
		}
		w.WriteHeader(code)
	}
	for _, tt := range []struct {
		name, path             string
		status                 int
		attributes             map[string]string
		server, client, behind bool // whether it failed
		message                string
		alone                  bool // nothing was sent on
	}{
		{name: "ok", path: "/iris/204", status: 204, attributes: map[string]string{"http.response.status_code": "204"}},
		{name: "by a splitter", path: "/split/200", status: 200, attributes: map[string]string{"http.route": "/split", "cortex.splitter": "split", "cortex.api.name": "iris"}},
		{name: "the caller's fault", path: "/iris/404", status: 404, attributes: map[string]string{"http.response.status_code": "404"}, client: true},
		{name: "the container's fault", path: "/iris/500", status: 500, attributes: map[string]string{"error.type": "500"}, server: true, client: true, behind: true},
		{name: "no answer", path: "/iris/x", status: 502, server: true, client: true, behind: true, message: "upstream_closed",
			attributes: map[string]string{"http.response.status_code": "502", "error.type": "upstream_closed", "cortex.reason": "upstream_closed"}},
		{name: "no API", path: "/nobody", status: 404, alone: true,
			attributes: map[string]string{"http.response.status_code": "404", "cortex.reason": "endpoint_not_found"}},
		{name: "an API that is not deployed yet", path: "/ahead", status: 503, alone: true, server: true, message: "target_not_deployed",
			attributes: map[string]string{"http.route": "/ahead", "cortex.splitter": "ahead", "cortex.api.name": "later", "cortex.reason": "target_not_deployed"}},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", tt.name, http2), func(t *testing.T) {
				t.Parallel()
				r := start(t, 0, answers)
				r.ready(r.sidecar)
				if status, _ := r.do(transport(http2), r.request(t.Context(), "POST", tt.path, parentOn, http.NoBody)); status != tt.status {
					t.Errorf("POST %s = %d, want %d", tt.path, status, tt.status)
				}
				s := r.trace()
				wantAttributes(t, "gateway", s.server, tt.attributes)
				if s.server.Failed != tt.server || s.server.Message != tt.message {
					t.Errorf("the gateway's span failed: %v %q, want %v %q", s.server.Failed, s.server.Message, tt.server, tt.message)
				}
				if tt.alone {
					if s.client != nil || s.sidecar != nil {
						t.Errorf("a request that was refused has the spans %+v, %+v", s.client, s.sidecar)
					}
					return
				}
				if s.client.Failed != tt.client || s.sidecar.Failed != tt.behind {
					t.Errorf("client failed: %v, want %v; sidecar: %v, want %v", s.client.Failed, tt.client, s.sidecar.Failed, tt.behind)
				}
			})
		}
	}
}

// TestWaits: a request that is held says so, and for how long; one past the bound
// says why it was refused.
func TestWaits(t *testing.T) {
	t.Parallel()
	r := start(t, 0, func(http.ResponseWriter, *http.Request) {})
	statuses := make(chan int, 3)
	for range cap(statuses) { // one more than may be held
		go func() {
			status, _ := r.do(transport(false), r.request(t.Context(), "GET", "/iris/", parentOn, nil))
			statuses <- status
		}()
	}
	if status := <-statuses; status != 503 {
		t.Errorf("one request too many = %d, want 503", status)
	}
	r.ready(r.sidecar)
	for range cap(statuses) - 1 {
		if status := <-statuses; status != 200 {
			t.Errorf("a held request = %d, want 200", status)
		}
	}
	r.flush()
	held, full := 0, 0
	for _, s := range r.Spans() {
		switch {
		case s.Service != "cortex-gateway" || s.Kind != "SERVER":
		case s.Attributes["cortex.wait"] == "cold_start" && s.Attributes["http.response.status_code"] == "200" && !s.Failed:
			held++
		case s.Attributes["cortex.reason"] == "queue_full" && s.Attributes["error.type"] == "queue_full" && s.Attributes["http.response.status_code"] == "503" && s.Failed && s.Message == "queue_full":
			full++
		}
	}
	if held != 2 || full != 1 {
		t.Errorf("%d spans say that they were held and %d that the queue was full, want 2 and 1: %+v", held, full, r.Spans())
	}
}

func TestColdStartAndDeadReplica(t *testing.T) {
	t.Parallel()
	r := start(t, 0, func(http.ResponseWriter, *http.Request) {})
	dead := listen(t)
	nobody := dead.Addr().String()
	dead.Close()
	done := make(chan int, 1)
	go func() {
		status, _ := r.do(transport(false), r.request(t.Context(), "GET", "/iris/", parentOn, nil))
		done <- status
	}()
	<-r.woken
	held := time.Now()
	select {
	case status := <-done:
		t.Fatalf("without a replica the request = %d, want it to be held", status)
	case <-time.After(50 * time.Millisecond): // so that there is something to measure
	}
	least := time.Since(held)
	r.ready(nobody) // which is tried first
	time.AfterFunc(20*time.Millisecond, func() { r.ready(nobody, r.sidecar) })
	if status := <-done; status != 200 {
		t.Errorf("the held request = %d, want 200", status)
	}
	s := r.trace()
	r.tree(s)
	wantAttributes(t, "gateway", s.server, map[string]string{"cortex.wait": "*", "cortex.wait.seconds": "*", "cortex.replica": "replica-1"})
	if waited, err := strconv.ParseFloat(s.server.Attributes["cortex.wait.seconds"], 64); err != nil || waited < least.Seconds() {
		t.Errorf("it waited %v s, %v; want what it was held", waited, err)
	}
	if s.client.Began.Sub(s.server.Began) < least {
		t.Errorf("the way to the replica began %s after the request, want after the wait", s.client.Began.Sub(s.server.Began))
	}
	events := strings.Join(s.server.Events, " ")
	if !strings.HasPrefix(events, "cortex.waiting cortex.placed cortex.replica_unreachable") {
		t.Errorf("the events are %s, want a wait and an unreachable replica", events)
	}
}

// A sidecar that says that its container takes no connection: by each protocol the
// gateway asks another one.
func TestASidecarWithoutContainer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		http2 bool
		kind  string
	}{"HTTP/1.1": {false, "text/plain"}, "HTTP/2": {true, "text/plain"}, "gRPC": {true, "application/grpc"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, 0, func(w http.ResponseWriter, in *http.Request) { _, _ = io.Copy(w, in.Body) })
			dead := listen(t)
			dead.Close()
			s, err := sidecar.New(sidecar.Config{Target: dead.Addr().(*net.TCPAddr).Port, MaxConcurrency: 1, Least: time.Nanosecond, Quiet: time.Nanosecond})
			if err != nil {
				t.Fatal(err)
			}
			data := listen(t)
			run(t, "sidecar without container", func(ctx context.Context) error { return s.Run(ctx, data) })
			r.ready(data.Addr().String(), r.sidecar) // the first is tried first
			req := r.request(t.Context(), "POST", "/iris/pkg.Service/Method", parentOn, strings.NewReader("hello"))
			req.Header.Set("Content-Type", tt.kind)
			if status, body := r.do(transport(tt.http2), req); status != 200 || body != "hello" {
				t.Errorf("POST = %d %q, want the other replica's answer", status, body)
			}
			got := r.trace()
			r.tree(got)
			wantAttributes(t, "gateway", got.server, map[string]string{"cortex.replica": "replica-1", "http.response.status_code": "200"})
			if events := strings.Join(got.server.Events, " "); events != "cortex.replica_unreachable" || got.server.Name != "POST /iris" {
				t.Errorf("%s has the events %q, want POST /iris with an unreachable replica", got.server.Name, events)
			}
		})
	}
}

func TestQueueOfTheSidecar(t *testing.T) {
	t.Parallel()
	inside, release := make(chan struct{}, 2), make(chan struct{})
	r := start(t, 0, func(http.ResponseWriter, *http.Request) { inside <- struct{}{}; <-release })
	r.ready(r.sidecar)
	done := make(chan int, 2)
	send := func(traceparent string) {
		status, _ := r.do(transport(false), r.request(t.Context(), "GET", "/iris/", traceparent, nil))
		done <- status
	}
	go send(parentOff)
	<-inside
	go send(parentOn) // which the gateway lets pass, and the sidecar has wait
	select {
	case <-inside:
		t.Fatal("two requests are in the container, want one")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if a, b := <-done, <-done; a != 200 || b != 200 {
		t.Errorf("the requests = %d, %d; want 200", a, b)
	}
	s := r.trace()
	wantAttributes(t, "sidecar", s.sidecar, map[string]string{"cortex.wait": "queue", "cortex.wait.seconds": "*", "cortex.upstream.seconds": "*"})
	if _, waits := s.server.Attributes["cortex.wait"]; waits {
		t.Errorf("the gateway's span says that it waited there: %v", s.server.Attributes)
	}
}

func TestACallerThatLeaves(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", http2), func(t *testing.T) {
			t.Parallel()
			inside := make(chan struct{})
			r := start(t, 0, func(_ http.ResponseWriter, in *http.Request) { close(inside); <-in.Context().Done() })
			r.ready(r.sidecar)
			ctx, leave := context.WithCancel(t.Context())
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				if resp, err := transport(http2).RoundTrip(r.request(ctx, "GET", "/iris/", parentOn, nil)); err == nil {
					resp.Body.Close()
				}
			}()
			<-inside
			leave()
			<-gone
			// Nobody waits for a handler whose connection is gone, so it may end after all else.
			r.until("the spans", func() bool { return len(r.Spans()) == 3 })
			s := r.trace()
			r.tree(s)
			for what, span := range map[string]*tracingtest.Span{"gateway": s.server, "client": s.client, "sidecar": s.sidecar} {
				wantAttributes(t, what, span, map[string]string{"cortex.reason": "client_gone"})
				if span.Failed {
					t.Errorf("%s: its span failed, want not: %v", what, span.Attributes)
				}
			}
		})
	}
}

// TestWhatIsNotRecorded: it leaves no span, and the container hears that it is not.
func TestWhatIsNotRecorded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, traceparent string
		http2             bool
		want              func(got string) bool
	}{
		{"the caller says no", parentOff, false, func(got string) bool { return got == parentOff }},
		{"the caller says no, HTTP/2", parentOff, true, func(got string) bool { return got == parentOff }},
		{"of the ratio", "", false, func(got string) bool { return len(got) == 55 && strings.HasSuffix(got, "-00") }},
		{"of the ratio, HTTP/2", "", true, func(got string) bool { return len(got) == 55 && strings.HasSuffix(got, "-00") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, 0, func(http.ResponseWriter, *http.Request) {})
			r.ready(r.sidecar)
			req := r.request(t.Context(), "GET", "/iris/", tt.traceparent, nil)
			if tt.traceparent == "" {
				req.Header.Set("Tracestate", "of=nothing")
			}
			if status, _ := r.do(transport(tt.http2), req); status != 200 {
				t.Errorf("GET = %d, want 200", status)
			}
			if got := r.got.Load().Get("Traceparent"); !tt.want(got) {
				t.Errorf("the container got the traceparent %q", got)
			}
			if got := r.got.Load().Get("Tracestate"); got != "" {
				t.Errorf("the container got the tracestate %q of no trace", got)
			}
			r.flush()
			if n := len(r.Spans()); n != 0 {
				t.Errorf("%d spans were recorded, want none", n)
			}
		})
	}
}

// TestATraceThatBeginsHere has the request's id as its own, so that one word finds
// logs and spans.
func TestATraceThatBeginsHere(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", http2), func(t *testing.T) {
			t.Parallel()
			r := start(t, 1, func(http.ResponseWriter, *http.Request) {})
			r.ready(r.sidecar)
			resp, err := transport(http2).RoundTrip(r.request(t.Context(), "BREW", "/iris/", "", nil))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			s := r.trace()
			if s.server.Parent != "" || s.server.Remote || s.server.Trace != resp.Header.Get("X-Request-Id") || s.sidecar.Trace != s.server.Trace {
				t.Errorf("the spans are %+v, %+v; want a trace %s that begins there", s.server, s.sidecar, resp.Header.Get("X-Request-Id"))
			}
			wantAttributes(t, "gateway", s.server, map[string]string{"http.request.method": "_OTHER", "http.request.method_original": "BREW"})
			if s.server.Name != "HTTP /iris" {
				t.Errorf("the span of a made-up method is called %q, want HTTP /iris", s.server.Name)
			}
		})
	}
}

// TestAnAnswerThatBreaksOff is no whole one, whatever its status said.
func TestAnAnswerThatBreaksOff(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %v", http2), func(t *testing.T) {
			t.Parallel()
			r := start(t, 0, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				fmt.Fprint(w, "some of it")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			})
			r.ready(r.sidecar)
			resp, err := transport(http2).RoundTrip(r.request(t.Context(), "GET", "/iris/", parentOn, nil))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil {
				t.Error("the answer is whole, want it to break off")
			}
			s := r.trace()
			r.tree(s)
			for what, span := range map[string]*tracingtest.Span{"gateway": s.server, "client": s.client, "sidecar": s.sidecar} {
				wantAttributes(t, what, span, map[string]string{"error.type": "upstream_closed"})
				if !span.Failed {
					t.Errorf("%s: its span did not fail: %v", what, span.Attributes)
				}
			}
		})
	}
}
