package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

func TestRequestReachesTheReplicaWithoutItsPrefix(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.serveAt("hello", pod{10, 10}, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		fmt.Fprintf(w, "%s %s %s", req.Method, req.RequestURI, body)
	}))
	for _, tt := range []struct{ method, path, body, want string }{
		{"GET", "/hello", "", "GET / "},
		{"GET", "/hello/", "", "GET / "},
		{"GET", "/hello?a=%2f", "", "GET /?a=%2f "},
		{"GET", "/hello/x/y?q=1", "", "GET /x/y?q=1 "},
		{"GET", "/%68ello/%2Fx", "", "GET /%2Fx "},
		{"POST", "/hello/predict", "[1,2]", "POST /predict [1,2]"},
		{"PUT", "/hello/big", strings.Repeat("x", 100_000), "PUT /big " + strings.Repeat("x", 100_000)},
	} {
		got := r.do(tt.method, tt.path, strings.NewReader(tt.body), nil)
		if got.status != 200 || got.body != tt.want || got.header.Get("X-Cortex-Origin") != "api" {
			t.Errorf("%s %s = %.200v, want %.200q", tt.method, tt.path, got, tt.want)
		}
	}
}

func TestHeldRequestsAreAnsweredOrRefusedExactlyPastTheBound(t *testing.T) {
	t.Parallel()
	woken := make(chan string, 100)
	r := startRig(t, func(c *Config) {
		c.Wake = func(_ context.Context, name string) error { woken <- name; return nil }
	})
	const room = 40
	p := pod{concurrency: 4, queue: room - 4}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { io.WriteString(w, "ok") }))
	defer backend.Close()
	r.deploy(realtime("zero", "/zero", p), 0)

	const n = 200
	answers := make(chan answer, n)
	for range n {
		go func() { answers <- r.get("/zero") }()
	}
	for range n - room {
		a := <-answers
		if a.status != 503 || a.body != "pending request queue full\n" || a.header.Get("X-Cortex-Reason") != "queue_full" ||
			a.header.Get("Retry-After") == "" || a.header.Get("X-Cortex-Origin") != "activator" {
			t.Fatalf("past the bound: %v %v", a, a.header)
		}
	}
	if got := <-woken; got != "zero" {
		t.Errorf("woke %q, want zero", got)
	}
	r.g.Samples() // of the time in which they came
	if got := r.g.Samples(); len(got) != 1 || got[0] != (workload.Load{Name: "zero", InFlight: room}) {
		t.Errorf("Samples() = %v, want zero with %d", got, room)
	}
	r.run("zero", ready("zero-a", backend.Listener.Addr().String(), p))
	for range room {
		if a := <-answers; a.status != 200 || a.body != "ok" {
			t.Errorf("held: %v", a)
		}
	}
}

func TestNobodyIsToldBeforeTheGatewayKnows(t *testing.T) {
	t.Parallel()
	r := startUninformed(t, nil)
	answers := make(chan answer, 1)
	go func() { answers <- r.get("/iris") }()
	r.serveAt("iris", pod{1, 1}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	select {
	case got := <-answers:
		t.Fatalf("GET /iris = %d %q before all routes were known", got.status, got.body)
	default:
	}
	r.routes.send(store.Change{}) // that was everything there is
	if got := <-answers; got.status != 200 || got.body != "hello" {
		t.Errorf("GET /iris = %d %q, want 200 hello", got.status, got.body)
	}
}

func TestASampleSeesRequestsThatCameAndWent(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.serveAt("iris", pod{1, 1}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r.get("/iris")
	r.until(func() bool { return r.work("iris").pool.Load().Running == 0 }, "the request is over")
	if got := r.g.Samples(); len(got) != 1 || got[0].InFlight <= 0 {
		t.Errorf("Samples() after a request = %v, want some load", got)
	}
	if got := r.g.Samples(); len(got) != 1 || got[0].InFlight != 0 {
		t.Errorf("Samples() after none = %v, want no load", got)
	}
}

func TestTrafficIsWhatWasWorkedOn(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	if got, ok := r.g.Traffic("iris"); ok {
		t.Errorf("Traffic() of nothing = %+v, want none", got)
	}
	r.serveAt("iris", pod{1, 1}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if got, ok := r.g.Traffic("iris"); !ok || got.InFlight != 1 {
			t.Errorf("Traffic() while a request is worked on = %+v, %v, want one in flight", got, ok)
		}
		for id, n := range r.g.InFlight("iris") {
			if n != 1 {
				t.Errorf("InFlight() of replica %s = %d, want 1", id, n)
			}
		}
	}))
	r.get("/iris")
	r.get("/iris")
	if n := len(r.g.InFlight("iris")); n != 1 {
		t.Errorf("InFlight() has %d replicas, want 1", n)
	}
	r.until(func() bool {
		got, _ := r.g.Traffic("iris")
		return got.Requests == 2 && got.InFlight == 0 && got.Seconds > 0
	}, "two requests counted, with their time")
}
