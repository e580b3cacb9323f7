package async

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/store/bolt"
)

// slow is a ledger whose calls a test may hold up, or fail.
type slow struct {
	ledger.Ledger
	beginning chan struct{} // nil: not held up
	begin     chan struct{}
	unread    atomic.Int32 // payloads that cannot be read yet
	away      atomic.Int32 // items that cannot be read yet
}

func (s *slow) Get(ctx context.Context, api, id string) (ledger.Item, error) {
	if s.away.Add(-1) >= 0 {
		return ledger.Item{}, fault.New(fault.Unavailable, "store.unavailable", "the servers are away")
	}
	return s.Ledger.Get(ctx, api, id)
}

func (s *slow) Apply(ctx context.Context, api, id string, e ledger.Event, result []byte) (ledger.Item, error) {
	if e.Type == ledger.Begin && s.beginning != nil {
		s.beginning <- struct{}{}
		<-s.begin
	}
	return s.Ledger.Apply(ctx, api, id, e, result)
}

func (s *slow) Payload(ctx context.Context, api, id string) ([]byte, error) {
	if s.unread.Add(-1) >= 0 {
		return nil, fault.New(fault.Unavailable, "store.unavailable", "the servers are away")
	}
	return s.Ledger.Payload(ctx, api, id)
}

func withSlowLedger(t *testing.T, s *slow, handler http.HandlerFunc) *rig {
	t.Helper()
	r := newRig(t, handler)
	items, err := bolt.OpenItems(t.Context(), bolt.Config{Dir: filepath.Join(r.dir, "items")})
	if err != nil {
		t.Fatal(err)
	}
	s.Ledger = items
	r.serve(nil, Config{Ledger: s, Blobs: NewFolder(filepath.Join(r.dir, "contents"))}, func() { _ = items.Close() })
	return r
}

// News of the acceptance of an item may come while its beginning is being written down: it is
// not begun a second time.
func TestLateNewsBeginNothing(t *testing.T) {
	t.Parallel()
	var executions atomic.Int32
	s := &slow{beginning: make(chan struct{}, 10), begin: make(chan struct{})}
	r := withSlowLedger(t, s, func(http.ResponseWriter, *http.Request) { executions.Add(1) })
	id := r.submit("x")
	<-s.beginning
	i, err := s.Get(t.Context(), "iris", id)
	if err != nil {
		t.Fatal(err)
	}
	r.s.line("iris").add(i)
	if queued, running := r.s.Load("iris"); queued != 0 || running != 1 {
		t.Errorf("%d queued and %d running, want it running", queued, running)
	}
	close(s.begin)
	if got := r.ends(id, "succeeded"); len(got.Attempts) != 1 || executions.Load() != 1 {
		t.Errorf("it was executed as %+v, %d times, want once", got.Attempts, executions.Load())
	}
}

// A payload that cannot be read now is no payload that is lost.
func TestPayloadThatCannotBeReadNow(t *testing.T) {
	t.Parallel()
	s := &slow{}
	s.unread.Store(1)
	r := withSlowLedger(t, s, func(http.ResponseWriter, *http.Request) {})
	got := r.ends(r.submit("x"), "succeeded")
	if len(got.Attempts) != 2 || got.Attempts[0].Outcome != "interrupted" || got.Attempts[0].Reason.Code != "payload_not_read" {
		t.Errorf("it was executed as %+v, want interrupted first, charged to nobody", got.Attempts)
	}
}

// An item whose owner is gone is taken over although it cannot be read at once: nobody else
// looks at it.
func TestTakenOverWhenItCanBeRead(t *testing.T) {
	t.Parallel()
	s := &slow{}
	r := withSlowLedger(t, s, func(http.ResponseWriter, *http.Request) {})
	r.refuseAll(errors.New("no place"))
	id := r.submit("x")
	if _, err := s.Apply(t.Context(), "iris", id, ledger.Event{Type: ledger.Begin, At: time.Now(), Owner: "ghost"}, nil); err != nil {
		t.Fatal(err)
	}
	s.away.Store(1)
	r.s.line("iris").takeOver(t.Context(), id, "ghost")
	r.refuseAll(nil)
	if got := r.ends(id, "succeeded"); len(got.Attempts) != 2 || got.Attempts[0].Outcome != "interrupted" {
		t.Errorf("it was executed as %+v, want once more than by who is gone", got.Attempts)
	}
}

// fullBlobs keeps nothing, as servers that are away or full do.
type fullBlobs struct{ *Folder }

func (fullBlobs) Put(string, io.Reader) error { return errors.New("no space on the servers") }

// Who keeps large contents and cannot is to blame for it, wherever that is, and not who sends
// a request or answers one.
func TestContentsThatCannotBeKept(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 2*ledger.MaxInline)
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, large) })
	items, err := bolt.OpenItems(t.Context(), bolt.Config{Dir: filepath.Join(r.dir, "items")})
	if err != nil {
		t.Fatal(err)
	}
	r.serve(nil, Config{Ledger: items, Blobs: fullBlobs{NewFolder(filepath.Join(r.dir, "contents"))}}, func() { _ = items.Close() })
	if rec := r.call(http.MethodPost, "/", large); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("X-Cortex-Reason") != "store.unavailable" {
		t.Errorf("a request that cannot be kept is answered %d %s, want 503 store.unavailable", rec.Code, rec.Body)
	}
	id := r.submit("x")
	r.until("its result not to be kept", func() bool { return r.get(id, "").State == "retrying" })
	if a := r.get(id, "").Attempts; a[0].Outcome != "interrupted" || a[0].Reason.Code != "result_not_kept" {
		t.Errorf("it was executed as %+v, want interrupted, charged to nobody", a)
	}
}

// Where no place can be had, one is asked for again after a pause, and not for as long as
// there is a processor.
func TestPlacesAreAskedForNowAndThen(t *testing.T) {
	t.Parallel()
	for priority, refuse := range map[string]func(*rig){
		"idle":   func(r *rig) { r.asleep.Store(true) },
		"normal": func(r *rig) { r.refuseAll(errors.New("it cannot start")) },
	} {
		t.Run(priority, func(t *testing.T) {
			t.Parallel()
			r := start(t, nil, func(http.ResponseWriter, *http.Request) {})
			refuse(r)
			r.submit("x", "X-Cortex-Priority", priority)
			first := <-r.refused
			if again := (<-r.refused).Sub(first); again < retryEvery/2 {
				t.Errorf("a place was asked for again after %s, want a pause of %s", again, retryEvery)
			}
		})
	}
}
