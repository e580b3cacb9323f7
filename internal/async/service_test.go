package async

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

const patience = 20 * time.Second

// rig is a service with a real ledger, and with places at a server of the test.
type rig struct {
	t      *testing.T
	dir    string
	s      *Service
	items  *bolt.Items
	places chan struct{} // as many as there may be executions at once
	server *httptest.Server
	addr   atomic.Value // of the server, for who executes

	cut     atomic.Bool // replicas are ended by us
	asleep  atomic.Bool // none is there unless it is woken
	mu      sync.Mutex
	refuse  error          // instead of places
	refused chan time.Time // when none was given, for the first few
	watch   chan store.Change
	stop    func()
	handler http.HandlerFunc

	webhooks Webhooks
	room     func(int) error // for large contents
}

// start starts a service, which knows one API, iris.
func start(t *testing.T, spec *workload.Asynchronous, handler http.HandlerFunc) *rig {
	t.Helper()
	r := newRig(t, handler)
	r.run(spec)
	return r
}

// newRig is a rig whose server answers, and whose service does not run yet.
func newRig(t *testing.T, handler http.HandlerFunc) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), places: make(chan struct{}, 8), refused: make(chan time.Time, 2), handler: handler, room: func(int) error { return nil }}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body) // before it is, a server does not look whether somebody is still there
		if err != nil {
			t.Error(err)
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		r.handler(w, req)
	}))
	t.Cleanup(r.server.Close)
	r.addr.Store(r.server.Listener.Addr().String())
	return r
}

// run runs a service on the folder of r, as the first one or after another.
func (r *rig) run(spec *workload.Asynchronous) {
	r.t.Helper()
	items, err := bolt.OpenItems(r.t.Context(), bolt.Config{Dir: filepath.Join(r.dir, "items")})
	if err != nil {
		r.t.Fatal(err)
	}
	r.items = items
	r.serve(spec, Config{Ledger: items, Blobs: NewFolder(filepath.Join(r.dir, "contents")).Within(func(n int) error { return r.room(n) }), Webhooks: r.webhooks, Door: func(*workload.Spec) string { return "http://door" }}, func() {
		if err := items.Close(); err != nil {
			r.t.Error(err)
		}
	})
}

// serve runs a service with a ledger; closing is called when it has ended.
func (r *rig) serve(spec *workload.Asynchronous, cfg Config, closing func()) {
	r.t.Helper()
	r.watch = make(chan store.Change, 16)
	cfg.Deployed, cfg.Acquire, cfg.DrainTimeout = r, r.acquire, 200*time.Millisecond
	cfg.Log = slog.New(slog.NewTextHandler(r.t.Output(), nil))
	var err error
	if r.s, err = New(cfg); err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.s.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("Run() = %v, want nil", err)
		}
		closing()
	})
	r.t.Cleanup(func() { r.stop() })
	r.deploy(spec)
	r.watch <- store.Change{}
}

func (r *rig) deploy(spec *workload.Asynchronous) {
	s := workload.Spec{Name: "iris", Kind: workload.Async, Async: spec, Networking: &workload.Networking{Endpoint: "/iris"}}
	r.watch <- store.Change{Name: "iris", Workload: &store.Workload{Revision: &workload.Revision{Spec: s, ID: "v1"}}}
}

// Watch is Deployed's.
func (r *rig) Watch(ctx context.Context, fn func(store.Change)) error {
	for {
		select {
		case c := <-r.watch:
			fn(c)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *rig) acquire(ctx context.Context, _ string, wake bool) (Place, error) {
	r.mu.Lock()
	refuse := r.refuse
	r.mu.Unlock()
	if refuse == nil && !wake && r.asleep.Load() {
		refuse = errors.New("it sleeps")
	}
	if refuse != nil {
		select {
		case r.refused <- time.Now():
		default: // nobody looks
		}
		return nil, refuse
	}
	select {
	case r.places <- struct{}{}:
		return &place{r: r}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *rig) refuseAll(err error) {
	r.mu.Lock()
	r.refuse = err
	r.mu.Unlock()
}

type place struct {
	r    *rig
	once sync.Once
}

func (p *place) Replica() (id, revision string) { return "r1", "v1" }
func (p *place) Cut() bool                      { return p.r.cut.Load() }
func (p *place) Done() {
	p.once.Do(func() { <-p.r.places })
}
func (p *place) Unreached(error) { p.Done() }
func (p *place) Keeps() bool     { return false }
func (p *place) Attach(context.Context, string) (*http.Response, error) {
	return nil, errors.New("nothing is kept")
}
func (p *place) Forget(context.Context, string) error { return nil }
func (p *place) Execute(r *http.Request, _ string) (*http.Response, error) {
	r.URL.Host, _ = p.r.addr.Load().(string)
	return http.DefaultTransport.RoundTrip(r)
}

// call makes a request to the API.
func (r *rig) call(method, path, body string, fields ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, strings.NewReader(body))
	for i := 0; i < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	rec := httptest.NewRecorder()
	r.s.Serve("iris", "/iris", rec, req)
	return rec
}

// submit accepts an item and returns its id.
func (r *rig) submit(body string, fields ...string) string {
	r.t.Helper()
	rec := r.call(http.MethodPost, "/", body, fields...)
	var answer struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || rec.Code != http.StatusOK || !ledger.LegalID(answer.ID) {
		r.t.Fatalf("submitting = %d %s", rec.Code, rec.Body)
	}
	return answer.ID
}

func (r *rig) get(id, query string) workload.Item {
	r.t.Helper()
	rec := r.call(http.MethodGet, "/"+id+query, "")
	if r.s.cfg.Others != nil { // servers that choose a leader answer nothing meanwhile
		r.until("the servers answer", func() bool {
			if rec.Code == http.StatusServiceUnavailable {
				rec = r.call(http.MethodGet, "/"+id+query, "")
			}
			return rec.Code != http.StatusServiceUnavailable
		})
	}
	var item workload.Item
	if err := json.Unmarshal(rec.Body.Bytes(), &item); err != nil || rec.Code != http.StatusOK {
		r.t.Fatalf("GET = %d %s", rec.Code, rec.Body)
	}
	return item
}

// ends waits for the end of an item, which has to be this one.
func (r *rig) ends(id, state string) workload.Item {
	r.t.Helper()
	item := r.get(id, "?wait=20s")
	if item.State != state {
		r.t.Fatalf("the item is %s, want %s: %+v", item.State, state, item)
	}
	return item
}

func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-late:
			r.t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

func (r *rig) load(queued, running int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d queued and %d running", queued, running), func() bool {
		q, n := r.s.Load("iris")
		return q == queued && n == running
	})
}

func (r *rig) blobs() (names []string) {
	_ = filepath.WalkDir(filepath.Join(r.dir, "contents"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, d.Name())
		}
		return nil
	})
	return names
}

func with(change func(*workload.Asynchronous)) *workload.Asynchronous {
	a := workload.NewAsynchronous()
	a.Retry.MinDelay, a.Retry.MaxDelay = workload.Duration(time.Millisecond), workload.Duration(2*time.Millisecond)
	change(a)
	return a
}

// What a container gets is what was sent, and what it answers can be fetched.
func TestAnItem(t *testing.T) {
	t.Parallel()
	type seen struct {
		method, path, host, body string
		header                   http.Header
	}
	got := make(chan seen, 1)
	r := start(t, nil, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		got <- seen{req.Method, req.URL.Path, req.Host, string(body), req.Header}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"species": "setosa"}`)
	})
	rec := r.call(http.MethodPost, "/", "a=1", "Content-Type", "application/x-www-form-urlencoded", "X-Mine", "1", "X-Mine", "2", "Authorization", "secret", "X-Cortex-Timeout", "30s")
	var answer map[string]string
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || rec.Code != 200 || len(answer) != 1 || rec.Header().Get("Location") != "/iris/"+answer["id"] {
		t.Fatalf("POST = %d %v %s, want 200 and an id alone", rec.Code, rec.Header(), rec.Body)
	}
	id := answer["id"]
	at := <-got
	if at.method != http.MethodPost || at.path != "/" || at.host != "example.com" || at.body != "a=1" ||
		at.header.Get("Content-Type") != "application/x-www-form-urlencoded" || !slices.Equal(at.header.Values("X-Mine"), []string{"1", "2"}) ||
		at.header.Get("X-Cortex-Request-ID") != id || at.header.Get("X-Request-ID") != id || at.header.Get("X-Cortex-Attempt") != "1" ||
		at.header.Get("Authorization") != "" || at.header.Get("X-Cortex-Timeout") != "" {
		t.Errorf("the container got %+v", at)
	}
	item := r.ends(id, "succeeded")
	if item.Status != "completed" || string(item.Result) != `{"species":"setosa"}` || item.ResultURL != "/iris/"+id+"/result" || item.Reason != nil ||
		len(item.Attempts) != 1 || item.Attempts[0].Outcome != "succeeded" || item.Attempts[0].Replica != "r1" || item.Attempts[0].Revision != "v1" {
		t.Errorf("the item is %+v", item)
	}
	rec = r.call(http.MethodGet, "/"+id+"/result", "", "Range", "bytes=1-9")
	if rec.Code != http.StatusPartialContent || rec.Body.String() != `"species"` || rec.Header().Get("Content-Type") != "application/json" {
		t.Errorf("GET /result = %d %v %q", rec.Code, rec.Header(), rec.Body)
	}
}

// Contents of any size and kind go through, and what is large leaves nothing behind.
func TestLargeContents(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789", 30_000)
	r := start(t, nil, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.Copy(w, req.Body)
	})
	for _, body := range []string{"", "x", large[:ledger.MaxInline], large[:ledger.MaxInline+1], large} {
		id := r.submit(body)
		item := r.ends(id, "succeeded")
		rec := r.call(http.MethodGet, "/"+id+"/result", "")
		if rec.Body.String() != body || rec.Code != 200 || rec.Header().Get("Content-Type") != "application/octet-stream" || item.Result != nil {
			t.Errorf("the result has %d bytes (%d), want the %d that were sent", rec.Body.Len(), rec.Code, len(body))
		}
	}
	r.until("payloads to be removed", func() bool { return len(r.blobs()) == 2 })
}

// What is not accepted is refused with a reason, and nothing of it is kept.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := start(t, with(func(a *workload.Asynchronous) {
		q := workload.MustQuantity("1Ki")
		a.MaxPayload, a.MaxQueueLength = &q, 2
	}), nil)
	r.refuseAll(errors.New("nobody is there"))
	unknown := ledger.NewID(time.Now())
	for _, tt := range []struct {
		name, method, path, body string
		fields                   []string
		status                   int
		code                     string
	}{
		{"a payload that is too large", "POST", "/", strings.Repeat("x", 1025), nil, 413, codeTooLarge},
		{"an option that there is not", "POST", "/", "", []string{"X-Cortex-Tier", "high"}, 400, codeBadOption},
		{"a delay that is none", "POST", "/", "", []string{"X-Cortex-Not-Before", "soon"}, 400, codeBadOption},
		{"a delay that is too long", "POST", "/", "", []string{"X-Cortex-Not-Before", "+800h"}, 400, codeBadOption},
		{"a timeout that is none", "POST", "/", "", []string{"X-Cortex-Timeout", "0s"}, 400, codeBadOption},
		{"an option twice", "POST", "/", "", []string{"X-Cortex-Timeout", "1s", "X-Cortex-Timeout", "2s"}, 400, codeBadOption},
		{"a key that is too long", "POST", "/", "", []string{"Idempotency-Key", strings.Repeat("k", 257)}, 400, codeBadOption},
		{"a wait that is too long", "POST", "/", "", []string{"Prefer", "wait=301"}, 400, codeBadOption},
		{"too many fields", "POST", "/", "", []string{"X-Mine", strings.Repeat("v", maxFields)}, 431, "fields_too_large"},
		{"an item that there is not", "GET", "/" + unknown, "", nil, 404, ledger.CodeUnknown},
		{"no id", "GET", "/../../etc/passwd", "", nil, 404, codeNotDeployed},
		{"a wait that is none", "GET", "/" + unknown + "?wait=x", "", nil, 404, ledger.CodeUnknown},
		{"to cancel what there is not", "DELETE", "/" + unknown, "", nil, 404, ledger.CodeUnknown},
		{"another try of what there is not", "POST", "/" + unknown + "/retry", "", nil, 404, ledger.CodeUnknown},
		{"a method that does not submit", "PUT", "/", "", nil, 405, "method_not_allowed"},
		{"a path below the root", "POST", "/" + unknown + "/more/of/it", "", nil, 404, codeNotDeployed},
	} {
		rec := r.call(tt.method, tt.path, tt.body, tt.fields...)
		if rec.Code != tt.status || rec.Header().Get("X-Cortex-Reason") != tt.code {
			t.Errorf("%s: %d %s, want %d %s", tt.name, rec.Code, rec.Body, tt.status, tt.code)
		}
	}
	r.submit("1")
	r.submit("2", "X-Cortex-Not-Before", "+1h") // waits, too
	if rec := r.call(http.MethodPost, "/", "3"); rec.Code != 503 || rec.Header().Get("X-Cortex-Reason") != codeQueueFull || rec.Header().Get("Retry-After") == "" {
		t.Errorf("the third of two = %d %v %s, want 503 %s and Retry-After", rec.Code, rec.Header(), rec.Body, codeQueueFull)
	}
	list, err := r.items.List(t.Context(), ledger.Query{API: "iris"})
	if err != nil || len(list) != 2 || len(r.blobs()) != 0 {
		t.Errorf("%d items and the contents %v are kept, %v; want 2 and none", len(list), r.blobs(), err)
	}
}

// Executions that do not succeed are charged to what they are to be charged to.
func TestRetries(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		answers  string // one after the other: a status, x (the connection is closed) or b (busy)
		attempts int32
		losses   int32
		state    string
		code     string
		tries    int
	}{
		{"at the first try", "2", 1, 0, "succeeded", "", 1},
		{"no second try by default", "5", 1, 3, "failed", "upstream_503", 1},
		{"at the third try", "552", 3, 0, "succeeded", "", 3},
		{"never", "555", 3, 0, "failed", "attempts_exhausted", 3},
		{"what cannot succeed is not tried again", "4", 3, 3, "failed", "upstream_422", 1},
		{"a loss has its own budget", "xx2", 1, 2, "succeeded", "", 3},
		{"which is exhausted", "xxx", 9, 2, "failed", "losses_exhausted", 3},
		{"both", "x5x2", 2, 2, "succeeded", "", 4},
		{"the container says never", "n", 3, 3, "failed", "upstream_503", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			r := start(t, with(func(a *workload.Asynchronous) { a.Retry.Attempts, a.Redeliver = tt.attempts, tt.losses }), func(w http.ResponseWriter, req *http.Request) {
				switch i := n.Add(1); tt.answers[i-1] {
				case '2':
					_, _ = io.WriteString(w, "done")
				case '4':
					http.Error(w, "no such flower", http.StatusUnprocessableEntity)
				case '5':
					http.Error(w, "later", http.StatusServiceUnavailable)
				case 'n':
					w.Header().Set("X-Cortex-Retry", "never")
					http.Error(w, "never", http.StatusServiceUnavailable)
				case 'x':
					panic(http.ErrAbortHandler)
				}
			})
			item := r.ends(r.submit("x"), tt.state)
			code := ""
			if item.Reason != nil {
				code = item.Reason.Code
			}
			if code != tt.code || len(item.Attempts) != tt.tries || int(n.Load()) != tt.tries {
				t.Errorf("%+v: %q after %d executions, want %q after %d", item, code, len(item.Attempts), tt.code, tt.tries)
			}
		})
	}
}

// A container that asks to be called later is called later, as often as it asks.
func TestBusyIsChargedToNobody(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	r := start(t, with(func(*workload.Asynchronous) {}), func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) <= 2 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
		}
	})
	item := r.ends(r.submit("x"), "succeeded")
	if len(item.Attempts) != 3 || item.Attempts[1].Outcome != "busy" {
		t.Errorf("%+v, want two executions that were busy and one", item.Attempts)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	gone := make(chan struct{})
	r := start(t, with(func(*workload.Asynchronous) {}), func(_ http.ResponseWriter, req *http.Request) {
		<-req.Context().Done()
		close(gone)
	})
	item := r.ends(r.submit("x", "X-Cortex-Timeout", "1s"), "failed")
	if item.Reason.Code != "item_timeout" || item.Attempts[0].Outcome != "timeout" {
		t.Errorf("%+v, want item_timeout", item)
	}
	<-gone // the connection to the container was closed
}

// A place is given back whatever becomes of an execution, and no more are taken than there
// are.
func TestPlaces(t *testing.T) {
	t.Parallel()
	var now, most atomic.Int64
	r := start(t, with(func(a *workload.Asynchronous) { a.Retry.Attempts = 2 }), func(w http.ResponseWriter, req *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if body, _ := io.ReadAll(req.Body); string(body) == "bad" {
			w.WriteHeader(503)
		}
	})
	var ids []string
	for n := range 100 {
		ids = append(ids, r.submit([]string{"good", "bad"}[n%2]))
	}
	for n, id := range ids {
		r.ends(id, []string{"succeeded", "failed"}[n%2])
	}
	r.until("all places to be given back", func() bool { return len(r.places) == 0 })
	if most.Load() > int64(cap(r.places)) {
		t.Errorf("%d executions at once, want at most %d", most.Load(), cap(r.places))
	}
	r.load(0, 0)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	began, gone := make(chan struct{}), make(chan struct{})
	r := start(t, nil, func(_ http.ResponseWriter, req *http.Request) {
		close(began)
		<-req.Context().Done()
		close(gone)
	})
	running := r.submit("x")
	<-began // or it would be cancelled before it is sent
	if rec := r.call(http.MethodDelete, "/"+running, ""); rec.Code != http.StatusAccepted || !strings.Contains(rec.Body.String(), `"cancelling"`) {
		t.Errorf("DELETE of what runs = %d %s, want 202 and cancelling", rec.Code, rec.Body)
	}
	<-gone
	if item := r.ends(running, "cancelled"); item.Status != "failed" || item.Reason.Code != "item_cancelled" {
		t.Errorf("it is %+v", item)
	}
	r.refuseAll(errors.New("nobody is there"))
	queued, delayed := r.submit("x"), r.submit("x", "X-Cortex-Not-Before", "+1h")
	for _, id := range []string{queued, delayed, queued, running} {
		if rec := r.call(http.MethodDelete, "/"+id, ""); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"cancelled"`) {
			t.Errorf("DELETE = %d %s, want 200 and cancelled", rec.Code, rec.Body)
		}
	}
	r.load(0, 0)
}

// A success that came before the cancellation stands.
func TestWhatSucceededIsNotCancelled(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(http.ResponseWriter, *http.Request) {})
	id := r.submit("x")
	r.ends(id, "succeeded")
	if rec := r.call(http.MethodDelete, "/"+id, ""); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"succeeded"`) {
		t.Errorf("DELETE = %d %s, want 200 and succeeded", rec.Code, rec.Body)
	}
	if rec := r.call(http.MethodPost, "/"+id+"/retry", ""); rec.Code != http.StatusConflict {
		t.Errorf("retry = %d %s, want 409", rec.Code, rec.Body)
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	var bad atomic.Bool
	bad.Store(true)
	large := strings.Repeat("y", ledger.MaxInline+1)
	r := start(t, nil, func(w http.ResponseWriter, req *http.Request) {
		if body, _ := io.ReadAll(req.Body); bad.Load() || string(body) != large {
			w.WriteHeader(500)
		}
	})
	id := r.submit(large)
	r.ends(id, "failed")
	bad.Store(false)
	if rec := r.call(http.MethodPost, "/"+id+"/retry", ""); rec.Code != http.StatusOK {
		t.Fatalf("retry = %d %s", rec.Code, rec.Body)
	}
	if item := r.ends(id, "succeeded"); len(item.Attempts) != 2 || item.Attempts[1].N != 2 {
		t.Errorf("%+v, want a second execution", item)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	r := start(t, nil, func(http.ResponseWriter, *http.Request) { n.Add(1) })
	var ids sync.Map
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { ids.Store(r.submit("x", "Idempotency-Key", "k"), true) })
	}
	all.Wait()
	count := 0
	ids.Range(func(id, _ any) bool {
		count++
		r.ends(id.(string), "succeeded")
		return true
	})
	if rec := r.call(http.MethodPost, "/", "y", "Idempotency-Key", "k"); rec.Code != 422 || rec.Header().Get("X-Cortex-Reason") != ledger.CodeMismatch {
		t.Errorf("the key with another body = %d %s, want 422", rec.Code, rec.Body)
	}
	if rec := r.call(http.MethodPost, "/", "x", "Idempotency-Key", "k"); rec.Header().Get("Idempotent-Replayed") != "true" {
		t.Errorf("the key once more = %v, want it to be said", rec.Header())
	}
	if count != 1 || n.Load() != 1 {
		t.Errorf("%d items and %d executions of one key, want 1", count, n.Load())
	}
}

func TestDelayAndExpiry(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(http.ResponseWriter, *http.Request) {})
	before := time.Now()
	id := r.submit("x", "X-Cortex-Not-Before", "+300ms")
	if item := r.get(id, ""); item.State != "delayed" || item.Status != "in_queue" || item.NextAttemptAt == nil {
		t.Errorf("it is %+v, want delayed", item)
	}
	if item := r.ends(id, "succeeded"); item.Attempts[0].StartedAt.Before(before.Add(300 * time.Millisecond)) {
		t.Errorf("it began after %v", item.Attempts[0].StartedAt.Sub(before))
	}
	r.refuseAll(errors.New("nobody is there"))
	id = r.submit("x", "X-Cortex-Expire-After", "1s")
	if item := r.ends(id, "expired"); item.Status != "failed" || item.Reason.Code != "item_expired" || len(item.Attempts) != 0 {
		t.Errorf("it is %+v", item)
	}
	r.load(0, 0)
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	r := start(t, nil, func(w http.ResponseWriter, req *http.Request) {
		if body, _ := io.ReadAll(req.Body); string(body) == "slow" {
			<-release
		}
	})
	if rec := r.call(http.MethodPost, "/", "x", "Prefer", "wait=10"); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"succeeded"`) {
		t.Errorf("wait = %d %s, want the item", rec.Code, rec.Body)
	}
	if rec := r.call(http.MethodPost, "/", "slow", "Prefer", "wait=1"); rec.Code != http.StatusAccepted || strings.Contains(rec.Body.String(), "state") {
		t.Errorf("wait for too long = %d %s, want 202 and the id", rec.Code, rec.Body)
	}
	if rec := r.call(http.MethodPost, "/", "x", "Prefer", "respond-async"); rec.Code != http.StatusAccepted {
		t.Errorf("respond-async = %d, want 202", rec.Code)
	}
	close(release)
}

// Who waits for an end does not hold up the end of the process.
func TestNobodyWaitsForAProcessThatEnds(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(http.ResponseWriter, *http.Request) {})
	r.refuseAll(errors.New("nobody is there"))
	id := r.submit("x")
	waited := make(chan workload.Item, 1)
	go func() { waited <- r.get(id, "?wait=300s") }()
	r.until("somebody to wait", func() bool {
		r.s.ends.mu.Lock()
		defer r.s.ends.mu.Unlock()
		return len(r.s.ends.wait) == 1
	})
	r.s.end()
	if item := <-waited; item.State != "queued" {
		t.Errorf("it is %s, want queued", item.State)
	}
}

// Whatever was accepted is taken up by the next process; what was under way begins again,
// which is charged to nobody.
func TestAnotherProcessTakesUp(t *testing.T) {
	t.Parallel()
	var stuck atomic.Bool
	stuck.Store(true)
	r := start(t, with(func(a *workload.Asynchronous) { a.Redeliver = 0 }), func(_ http.ResponseWriter, req *http.Request) {
		if stuck.Load() {
			<-req.Context().Done()
		}
	})
	running := r.submit("x")
	r.load(0, 1)
	r.refuseAll(errors.New("nobody is there"))
	queued := r.submit("y")
	delayed := r.submit("z", "X-Cortex-Not-Before", "+2s")
	r.stop() // the execution is interrupted
	stuck.Store(false)
	r.refuseAll(nil)
	r.run(with(func(a *workload.Asynchronous) { a.Redeliver = 0 }))
	if item := r.ends(running, "succeeded"); len(item.Attempts) != 2 || item.Attempts[0].Outcome != "interrupted" {
		t.Errorf("what ran is %+v, want an interruption and a success", item.Attempts)
	}
	if kept, err := r.items.Get(t.Context(), "iris", running); err != nil || kept.Crashes != 0 {
		t.Errorf("a stop was charged as %d crashes (%v)", kept.Crashes, err)
	}
	r.ends(queued, "succeeded")
	r.ends(delayed, "succeeded")
}

// A replica that we end is not a loss.
func TestCutIsChargedToNobody(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	r := start(t, with(func(a *workload.Asynchronous) { a.Redeliver = 0 }), nil)
	r.handler = func(http.ResponseWriter, *http.Request) {
		if n.Add(1) == 1 {
			r.cut.Store(true)
			panic(http.ErrAbortHandler)
		}
		r.cut.Store(false)
	}
	item := r.ends(r.submit("x"), "succeeded")
	if item.Attempts[0].Outcome != "interrupted" || item.Attempts[0].Reason.Code != "replica_stopped" {
		t.Errorf("%+v, want an interruption", item.Attempts)
	}
}

// A deleted API leaves no open items, and nothing of it stays in memory.
func TestDeletedAPI(t *testing.T) {
	t.Parallel()
	began, gone := make(chan struct{}), make(chan struct{})
	r := start(t, nil, func(_ http.ResponseWriter, req *http.Request) {
		close(began)
		<-req.Context().Done()
		close(gone)
	})
	running := r.submit("x")
	<-began // or it would be cancelled before it is sent
	delayed := r.submit("x", "X-Cortex-Not-Before", "+1h")
	r.watch <- store.Change{Name: "iris"}
	<-gone
	for _, id := range []string{running, delayed} {
		r.until("it to be cancelled", func() bool {
			i, err := r.items.Get(t.Context(), "iris", id)
			return err == nil && i.State == ledger.Cancelled && i.Reason.Code == "api_deleted"
		})
	}
	r.until("it to be forgotten", func() bool { return r.s.existing("iris") == nil })
	if rec := r.call(http.MethodPost, "/", "x"); rec.Code != http.StatusNotFound {
		t.Errorf("POST = %d %s, want 404", rec.Code, rec.Body)
	}
}

// A replica that takes no connection costs an item nothing.
func TestUnreachedIsNoExecution(t *testing.T) {
	t.Parallel()
	r := start(t, with(func(a *workload.Asynchronous) { a.Redeliver = 0 }), func(http.ResponseWriter, *http.Request) {})
	working := r.addr.Load()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	r.addr.Store(dead.Addr().String())
	id := r.submit("x")
	r.load(0, 1)
	r.addr.Store(working)
	if item := r.ends(id, "succeeded"); len(item.Attempts) != 1 {
		t.Errorf("%+v, want one execution", item.Attempts)
	}
}

// What an earlier process left behind that no item refers to is removed; what one refers
// to is not.
func TestContentsWithoutItems(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(http.ResponseWriter, *http.Request) {})
	r.refuseAll(errors.New("nobody is there"))
	id := r.submit(strings.Repeat("y", ledger.MaxInline+1))
	r.stop()
	blobs := NewFolder(filepath.Join(r.dir, "contents"))
	old := ledger.NewID(time.Now().Add(-time.Hour))
	for _, name := range []string{"iris/" + old + ".payload", "iris/" + id + ".1", "lily/" + old + ".2"} {
		if err := blobs.Put(name, strings.NewReader("z")); err != nil {
			t.Fatal(err)
		}
	}
	// One that was never whole, and one that is being written by this process.
	written := ledger.NewID(time.Now().Add(time.Hour)) + ".payload" + part
	for _, name := range []string{old + ".payload" + part, written} {
		if err := os.WriteFile(filepath.Join(r.dir, "contents", "iris", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.run(nil)
	r.until("the contents of nobody to be removed", func() bool { return len(r.blobs()) == 2 })
	if !slices.Contains(r.blobs(), written) {
		t.Errorf("what is being written was removed: %v are left", r.blobs())
	}
	r.refuseAll(nil)
	r.ends(id, "succeeded")
}
