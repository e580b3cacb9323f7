package async

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/workload"
)

// event is one of a stream.
type event struct{ name, id, data string }

// follow opens the stream of an item; the channel is closed when it ends.
func (r *rig) follow(id, since string) (*http.Response, <-chan event) {
	r.t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.s.Serve("iris", "/iris", w, req) }))
	r.t.Cleanup(front.Close)
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	r.t.Cleanup(cancel)
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, front.URL+"/"+id, nil)
	req.Header.Set("Accept", "text/html, text/event-stream;q=0.9")
	if since != "" {
		req.Header.Set("Last-Event-ID", since)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { resp.Body.Close() })
	events := make(chan event, 100)
	go func() {
		defer close(events)
		var e event
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "":
				if e != (event{}) {
					events <- e
				}
				e = event{}
			}
		}
	}()
	return resp, events
}

func (r *rig) next(events <-chan event, name string) event {
	r.t.Helper()
	select {
	case e := <-events:
		if e.name != name {
			r.t.Fatalf("the event is %+v, want %s", e, name)
		}
		return e
	case <-time.After(patience):
		r.t.Fatalf("waited in vain for %s", name)
	}
	return event{}
}

// Who listens hears of each state, of how far the container is, and of the end with the
// result; and goes on where the connection broke.
func TestEvents(t *testing.T) {
	t.Parallel()
	urls, released := make(chan string, 1), make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	defer release() // or a failure waits for the handler for ever
	r := start(t, nil, func(w http.ResponseWriter, req *http.Request) {
		urls <- req.Header.Get(fieldReport)
		<-released
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"x": 1}`)
	})
	r.refuseAll(errors.New("nobody is there"))
	id := r.submit("x")
	resp, events := r.follow(id, "")
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET = %d %s", resp.StatusCode, kind)
	}
	if e := r.next(events, "state"); !strings.Contains(e.data, `"state":"queued"`) || !strings.Contains(e.data, `"ahead":0`) {
		t.Errorf("the first event is %+v, want queued and its place", e)
	}
	r.refuseAll(nil)
	if e := r.next(events, "state"); !strings.Contains(e.data, `"state":"running"`) {
		t.Errorf("the second event is %+v, want running", e)
	}
	report := <-urls
	path, ok := strings.CutPrefix(report, "http://door/iris/")
	if !ok {
		t.Fatalf("the container got the address %q", report)
	}
	if rec := r.call(http.MethodPost, "/"+path, `{"percent": 40, "message": "chunk 4 of 10"}`); rec.Code != http.StatusNoContent {
		t.Fatalf("reporting = %d %s", rec.Code, rec.Body)
	}
	seen := r.next(events, "progress")
	if !strings.Contains(seen.data, `"percent":40,"message":"chunk 4 of 10"`) {
		t.Errorf("progress is %+v", seen)
	}
	if item := r.get(id, ""); item.Progress == nil || *item.Progress.Percent != 40 {
		t.Errorf("the item has the progress %+v", item.Progress)
	}

	// Another one, who has seen that, hears only of what comes.
	_, later := r.follow(id, seen.id)
	release()
	for _, of := range []<-chan event{events, later} {
		end := r.next(of, "end")
		var item workload.Item
		if err := json.Unmarshal([]byte(end.data), &item); err != nil || item.State != "succeeded" || string(item.Result) != `{"x":1}` || item.Progress != nil {
			t.Errorf("the last event is %+v, want the item with its result", end)
		}
		if e, more := <-of; more {
			t.Errorf("%+v comes after the end", e)
		}
		seen = end
	}
	// Who has seen the end is told that there is no more.
	if resp, _ := r.follow(id, seen.id); resp.StatusCode != http.StatusNoContent {
		t.Errorf("GET after the end = %d, want 204", resp.StatusCode)
	}
	if rec := r.call(http.MethodPost, "/"+path, "more"); rec.Code != http.StatusNotFound || rec.Header().Get("X-Cortex-Reason") != "not_executing" {
		t.Errorf("reporting after the end = %d %s", rec.Code, rec.Body)
	}
	if n := r.s.streams.Load(); n != 0 {
		t.Errorf("%d streams are open, want none", n)
	}
}

// Streams end with the process, and no more are open than may be.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(http.ResponseWriter, *http.Request) {})
	r.refuseAll(errors.New("nobody is there"))
	id := r.submit("x")
	_, events := r.follow(id, "")
	r.next(events, "state")
	r.s.streams.Add(maxStreams - 1)
	if resp, _ := r.follow(id, ""); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("X-Cortex-Reason") != "too_many_streams" {
		t.Errorf("one more stream = %d, want 503", resp.StatusCode)
	}
	r.s.streams.Add(1 - maxStreams)
	r.s.end()
	select {
	case e, more := <-events:
		if more {
			t.Errorf("%+v comes at the end of the process", e)
		}
	case <-time.After(patience):
		t.Error("the stream goes on when the process ends")
	}
}

// Reports are read strictly, and one in a second is kept.
func TestReports(t *testing.T) {
	t.Parallel()
	urls, release := make(chan string, 1), make(chan struct{})
	r := start(t, nil, func(_ http.ResponseWriter, req *http.Request) {
		urls <- req.Header.Get(fieldReport)
		<-release
	})
	id := r.submit("x")
	path := strings.TrimPrefix(<-urls, "http://door/iris")
	defer close(release)
	for _, bad := range []string{"", "{", `{"percent": 101}`, `{"percent": -1}`, `{"percent": "x"}`, "{}", strings.Repeat("x", workload.MaxProgress+1)} {
		if rec := r.call(http.MethodPost, path, bad); rec.Code != http.StatusBadRequest {
			t.Errorf("reporting %.20q = %d, want 400", bad, rec.Code)
		}
	}
	for _, wrong := range []string{"/" + id + "/progress/", "/" + id + "/progress/x", path + "x", "/" + ledger.NewID(time.Now()) + path[len(id)+1:]} {
		if rec := r.call(http.MethodPost, wrong, "x"); rec.Code != http.StatusNotFound {
			t.Errorf("reporting to %s = %d, want 404", wrong, rec.Code)
		}
	}
	for _, text := range []string{strings.Repeat("\u00e4", workload.MaxProgressMessage), "second"} {
		if rec := r.call(http.MethodPost, path, text); rec.Code != http.StatusNoContent {
			t.Errorf("reporting text = %d, want 204", rec.Code)
		}
	}
	if p := r.get(id, "").Progress; p == nil || p.Message != strings.Repeat("\u00e4", workload.MaxProgressMessage/2) || p.Percent != nil {
		t.Errorf("progress is %+v, want the first of a second, and no half letter", p)
	}
}

// Heartbeats keep a quiet stream open.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Service{cfg: Config{Ledger: oneItem{}}}
		s.over, s.end = context.WithCancel(t.Context())
		rec := httptest.NewRecorder()
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", nil)
		req.Header.Set("Accept", "text/event-stream")
		var served sync.WaitGroup
		served.Go(func() { s.Serve("iris", "/iris", rec, req) })
		time.Sleep(2*heartbeat + time.Second)
		s.end()
		served.Wait()
		if n := strings.Count(rec.Body.String(), ": \n\n"); n != 2 {
			t.Errorf("%d heartbeats within %s, want 2: %q", n, 2*heartbeat, rec.Body)
		}
	})
}

// oneItem has one item, about which nothing happens.
type oneItem struct{ ledger.Ledger }

func (oneItem) Get(context.Context, string, string) (ledger.Item, error) {
	return ledger.Item{API: "iris", ID: "x", State: ledger.Queued, Version: 1}, nil
}

// What was forgotten is gone, and not unknown.
func TestGone(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", ledger.MaxInline+1))
	})
	id := r.submit("x")
	r.ends(id, "succeeded")
	if p, err := r.s.Purge(t.Context(), "iris", time.Hour); err != nil || p.Purged != 0 {
		t.Errorf("Purge() of what ended an hour ago = %+v, %v, want none", p, err)
	}
	waits := r.submit("y", "X-Cortex-Not-Before", "+1h")
	if p, err := r.s.Purge(t.Context(), "iris", 0); err != nil || p.Purged != 1 || p.More {
		t.Errorf("Purge() = %+v, %v, want the one that has ended", p, err)
	}
	for _, path := range []string{"/" + id, "/" + id + "/result"} {
		if rec := r.call(http.MethodGet, path, ""); rec.Code != http.StatusGone || rec.Header().Get("X-Cortex-Reason") != "result_expired" {
			t.Errorf("GET %s = %d %s, want 410 result_expired", path, rec.Code, rec.Body)
		}
	}
	if names := r.blobs(); len(names) != 0 {
		t.Errorf("%v are left of what was forgotten", names)
	}
	if item := r.get(waits, ""); item.State != "delayed" {
		t.Errorf("what has not ended is %s", item.State)
	}
}

// Items are begun by class, and within one by caller in turn; idle ones wake nothing.
func TestTurns(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	r := start(t, with(func(a *workload.Asynchronous) { a.Concurrency = &workload.AsyncConcurrency{PerCaller: 1} }), func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		mu.Lock()
		order = append(order, string(body))
		mu.Unlock()
	})
	for range cap(r.places) - 1 { // one at a time
		r.places <- struct{}{}
	}
	r.refuseAll(errors.New("nobody is there"))
	r.asleep.Store(true)
	ids := []string{r.submit("idle", "X-Cortex-Priority", "idle")}
	for n := range 3 {
		ids = append(ids, r.submit(fmt.Sprintf("a%d", n), "X-Forwarded-For", "10.0.0.1"))
	}
	ids = append(ids, r.submit("b", "X-Forwarded-For", "10.0.0.1", "X-Cortex-Caller", "b"), r.submit("high", "X-Cortex-Priority", "high"))
	if item := r.get(ids[3], ""); item.Queue == nil || item.Queue.Ahead != 4 {
		t.Errorf("it waits at %+v, want behind four", item.Queue)
	}
	if r.s.Backlog("iris").Queued != 3 || r.s.Waiting("iris").Idle != 1 {
		t.Errorf("the backlog is %+v, want one of each caller beside the idle one", r.s.Backlog("iris"))
	}
	r.refuseAll(nil)
	for _, id := range ids[1:] {
		r.ends(id, "succeeded")
	}
	mu.Lock()
	got := slices.Clone(order)
	mu.Unlock()
	if want := []string{"high", "b", "a0", "a1", "a2"}; !slices.Equal(got, want) {
		t.Errorf("they began as %v, want %v", got, want)
	}
	if item := r.get(ids[0], ""); item.State != "queued" || item.Priority != "idle" {
		t.Errorf("the idle one is %s (%s), and nothing is awake", item.State, item.Priority)
	}
	r.asleep.Store(false)
	r.ends(ids[0], "succeeded")
}

func TestLabels(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(http.ResponseWriter, *http.Request) {})
	id := r.submit("x", "X-Cortex-Label", "team=a, n=1", "X-Cortex-Label", "run=7")
	r.submit("y")
	r.ends(id, "succeeded")
	for labels, want := range map[string]int{"team=a": 1, "run=8": 0, "": 2} {
		q := workload.ItemQuery{Name: "iris"}
		if name, value, is := strings.Cut(labels, "="); is {
			q.Labels = map[string]string{name: value}
		}
		list, err := r.s.List(t.Context(), q)
		if err != nil || len(list) != want {
			t.Errorf("List(%s) has %d items, %v, want %d", labels, len(list), err, want)
		}
		if labels == "team=a" && list[0].Labels["run"] != "7" {
			t.Errorf("the labels are %v", list[0].Labels)
		}
	}
	var many []string
	for n := range maxLabels + 1 {
		many = append(many, "X-Cortex-Label", fmt.Sprintf("l%d=x", n))
	}
	for _, fields := range [][]string{{"X-Cortex-Label", "x"}, {"X-Cortex-Label", "a b=c"}, {"X-Cortex-Label", "a=b,c"}, {"X-Cortex-Label", "=b"}, many, {"X-Cortex-Priority", "urgent"}, {"X-Cortex-Caller", strings.Repeat("x", maxCaller+1)}} {
		if rec := r.call(http.MethodPost, "/", "", fields...); rec.Code != http.StatusBadRequest || rec.Header().Get("X-Cortex-Reason") != codeBadOption {
			t.Errorf("%.40v = %d %s, want 400 %s", fields, rec.Code, rec.Body, codeBadOption)
		}
	}
}

// What is tried again, and of what the payload is kept, is what the API says.
func TestWhatAnAPISays(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", ledger.MaxInline+1)
	for _, tt := range []struct {
		name     string
		on       []string
		payloads string
		status   int
		state    string
		tries    int
		again    int // what another try is answered with
		blobs    int
	}{
		{"as it is", nil, "", 503, "failed", 2, 200, 1},
		{"a status that is not tried again", nil, "", 500, "failed", 1, 200, 1},
		{"one that is", []string{"500", "timeout"}, "", 500, "failed", 2, 200, 1},
		{"one that is not any more", []string{"500"}, "", 503, "failed", 1, 200, 1},
		{"no payload", nil, workload.KeepNever, 500, "failed", 1, 409, 0},
		{"none of a success", nil, "", 200, "succeeded", 1, 409, 0},
		{"all payloads", nil, workload.KeepAlways, 200, "succeeded", 1, 200, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, with(func(a *workload.Asynchronous) { a.Retry.Attempts, a.Retry.On, a.Keep.Payloads = 2, tt.on, tt.payloads }), func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
			})
			id := r.submit(large)
			if item := r.ends(id, tt.state); len(item.Attempts) != tt.tries {
				t.Errorf("%d executions, want %d", len(item.Attempts), tt.tries)
			}
			r.until("contents to be removed", func() bool { return len(r.blobs()) == tt.blobs })
			r.refuseAll(errors.New("nobody is there"))
			if rec := r.call(http.MethodPost, "/"+id+"/retry", ""); rec.Code != tt.again {
				t.Errorf("retry = %d %s, want %d", rec.Code, rec.Body, tt.again)
			}
			if tt.again == 200 {
				if item := r.get(id, ""); item.State != "queued" || item.ResultURL != "" {
					t.Errorf("it is %+v, want queued without a result", item)
				}
			}
		})
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for way, want := range map[string]string{"": "", "10.0.0.1": "10.0.0.1", "6.6.6.6, 10.0.0.1, 10.0.0.2": "10.0.0.1", "10.0.0.1, 10.0.0.2": "10.0.0.1"} {
		if got := address(http.Header{"X-Forwarded-For": {way}}); got != want {
			t.Errorf("address(%q) = %q, want %q", way, got, want)
		}
	}
}
