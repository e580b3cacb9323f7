package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// feed delivers what a watch delivers: what it was given so far, then each new value.
type feed[T any] struct {
	mu    sync.Mutex
	cond  *sync.Cond
	items []T
}

func newFeed[T any](items ...T) *feed[T] {
	f := &feed[T]{items: items}
	f.cond = sync.NewCond(&f.mu)
	return f
}

func (f *feed[T]) send(v T) {
	f.mu.Lock()
	f.items = append(f.items, v)
	f.cond.Broadcast()
	f.mu.Unlock()
}

func (f *feed[T]) Watch(ctx context.Context, fn func(T)) error {
	defer context.AfterFunc(ctx, func() {
		f.mu.Lock()
		f.cond.Broadcast()
		f.mu.Unlock()
	})()
	for i := 0; ; i++ {
		f.mu.Lock()
		for i >= len(f.items) && ctx.Err() == nil {
			f.cond.Wait()
		}
		if ctx.Err() != nil {
			f.mu.Unlock()
			return ctx.Err()
		}
		v := f.items[i]
		f.mu.Unlock()
		fn(v)
	}
}

// rig is a running gateway with its feeds.
type rig struct {
	t        *testing.T
	g        *Gateway
	routes   *feed[store.Change]
	replicas *feed[engine.Status]
	addr     string
	client   *http.Client
	stop     context.CancelFunc // ends Serve and Run
	served   chan error         // Serve's result
	over     chan struct{}      // closed when Run has returned
}

func startRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := startUninformed(t, change)
	r.routes.send(store.Change{})
	return r
}

// startUninformed starts a gateway that does not know yet what is deployed.
func startUninformed(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, routes: newFeed[store.Change](), replicas: newFeed[engine.Status](), served: make(chan error, 1), over: make(chan struct{})}
	cfg := Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Store: r.routes, Engine: r.replicas, DrainTimeout: 10 * time.Second}
	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	r.g = g
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	ran := make(chan error, 1)
	go func() { ran <- g.Run(ctx); close(r.over) }()
	go func() { r.served <- g.Serve(ctx, ln) }()
	tr := &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}
	r.client = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		stop()
		tr.CloseIdleConnections()
		if err := <-ran; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
	return r
}

// pod says how much a replica takes.
type pod struct{ concurrency, queue int64 }

func realtime(name, endpoint string, p pod) *workload.Revision {
	port := int32(8080)
	return &workload.Revision{Spec: workload.Spec{
		Name: name, Kind: workload.Realtime, Networking: &workload.Networking{Endpoint: endpoint},
		Pod: &workload.Pod{Port: &port, MaxConcurrency: p.concurrency, MaxQueueLength: p.queue},
	}, ID: name + "-1"}
}

func (r *rig) deploy(rev *workload.Revision, replicas int) {
	r.t.Helper()
	r.routes.send(store.Change{Name: rev.Name, Workload: &store.Workload{Revision: rev, Replicas: replicas, Version: 1}})
	r.until(func() bool {
		for _, rt := range r.g.snap.Load().routes {
			if rt.name == rev.Name {
				return true
			}
		}
		return false
	}, "%s to be routed", rev.Name)
}

func ready(id, addr string, p pod) engine.Replica {
	return engine.Replica{
		Replica:        workload.Replica{ID: id, State: workload.Ready, UpToDate: true, Address: addr},
		MaxConcurrency: p.concurrency, MaxQueueLength: p.queue,
	}
}

// run makes exactly these replicas run, and returns when the gateway knows.
func (r *rig) run(name string, replicas ...engine.Replica) {
	r.t.Helper()
	r.replicas.send(engine.Status{Name: name, Desired: len(replicas), Replicas: replicas})
	want := 0
	for _, x := range replicas {
		if x.Ready() {
			want++
		}
	}
	r.until(func() bool { return r.work(name) != nil && r.work(name).pool.Load().Ready == want }, "%d open replicas of %s", want, name)
}

func (r *rig) work(name string) *work {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	return r.g.works[name]
}

// server starts a server that lives as long as the test and returns its address.
func (r *rig) server(h http.Handler) string {
	s := httptest.NewServer(h)
	r.t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// wakes makes a gateway report whom it wakes.
func wakes(woken chan<- string) func(*Config) {
	return func(c *Config) {
		c.Wake = func(_ context.Context, name string) error { woken <- name; return nil }
	}
}

// serveAt deploys name with one replica that is h.
func (r *rig) serveAt(name string, p pod, h http.Handler) {
	r.t.Helper()
	r.deploy(realtime(name, "/"+name, p), 1)
	r.run(name, ready(name+"-a", r.server(h), p))
}

// until waits for cond, which has to come true.
func (r *rig) until(cond func() bool, format string, args ...any) {
	r.t.Helper()
	until(r.t, cond, format, args...)
}

func until(t *testing.T, cond func() bool, format string, args ...any) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for "+format, args...)
		case <-tick.C:
		}
	}
}

// receive waits for something that has to come.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}

// overHTTP2 is a client that speaks HTTP/2 without having asked.
func overHTTP2(t *testing.T) *http.Client {
	t.Helper()
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (r *rig) url(path string) string { return "http://" + r.addr + path }

// answer is a response that was read whole.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func (r *rig) get(path string) answer { return r.do(http.MethodGet, path, nil, nil) }

func (r *rig) do(method, path string, body io.Reader, header http.Header) answer {
	req, err := http.NewRequestWithContext(context.Background(), method, r.url(path), body)
	if err != nil {
		return answer{err: err}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	return r.send(req)
}

func (r *rig) send(req *http.Request) answer {
	resp, err := r.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), err}
}

func (a answer) String() string { return fmt.Sprintf("%d %q (%v)", a.status, a.body, a.err) }
