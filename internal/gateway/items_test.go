package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/async"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// startWithItems starts a gateway with who keeps items, as it is on one machine.
func startWithItems(t *testing.T, change func(*Config)) (*rig, *async.Service) {
	t.Helper()
	items, err := bolt.OpenItems(t.Context(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var r *rig
	routed := make(chan struct{})
	work, err := async.New(async.Config{
		Ledger: items, Blobs: async.NewFolder(t.TempDir()), Deployed: watcher{&r, routed},
		Acquire: func(ctx context.Context, api string, wake bool) (async.Place, error) {
			seat, err := r.g.Seat(ctx, api, wake)
			if err != nil {
				return nil, err
			}
			return seat, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- work.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
		if err := items.Close(); err != nil {
			t.Error(err)
		}
	})
	r = startRig(t, func(c *Config) {
		c.Items = work
		if change != nil {
			change(c)
		}
	})
	close(routed)
	return r, work
}

// watcher follows what the rig deploys.
type watcher struct {
	r      **rig
	routed <-chan struct{} // closed when there is a rig
}

func (w watcher) Watch(ctx context.Context, fn func(store.Change)) error {
	<-w.routed
	return (*w.r).routes.Watch(ctx, fn)
}

func changeOf(rev *workload.Revision, replicas int) store.Change {
	return store.Change{Name: rev.Name, Workload: &store.Workload{Revision: rev, Replicas: replicas, Version: 1}}
}

func asynchronous(name string, p pod) *workload.Revision {
	rev := realtime(name, "/"+name, p)
	rev.Kind, rev.Async = workload.Async, workload.NewAsynchronous()
	return rev
}

// An item goes in through the front door, by either protocol, with the options of its
// caller, and comes out there; what is large is streamed.
func TestItemsThroughTheFrontDoor(t *testing.T) {
	t.Parallel()
	r, _ := startWithItems(t, nil)
	seen := make(chan http.Header, 2)
	p := pod{concurrency: 2}
	r.deploy(asynchronous("iris", p), 1)
	r.run("iris", ready("iris-a", r.server(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		seen <- req.Header
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.Copy(w, req.Body)
	})), p))
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	for name, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": overHTTP2(t)} {
		r.client = client
		header := http.Header{"X-Cortex-Timeout": {"30s"}, "X-Forwarded-For": {"6.6.6.6"}, "X-Mine": {"1"}}
		a := r.do(http.MethodPost, "/iris", bytes.NewReader(body), header)
		var answer struct{ ID string }
		if err := json.Unmarshal([]byte(a.body), &answer); err != nil || a.status != http.StatusOK || a.header.Get("Location") != "/iris/"+answer.ID {
			t.Fatalf("%s: POST = %v %v", name, a, a.header)
		}
		got := receive(t, seen)
		if got.Get("X-Forwarded-For") != "127.0.0.1" || got.Get("X-Mine") != "1" || got.Get("X-Cortex-Timeout") != "" || got.Get("X-Cortex-Request-ID") != answer.ID {
			t.Errorf("%s: the container got %v", name, got)
		}
		if a := r.get("/iris/" + answer.ID + "?wait=20s"); a.status != http.StatusOK || !strings.Contains(a.body, `"completed"`) {
			t.Errorf("%s: GET = %v", name, a)
		}
		if a := r.get("/iris/" + answer.ID + "/result"); a.body != string(body) || a.header.Get("Content-Type") != "text/plain" {
			t.Errorf("%s: the result has %d bytes, %v; want those that were sent", name, len(a.body), a.header)
		}
		if a := r.do(http.MethodPost, "/iris", nil, http.Header{"X-Cortex-Webhook": {"x"}}); a.status != http.StatusBadRequest || a.header.Get("X-Cortex-Reason") != "option_invalid" {
			t.Errorf("%s: an option that there is not = %v %v", name, a, a.header)
		}
	}
}

// A small request is answered where it was read as it is by the server inside, by which the
// same one is answered when more of it is to come.
func TestSmallRequestsAreAnsweredAlike(t *testing.T) {
	t.Parallel()
	r, _ := startWithItems(t, nil)
	r.deploy(asynchronous("iris", pod{concurrency: 1}), 0)
	over2 := overHTTP2(t)
	submit := func() string {
		a := r.do(http.MethodPost, "/iris", strings.NewReader("x"), nil)
		var item struct{ ID string }
		if err := json.Unmarshal([]byte(a.body), &item); err != nil {
			t.Fatal(err)
		}
		return item.ID
	}
	plain := r.client
	for name, tt := range map[string]struct {
		method, path, body string
		header             http.Header
		status             int
	}{
		"a submission":                  {method: "POST", body: "x", status: 200},
		"one that is waited for":        {method: "POST", body: "x", header: http.Header{"Prefer": {"wait=0, respond-async"}}, status: 202},
		"one with an option":            {method: "POST", body: "x", header: http.Header{"X-Cortex-Not-Before": {"+1h"}}, status: 200},
		"an option that there is not":   {method: "POST", body: "x", header: http.Header{"X-Cortex-Wish": {"1"}}, status: 400},
		"an item":                       {method: "GET", path: "/ID", status: 200},
		"its head":                      {method: "HEAD", path: "/ID", status: 200},
		"one that is waited for a bit":  {method: "GET", path: "/ID?wait=1ms", status: 200},
		"a wait that is none":           {method: "GET", path: "/ID?wait=x", status: 400},
		"an item that there is not":     {method: "GET", path: "/nothing", status: 404},
		"a result that there is not":    {method: "GET", path: "/ID/result", status: 409},
		"what is below no item":         {method: "GET", path: "/ID/x/y", status: 404},
		"a method that is not answered": {method: "PUT", path: "/ID", body: "x", status: 405},
		"one that nobody wants":         {method: "DELETE", path: "/ID", status: 200},
	} {
		var seen [2]string
		for i, client := range []*http.Client{plain, over2} {
			r.client = plain
			id := submit()
			r.client = client
			var body io.Reader
			if tt.body != "" {
				body = strings.NewReader(tt.body)
			}
			a := r.do(tt.method, "/iris"+strings.Replace(tt.path, "ID", id, 1), body, tt.header)
			if a.status != tt.status || a.header.Get("X-Request-Id") == "" || a.header.Get("Date") == "" {
				t.Errorf("%s is answered %d %s %v, want %d", name, a.status, a.body, a.header, tt.status)
			}
			for _, field := range []string{"Content-Type", "X-Cortex-Reason", "X-Cortex-Origin", "Allow", "Retry-After", "Location"} {
				seen[i] += field + ": " + strings.Join(a.header.Values(field), "|") + "\n"
			}
			seen[i] = anID.ReplaceAllString(seen[i]+aTime.ReplaceAllString(a.body, "TIME"), "ID")
		}
		if seen[0] != seen[1] {
			t.Errorf("%s is answered here\n%s\nand by the server inside\n%s", name, seen[0], seen[1])
		}
	}
}

var (
	anID  = regexp.MustCompile(`[0-9a-z]{36}`)
	aTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z|"ahead":\d+`)
)

// Who has left does not wait any more, and is counted as one who has.
func TestWaitingCallersMayLeave(t *testing.T) {
	t.Parallel()
	r, _ := startWithItems(t, nil)
	r.deploy(asynchronous("iris", pod{concurrency: 1}), 0)
	a := r.do(http.MethodPost, "/iris", strings.NewReader("x"), nil)
	ctx, leave := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(a.header.Get("Location")+"?wait=60s"), nil)
	if err != nil {
		t.Fatal(err)
	}
	left := make(chan answer, 1)
	go func() { left <- r.send(req) }()
	// The request is there when its connection is one that the gateway has.
	r.until(func() bool { return r.g.waiting.Load() == 1 }, "a caller to wait")
	leave()
	if a := receive(t, left); a.err == nil {
		t.Errorf("GET = %v, want none", a)
	}
	r.until(func() bool { return r.g.waiting.Load() == 0 }, "nobody to wait")
}

// An AsyncAPI at zero is woken by an item, as by a request, and its load is that of items.
func TestItemsWakeAndAreTheLoad(t *testing.T) {
	t.Parallel()
	woken := make(chan string, 100)
	r, work := startWithItems(t, wakes(woken))
	p := pod{concurrency: 1}
	r.deploy(asynchronous("iris", p), 0)
	for range 3 {
		if a := r.do(http.MethodPost, "/iris", strings.NewReader("x"), nil); a.status != http.StatusOK {
			t.Fatalf("POST = %v", a)
		}
	}
	if name := receive(t, woken); name != "iris" {
		t.Errorf("%s was woken, want iris", name)
	}
	r.until(func() bool {
		for _, s := range r.g.Samples() {
			if s.Name == "iris" && s.InFlight == 3 {
				return true
			}
		}
		return false
	}, "a load of 3")
	release := make(chan struct{})
	r.run("iris", ready("iris-a", r.server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })), p))
	r.until(func() bool { queued, running := work.Load("iris"); return queued == 2 && running == 1 }, "one to run")

	// A replica that is to be taken away works on what it has, and gets nothing more.
	drained := make(chan error, 1)
	go func() { drained <- r.g.Drain(context.Background(), "iris", "iris-a") }()
	r.until(func() bool { return r.work("iris").pool.Load().Ready == 0 }, "the replica to be out of the choice")
	close(release)
	if err := receive(t, drained); err != nil {
		t.Errorf("Drain() = %v", err)
	}
	r.until(func() bool { queued, running := work.Load("iris"); return queued == 2 && running == 0 }, "two to wait on")
}

// Without who keeps items an AsyncAPI has no route.
func TestNoItems(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	rev := asynchronous("iris", pod{concurrency: 1})
	r.routes.send(changeOf(rev, 1))
	r.deploy(realtime("lily", "/lily", pod{concurrency: 1}), 1)
	if a := r.do(http.MethodPost, "/iris", nil, nil); a.status != http.StatusNotFound {
		t.Errorf("POST = %v, want 404", a)
	}
}

// A stopped API accepts nothing, and what it has can be fetched.
func TestStoppedItems(t *testing.T) {
	t.Parallel()
	r, _ := startWithItems(t, nil)
	r.deploy(asynchronous("iris", pod{concurrency: 1}), 0)
	a := r.do(http.MethodPost, "/iris", strings.NewReader("x"), nil)
	location := a.header.Get("Location")
	stopped := changeOf(asynchronous("iris", pod{concurrency: 1}), 0)
	stopped.Workload.Stopped = &workload.Stopped{At: time.Now()}
	r.routes.send(stopped)
	r.until(func() bool {
		return r.do(http.MethodPost, "/iris", strings.NewReader("x"), nil).header.Get("X-Cortex-Reason") == "stopped"
	}, "submissions to be refused")
	if a := r.get(location); a.status != http.StatusOK || !strings.Contains(a.body, `"queued"`) {
		t.Errorf("GET = %v", a)
	}
}
