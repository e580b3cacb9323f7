package async

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/webhook"
	"cortex.dev/cortex/internal/workload"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// message is what a receiver got.
type message struct {
	id   string
	body string
	data hookBody
}

// receiver notes messages, and refuses those that are not signed.
func receiver(t *testing.T, answer func(n int) int) (address string, got func() []message) {
	t.Helper()
	var mu sync.Mutex
	var all []message
	secrets, err := webhook.Secrets(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		at, err := time.ParseDuration(r.Header.Get("Webhook-Timestamp") + "s")
		if want := webhook.Sign(secrets[0], r.Header.Get("Webhook-Id"), time.Unix(int64(at/time.Second), 0), body); err != nil || r.Header.Get("Webhook-Signature") != want {
			t.Errorf("the signature of %s is %q, want %q", body, r.Header.Get("Webhook-Signature"), want)
		}
		m := message{id: r.Header.Get("Webhook-Id"), body: string(body)}
		if err := json.Unmarshal(body, &m.data); err != nil {
			t.Errorf("a message is no JSON: %v", err)
		}
		mu.Lock()
		all = append(all, m)
		n := len(all)
		mu.Unlock()
		w.WriteHeader(answer(n))
	}))
	t.Cleanup(s.Close)
	return s.URL + "/hook", func() []message {
		mu.Lock()
		defer mu.Unlock()
		return append([]message{}, all...)
	}
}

func hooked(url string) *workload.Asynchronous {
	return with(func(a *workload.Asynchronous) {
		a.Webhook = &workload.Webhook{URL: url, Secret: "hook", AllowCallersURL: true}
	})
}

func (r *rig) hooks() []workload.Hook {
	r.t.Helper()
	list, err := r.s.ListHooks(r.t.Context(), workload.HookQuery{Name: "iris"})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// An end is told of, again when its receiver says no, and once more when somebody asks.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	url, got := receiver(t, func(n int) int { return map[bool]int{true: 500, false: 204}[n == 1] })
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"a": "<b>"}`)
	})
	r.webhooks = killHooks()
	r.webhooks.Endpoint = func() string { return "http://localhost:8888" }
	r.run(hooked(url))
	id := r.submit("x")
	r.ends(id, "succeeded")
	r.until("the first try to fail", func() bool { h := r.hooks(); return len(h) == 1 && h[0].Tries == 1 })
	h := r.hooks()[0]
	if h.State != "pending" || h.HTTPStatus != 500 || h.NextTryAt == nil || h.NextTryAt.Sub(*h.TriedAt) != 5*time.Second || h.Reason.Code != "webhook_refused" || h.ItemID != id || h.Event != "item.succeeded" {
		t.Errorf("after 500 the message is %+v", h)
	}
	for _, want := range []int{2, 3} {
		if changed, err := r.s.RedeliverHooks(t.Context(), "iris", []string{h.ID}); err != nil || len(changed.Changed) != 1 {
			t.Fatalf("RedeliverHooks() = %+v, %v", changed, err)
		}
		r.until("it to be delivered", func() bool { return len(got()) == want && r.hooks()[0].State == "delivered" })
	}
	all := got()
	m := all[0]
	if m.id != all[1].id || m.body != all[1].body || m.body != all[2].body || m.id != "msg_"+h.ID {
		t.Errorf("the three deliveries differ: %+v", all)
	}
	if m.data.Type != "item.succeeded" || m.data.Data.API != "iris" || m.data.Data.ID != id || m.data.Data.Status != "completed" || string(m.data.Data.Result) != `{"a":"<b>"}` ||
		m.data.Data.ResultURL != "http://localhost:8888/iris/"+id+"/result" || !strings.Contains(m.body, "<b>") {
		t.Errorf("the message is %s", m.body)
	}
}

// A receiver that answers 410 gets no more tries.
func TestWebhookGone(t *testing.T) {
	t.Parallel()
	url, got := receiver(t, func(int) int { return http.StatusGone })
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	r.webhooks = killHooks()
	r.run(hooked(url))
	r.ends(r.submit("x"), "failed")
	r.until("it to be given up", func() bool { h := r.hooks(); return len(h) == 1 && h[0].State == "gave_up" })
	if h := r.hooks()[0]; h.Reason.Code != "webhook_gone" || len(got()) != 1 || got()[0].data.Data.Reason.Code != "upstream_418" {
		t.Errorf("the message is %+v, %+v", h, got())
	}
}

// Callers name an address where they may, and where a message may go.
func TestCallersWebhooks(t *testing.T) {
	t.Parallel()
	url, got := receiver(t, func(int) int { return 200 })
	r := newRig(t, func(http.ResponseWriter, *http.Request) {})
	r.webhooks = killHooks()
	r.run(hooked("http://127.0.0.1:1/nobody"))
	r.ends(r.submit("x", "X-Cortex-Webhook", url), "succeeded")
	r.until("the caller to be told", func() bool { return len(got()) == 1 })
	for _, bad := range []string{"http://169.254.169.254/latest/meta-data", "https://10.0.0.1/", "http://example.com/", "x"} {
		if rec := r.call(http.MethodPost, "/", "x", "X-Cortex-Webhook", bad); rec.Code != http.StatusBadRequest || rec.Header().Get("X-Cortex-Reason") != codeBadOption {
			t.Errorf("X-Cortex-Webhook: %s = %d %s, want a refusal", bad, rec.Code, rec.Body)
		}
	}
	r.deploy(with(func(a *workload.Asynchronous) { a.Webhook = &workload.Webhook{URL: url, Secret: "hook"} }))
	r.until("callers to be refused", func() bool {
		return r.call(http.MethodPost, "/", "x", "X-Cortex-Webhook", url).Code == http.StatusBadRequest
	})
}

// A message outlives the process: what nobody has confirmed is sent again, as it was.
func TestWebhooksOutliveTheProcess(t *testing.T) {
	t.Parallel()
	sent := make(chan webhook.Message, 10)
	var answer atomic.Bool
	r := newRig(t, func(http.ResponseWriter, *http.Request) {})
	r.webhooks = killHooks()
	r.webhooks.Send = func(ctx context.Context, m webhook.Message) (int, error) {
		sent <- m
		if !answer.Load() {
			<-ctx.Done()
			return 0, ctx.Err()
		}
		return 200, nil
	}
	r.run(hooked("https://example.com/"))
	r.submit("x")
	first := <-sent
	r.stop()
	answer.Store(true)
	r.run(hooked("https://elsewhere.example/"))
	second := <-sent
	if first.ID != second.ID || string(first.Body) != string(second.Body) || second.URL != "https://example.com/" {
		t.Errorf("it was sent as %+v, and then as %+v", first, second)
	}
	r.until("it to be delivered", func() bool { return r.hooks()[0].State == "delivered" })
}

// A host that does not answer keeps no other waiting, and gets a few at a time.
func TestWebhooksPerHost(t *testing.T) {
	t.Parallel()
	var slow, most atomic.Int64
	quick := make(chan string, 100)
	r := newRig(t, func(http.ResponseWriter, *http.Request) {})
	r.webhooks = killHooks()
	r.webhooks.CheckURL = func(string) error { return nil }
	r.webhooks.Send = func(ctx context.Context, m webhook.Message) (int, error) {
		if strings.Contains(m.URL, "slow") {
			if n := slow.Add(1); n > most.Load() {
				most.Store(n)
			}
			<-ctx.Done()
			slow.Add(-1)
			return 0, ctx.Err()
		}
		quick <- m.ID
		return 200, nil
	}
	r.run(hooked("https://slow.example/"))
	var ids []string
	for range 20 {
		ids = append(ids, r.submit("x"))
	}
	for _, id := range ids {
		r.ends(id, "succeeded")
	}
	for n := range 5 {
		r.ends(r.submit("y", "X-Cortex-Webhook", fmt.Sprintf("https://quick%d.example/", n%2)), "succeeded")
		select {
		case <-quick:
		case <-time.After(patience):
			t.Fatal("a host that answers waits for one that does not")
		}
	}
	if most.Load() != sendPerHost {
		t.Errorf("%d messages were sent to one host at once, want %d", most.Load(), sendPerHost)
	}
}

// An item that runs each time the process crashes ends; the others are not charged.
func TestCrashes(t *testing.T) {
	t.Parallel()
	r := start(t, nil, func(http.ResponseWriter, *http.Request) {})
	r.refuseAll(errors.New("nobody is there"))
	id, other := r.submit("x"), r.submit("y")
	for n := 1; ; n++ {
		// What a crash leaves behind: an execution that began.
		at := time.Now().Add(time.Hour)
		_, _ = r.items.Apply(t.Context(), "iris", id, ledger.Event{Type: ledger.Due, At: at}, nil) // unless it is queued
		if _, err := r.items.Apply(t.Context(), "iris", id, ledger.Event{Type: ledger.Begin, At: at, Owner: "me"}, nil); err != nil {
			t.Fatal(err)
		}
		r.stop()
		r.run(nil)
		r.until("it to be taken up", func() bool { i, err := r.items.Get(t.Context(), "iris", id); return err == nil && !i.State.Executing() })
		i, err := r.items.Get(t.Context(), "iris", id)
		if err != nil {
			t.Fatal(err)
		}
		if i.State == ledger.Failed {
			if n != ledger.MaxCrashes+1 || i.Reason.Code != "crashes_exhausted" {
				t.Errorf("it failed after %d crashes, as %+v; want after %d", n, i.Reason, ledger.MaxCrashes+1)
			}
			break
		}
		if n > ledger.MaxCrashes {
			t.Fatalf("after %d crashes it is %s", n, i.State)
		}
	}
	if i, err := r.items.Get(t.Context(), "iris", other); err != nil || i.Crashes != 0 {
		t.Errorf("the other one is %+v, %v", i, err)
	}
}

// damage changes a byte in the middle of the only content that there is.
func (r *rig) damage() {
	r.t.Helper()
	path := r.onlyBlob()
	data, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) onlyBlob() string {
	r.t.Helper()
	names := r.blobs()
	if len(names) != 1 {
		r.t.Fatalf("there are the contents %v, want one", names)
	}
	return filepath.Join(r.dir, "contents", "iris", names[0])
}

// A payload that is not what was accepted is not given to a container whole.
func TestDamagedPayload(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	var whole atomic.Bool
	r.server.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if _, err := io.ReadAll(req.Body); err == nil {
			whole.Store(true)
		}
	})
	r.run(nil)
	r.refuseAll(errors.New("nobody is there"))
	id := r.submit(strings.Repeat("x", 3*ledger.MaxInline))
	r.damage()
	r.refuseAll(nil)
	if item := r.ends(id, "failed"); item.Reason.Code != "payload_lost" || whole.Load() {
		t.Errorf("it failed as %+v; the container had all of it: %v", item.Reason, whole.Load())
	}
}

// A result that is not what was kept is cut off, and one that is gone is said to be.
func TestDamagedResult(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("y", 5*ledger.MaxInline)
	r := start(t, nil, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) })
	id := r.submit("x")
	r.ends(id, "succeeded")
	if rec := r.call(http.MethodGet, "/"+id+"/result", ""); rec.Body.String() != large {
		t.Fatalf("the result has %d bytes", rec.Body.Len())
	}
	r.damage()
	if rec := r.call(http.MethodGet, "/"+id+"/result", ""); rec.Body.Len() >= len(large) {
		t.Errorf("a damaged result was answered whole")
	}
	if err := os.Remove(r.onlyBlob()); err != nil {
		t.Fatal(err)
	}
	if rec := r.call(http.MethodGet, "/"+id+"/result", ""); rec.Code != http.StatusGone || rec.Header().Get("X-Cortex-Reason") != codeResultLost {
		t.Errorf("a result that is gone = %d %s", rec.Code, rec.Body)
	}
}

// Where there is no room, nothing is accepted, with the reason; and what was accepted before
// waits until there is.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	var full atomic.Bool
	large := strings.Repeat("y", 2*ledger.MaxInline)
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) })
	r.room = func(int) error {
		if full.Load() {
			return fault.New(fault.Unavailable, "store.disk_full", "the disk is full")
		}
		return nil
	}
	r.run(nil)
	full.Store(true)
	if rec := r.call(http.MethodPost, "/", large); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("X-Cortex-Reason") != "store.disk_full" || rec.Header().Get("Retry-After") == "" {
		t.Errorf("submitting to a full disk = %d %s", rec.Code, rec.Body)
	}
	id := r.submit("x") // which is small, but its result is not
	r.until("its result to have no room", func() bool { return r.get(id, "").State == "retrying" })
	item := r.get(id, "")
	if a := item.Attempts[0]; a.Outcome != "interrupted" || a.Reason.Code != "result_not_kept" || item.NextAttemptAt == nil || time.Until(*item.NextAttemptAt) < 10*time.Second {
		t.Errorf("it is %+v, due at %v; want another try in half a minute", a, item.NextAttemptAt)
	}
	if blobs := r.blobs(); len(blobs) != 0 {
		t.Errorf("%v are left of what had no room", blobs)
	}
}
