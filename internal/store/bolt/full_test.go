package bolt

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
	"cortex.dev/cortex/internal/workload"
)

func TestFullDisk(t *testing.T) {
	t.Parallel()
	var free atomic.Uint64
	free.Store(1 << 30)
	cfg := Config{Dir: t.TempDir(), free: func(string) (uint64, error) { return free.Load(), nil }}
	s := open(t, cfg)
	w := storetest.Sample("iris", 1)
	version, err := s.Put(t.Context(), w)
	if err != nil {
		t.Fatalf("Put() = %v", err)
	}
	w.Version = version

	free.Store(reserveGrow)
	_, err = s.Put(t.Context(), w)
	wantCode(t, "Put() with a full disk", err, fault.Unavailable, "store.disk_full", cfg.Dir)
	err = s.Remember(t.Context(), store.Past{Revision: w.Revision})
	wantCode(t, "Remember() with a full disk", err, fault.Unavailable, "store.disk_full")
	err = s.Record(t.Context(), workload.Event{API: "iris"})
	wantCode(t, "Record() with a full disk", err, fault.Unavailable, "store.disk_full")
	if got, err := s.Get(t.Context(), "iris"); err != nil || got.Version != version {
		t.Errorf("Get(iris) with a full disk = version %d, %v, want %d", got.Version, err, version)
	}
	free.Store(reserveShrink - 1)
	err = s.Delete(t.Context(), "iris", version, false)
	wantCode(t, "Delete() with a disk that is quite full", err, fault.Unavailable, "store.disk_full")
	free.Store(reserveShrink)
	if err := s.Delete(t.Context(), "iris", version, false); err != nil {
		t.Errorf("Delete(iris), which makes room, = %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	free.Store(reserveStart - 1)
	_, err = Open(t.Context(), cfg)
	wantCode(t, "Open() with a full disk", err, fault.Unavailable, "store.disk_full", cfg.Dir)
	free.Store(1 << 30)
	if _, err := open(t, cfg).Put(t.Context(), storetest.Sample("iris", 1)); err != nil {
		t.Errorf("Put() with room again = %v", err)
	}
}

// TestDiskThatFillsUp lets a commit run into the end of a real file system.
func TestDiskThatFillsUp(t *testing.T) {
	t.Parallel()
	dir, fill := smallDisk(t)
	s := open(t, Config{Dir: dir, free: func(string) (uint64, error) { return math.MaxInt64, nil }})
	kept := map[string]store.Version{}
	put := func(name string, n int) error {
		w := storetest.Sample(name, n)
		w.Version = kept[name]
		version, err := s.Put(t.Context(), w)
		if err == nil {
			kept[name] = version
		}
		return err
	}
	for i := range 20 {
		if err := put(fmt.Sprintf("w%d", i), i); err != nil {
			t.Fatalf("Put() = %v", err)
		}
	}
	watching, seen := make(chan error, 1), make(chan string, 10_000)
	ctx, stop := context.WithCancel(t.Context())
	go func() { watching <- s.Watch(ctx, func(c store.Change) { seen <- c.Name }) }()
	empty := fill()
	var err error
	for i := range 2000 {
		if err = put(fmt.Sprintf("w%d", i%20), i); err != nil {
			break
		}
	}
	if err == nil {
		t.Fatal("2000 writes to a full disk succeeded")
	}
	wantCode(t, "Put() to a full disk", err, fault.Unavailable, "store.disk_full")
	empty()
	eventually(t, func() bool { return put("after", 1) == nil })
	for name := ""; name != "after"; {
		select {
		case name = <-seen: // the watcher goes on where it was
		case err := <-watching:
			t.Fatalf("Watch() = %v", err)
		}
	}
	stop()
	<-watching
	check := func(s *Store) {
		t.Helper()
		for name, version := range kept {
			if w, err := s.Get(t.Context(), name); err != nil || w.Version < version {
				t.Errorf("Get(%s) = version %d, %v, want at least %d", name, w.Version, err, version)
			}
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	check(open(t, Config{Dir: dir}))
}
