package gateway

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/engine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"

	"pgregory.net/rapid"
)

// weightsOf draws weights that sum to 100, as a valid file has them.
func weightsOf(t *rapid.T) []int32 {
	n := rapid.IntRange(1, 8).Draw(t, "targets")
	weights := make([]int32, n)
	left := int32(100)
	for i := range n - 1 {
		weights[i] = rapid.Int32Range(0, left).Draw(t, "weight")
		left -= weights[i]
	}
	weights[n-1] = left
	return weights
}

func TestWeightsConvergeExactlyAndEvenly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := weightsOf(t)
		order := spread(weights)
		counts := make([]int, len(weights))
		for n := 1; n <= 200; n++ {
			counts[order[(n-1)%len(order)]]++
			for i, w := range weights {
				// Within a turn of its share at any moment, exactly at it after 100.
				if share := float64(n) * float64(w) / 100; float64(counts[i]) > share+float64(len(weights)) || float64(counts[i]) < share-float64(len(weights)) {
					t.Fatalf("after %d choices with weights %v, target %d was chosen %d times, its share is %.1f", n, weights, i, counts[i], share)
				}
				if n%100 == 0 && counts[i] != n/100*int(w) {
					t.Fatalf("after %d choices with weights %v, target %d was chosen %d times", n, weights, i, counts[i])
				}
			}
		}
	})
}

func TestSpreadOfTwoIsWithinOne(t *testing.T) {
	t.Parallel()
	for w := int32(1); w < 100; w++ {
		order := spread([]int32{w, 100 - w})
		chosen := 0
		for n := 1; n <= 100; n++ {
			if order[(n-1)%len(order)] == 0 {
				chosen++
			}
			if share := float64(n) * float64(w) / 100; float64(chosen) > share+1 || float64(chosen) < share-1 {
				t.Fatalf("weight %d was chosen %d times of %d, want %.1f within one", w, chosen, n, share)
			}
		}
	}
}

func TestSpreadOfOddWeights(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		weights []int32
		want    int
	}{
		{"none", nil, 0},
		{"all zero", []int32{0, 0}, 0},
		{"negative", []int32{-1, 101}, 0},
		{"one", []int32{100}, 1},
		{"with a zero", []int32{0, 100}, 1},
		{"halves", []int32{50, 50}, 2},
		{"primes", []int32{97, 3}, 100},
		{"beyond bounds", []int32{1 << 30, 1<<30 - 1}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := len(spread(tt.weights)); got != tt.want {
				t.Errorf("spread(%v) has %d elements, want %d", tt.weights, got, tt.want)
			}
		})
	}
}

func TestShadowShareIsExact(t *testing.T) {
	t.Parallel()
	for weight := range int32(101) {
		s := newShadow(nil, weight)
		copies := 0
		for n := 1; n <= 300; n++ {
			if s.due() {
				copies++
			}
			if n%100 == 0 && copies != n/100*int(weight) {
				t.Fatalf("with weight %d, %d of %d requests were copied", weight, copies, n)
			}
		}
	}
}

func TestDrawIsExactInEachBlock(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		weights := weightsOf(t)
		var d draw
		d.init(weights, rapid.Uint64().Draw(t, "seed"))
		for range 5 {
			counts := make([]int32, len(weights))
			for range 100 {
				i, ok := d.pick()
				if !ok {
					t.Fatal("nothing was picked")
				}
				counts[i]++
			}
			if !slices.Equal(counts, weights) {
				t.Fatalf("of 100, %v were picked, want %v", counts, weights)
			}
		}
	})
}

// A client that asks for several things in turn gets each of them from every target.
func TestDrawKnowsNoRhythm(t *testing.T) {
	t.Parallel()
	for _, weights := range [][]int32{{50, 50}, {25, 75}, {90, 10}, {34, 33, 33}} {
		for rhythm := 2; rhythm <= 5; rhythm++ {
			var d draw
			d.init(weights, 1)
			const each = 20_000
			counts := make([][]int, rhythm)
			for n := range rhythm * each {
				i, _ := d.pick()
				if counts[n%rhythm] == nil {
					counts[n%rhythm] = make([]int, len(weights))
				}
				counts[n%rhythm][i]++
			}
			for path, by := range counts {
				for i, n := range by {
					if want := each * int(weights[i]) / 100; n < want-want/5 || n > want+want/5 {
						t.Errorf("weights %v: of %d requests, each %d. of %d went %d times to target %d, want about %d", weights, rhythm*each, path+1, rhythm, n, i, want)
					}
				}
			}
		}
	}
}

func splitter(name string, targets ...workload.Target) *workload.Revision {
	return &workload.Revision{Spec: workload.Spec{
		Name: name, Kind: workload.Splitter, Networking: &workload.Networking{Endpoint: "/" + name}, APIs: targets,
	}, ID: name + "-1"}
}

// says is a server that answers with its name and what it was asked.
func says(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		io.WriteString(w, name+" "+r.RequestURI+" "+string(b))
	})
}

func TestSplitterDividesRequestsUnderItsPath(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.deploy(splitter("split", workload.Target{Name: "blue", Weight: 70}, workload.Target{Name: "green", Weight: 30}), 0)
	if got := r.get("/split/x"); got.status != 503 || got.header.Get("X-Cortex-Reason") != "target_not_deployed" {
		t.Errorf("without its targets: %v %v", got, got.header)
	}
	r.serveAt("blue", pod{10, 10}, says("blue"))
	r.serveAt("green", pod{10, 10}, says("green"))
	for range 9 { // of the ten in which the shares are exact, one was refused
		r.get("/split")
	}
	counts := map[string]int{}
	for range 200 {
		got := r.get("/split/sub/path?q=1")
		name, rest, _ := strings.Cut(got.body, " ")
		if got.status != 200 || rest != "/sub/path?q=1 " {
			t.Fatalf("GET = %v", got)
		}
		counts[name]++
	}
	if counts["blue"] != 140 || counts["green"] != 60 {
		t.Errorf("200 requests were divided %v, want 140 and 60", counts)
	}
	r.deploy(splitter("split", workload.Target{Name: "green", Weight: 100}), 0)
	r.until(func() bool {
		return strings.HasPrefix(r.get("/split").body, "green ") && strings.HasPrefix(r.get("/split").body, "green ")
	}, "the new weights")
}

func TestSplitterHoldsForATargetAtZero(t *testing.T) {
	t.Parallel()
	woken := make(chan string, 10)
	r := startRig(t, wakes(woken))
	p := pod{1, 10}
	r.deploy(realtime("sleeper", "/sleeper", p), 0)
	r.deploy(splitter("split", workload.Target{Name: "sleeper", Weight: 100}), 0)
	got := make(chan answer, 1)
	go func() { got <- r.get("/split/x") }()
	if name := <-woken; name != "sleeper" {
		t.Errorf("woke %s, want sleeper", name)
	}
	r.run("sleeper", ready("sleeper-a", r.server(says("sleeper")), p))
	if a := <-got; a.status != 200 || a.body != "sleeper /x " {
		t.Errorf("held: %v", a)
	}
}

func TestSplitterFindsATargetThatWasDeployedAgain(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.deploy(splitter("split", workload.Target{Name: "blue", Weight: 100}), 0)
	r.serveAt("blue", pod{1, 10}, says("blue"))
	r.routes.send(store.Change{Name: "blue"})
	r.until(func() bool { return r.get("/blue").status == 404 }, "blue to be gone")
	r.replicas.send(engine.Status{Name: "blue", Removed: true})
	r.serveAt("blue", pod{1, 10}, says("new"))
	if got := r.get("/split"); got.body != "new / " {
		t.Errorf("GET = %v, want the new one", got)
	}
}

func TestShadowGetsCopiesAndChangesNothing(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	copies := make(chan string, 100)
	release := make(chan struct{})
	r.serveAt("dark", pod{50, 50}, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		copies <- req.Method + " " + req.RequestURI + " " + string(b)
		<-release // a slow shadow must not slow the answer
		w.WriteHeader(500)
	}))
	defer close(release)
	r.serveAt("main", pod{50, 50}, says("main"))
	r.deploy(splitter("split", workload.Target{Name: "main", Weight: 100}, workload.Target{Name: "dark", Weight: 50, Shadow: true}), 0)
	for range 20 {
		if got := r.do("POST", "/split/p?q", strings.NewReader("body"), nil); got.status != 200 || got.body != "main /p?q body" {
			t.Fatalf("POST = %v", got)
		}
	}
	for range 10 {
		if got := <-copies; got != "POST /p?q body" {
			t.Errorf("a copy was %q", got)
		}
	}
	select {
	case got := <-copies:
		t.Errorf("one copy too many: %q", got)
	default:
	}
}

func TestShadowGetsCopiesOfHTTP2(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.client = overHTTP2(t)
	copies := make(chan string, 10)
	r.serveAt("dark", pod{50, 50}, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		copies <- req.Proto + " " + req.Method + " " + req.RequestURI + " " + string(b) + req.Header.Get("X-Request-Id")
	}))
	r.serveAt("main", pod{50, 50}, says("main"))
	r.deploy(splitter("split", workload.Target{Name: "main", Weight: 100}, workload.Target{Name: "dark", Weight: 100, Shadow: true}), 0)
	header := http.Header{"X-Request-Id": {"me"}}
	for _, tt := range []struct{ method, body, want string }{
		{"POST", "body ", "HTTP/1.1 POST /a%2Fb?q=%zz body me"}, {"GET", "", "HTTP/1.1 GET /a%2Fb?q=%zz me"},
	} {
		if got := r.do(tt.method, "/split/a%2Fb?q=%zz", strings.NewReader(tt.body), header); got.status != 200 || got.body != "main /a%2Fb?q=%zz "+tt.body {
			t.Fatalf("%s = %v", tt.method, got)
		}
		if got := receive(t, copies); got != tt.want {
			t.Errorf("the copy was %q, want %q", got, tt.want)
		}
	}
	s := r.g.snap.Load().routes["/split"].split.shadow
	if a := r.do("POST", "/split", strings.NewReader(strings.Repeat("x", relay.MaxCopy+1)), nil); a.status != 200 {
		t.Fatal(a)
	}
	if n := s.dropped.Load(); n != 1 {
		t.Errorf("%d copies were dropped, want that of the body that is too long", n)
	}
}

func TestShadowGetsCopiesOfCalls(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	copies := make(chan string, 1)
	answer := func(to chan string) func(grpc.ServerStream) error {
		return func(stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			var msg []byte
			if err := stream.RecvMsg(&msg); err != nil {
				return err
			}
			if to != nil {
				to <- method + " " + string(msg)
				return status.Error(codes.NotFound, "in the dark")
			}
			return stream.SendMsg(&msg)
		}
	}
	r.serveGRPC("dark", answer(copies))
	r.serveGRPC("main", answer(nil))
	r.deploy(splitter("split", workload.Target{Name: "main", Weight: 100}, workload.Target{Name: "dark", Weight: 100, Shadow: true}), 0)
	in, out := []byte("hello"), []byte(nil)
	if err := r.grpc().Invoke(t.Context(), "/split/pkg.Service/Say", &in, &out); err != nil || string(out) != "hello" {
		t.Fatalf("the call = %q, %v", out, err)
	}
	if got := receive(t, copies); got != "/pkg.Service/Say hello" {
		t.Errorf("the copy was %q", got)
	}
	s := r.g.snap.Load().routes["/split"].split.shadow
	r.until(func() bool { return s.sent.Load() == 1 && r.work("dark").pool.Load().Running == 0 }, "the copy to be answered")
}

func TestShadowIsBounded(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{1000, 1000}
	release := make(chan struct{})
	r.serveAt("dark", p, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	r.serveAt("main", p, says("main"))
	r.deploy(splitter("split", workload.Target{Name: "main", Weight: 100}, workload.Target{Name: "dark", Weight: 100, Shadow: true}), 0)
	const n = maxCopies + 20
	for range n {
		if got := r.get("/split"); got.status != 200 {
			t.Fatalf("GET = %v", got)
		}
	}
	s := r.g.snap.Load().routes["/split"].split.shadow
	if running, dropped := s.running.Load(), s.dropped.Load(); running != maxCopies || dropped != n-maxCopies {
		t.Errorf("%d copies run and %d were dropped, want %d and %d", running, dropped, maxCopies, n-maxCopies)
	}
	close(release)
	r.until(func() bool { return s.running.Load() == 0 && s.bytes.Load() == 0 && s.sent.Load() == maxCopies }, "the copies to end")
	// What was left out is told where the splitter is looked at.
	if got, ok := r.g.Copies("split"); !ok || got != (workload.Copies{Answered: maxCopies, Dropped: n - maxCopies}) {
		t.Errorf("Copies(split) = %+v, %t, want %d answered and %d dropped", got, ok, maxCopies, n-maxCopies)
	}
	if _, ok := r.g.Copies("main"); ok {
		t.Error("Copies(main) are known of an API that copies nothing")
	}
}
