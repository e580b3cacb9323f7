package limiter

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestHeldRequestsOutliveABusyQueueButNotAnEmptyPool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pool[string]
		p.SetQueueLimit(QueueLimit{Requests: 2, Bytes: 100})
		first, err := p.Join(60, false)
		if err != nil || !first.Held() {
			t.Fatalf("Join = %v, %v, want a held waiter", first, err)
		}
		if _, err := p.Join(60, false); !errors.Is(err, ErrFull) {
			t.Errorf("Join past the bytes = %v, want ErrFull", err)
		}
		if _, err := p.Join(60, true); err != nil {
			t.Errorf("Join again = %v, want no bound", err)
		}
		start := time.Now()
		if _, err := first.Wait(t.Context(), time.Minute); !errors.Is(err, ErrTimeout) || time.Since(start) != time.Minute {
			t.Errorf("Wait = %v after %s, want ErrTimeout after a minute", err, time.Since(start))
		}
		// With a backend ready, patience does not end a wait: the queue moves.
		s := p.NewBackend("a", 1, 10)
		s.SetReady(true)
		late, err := p.Join(1, false)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(5 * time.Minute)
			s.Release()
		}()
		if got, err := late.Wait(t.Context(), time.Minute); err != nil || got != s {
			t.Errorf("Wait = %v, %v, want the backend", got, err)
		}
	})
}

func TestWaitersGoToWhoeverIsFreeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pool[string]
		a, b := p.NewBackend("a", 1, 5), p.NewBackend("b", 1, 5)
		a.SetReady(true)
		b.SetReady(true)
		p.Try()
		p.Try()
		got := make(chan *Backend[string], 1)
		go func() {
			waiter, _ := p.Join(0, false)
			s, _ := waiter.Wait(t.Context(), 0)
			got <- s
		}()
		synctest.Wait()
		a.SetReady(false) // a drains: what waits must not wait for it
		b.Release()
		if s := <-got; s != b {
			t.Errorf("the waiter got %v, want b", s)
		}
		drained := make(chan error, 1)
		go func() { drained <- a.Idle(t.Context()) }()
		synctest.Wait()
		select {
		case <-drained:
			t.Error("Idle returned while a request ran")
		default:
		}
		a.Release()
		if err := <-drained; err != nil {
			t.Errorf("Idle = %v", err)
		}
		if n := p.Load().Running; n != 1 { // and Idle keeps nobody out
			t.Errorf("%d run, want the waiter", n)
		}
	})
}

func TestRefusalEndsWaitsOnlyWhereNothingIsOpen(t *testing.T) {
	t.Parallel()
	var p Pool[string]
	p.SetQueueLimit(QueueLimit{Requests: 5})
	s := p.NewBackend("a", 1, 5)
	s.SetReady(true)
	p.Try()
	waiting, _ := p.Join(0, false)
	broken := errors.New("the revision does not start")
	p.Refuse(broken)
	if n := p.Load().Waiting; n != 1 {
		t.Errorf("%d wait, want 1: a replica is open", n)
	}
	s.SetReady(false)
	if _, err := waiting.Wait(t.Context(), 0); !errors.Is(err, broken) {
		t.Errorf("Wait = %v, want the reason", err)
	}
	if _, err := p.Join(0, false); !errors.Is(err, broken) {
		t.Errorf("Join = %v, want the reason", err)
	}
	p.Refuse(nil)
	if _, err := p.Join(0, false); err != nil {
		t.Errorf("Join afterwards = %v", err)
	}
}

func TestEjectedBackendIsLeftOutWithoutShorteningTheQueue(t *testing.T) {
	t.Parallel()
	var p Pool[string]
	a, b := p.NewBackend("a", 5, 1), p.NewBackend("b", 1, 1)
	a.SetReady(true)
	b.SetReady(true)
	a.Eject()
	if s := p.Try(); s != b {
		t.Errorf("Try = %v, want b", s)
	}
	if s := p.Try(); s != nil {
		t.Errorf("Try = %v, want none", s)
	}
	for range 2 {
		if _, err := p.Join(0, false); err != nil {
			t.Errorf("Join = %v, want a place in the queue", err)
		}
	}
	if _, err := p.Join(0, false); !errors.Is(err, ErrFull) {
		t.Errorf("Join = %v, want ErrFull", err)
	}
	a.Restore()
	if l := p.Load(); l.Waiting != 0 || a.Running() != 2 {
		t.Errorf("%d wait and a runs %d, want 0 and 2", l.Waiting, a.Running())
	}
}

func TestWhoeverLeavesTheQueueHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pool[string]
		b := p.NewBackend("a", 1, 3)
		b.SetReady(true)
		first, _ := p.Join(0, false)
		if got, err := first.Wait(t.Context(), 0); err != nil || got != b {
			t.Fatalf("Wait = %v, %v, want the slot that was free", got, err)
		}
		var waiting [3]*Waiter[string]
		for i := range waiting {
			waiting[i], _ = p.Join(0, false)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 { // a wait that has ended stays ended, and changes nothing again
			if _, err := waiting[1].Wait(gone, 0); err == nil {
				t.Error("Wait of a caller that is gone did not fail")
			}
			if n := p.Load().Waiting; n != 2 {
				t.Errorf("%d wait, want 2", n)
			}
		}
		for _, i := range []int{0, 2} {
			b.Release()
			if got, err := waiting[i].Wait(t.Context(), 0); err != nil || got != b {
				t.Errorf("Wait of number %d = %v, %v, want the slot", i, got, err)
			}
		}
	})
}

func TestSlotGivenToACallerThatLeavesIsNotLost(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 64 { // which of both Wait sees first is chance
		var p Pool[string]
		b := p.NewBackend("a", 1, 1)
		b.SetReady(true)
		p.Try()
		w, _ := p.Join(0, false)
		b.Release()
		if got, err := w.Wait(gone, 0); err != nil || got != b {
			t.Fatalf("Wait = %v, %v, want the slot that was given already", got, err)
		}
	}
}

// TestPoolKeepsItsPromises drives a pool with random steps and compares it after
// each with a model that says what must be true.
func TestPoolKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p Pool[int]
		room := rapid.IntRange(0, 5).Draw(t, "room")
		p.SetQueueLimit(QueueLimit{Requests: room})
		type model struct {
			backend      *Backend[int]
			limit, queue int
			running      int
			open         bool
		}
		backends := make([]*model, rapid.IntRange(1, 4).Draw(t, "backends"))
		for i := range backends {
			m := &model{limit: rapid.IntRange(1, 3).Draw(t, "limit"), queue: rapid.IntRange(0, 3).Draw(t, "queue")}
			m.backend = p.NewBackend(i, m.limit, m.queue)
			backends[i] = m
		}
		var waiting []*Waiter[int]
		settle := func() { // those who were given a slot leave the queue, in order
			for len(waiting) > 0 {
				select {
				case <-waiting[0].done:
					s, err := waiting[0].Wait(context.Background(), 0)
					if err != nil {
						t.Fatalf("Wait = %v", err)
					}
					backends[s.Value].running++
					waiting = waiting[1:]
					continue
				default:
				}
				break
			}
		}
		bound := func() (open, n int) {
			for _, m := range backends {
				if m.open {
					open++
					n += m.queue
				}
			}
			if open == 0 {
				n = room
			}
			return open, n
		}
		pick := func() *model { return backends[rapid.IntRange(0, len(backends)-1).Draw(t, "which")] }
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				m := pick()
				m.open = true
				m.backend.SetReady(true)
				settle()
			},
			"shut": func(t *rapid.T) {
				m := pick()
				m.open = false
				m.backend.SetReady(false)
			},
			"resize": func(t *rapid.T) {
				m := pick()
				m.limit, m.queue = rapid.IntRange(1, 3).Draw(t, "limit"), rapid.IntRange(0, 3).Draw(t, "queue")
				m.backend.Resize(m.limit, m.queue)
				settle()
			},
			"join": func(t *rapid.T) {
				_, n := bound()
				before := len(waiting)
				waiter, err := p.Join(0, false)
				switch {
				case err != nil && before < n:
					t.Fatalf("Join = %v with %d of %d in the queue", err, before, n)
				case err != nil:
				case waiter.done == nil:
					backends[waiter.backend.Value].running++
				case before >= n:
					t.Fatalf("Join let in number %d of %d", before+1, n)
				default:
					waiting = append(waiting, waiter)
				}
			},
			"leave": func(t *rapid.T) {
				if len(waiting) == 0 {
					return
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "who")
				if !waiting[i].leave() {
					t.Fatal("a waiter could not leave")
				}
				waiting = append(waiting[:i:i], waiting[i+1:]...)
			},
			"release": func(t *rapid.T) {
				if m := pick(); m.running > 0 {
					m.running--
					m.backend.Release()
					settle()
				}
			},
			"": func(t *rapid.T) {
				total := 0
				for i, m := range backends {
					if got := m.backend.Running(); got != m.running {
						t.Fatalf("backend %d runs %d, want %d", i, got, m.running)
					}
					if m.open && m.running < m.limit && len(waiting) > 0 {
						t.Fatalf("%d wait while backend %d has a slot", len(waiting), i)
					}
					total += m.running
				}
				open, _ := bound()
				if got, want := p.Load(), (Load{Running: total, Waiting: len(waiting), Ready: open}); got != want {
					t.Fatalf("Load() = %+v, want %+v", got, want)
				}
			},
		})
	})
}
