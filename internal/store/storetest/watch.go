package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// watch starts a watcher and returns its changes, and the function that ends it.
func watch(t *testing.T, s store.Store) (<-chan store.Change, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	changes, done := make(chan store.Change), make(chan error, 1)
	go func() {
		defer close(changes)
		done <- s.Watch(ctx, func(c store.Change) {
			select {
			case changes <- c:
			case <-ctx.Done():
			}
		})
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch() = %v, want %v", err, context.Canceled)
		}
	})
	t.Cleanup(stop)
	return changes, stop
}

func next(t *testing.T, changes <-chan store.Change) store.Change {
	t.Helper()
	select {
	case c, ok := <-changes:
		if !ok {
			t.Fatal("Watch() ended")
		}
		return c
	case <-within(t).Done():
		t.Fatalf("Watch() told nothing within %v", patience)
		panic("unreachable")
	}
}

func wantChange(t *testing.T, c store.Change, name string, version store.Version) {
	t.Helper()
	if c.Name != name || c.Workload == nil || c.Workload.Version != version || c.Workload.Name() != name {
		t.Fatalf("Watch() told %+v, want %s at version %d", c, name, version)
	}
}

func wantMarker(t *testing.T, c store.Change) {
	t.Helper()
	if c != (store.Change{}) {
		t.Fatalf("Watch() told %+v, want the marker", c)
	}
}

func testWatch(t *testing.T, s store.Store) {
	a, b := mustPut(t, s, Sample("a", 1)), mustPut(t, s, Sample("b", 1))
	c := mustPut(t, s, Sample("c", 1))
	if err := s.Delete(t.Context(), "c", c.Version, false); err != nil {
		t.Fatalf("Delete(c) = %v", err)
	}
	a = mustPut(t, s, a)
	changes, stop := watch(t, s)
	got := map[string]store.Version{}
	for range 2 {
		change := next(t, changes)
		if change.Workload == nil {
			t.Fatalf("Watch() told %+v before the two that are there", change)
		}
		got[change.Name] = change.Workload.Version
	}
	if got["a"] != a.Version || got["b"] != b.Version {
		t.Errorf("Watch() told %v, want a at %d and b at %d", got, a.Version, b.Version)
	}
	wantMarker(t, next(t, changes))

	for i := range 3 {
		a.Replicas = i
		a = mustPut(t, s, a)
		wantChange(t, next(t, changes), "a", a.Version)
	}
	d := mustPut(t, s, Sample("d", 1))
	wantChange(t, next(t, changes), "d", d.Version)
	if err := s.Delete(t.Context(), "b", b.Version, true); err != nil {
		t.Fatalf("Delete(b) = %v", err)
	}
	if gone := next(t, changes); gone.Name != "b" || gone.Workload != nil {
		t.Errorf("Watch() told %+v, want that b is gone", gone)
	}
	b = mustPut(t, s, Sample("b", 9))
	wantChange(t, next(t, changes), "b", b.Version)
	stop()
}

func testWatchEmpty(t *testing.T, s store.Store) {
	changes, _ := watch(t, s)
	wantMarker(t, next(t, changes))
	w := mustPut(t, s, Sample("iris", 1))
	wantChange(t, next(t, changes), "iris", w.Version)
}

// testWatchUnderLoad starts watchers while workloads are written, changed and
// deleted, and wants each to arrive at what the store holds in the end.
func testWatchUnderLoad(t *testing.T, s store.Store) {
	const names, rounds, watchers = 6, 40, 8
	for i := range names {
		mustPut(t, s, Sample(fmt.Sprintf("w%d", i), 0))
	}
	var writers, readers sync.WaitGroup
	for i := range names {
		writers.Go(func() { churn(t, s, fmt.Sprintf("w%d", i), rounds+i) })
	}
	end := make(chan store.Version, watchers)
	for range watchers {
		changes, stop := watch(t, s)
		readers.Go(func() {
			defer stop()
			converge(t, s, changes, end)
		})
	}
	writers.Wait()
	last := mustPut(t, s, Sample("zz-end", 0))
	for range watchers {
		end <- last.Version
	}
	readers.Wait()
}

// churn changes a workload n times; every third time it deletes it.
func churn(t *testing.T, s store.Store, name string, n int) {
	for i := range n {
		w, err := s.Get(t.Context(), name)
		if fault.Is(err, fault.NotFound) {
			w, err = Sample(name, i), nil
		}
		if err != nil {
			t.Errorf("Get(%s) = %v", name, err)
			return
		}
		if i%3 == 2 && w.Version != 0 {
			err = s.Delete(t.Context(), name, w.Version, i%2 == 0)
		} else {
			w.Replicas = i
			_, err = s.Put(t.Context(), w)
		}
		if err != nil {
			t.Errorf("change %d of %s = %v", i, name, err)
			return
		}
	}
}

// converge reads until the workload that was written last, and compares.
func converge(t *testing.T, s store.Store, changes <-chan store.Change, end <-chan store.Version) {
	seen, marked := map[string]store.Version{}, 0
	for {
		c, ok := <-changes
		if !ok {
			t.Errorf("Watch() ended at %v, before what was written last", seen)
			<-end
			return
		}
		switch {
		case c.Name == "":
			marked++
		case c.Workload == nil:
			delete(seen, c.Name)
		case c.Workload.Version <= seen[c.Name]:
			t.Errorf("Watch() told version %d of %s after %d", c.Workload.Version, c.Name, seen[c.Name])
		default:
			seen[c.Name] = c.Workload.Version
		}
		if c.Name == "zz-end" {
			break
		}
	}
	if got, want := seen["zz-end"], <-end; got != want {
		t.Errorf("Watch() told zz-end at %d, want %d", got, want)
	}
	if marked != 1 {
		t.Errorf("Watch() told the marker %d times, want once", marked)
	}
	list, err := s.List(t.Context())
	if err != nil {
		t.Errorf("List() = %v", err)
	}
	if len(list) != len(seen) {
		t.Errorf("Watch() arrived at %v, want the %d of List()", seen, len(list))
	}
	for _, w := range list {
		if seen[w.Name()] != w.Version {
			t.Errorf("Watch() arrived at %s version %d, want %d", w.Name(), seen[w.Name()], w.Version)
		}
	}
}

func testWatchEnds(t *testing.T, s store.Store) {
	for i := range 20 {
		mustPut(t, s, Sample(fmt.Sprintf("w%d", i), i))
	}
	for range 20 {
		changes, stop := watch(t, s)
		next(t, changes)
		stop() // in the middle of what is there
	}
}
