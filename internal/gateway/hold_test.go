package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// wantRefusal checks a refusal made by the gateway.
func wantRefusal(t *testing.T, a answer, status int, reason, origin string) {
	t.Helper()
	if a.err != nil || a.status != status || a.header.Get("X-Cortex-Reason") != reason || a.header.Get("X-Cortex-Origin") != origin {
		t.Errorf("answered %v %v, want %d %s from %q", a, a.header, status, reason, origin)
	}
	if status == 503 && a.header.Get("Retry-After") == "" {
		t.Errorf("503 %s without Retry-After", reason)
	}
}

func TestUnknownPathsSaySo(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.serveAt("known", pod{1, 1}, says("known"))
	for path, want := range map[string]string{"/": "endpoint_not_found", "/nobody/x": "endpoint_not_found", "/known%2Fx": "endpoint_not_found", "//known": "endpoint_not_found"} {
		a := r.get(path)
		var body struct{ Code, Message string }
		if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.status != 404 || body.Code != want || body.Message == "" {
			t.Errorf("GET %s = %v (%v), want 404 %s as JSON", path, a, err, want)
		}
	}
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET /known/../other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 400 ") || !strings.Contains(string(b), "dot_segment") {
		t.Errorf("a dot segment got %q, want 400", b)
	}
}

func TestHoldsAreBoundedInBytesAndTime(t *testing.T) {
	t.Parallel()
	p := pod{10, 10}
	r := startRig(t, func(c *Config) { c.Hold = HoldLimits{Bytes: 1} })
	r.deploy(realtime("api", "/api", p), 0)
	wantRefusal(t, r.get("/api"), 503, "queue_full", "activator")

	r = startRig(t, func(c *Config) { c.Hold = HoldLimits{Time: 50 * time.Millisecond} })
	r.deploy(realtime("api", "/api", p), 0)
	a := r.get("/api")
	wantRefusal(t, a, 503, "hold_timeout", "activator")
	if !strings.Contains(a.body, "no healthy upstream") {
		t.Errorf("body %q", a.body)
	}

	r = startRig(t, func(c *Config) { c.Hold = HoldLimits{Requests: 1} })
	r.deploy(realtime("api", "/api", p), 0)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		req, _ := http.NewRequestWithContext(ctx, "GET", r.url("/api"), nil)
		if resp, err := r.client.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	r.until(func() bool { return r.work("api").pool.Load().Waiting == 1 }, "one to be held")
	wantRefusal(t, r.get("/api"), 503, "queue_full", "activator")
	cancel() // who leaves makes room
	r.until(func() bool { return r.work("api").pool.Load().Waiting == 0 }, "the hold to end")
}

func TestWakesOnceAtOnceAndAgainOnlyWhileNeeded(t *testing.T) {
	t.Parallel()
	woken := make(chan string, 100)
	r := startRig(t, wakes(woken))
	p := pod{10, 10}
	r.deploy(realtime("api", "/api", p), 0)
	answers := make(chan answer, 5)
	for range 5 {
		go func() { answers <- r.get("/api") }()
	}
	<-woken
	r.until(func() bool { return r.work("api").pool.Load().Waiting == 5 }, "all to be held")
	if n := len(woken); n > 0 {
		t.Errorf("woken %d times too often", n)
	}
	<-woken // nothing came of it: once more, after a second
	r.deploy(realtime("api", "/api", p), 1)
	r.run("api", ready("api-a", r.server(says("api")), p))
	for range 5 {
		if a := <-answers; a.status != 200 {
			t.Errorf("held: %v", a)
		}
	}
}

func TestFailedRolloutAnswersAtOnceWithItsReason(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{10, 10}
	r.deploy(realtime("api", "/api", p), 1)
	held := make(chan answer, 1)
	go func() { held <- r.get("/api") }()
	r.until(func() bool { return r.work("api").pool.Load().Waiting == 1 }, "one to be held")
	failed := &workload.Reason{Code: "crash_loop", Message: "the process exited with code 3 five times"}
	r.replicas.send(engine.Status{Name: "api", Desired: 1, Failed: failed})
	for _, a := range []answer{<-held, r.get("/api")} {
		wantRefusal(t, a, 503, "crash_loop", "activator")
		if strings.Contains(a.body, failed.Message) || !strings.Contains(a.body, "api cannot start") {
			t.Errorf("body %q, want that it cannot start, and nothing of the machine", a.body)
		}
	}
	// An older replica that is ready still answers, and so does the next revision.
	addr := r.server(says("old"))
	r.replicas.send(engine.Status{Name: "api", Desired: 1, Failed: failed, Replicas: []engine.Replica{ready("api-old", addr, p)}})
	r.until(func() bool { return r.get("/api").status == 200 }, "the old replica")
	r.replicas.send(engine.Status{Name: "api", Desired: 1})
	r.until(func() bool { return r.work("api").pool.Load().Ready == 0 }, "the old replica to go")
	go func() { held <- r.get("/api") }()
	r.until(func() bool { return r.work("api").pool.Load().Waiting == 1 }, "one to be held again")
	r.run("api", ready("api-new", addr, p))
	if a := <-held; a.status != 200 {
		t.Errorf("held for the next revision: %v", a)
	}
}

func TestFailedRolloutWaitsForTheVersionThatServed(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{10, 10}
	r.deploy(realtime("api", "/api", p), 1)
	failed := &workload.Reason{Code: "crash_loop", Message: "the process exited with code 3 five times"}
	status := func(state workload.ReplicaState) engine.Status {
		old := engine.Replica{Replica: workload.Replica{ID: "old", State: state}}
		return engine.Status{Name: "api", Desired: 1, Failed: failed, Replicas: []engine.Replica{old}}
	}
	r.replicas.send(status(workload.Failed))
	r.until(func() bool { return r.get("/api").status == 503 }, "a refusal")
	r.replicas.send(status(workload.Creating))
	held := make(chan answer, 1000) // more than are asked
	r.until(func() bool {
		go func() { held <- r.get("/api") }()
		return r.work("api").pool.Load().Waiting > 0
	}, "one to be held")
	r.run("api", ready("old", r.server(says("old")), p))
	r.until(func() bool { return (<-held).status == 200 }, "the answer of the version that served")
}

func TestReplicaNeverWorksOnMoreThanItTakes(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{concurrency: 3, queue: 5}
	var all sync.WaitGroup
	var most atomic.Int64
	release := make(chan struct{})
	replica := func(name string) string {
		var now atomic.Int64
		return r.server(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-release
			now.Add(-1)
		}))
	}
	r.deploy(realtime("api", "/api", p), 2)
	r.run("api", ready("a", replica("a"), p), ready("b", replica("b"), p))
	var ok, full atomic.Int64
	for range 60 {
		all.Go(func() {
			switch a := r.get("/api"); a.status {
			case 200:
				ok.Add(1)
			case 503:
				full.Add(1)
				wantRefusal(t, a, 503, "queue_full", "api")
			default:
				t.Errorf("answered %v", a)
			}
		})
	}
	r.until(func() bool { return full.Load() == 60-2*8 }, "the rest to be refused")
	r.g.Samples() // of the time in which they came
	if s := r.g.Samples(); len(s) != 1 || s[0].InFlight != 16 {
		t.Errorf("Samples() = %v, want 16 in flight", s)
	}
	close(release)
	all.Wait()
	if ok.Load() != 16 || most.Load() > 3 {
		t.Errorf("%d answered, %d at once on one replica; want 16 and at most 3", ok.Load(), most.Load())
	}
	r.until(func() bool { return r.g.Samples()[0].InFlight == 0 }, "nothing to be in flight")
}

// Who drains a replica ends it when the drain took too long: what breaks then is not
// the server's doing.
func TestWhatADrainCutsSaysSo(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{concurrency: 2, queue: 10}
	began, ends := make(chan struct{}, 2), make(chan struct{})
	replica := r.server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-ends
		panic(http.ErrAbortHandler)
	}))
	r.deploy(realtime("api", "/api", p), 1)
	r.run("api", ready("a", replica, p))
	answers := make(chan answer, 1)
	go func() { answers <- r.get("/api") }()
	<-began
	if busy := r.g.InFlight("api"); busy["a"] != 1 || busy["b"] != 0 {
		t.Errorf("InFlight = %d, and %d of a replica that is not there, want 1 and 0", busy["a"], busy["b"])
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.g.Drain(over, "api", "a"); err == nil {
		t.Error("Drain = nil while a request ran")
	}
	close(ends)
	if got := <-answers; got.status != 502 || got.header.Get("X-Cortex-Reason") != "grace_period_over" {
		t.Errorf("the request was answered with %d %s, want 502 grace_period_over", got.status, got.header.Get("X-Cortex-Reason"))
	}
}

func TestDrainWaitsForWhatRunsAndTakesNothingNew(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{concurrency: 1, queue: 10}
	began, release := make(chan string, 20), make(chan struct{})
	replica := func(name string) string {
		return r.server(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			began <- name
			<-release
			io.WriteString(w, name)
		}))
	}
	r.deploy(realtime("api", "/api", p), 1)
	a := ready("a", replica("a"), p)
	r.run("api", a)
	answers := make(chan answer, 6)
	for range 6 { // one runs, five wait
		go func() { answers <- r.get("/api") }()
	}
	<-began
	r.until(func() bool { return r.work("api").pool.Load().Waiting == 5 }, "five to wait")
	drained := make(chan error, 1)
	go func() { drained <- r.g.Drain(context.Background(), "api", "a") }()
	r.until(func() bool { return r.work("api").pool.Load().Ready == 0 }, "a to be taken out")
	select {
	case err := <-drained:
		t.Fatalf("Drain = %v while a request ran", err)
	default:
	}
	// A status of before the drain must not bring it back.
	r.replicas.send(engine.Status{Name: "api", Desired: 1, Replicas: []engine.Replica{a, ready("b", replica("b"), p)}})
	if name := <-began; name != "b" {
		t.Errorf("%s got a waiting request, want b", name)
	}
	close(release)
	if err := <-drained; err != nil {
		t.Errorf("Drain = %v", err)
	}
	counts := map[string]int{}
	for range 6 {
		got := <-answers
		counts[got.body]++
	}
	if counts["a"] != 1 || counts["b"] != 5 {
		t.Errorf("answers came from %v, want one of a and five of b", counts)
	}
	if err := r.g.Drain(context.Background(), "nobody", "x"); err != nil {
		t.Errorf("Drain of an unknown workload = %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.g.Drain(ctx, "api", "never-seen"); err != nil {
		t.Errorf("Drain of a replica that runs nothing = %v", err)
	}
}

func TestReplicaThatDiedIsPassedOver(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{10, 10}
	r.deploy(realtime("api", "/api", p), 2)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	ln.Close()
	r.run("api", ready("dead", dead, p), ready("alive", r.server(says("alive")), p))
	for range 50 {
		if a := r.do("POST", "/api", strings.NewReader("x"), nil); a.status != 200 {
			t.Fatalf("POST = %v", a)
		}
	}
	r.until(func() bool { return r.work("api").pool.Load().Running == 0 }, "every place to be given back")
}

func TestReplicaThatNeverListensIsSaidSo(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{10, 10}
	r.deploy(realtime("api", "/api", p), 1)
	r.run("api", ready("dead", "127.0.0.1:1", p))
	wantRefusal(t, r.get("/api"), 503, "replica_unreachable", "api")
}

func TestReplacingReplicasUnderLoadFailsNothing(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{50, 100}
	r.deploy(realtime("api", "/api", p), 2)
	status := func(replicas ...engine.Replica) { r.run("api", replicas...) }
	current := ready("r0", r.server(says("r0")), p)
	status(current)
	stop := make(chan struct{})
	var all sync.WaitGroup
	var n atomic.Int64
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if a := r.do("POST", "/api/x", strings.NewReader("b"), nil); a.status != 200 {
					t.Errorf("POST = %v %v", a, a.header)
					return
				}
				n.Add(1)
			}
		})
	}
	for i := 1; i <= 10; i++ {
		next := ready(fmt.Sprintf("r%d", i), r.server(says("next")), p)
		status(current, next)
		if err := r.g.Drain(context.Background(), "api", current.ID); err != nil {
			t.Errorf("Drain = %v", err)
		}
		status(next)
		current = next
		seen := n.Load()
		r.until(func() bool { return n.Load() > seen+50 }, "traffic")
	}
	close(stop)
	all.Wait()
}

func TestRestartedReplicaIsFoundAtItsNewAddress(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{1, 10}
	r.deploy(realtime("api", "/api", p), 1)
	r.run("api", ready("a", r.server(says("first")), p))
	if a := r.get("/api"); a.body != "first / " {
		t.Fatalf("GET = %v", a)
	}
	r.replicas.send(engine.Status{Name: "api", Desired: 1, Replicas: []engine.Replica{ready("a", r.server(says("second")), p)}})
	r.until(func() bool { return r.get("/api").body == "second / " }, "the new address")
}

func TestDeletedWorkloadIsGone(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.deploy(realtime("api", "/api", pod{1, 10}), 0)
	held := make(chan answer, 1)
	go func() { held <- r.get("/api") }()
	r.until(func() bool { return r.work("api").pool.Load().Waiting == 1 }, "one to be held")
	r.routes.send(store.Change{Name: "api"})
	if a := <-held; a.status != 404 {
		t.Errorf("held: %v, want 404", a)
	}
	if a := r.get("/api"); a.status != 404 {
		t.Errorf("GET = %v, want 404", a)
	}
	if s := r.g.Samples(); len(s) != 0 {
		t.Errorf("Samples() = %v, want none", s)
	}
	r.until(func() bool { return r.work("api") == nil }, "nothing to be kept")
}

// Whoever calls what is stopped is told so at once: what was held, what comes while the
// last replicas end, and what a splitter sends there. Nothing is woken.
func TestStoppedWorkloadRefusesAtOnce(t *testing.T) {
	t.Parallel()
	woken := make(chan string, 10)
	r := startRig(t, wakes(woken))
	p := pod{1, 10}
	rev := realtime("api", "/api", p)
	r.deploy(rev, 1)
	r.deploy(&workload.Revision{Spec: workload.Spec{
		Name: "split", Kind: workload.Splitter, APIs: []workload.Target{{Name: "api", Weight: 100}}, Networking: &workload.Networking{Endpoint: "/split"},
	}}, 0)
	held := make(chan answer, 1)
	go func() { held <- r.get("/api") }()
	r.until(func() bool { return r.work("api").pool.Load().Waiting == 1 }, "one to be held")
	stop := func(stopped *workload.Stopped) {
		r.routes.send(store.Change{Name: "api", Workload: &store.Workload{Revision: rev, Version: 2, Stopped: stopped}})
		r.until(func() bool { return r.work("api").stopped.Load() == (stopped != nil) }, "that to arrive")
	}
	stop(&workload.Stopped{})
	for _, a := range []answer{<-held, r.get("/api"), r.get("/split/x")} {
		wantRefusal(t, a, 503, "stopped", "activator")
		if !strings.Contains(a.body, "api is stopped") {
			t.Errorf("body %q, want that it is stopped", a.body)
		}
	}
	r.run("api", ready("api-1", r.server(says("last")), p))
	wantRefusal(t, r.get("/api"), 503, "stopped", "api")
	r.replicas.send(engine.Status{Name: "api"})
	r.until(func() bool { return r.work("api").pool.Load().Ready == 0 }, "the last replica to go")
	wantRefusal(t, r.get("/api"), 503, "stopped", "activator")
	if len(woken) != 0 {
		t.Errorf("%s was woken", <-woken)
	}
	stop(nil)
	go func() { held <- r.get("/api") }()
	if got := receive(t, woken); got != "api" {
		t.Errorf("%q was woken after the start, want api", got)
	}
	r.run("api", ready("api-2", r.server(says("again")), p))
	if a := <-held; a.status != 200 {
		t.Errorf("after the start: %v, want 200", a)
	}
}

func TestShutdownFinishesWhatRunsAndRefusesWhatIsHeld(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	began, release := make(chan struct{}), make(chan struct{})
	r.serveAt("busy", pod{1, 10}, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		began <- struct{}{}
		<-release
		io.WriteString(w, "done")
	}))
	r.deploy(realtime("zero", "/zero", pod{1, 10}), 0)
	running, waiting, held := make(chan answer, 1), make(chan answer, 1), make(chan answer, 1)
	go func() { running <- r.get("/busy") }()
	<-began
	go func() { waiting <- r.get("/busy") }()
	go func() { held <- r.get("/zero") }()
	r.until(func() bool { return r.work("zero").pool.Load().Waiting == 1 && r.work("busy").pool.Load().Waiting == 1 }, "both to wait")
	r.stop()
	wantRefusal(t, <-held, 503, "shutting_down", "activator")
	release <- struct{}{}
	<-began
	release <- struct{}{}
	for _, a := range []answer{<-running, <-waiting} {
		if a.status != 200 || a.body != "done" {
			t.Errorf("accepted before: %v, want 200", a)
		}
	}
	if err := <-r.served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// TestShutdownHoldsOnWhereReplicasGoOn: what starts replicas is not this program.
func TestShutdownHoldsOnWhereReplicasGoOn(t *testing.T) {
	t.Parallel()
	woken := make(chan string, 1000)
	r := startRig(t, func(c *Config) {
		wakes(woken)(c)
		c.ReplicasGoOn = true
		c.DrainTimeout = 4 * time.Second
	})
	lucky, held := make(chan answer, 1), make(chan answer, 1)
	for path, got := range map[string]chan answer{"lucky": lucky, "zero": held} {
		r.deploy(realtime(path, "/"+path, pod{1, 10}), 0)
		go func() { got <- r.get("/" + path) }()
		r.until(func() bool { return r.work(path).pool.Load().Waiting == 1 }, "%s to be held", path)
	}
	r.stop()
	for len(woken) > 0 {
		<-woken
	}
	r.until(func() bool { return len(woken) > 0 }, "a replica to be asked for still")
	r.run("lucky", ready("a", r.server(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "late") })), pod{1, 10}))
	if a := <-lucky; a.status != 200 || a.body != "late" {
		t.Errorf("held while it drains: %v, want 200", a)
	}
	wantRefusal(t, <-held, 503, "shutting_down", "activator")
	if err := <-r.served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
