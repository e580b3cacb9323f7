package async

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/jetstream"
	"cortex.dev/cortex/internal/ledger/jetstream/jetstreamtest"
	"cortex.dev/cortex/internal/ledger/s3"
	"cortex.dev/cortex/internal/ledger/s3/s3test"
	"cortex.dev/cortex/internal/workload"
)

// losing are programs, of which the one that leads can be made to lose that.
type losing struct {
	Others
	lose chan struct{} // holds a token that the one that leads takes
}

func (m losing) Lead(ctx context.Context, owner string, work func(context.Context) error) error {
	return m.Others.Lead(ctx, owner, func(ctx context.Context) error {
		leading, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			select {
			case <-m.lose:
				stop()
			case <-leading.Done():
			}
		}()
		return work(leading)
	})
}

// shared is a ledger of several programs, and what cuts this program off from it.
type shared struct {
	ledger ledger.Ledger
	blobs  Blobs
	others Others
	cut    func()
}

// places are where several programs may have a ledger: each makes one, and returns how a
// program comes to it.
var places = map[string]func(*testing.T) func() shared{
	"nats": func(t *testing.T) func() shared {
		url := jetstreamtest.Start(t, 3)
		return func() shared {
			conn, err := nats.Connect(url, nats.MaxReconnects(-1))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(conn.Close)
			l, err := jetstream.Open(jetstream.Config{Conn: conn, Name: "items", Replicas: 3})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(l.Close)
			return shared{l, l.Contents(), l.Members(slog.New(slog.DiscardHandler)), conn.Close}
		}
	},
	"s3": func(t *testing.T) func() shared {
		a := s3test.Start(t)
		a.Break(10)
		return func() shared { return onS3(t, a, a.Program()) }
	},
}

// quickTimes are those of a ledger in a bucket, for tests.
var quickTimes = s3.Times{Look: 100 * time.Millisecond, Beat: 200 * time.Millisecond, Life: 3 * time.Second, Sweep: time.Second, Flush: 500 * time.Millisecond, Poll: time.Second}

// onS3 is a program with a ledger in the bucket of a.
func onS3(t *testing.T, a *s3test.AWS, p *s3test.Program) shared {
	l := s3.Open(s3.Config{
		Client: a.Client(p), Bucket: a.Bucket, Prefix: "uid/", Queues: "cx-test-", Log: slog.New(slog.DiscardHandler),
		Times: quickTimes,
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	return shared{l, l.Contents(), l, p.Cut}
}

// several are services with one ledger on real servers.
func several(t *testing.T, n int, lose chan struct{}, join func() shared, handler http.HandlerFunc) (all []*rig, cut []func()) {
	t.Helper()
	for range n {
		has := join()
		r := newRig(t, handler)
		r.serve(nil, Config{Ledger: has.ledger, Blobs: has.blobs, Others: losing{has.others, lose}}, func() {})
		all, cut = append(all, r), append(cut, has.cut)
	}
	return all, cut
}

// everywhere runs a test in each place.
func everywhere(t *testing.T, test func(t *testing.T, join func() shared)) {
	t.Helper()
	t.Parallel()
	for name, start := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

// Whoever accepts an item, one program hands it out, and every program knows what becomes
// of it.
func TestSeveralPrograms(t *testing.T) { everywhere(t, testSeveralPrograms) }

func testSeveralPrograms(t *testing.T, join func() shared) {
	var executions, gone atomic.Int64
	var block atomic.Pointer[chan struct{}] // closed: what is long goes on
	hold := func() { next := make(chan struct{}); block.Store(&next) }
	hold()
	lose := make(chan struct{})
	all, cut := several(t, 2, lose, join, func(w http.ResponseWriter, r *http.Request) {
		executions.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if string(body) == "long" {
			w.Header().Set(workload.ExecutionProgress, `{"percent": 40, "message": "half"}`)
			w.WriteHeader(http.StatusProcessing)
			w.Header().Del(workload.ExecutionProgress)
			select {
			case <-*block.Load():
			case <-r.Context().Done():
				gone.Add(1)
				return
			}
		}
		_, _ = w.Write(body) // the asker may be gone
	})

	var ids []string
	for n := range 40 {
		ids = append(ids, all[n%2].submit(fmt.Sprint(n)))
	}
	for n, id := range ids {
		if got := all[(n+1)%2].ends(id, "succeeded"); len(got.Attempts) != 1 {
			t.Errorf("item %d was executed %d times, want once", n, len(got.Attempts))
		}
	}
	if n := executions.Load(); n != 40 {
		t.Errorf("%d executions of 40 items", n)
	}

	// One that is executed is cancelled through a program that does not hand it out.
	for _, r := range all {
		begun, before := executions.Load(), gone.Load()
		id := r.submit("long")
		r.until("its container has it", func() bool { return executions.Load() > begun })
		if got := r.call(http.MethodDelete, "/"+id, ""); got.Code != http.StatusAccepted && got.Code != http.StatusOK {
			t.Errorf("DELETE = %d %s", got.Code, got.Body)
		}
		r.until("its container sees that", func() bool { return gone.Load() == before+1 })
		r.ends(id, "cancelled")
	}

	// Who hands out loses the right to: what it has executed goes on, and the other one hands
	// out.
	long := all[0].submit("long")
	all[0].until("it runs", func() bool { return all[0].get(long, "").State == "running" })
	for _, r := range all {
		r.until("it is known how far it is", func() bool { p := r.get(long, "").Progress; return p != nil && p.Message == "half" })
	}
	lose <- struct{}{}
	all[0].until("another one hands out", func() bool { return all[0].s.leading.Load() != all[1].s.leading.Load() })
	waiting := all[1].submit("short")
	all[0].ends(waiting, "succeeded")
	close(*block.Load())
	for _, r := range all {
		if got := r.ends(long, "succeeded"); len(got.Attempts) != 1 {
			t.Errorf("it was executed %d times, want once", len(got.Attempts))
		}
		r.load(0, 0)
	}

	// Who executes an item is not heard of any more: it begins again, on nobody's account.
	hold()
	long = all[0].submit("long")
	all[0].until("it runs", func() bool { return all[0].get(long, "").State == "running" })
	lost, other := 0, 1
	if all[1].s.leading.Load() {
		lost, other = 1, 0
	}
	cut[lost]()
	all[other].until("it begins again", func() bool { got := all[other].get(long, ""); return len(got.Attempts) == 2 && got.State == "running" })
	if got := all[other].get(long, "").Attempts[0]; got.Outcome != "interrupted" || got.Reason.Code != "gateway_lost" {
		t.Errorf("its first execution came to %q, %v, want interrupted, gateway_lost", got.Outcome, got.Reason)
	}
	close(*block.Load())
	all[other].ends(long, "succeeded")
}

// Who is told to stop finishes what it has executed, while the other one hands out already.
func TestStoppedWhileAnotherHandsOut(t *testing.T) { everywhere(t, testStoppedWhileAnotherHandsOut) }

func testStoppedWhileAnotherHandsOut(t *testing.T, join func() shared) {
	block := make(chan struct{})
	all, _ := several(t, 2, nil, join, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) == "long" { // the test sees what does not come
			<-block
		}
	})
	release := sync.OnceFunc(func() { close(block) })
	t.Cleanup(release) // or a failure waits for the handler for ever
	leads, other := all[0], all[1]
	long := leads.submit("long")
	leads.until("it runs", func() bool { return leads.get(long, "").State == "running" })
	if other.s.leading.Load() {
		leads, other = other, leads
	}
	leads.s.cfg.DrainTimeout = time.Minute
	stopped := make(chan struct{})
	go func() { defer close(stopped); leads.stop() }()
	other.ends(other.submit("short"), "succeeded")
	release()
	<-stopped
	if got := other.ends(long, "succeeded"); len(got.Attempts) != 1 {
		t.Errorf("it was executed %d times, want once", len(got.Attempts))
	}
}

// An item that somebody begins who is not there, after this program has begun to hand out,
// begins again.
func TestBegunByWhoIsNotThere(t *testing.T) { everywhere(t, testBegunByWhoIsNotThere) }

func testBegunByWhoIsNotThere(t *testing.T, join func() shared) {
	all, _ := several(t, 1, nil, join, func(http.ResponseWriter, *http.Request) {})
	r := all[0]
	r.until("it hands out", func() bool { return r.s.leading.Load() })
	r.refuseAll(errors.New("no place"))
	id := r.submit("x")
	if _, err := r.s.cfg.Ledger.Apply(t.Context(), "iris", id, ledger.Event{Type: ledger.Begin, At: time.Now(), Owner: "ghost", Replica: "r1"}, nil); err != nil {
		t.Fatal(err)
	}
	r.until("it is taken over", func() bool { return r.get(id, "").State == "queued" })
	r.refuseAll(nil)
	if got := r.ends(id, "succeeded"); len(got.Attempts) != 2 || got.Attempts[0].Reason.Code != "gateway_lost" {
		t.Errorf("it was executed as %+v, want once more than by who was not there", got.Attempts)
	}
}
