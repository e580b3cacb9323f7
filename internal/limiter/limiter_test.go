package limiter

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterIsExact(t *testing.T) {
	t.Parallel()
	const concurrency, queue, callers = 7, 20, 400
	l := New(concurrency, queue)
	var running, most, full, done atomic.Int64
	release := make(chan struct{})
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			switch err := l.Acquire(context.Background()); {
			case errors.Is(err, ErrFull):
				full.Add(1)
				return
			case err != nil:
				t.Errorf("Acquire = %v", err)
				return
			}
			n := running.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			<-release
			running.Add(-1)
			done.Add(1)
			l.Release()
		})
	}
	// Everybody has come when only those let in and those in line are left.
	for full.Load() < callers-concurrency-queue {
		r, w := l.InFlight()
		if r > concurrency || w > queue {
			t.Fatalf("InFlight() = %d, %d, want at most %d, %d", r, w, concurrency, queue)
		}
	}
	close(release)
	all.Wait()
	if full.Load() != callers-concurrency-queue || done.Load() != concurrency+queue || most.Load() > concurrency {
		t.Errorf("%d refused, %d done, at most %d at once; want %d, %d, %d", full.Load(), done.Load(), most.Load(),
			callers-concurrency-queue, concurrency+queue, concurrency)
	}
	if r, w := l.InFlight(); r != 0 || w != 0 {
		t.Errorf("InFlight() = %d, %d at the end, want 0, 0", r, w)
	}
}

func TestWaitersAreServedInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New(1, 10)
		if err := l.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		var order []int
		for i := range 5 {
			go func() {
				if err := l.Acquire(t.Context()); err != nil {
					t.Errorf("Acquire = %v", err)
				}
				order = append(order, i) // one at a time: the limiter says so
				l.Release()
			}()
			synctest.Wait()
		}
		l.Release()
		synctest.Wait()
		for i, got := range order {
			if got != i {
				t.Fatalf("served in the order %v", order)
			}
		}
		if len(order) != 5 {
			t.Errorf("served %d, want 5", len(order))
		}
	})
}

func TestWaitEndsWithItsContextAndFreesItsPlaceInTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New(1, 1)
		_ = l.Acquire(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Acquire = %v, want a deadline", err)
		}
		if r, w := l.InFlight(); r != 1 || w != 0 {
			t.Errorf("InFlight() = %d, %d, want 1, 0", r, w)
		}
		l.Release()
		if err := l.Acquire(t.Context()); err != nil {
			t.Errorf("Acquire afterwards = %v", err)
		}
	})
}

func TestResizeLetsInAndClosesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New(1, 5)
		_ = l.Acquire(t.Context())
		var in, closed atomic.Int64
		for range 4 {
			go func() {
				if err := l.Acquire(t.Context()); err == nil {
					in.Add(1)
				} else if errors.Is(err, ErrClosed) {
					closed.Add(1)
				}
			}()
		}
		synctest.Wait()
		l.Resize(3, 5)
		synctest.Wait()
		if in.Load() != 2 {
			t.Errorf("a larger limit let %d in, want 2", in.Load())
		}
		l.Resize(1, 5)
		l.Release()
		l.Release()
		synctest.Wait()
		if in.Load() != 2 {
			t.Errorf("a smaller limit let %d in, want 2 until one is left", in.Load())
		}
		l.Close()
		synctest.Wait()
		if closed.Load() != 2 {
			t.Errorf("Close ended %d waits, want 2", closed.Load())
		}
		if err := l.Acquire(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Acquire after Close = %v, want ErrClosed", err)
		}
	})
}
