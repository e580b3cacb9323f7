package bolt

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
)

// BenchmarkOpen opens and closes a warm folder with 100 workloads of 10 revisions.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(b.Context(), Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		w := storetest.Sample(fmt.Sprintf("w%d", i%100), i)
		if i < 100 {
			if _, err := s.Put(b.Context(), w); err != nil {
				b.Fatal(err)
			}
		}
		if err := s.Remember(b.Context(), store.Past{Revision: w.Revision}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if s, err = Open(b.Context(), Config{Dir: dir}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPut writes one workload again and again, durably.
func BenchmarkPut(b *testing.B) {
	s, err := Open(b.Context(), Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	w := storetest.Sample("iris", 1)
	for b.Loop() {
		if w.Version, err = s.Put(b.Context(), w); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkClaim takes one claim after the other, durably.
func BenchmarkClaim(b *testing.B) {
	s, err := Open(b.Context(), Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	n := 0
	for b.Loop() {
		if err := s.Claim(b.Context(), fmt.Sprint("key-", n), time.Minute); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// BenchmarkValue reads one value.
func BenchmarkValue(b *testing.B) {
	s, err := Open(b.Context(), Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.SetValue(b.Context(), "v", make([]byte, 500), 0); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := s.Value(b.Context(), "v"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList reads a thousand workloads.
func BenchmarkList(b *testing.B) {
	s, err := Open(b.Context(), Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for i := range 1000 {
		if _, err := s.Put(b.Context(), storetest.Sample(fmt.Sprintf("w%d", i), i)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if list, err := s.List(b.Context()); err != nil || len(list) != 1000 {
			b.Fatal(len(list), err)
		}
	}
}

// BenchmarkDurable sets values of 500 bytes, durably, by one writer and by 64 at once:
// what a ledger of many small records would ask for.
func BenchmarkDurable(b *testing.B) {
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			s, err := Open(b.Context(), Config{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			var n atomic.Int64
			var all sync.WaitGroup
			data := make([]byte, 500)
			for range writers {
				all.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						if _, err := s.SetValue(b.Context(), fmt.Sprint("v", i), data, 0); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}
