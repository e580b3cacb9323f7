package nats

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
	"cortex.dev/cortex/internal/workload"
)

// crowded is an open store with a workload that has more history and events than
// are kept, and a neighbour with one of each.
func crowded(t *testing.T) (s *Store, dir string, w store.Workload) {
	t.Helper()
	dir = t.TempDir()
	s = open(t, Config{Dir: dir})
	for _, name := range []string{"iris-2", "iris"} {
		w = storetest.Sample(name, 1)
		for i := range store.MaxHistory + 20 {
			if name != "iris" && i > 0 {
				break
			}
			version, err := s.Put(t.Context(), w)
			if err != nil {
				t.Fatalf("Put() = %v", err)
			}
			w.Version = version
			if err := s.Remember(t.Context(), store.Past{Revision: w.Revision, Cause: fmt.Sprint(i)}); err != nil {
				t.Fatalf("Remember() = %v", err)
			}
			for range 10 {
				if err := s.Record(t.Context(), workload.Event{API: name}); err != nil {
					t.Fatalf("Record() = %v", err)
				}
			}
		}
	}
	w, err := s.Get(t.Context(), "iris")
	if err != nil {
		t.Fatalf("Get(iris) = %v", err)
	}
	return s, dir, w
}

// wantGone writes something else and opens a copy of the folder as it is then,
// which is what a process that was killed then would leave: the server's index is
// behind, and it reads everything again. Nothing of iris may come back.
func wantGone(t *testing.T, before *Store, dir string) {
	t.Helper()
	w := storetest.Sample("iris-2", 2)
	if err := before.Remember(t.Context(), store.Past{Revision: w.Revision}); err != nil {
		t.Fatalf("Remember() = %v", err)
	}
	if err := before.Record(t.Context(), workload.Event{API: "iris-2"}); err != nil {
		t.Fatalf("Record() = %v", err)
	}
	dir = copyOf(t, dir)
	for range 2 {
		s := open(t, Config{Dir: dir})
		if _, err := s.Get(t.Context(), "iris"); !fault.Is(err, fault.NotFound) {
			t.Errorf("Get(iris) = %v, want not found", err)
		}
		if h, err := s.History(t.Context(), "iris"); err != nil || len(h) != 0 {
			t.Errorf("History(iris) = %d, %v, want none", len(h), err)
		}
		if n := countEvents(t, s, "iris"); n != 0 {
			t.Errorf("Events(iris) = %d, want none", n)
		}
		if h, err := s.History(t.Context(), "iris-2"); err != nil || len(h) != 2 {
			t.Errorf("History(iris-2) = %d, %v, want 2", len(h), err)
		}
		if n := countEvents(t, s, "iris-2"); n != 11 {
			t.Errorf("Events(iris-2) = %d, want 11", n)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
}

func countEvents(t *testing.T, s *Store, name string) int {
	t.Helper()
	n := 0
	if err := s.Events(t.Context(), workload.EventQuery{Name: name}, func(workload.Event) error { n++; return nil }); err != nil {
		t.Errorf("Events(%s) = %v", name, err)
	}
	return n
}

func TestWhatWasDeletedStaysDeletedAfterACrash(t *testing.T) {
	t.Parallel()
	s, dir, w := crowded(t)
	if err := s.Delete(t.Context(), "iris", w.Version, false); err != nil {
		t.Fatalf("Delete() = %v", err)
	}
	wantGone(t, s, dir)
}

func TestADeletionThatWasInterruptedIsFinished(t *testing.T) {
	t.Parallel()
	s, dir, w := crowded(t)
	if err := s.current.Load().kv.Purge(t.Context(), "iris", jetstream.LastRevision(uint64(w.Version))); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, dir)
}

func TestTheNextOfANameInheritsNothingAfterACrash(t *testing.T) {
	t.Parallel()
	s, dir, w := crowded(t)
	if err := s.Delete(t.Context(), "iris", w.Version, false); err != nil {
		t.Fatalf("Delete() = %v", err)
	}
	w.Version = 0
	if _, err := s.Put(t.Context(), w); err != nil {
		t.Fatalf("Put() = %v", err)
	}
	if err := s.Remember(t.Context(), store.Past{Revision: w.Revision, Cause: "new"}); err != nil {
		t.Fatalf("Remember() = %v", err)
	}
	if err := s.Record(t.Context(), workload.Event{API: "iris", Reason: "New"}); err != nil {
		t.Fatalf("Record() = %v", err)
	}
	again := open(t, Config{Dir: copyOf(t, dir)})
	if h, err := again.History(t.Context(), "iris"); err != nil || len(h) != 1 || h[0].Cause != "new" {
		t.Errorf("History(iris) = %d, %v, want the new one only", len(h), err)
	}
	if n := countEvents(t, again, "iris"); n != 1 {
		t.Errorf("Events(iris) = %d, want the new one only", n)
	}
}
