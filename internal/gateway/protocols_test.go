package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

func TestWebSocketPassesThrough(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.serveAt("ws", pod{1, 1}, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c, err := websocket.Accept(w, req, nil)
		if err != nil {
			t.Errorf("Accept: %v", err)
			return
		}
		defer c.CloseNow()
		for {
			kind, msg, err := c.Read(req.Context())
			if err != nil {
				return
			}
			if err := c.Write(req.Context(), kind, bytes.ToUpper(msg)); err != nil {
				return
			}
		}
	}))
	c, _, err := websocket.Dial(t.Context(), "ws://"+r.addr+"/ws/chat", nil)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	defer c.CloseNow()
	for _, word := range []string{"hello", strings.Repeat("x", 30_000)} {
		if err := c.Write(t.Context(), websocket.MessageText, []byte(word)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(t.Context()); err != nil || string(got) != strings.ToUpper(word) {
			t.Errorf("echo %.20q, %v; want %.20q", got, err, strings.ToUpper(word))
		}
	}
	if running := r.work("ws").pool.Load().Running; running != 1 {
		t.Errorf("%d in flight while the socket is open, want 1", running)
	}
	c.Close(websocket.StatusNormalClosure, "")
	r.until(func() bool { return r.work("ws").pool.Load().Running == 0 }, "the place to be given back")
}

// raw carries messages as they are, so that no code has to be generated.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "raw" }

// grpcServer answers any method: it echoes each message in capitals, tells the
// method in a header and the number of messages in a trailer, and fails methods
// called Fail.
func grpcServer(t *testing.T) string {
	t.Helper()
	s := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		if err := stream.SetHeader(metadata.Pairs("method", method)); err != nil {
			return err
		}
		n := 0
		defer func() { stream.SetTrailer(metadata.Pairs("messages", fmt.Sprint(n))) }()
		if strings.HasSuffix(method, "/Fail") {
			return status.Error(codes.FailedPrecondition, "as asked")
		}
		for {
			var msg []byte
			if err := stream.RecvMsg(&msg); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
			n++
			msg = bytes.ToUpper(msg)
			if err := stream.SendMsg(&msg); err != nil {
				return err
			}
		}
	}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(ln)
	t.Cleanup(s.Stop)
	return ln.Addr().String()
}

func (r *rig) grpc() *grpc.ClientConn {
	r.t.Helper()
	c, err := grpc.NewClient("passthrough:///"+r.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

func TestGRPCPassesThrough(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{10, 10}
	addr := grpcServer(t)
	for name, endpoint := range map[string]string{"model": "/model", "greeter": "/hello.Greeter"} {
		r.deploy(realtime(name, endpoint, p), 1)
		r.run(name, ready(name+"-a", addr, p))
	}
	c := r.grpc()
	for called, want := range map[string]string{
		"/model/pkg.Service/Say": "/pkg.Service/Say",   // under an endpoint
		"/hello.Greeter/Say":     "/hello.Greeter/Say", // the endpoint is the service
	} {
		var header, trailer metadata.MD
		in, out := []byte("hello"), []byte(nil)
		if err := c.Invoke(t.Context(), called, &in, &out, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil || string(out) != "HELLO" {
			t.Errorf("%s = %q, %v; want HELLO", called, out, err)
		}
		if got := header.Get("method"); len(got) != 1 || got[0] != want {
			t.Errorf("%s reached the server as %v, want %s", called, got, want)
		}
		if got := trailer.Get("messages"); len(got) != 1 || got[0] != "1" {
			t.Errorf("trailer %v, want 1 message", got)
		}
	}

	stream, err := c.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/model/pkg.Service/Chat")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"one", "two", "three"} { // each answer before the next message
		in, out := []byte(word), []byte(nil)
		if err := stream.SendMsg(&in); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&out); err != nil || string(out) != strings.ToUpper(word) {
			t.Fatalf("stream said %q, %v; want %q", out, err, strings.ToUpper(word))
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var none []byte
	if err := stream.RecvMsg(&none); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	if got := stream.Trailer().Get("messages"); len(got) != 1 || got[0] != "3" {
		t.Errorf("trailer %v, want 3 messages", got)
	}

	in, out := []byte("x"), []byte(nil)
	if err := c.Invoke(t.Context(), "/model/pkg.Service/Fail", &in, &out); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("Fail = %v, want the server's own error", err)
	}
	if err := c.Invoke(t.Context(), "/nobody/pkg.Service/Say", &in, &out); status.Code(err) != codes.Unimplemented {
		t.Errorf("an unknown endpoint = %v, want Unimplemented", err)
	}
	r.until(func() bool { return r.work("model").pool.Load().Running == 0 }, "every place to be given back")
}

// A call that fails before its first message ends with its head, which must stay one:
// clients take a head and nothing after it for a call that broke off.
func TestGRPCFailsWithItsStatus(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.serveGRPC("model", func(grpc.ServerStream) error { return status.Error(codes.NotFound, "as asked") })
	c := r.grpc()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 { // it is a race
				in, out := []byte("x"), []byte(nil)
				if err := c.Invoke(t.Context(), "/model/pkg.Service/Say", &in, &out); status.Code(err) != codes.NotFound {
					t.Errorf("the call = %v, want NotFound", err)
					return
				}
			}
		})
	}
	all.Wait()
}

// serveGRPC deploys an API with one replica that answers calls of any method with h.
func (r *rig) serveGRPC(name string, h func(grpc.ServerStream) error) {
	r.t.Helper()
	p := pod{10, 10}
	s := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error { return h(stream) }))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	go s.Serve(ln)
	r.t.Cleanup(s.Stop)
	r.deploy(realtime(name, "/"+name, p), 1)
	r.run(name, ready(name+"-a", ln.Addr().String(), p))
}

func TestGRPCIsHeldAndCancelled(t *testing.T) {
	t.Parallel()
	woken := make(chan string, 10)
	r := startRig(t, wakes(woken))
	p := pod{1, 1}
	r.deploy(realtime("model", "/model", p), 0)
	c := r.grpc()
	call := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		go func() {
			in, out := []byte("x"), []byte(nil)
			done <- c.Invoke(ctx, "/model/pkg.Service/Say", &in, &out)
		}()
		return done
	}
	ctx, cancel := context.WithCancel(t.Context())
	first, second := call(t.Context()), call(ctx)
	<-woken
	r.until(func() bool { return r.work("model").pool.Load().Waiting == 2 }, "both to be held")
	if err := <-call(t.Context()); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "pending request queue full") {
		t.Errorf("past the bound = %v, want Unavailable with the reason", err)
	}
	cancel()
	if err := <-second; status.Code(err) != codes.Canceled {
		t.Errorf("cancelled call = %v", err)
	}
	r.until(func() bool { return r.work("model").pool.Load().Waiting == 1 }, "one to leave")
	r.run("model", ready("model-a", grpcServer(t), p))
	if err := <-first; err != nil {
		t.Errorf("held call = %v", err)
	}
}

func TestHTTP2ReachesAnHTTP1Server(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.serveAt("api", pod{10, 10}, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		w.Header().Set("X-Cortex-Origin", "forged")
		fmt.Fprintf(w, "%s %s %s %s %d|%s|%s", req.Proto, req.Method, req.RequestURI, b, len(req.Header.Values("X-Cortex-Internal")),
			req.Header.Get("X-Forwarded-For"), req.Header.Get("X-Request-Id"))
	}))
	r.client = overHTTP2(t)
	a := r.do("POST", "/api/x%2Fy//z?a=%zz;b", strings.NewReader("body"),
		http.Header{"X-Request-Id": {"me"}, "X-Cortex-Internal": {"forged"}, "X-Forwarded-For": {"10.1.1.1"}})
	if want := "HTTP/1.1 POST /x%2Fy//z?a=%zz;b body 0|127.0.0.1|me"; a.status != 200 || a.body != want {
		t.Errorf("POST = %v, want %q", a, want)
	}
	if got := a.header; got.Get("X-Cortex-Origin") != "api" || got.Get("X-Request-Id") != "me" || len(got.Values("X-Cortex-Origin")) != 1 {
		t.Errorf("fields %v", got)
	}
	wantRefusal(t, r.get("/nobody"), 404, "endpoint_not_found", "")
	big := strings.Repeat("x", 3<<20)
	if a := r.do("PUT", "/api", strings.NewReader(big), nil); !strings.Contains(a.body, big) {
		t.Errorf("a large body came back with %d bytes, %v", len(a.body), a.err)
	}
	r.until(func() bool { return r.work("api").pool.Load().Running == 0 }, "every place to be given back")
}

// No proxy of HTTP/2 can make anything of such an answer; the relay refuses it, too.
func TestHTTP2RefusesASwitchOfProtocols(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.serveAt("api", pod{1, 1}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	}))
	r.client = overHTTP2(t)
	for range 3 { // more than may be in flight and wait
		wantRefusal(t, r.get("/api"), 502, "upstream_malformed", "api")
	}
	r.until(func() bool { return r.work("api").pool.Load().Running == 0 }, "every place to be given back")
}

func TestMetricsCountWhatHappened(t *testing.T) {
	t.Parallel()
	reg := telemetry.New("test", "")
	r := startRig(t, func(c *Config) { c.Telemetry = reg; c.Hold.Requests = 1 })
	p := pod{10, 10}
	r.deploy(realtime("api", "/api", p), 0)
	held := make(chan answer, 1)
	go func() { held <- r.get("/api") }()
	r.until(func() bool { return r.work("api").pool.Load().Waiting == 1 }, "one to be held")
	r.get("/api")
	r.get("/nobody")
	page := func() string {
		w := httptest.NewRecorder()
		reg.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return w.Body.String()
	}
	if got := page(); !strings.Contains(got, `cortex_in_flight_requests{api_name="api",hop="gateway",state="waiting"} 1`) {
		t.Errorf("in flight: %s", got)
	}
	r.run("api", ready("a", r.server(http.NotFoundHandler()), p))
	<-held
	r.deploy(splitter("both", workload.Target{Name: "gone", Weight: 100}), 0)
	r.get("/both")
	http2 := overHTTP2(t)
	r.client, http2 = http2, r.client
	r.get("/api")
	r.get("/nobody/else")
	r.get("/both")
	r.client = http2
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "nonsense\r\n\r\n")
	want := []string{
		`cortex_in_flight_requests{api_name="api",hop="gateway",state="running"} 0`,
		`cortex_in_flight_requests{api_name="api",hop="gateway",state="waiting"} 0`,
		`cortex_requests_total{api_name="api",code="200",hop="gateway",reason=""} 0`,
		`cortex_requests_total{api_name="api",code="404",hop="gateway",reason=""} 2`,
		`cortex_requests_total{api_name="api",code="503",hop="gateway",reason="queue_full"} 1`,
		`cortex_requests_total{api_name="",code="404",hop="gateway",reason="endpoint_not_found"} 2`,
		`cortex_requests_total{api_name="",code="400",hop="gateway",reason="malformed_request_line"} 1`,
		`cortex_requests_total{api_name="both",code="503",hop="gateway",reason="target_not_deployed"} 2`,
		`cortex_request_duration_seconds_count{api_name="api",hop="gateway"} 2`,
		`cortex_held_requests_total{api_name="api"} 1`,
		`cortex_cold_start_seconds_count{api_name="api"} 1`,
	}
	var got string
	r.until(func() bool {
		got = page()
		for _, w := range want {
			if !strings.Contains(got, w+"\n") {
				return false
			}
		}
		return true
	}, "the metrics %q, and have: %s", want, lazily(func() string { return got }))
	if strings.Contains(got, "nobody") || strings.Contains(got, `api_name="gone"`) {
		t.Errorf("a path or an API that is not deployed has become a value of a label: %s", got)
	}
}

// lazily is formatted when it is printed.
type lazily func() string

func (f lazily) String() string { return f() }
