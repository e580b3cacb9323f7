package limiter

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestHeldRequestsOutliveABusyLineButNotAnEmptyPool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pool[string]
		p.SetRoom(Room{Requests: 2, Bytes: 100})
		first, err := p.Join(60, false)
		if err != nil || !first.Held() {
			t.Fatalf("Join = %v, %v, want a held ticket", first, err)
		}
		if _, err := p.Join(60, false); !errors.Is(err, ErrFull) {
			t.Errorf("Join past the bytes = %v, want ErrFull", err)
		}
		if _, err := p.Join(60, true); err != nil {
			t.Errorf("Join again = %v, want no bound", err)
		}
		start := time.Now()
		if _, err := first.Wait(t.Context(), time.Minute); !errors.Is(err, ErrLate) || time.Since(start) != time.Minute {
			t.Errorf("Wait = %v after %s, want ErrLate after a minute", err, time.Since(start))
		}
		// With a seat open, patience does not end a wait: the line moves.
		s := p.NewSeat("a", 1, 10)
		s.Open()
		late, err := p.Join(1, false)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(5 * time.Minute)
			s.Release()
		}()
		if got, err := late.Wait(t.Context(), time.Minute); err != nil || got != s {
			t.Errorf("Wait = %v, %v, want the seat", got, err)
		}
	})
}

func TestWaitersGoToWhoeverIsFreeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pool[string]
		a, b := p.NewSeat("a", 1, 5), p.NewSeat("b", 1, 5)
		a.Open()
		b.Open()
		p.Try()
		p.Try()
		got := make(chan *Seat[string], 1)
		go func() {
			ticket, _ := p.Join(0, false)
			s, _ := ticket.Wait(t.Context(), 0)
			got <- s
		}()
		synctest.Wait()
		a.Shut() // a drains: what waits must not wait for it
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
	})
}

func TestRefusalEndsWaitsOnlyWhereNothingIsOpen(t *testing.T) {
	t.Parallel()
	var p Pool[string]
	p.SetRoom(Room{Requests: 5})
	s := p.NewSeat("a", 1, 5)
	s.Open()
	p.Try()
	waiting, _ := p.Join(0, false)
	broken := errors.New("the revision does not start")
	p.Refuse(broken)
	if n := p.Load().Waiting; n != 1 {
		t.Errorf("%d wait, want 1: a replica is open", n)
	}
	s.Shut()
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

func TestSuspectedSeatIsLeftOutWithoutShorteningTheLine(t *testing.T) {
	t.Parallel()
	var p Pool[string]
	a, b := p.NewSeat("a", 5, 1), p.NewSeat("b", 1, 1)
	a.Open()
	b.Open()
	a.Suspect()
	if s := p.Try(); s != b {
		t.Errorf("Try = %v, want b", s)
	}
	if s := p.Try(); s != nil {
		t.Errorf("Try = %v, want none", s)
	}
	for range 2 {
		if _, err := p.Join(0, false); err != nil {
			t.Errorf("Join = %v, want a place in line", err)
		}
	}
	if _, err := p.Join(0, false); !errors.Is(err, ErrFull) {
		t.Errorf("Join = %v, want ErrFull", err)
	}
	a.Trust()
	if l := p.Load(); l.Waiting != 0 || a.Running() != 2 {
		t.Errorf("%d wait and a runs %d, want 0 and 2", l.Waiting, a.Running())
	}
}

// TestPoolKeepsItsPromises drives a pool with random steps and compares it after
// each with a model that says what must be true.
func TestPoolKeepsItsPromises(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p Pool[int]
		room := rapid.IntRange(0, 5).Draw(t, "room")
		p.SetRoom(Room{Requests: room})
		type model struct {
			seat         *Seat[int]
			limit, queue int
			running      int
			open         bool
		}
		seats := make([]*model, rapid.IntRange(1, 4).Draw(t, "seats"))
		for i := range seats {
			m := &model{limit: rapid.IntRange(1, 3).Draw(t, "limit"), queue: rapid.IntRange(0, 3).Draw(t, "queue")}
			m.seat = p.NewSeat(i, m.limit, m.queue)
			seats[i] = m
		}
		var waiting []*Ticket[int]
		settle := func() { // those who were given a seat leave the line, in order
			for len(waiting) > 0 {
				select {
				case <-waiting[0].ready:
					s, err := waiting[0].Wait(context.Background(), 0)
					if err != nil {
						t.Fatalf("Wait = %v", err)
					}
					seats[s.Value].running++
					waiting = waiting[1:]
					continue
				default:
				}
				break
			}
		}
		bound := func() (open, n int) {
			for _, m := range seats {
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
		pick := func() *model { return seats[rapid.IntRange(0, len(seats)-1).Draw(t, "which")] }
		t.Repeat(map[string]func(*rapid.T){
			"open": func(t *rapid.T) {
				m := pick()
				m.open = true
				m.seat.Open()
				settle()
			},
			"shut": func(t *rapid.T) {
				m := pick()
				m.open = false
				m.seat.Shut()
			},
			"resize": func(t *rapid.T) {
				m := pick()
				m.limit, m.queue = rapid.IntRange(1, 3).Draw(t, "limit"), rapid.IntRange(0, 3).Draw(t, "queue")
				m.seat.Resize(m.limit, m.queue)
				settle()
			},
			"join": func(t *rapid.T) {
				_, n := bound()
				before := len(waiting)
				ticket, err := p.Join(0, false)
				switch {
				case err != nil && before < n:
					t.Fatalf("Join = %v with %d of %d in line", err, before, n)
				case err != nil:
				case ticket.ready == nil:
					seats[ticket.seat.Value].running++
				case before >= n:
					t.Fatalf("Join let in number %d of %d", before+1, n)
				default:
					waiting = append(waiting, ticket)
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
					m.seat.Release()
					settle()
				}
			},
			"": func(t *rapid.T) {
				total := 0
				for i, m := range seats {
					if got := m.seat.Running(); got != m.running {
						t.Fatalf("seat %d runs %d, want %d", i, got, m.running)
					}
					if m.open && m.running < m.limit && len(waiting) > 0 {
						t.Fatalf("%d wait while seat %d has a place", len(waiting), i)
					}
					total += m.running
				}
				open, _ := bound()
				if got, want := p.Load(), (Load{Running: total, Waiting: len(waiting), Open: open}); got != want {
					t.Fatalf("Load() = %+v, want %+v", got, want)
				}
			},
		})
	})
}

// TestLeastLoadedIsChosen checks that no seat gets a request while another one
// has a smaller share of its places taken.
func TestLeastLoadedIsChosen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p Pool[int]
		limits := rapid.SliceOfN(rapid.IntRange(1, 10), 1, 6).Draw(t, "limits")
		seats := make([]*Seat[int], len(limits))
		places := 0
		for i, n := range limits {
			seats[i] = p.NewSeat(i, n, 0)
			seats[i].Open()
			places += n
		}
		running := make([]int, len(limits))
		for range places {
			s := p.Try()
			if s == nil {
				t.Fatalf("Try = nil with %v of %v taken", running, limits)
			}
			for i, n := range limits {
				if running[i]*limits[s.Value] < running[s.Value]*n {
					t.Fatalf("Try chose %d with %v of %v taken; %d has less to do", s.Value, running, limits, i)
				}
			}
			running[s.Value]++
			if running[s.Value] > limits[s.Value] {
				t.Fatalf("seat %d runs %d of %d", s.Value, running[s.Value], limits[s.Value])
			}
		}
		if s := p.Try(); s != nil {
			t.Fatalf("Try = seat %d past every limit", s.Value)
		}
	})
}
