package jetstream

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/jetstream/jetstreamtest"
	"cortex.dev/cortex/internal/ledger/ledgertest"
)

func open(t testing.TB, url, name string, replicas int) (*Ledger, func()) {
	t.Helper()
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{Conn: conn, Name: name, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	closing := func() {
		once.Do(func() {
			l.Close()
			conn.Close()
		})
	}
	t.Cleanup(closing)
	return l, closing
}

func TestLedger(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 3} {
		t.Run(fmt.Sprint("servers=", servers), func(t *testing.T) {
			t.Parallel()
			url := jetstreamtest.Start(t, servers)
			var n atomic.Int64
			ledgertest.Run(t, func(*testing.T) ledgertest.Open {
				name := fmt.Sprint("items", n.Add(1))
				return func(t *testing.T) (ledger.Ledger, func()) { return open(t, url, name, servers) }
			})
		})
	}
}

// BenchmarkSubmit accepts items with a payload of 500 bytes, durably, by one caller and by
// 64 at once.
func BenchmarkSubmit(b *testing.B) {
	for _, servers := range []int{1, 3} {
		url := jetstreamtest.Start(b, servers)
		for _, callers := range []int{1, 64, 256} {
			b.Run(fmt.Sprint("servers=", servers, "/callers=", callers), func(b *testing.B) {
				l, _ := open(b, url, fmt.Sprint("items", callers, "-", b.N), servers)
				var n atomic.Int64
				var all sync.WaitGroup
				payload := make([]byte, 500)
				b.ResetTimer()
				for range callers {
					all.Go(func() {
						for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
							item, _ := ledgertest.Sample("iris", int(i))
							if _, _, err := l.Create(b.Context(), item, ledger.Key{}, payload); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
			})
		}
	}
}

// Lists leave no consumer behind: a server allows a stream a thousand.
func TestListsLeaveNothing(t *testing.T) {
	t.Parallel()
	l, _ := open(t, jetstreamtest.Start(t, 1), "items", 1)
	now := time.Now()
	if _, _, err := l.Create(t.Context(), ledger.Item{API: "iris", ID: ledger.NewID(now), State: ledger.Queued, Accepted: now, Payload: &ledger.Content{}}, ledger.Key{}, nil); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if list, err := l.List(t.Context(), ledger.Query{API: "iris"}); err != nil || len(list) != 1 {
			t.Fatalf("List() = %v, %v", list, err)
		}
		if err := l.Open(t.Context(), func(ledger.Item) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := l.js.Stream(t.Context(), "items")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Consumers; n != 0 {
		t.Errorf("the stream has %d consumers, want none", n)
	}
}
