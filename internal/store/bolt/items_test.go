package bolt

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/ledgertest"
)

func TestItems(t *testing.T) {
	t.Parallel()
	ledgertest.Run(t, func(t *testing.T) ledgertest.Open {
		dir := t.TempDir()
		return func(t *testing.T) (ledger.Ledger, func()) {
			items, err := OpenItems(t.Context(), Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = items.Close() }) // harmless when it was closed before
			return items, func() {
				if err := items.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// BenchmarkSubmit accepts items with a payload of 500 bytes, durably, by one caller and by
// 64 at once.
func BenchmarkSubmit(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			items, err := OpenItems(b.Context(), Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer items.Close()
			var n atomic.Int64
			var all sync.WaitGroup
			payload := make([]byte, 500)
			for range callers {
				all.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						item, _ := ledgertest.Sample("iris", int(i))
						if _, _, err := items.Create(b.Context(), item, ledger.Key{}, payload); err != nil {
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

// What is known of items that were forgotten is bounded, also by a process that has not
// forgotten them itself.
func TestGoneIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var ids []string
	for n := range 6 {
		items, err := OpenItems(t.Context(), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		items.most = 3
		item, payload := ledgertest.Sample("iris", n)
		ids = append(ids, item.ID)
		if _, _, err := items.Create(t.Context(), item, ledger.Key{}, payload); err != nil {
			t.Fatal(err)
		}
		if _, err := items.Apply(t.Context(), "iris", item.ID, ledger.Event{Type: ledger.Cancel, At: item.Accepted}, nil); err != nil {
			t.Fatal(err)
		}
		if gone, err := items.Purge(t.Context(), "iris", time.Now(), 10); err != nil || len(gone) != 1 {
			t.Fatalf("Purge() = %v, %v, want one", gone, err)
		}
		for at, id := range ids {
			want := ledger.CodeGone
			if at <= n-3 {
				want = ledger.CodeUnknown
			}
			if _, err := items.Get(t.Context(), "iris", id); fault.Code(err) != want {
				t.Errorf("Get() of the item forgotten %d before the last = %v, want %s", n-at, err, want)
			}
		}
		if err := items.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
