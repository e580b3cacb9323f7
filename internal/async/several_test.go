package async

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"cortex.dev/cortex/internal/ledger/jetstream"
	"cortex.dev/cortex/internal/ledger/jetstream/jetstreamtest"
)

// lease is held by one at a time.
type lease struct {
	token chan struct{}
	mu    sync.Mutex
	take  func() // from who holds it
}

func (l *lease) lead(ctx context.Context, work func(context.Context) error) error {
	for {
		select {
		case l.token <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		held, lose := context.WithCancel(ctx)
		l.mu.Lock()
		l.take = lose
		l.mu.Unlock()
		err := work(held)
		lose()
		<-l.token // who waits for it has it at once
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// several are services with one ledger on real servers.
func several(t *testing.T, n int, lead *lease, handler http.HandlerFunc) (all []*rig) {
	t.Helper()
	url := jetstreamtest.Start(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // the servers first choose who leads
	defer cancel()
	for range n {
		conn, err := nats.Connect(url, nats.MaxReconnects(-1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		l, err := jetstream.Open(ctx, jetstream.Config{Conn: conn, Name: "items", Replicas: 3})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		contents, err := l.Contents(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r := newRig(t, handler)
		r.serve(nil, Config{Ledger: l, Blobs: contents, Follow: l.Follow, Lead: lead.lead}, func() {})
		all = append(all, r)
	}
	return all
}

// Whoever accepts an item, one program hands it out, and every program knows what becomes
// of it.
func TestSeveralPrograms(t *testing.T) {
	t.Parallel()
	var executions, gone atomic.Int64
	block := make(chan struct{})
	lead := &lease{token: make(chan struct{}, 1)}
	all := several(t, 2, lead, func(w http.ResponseWriter, r *http.Request) {
		executions.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if string(body) == "long" {
			select {
			case <-block:
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

	// Who hands out loses the right to, and is nobody who may; the next one goes on.
	long := all[0].submit("long")
	all[0].until("it runs", func() bool { return all[0].get(long, "").State == "running" })
	lead.mu.Lock()
	lead.take()
	lead.mu.Unlock()
	all[1].until("it begins again", func() bool { return len(all[1].get(long, "").Attempts) == 2 && all[1].get(long, "").State == "running" })
	if got := all[0].get(long, ""); got.Attempts[0].Outcome != "interrupted" {
		t.Errorf("its first execution came to %q, want interrupted", got.Attempts[0].Outcome)
	}
	// And who hands out ends.
	waiting := all[1].submit("short")
	close(block)
	for _, r := range all {
		r.ends(long, "succeeded")
		r.ends(waiting, "succeeded")
		r.load(0, 0)
	}
	all[0].stop()
	last := all[1].submit("last")
	all[1].ends(last, "succeeded")
}
