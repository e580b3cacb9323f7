package async

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"cortex.dev/cortex/internal/ledger"
)

// timers hold the items that wait for a time, the next one first. Each is in it once.
type timers struct {
	mu      sync.Mutex
	heap    entryHeap
	changed chan struct{} // holds a token after the next time has changed
}

// set has e wait for a time; zero: for none.
func (t *timers) set(e *entry, at time.Time) {
	t.mu.Lock()
	switch {
	case at.IsZero() && e.slot > 0:
		heap.Remove(&t.heap, int(e.slot-1))
	case at.IsZero():
	case e.slot > 0:
		e.next = instantOf(at)
		heap.Fix(&t.heap, int(e.slot-1))
	default:
		e.next = instantOf(at)
		heap.Push(&t.heap, e)
	}
	first := e.slot == 1
	t.mu.Unlock()
	if first {
		select {
		case t.changed <- struct{}{}:
		default:
		}
	}
}

// due takes out what has waited until now, at most so many; next is when more is due.
func (t *timers) due(now time.Time, most int) (over []*entry, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.heap) > 0 {
		e := t.heap[0]
		if e.next > instantOf(now) || len(over) == most {
			return over, e.next.time()
		}
		heap.Pop(&t.heap)
		over = append(over, e)
	}
	return over, time.Time{}
}

// ticks does what is due, until ctx ends.
func (s *Service) ticks(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.clock.changed:
		}
		now := time.Now()
		over, next := s.clock.due(now, 10*atOnce)
		turns := make(chan struct{}, atOnce)
		var all sync.WaitGroup
		for _, e := range over {
			turns <- struct{}{}
			all.Go(func() {
				defer func() { <-turns }()
				e.tick(ctx, time.Now())
			})
		}
		all.Wait()
		if !next.IsZero() {
			timer.Reset(max(time.Until(next), 0))
		}
	}
}

// tick does what the time that e waited for is about.
func (e *entry) tick(ctx context.Context, now time.Time) {
	l := e.line
	l.mu.Lock()
	state, expires := e.state, e.expire != 0 && instantOf(now) >= e.expire
	rules := l.settings.Rules
	l.mu.Unlock()
	event := ledger.Event{Type: ledger.Due, At: now}
	switch {
	case !state.Waiting(), state == ledger.Queued && !expires:
		return
	case expires:
		event = ledger.Event{Type: ledger.Expire, At: now, Keep: rules.Keep, Payloads: rules.Payloads, Reason: &ledger.Reason{Code: "item_expired", Message: "no replica had a place for it in time; async.expire_after says how long an item may wait"}}
	}
	if _, err := l.apply(ctx, e.id, event, nil); err != nil && isOver(err) {
		l.resync(ctx, e)
	}
}

// forgetEvery is how often what is over is looked for, and forgetMost how much of it is
// dropped in one commit.
const (
	forgetEvery = time.Minute
	forgetMost  = 500
)

// forgets drops what has been kept for long enough, until ctx ends.
func (s *Service) forgets(ctx context.Context) {
	s.sweepBlobs(ctx)
	t := time.NewTicker(forgetEvery)
	defer t.Stop()
	for {
		for {
			gone, err := s.cfg.Ledger.Forget(ctx, time.Now(), forgetMost)
			if err != nil {
				if ctx.Err() == nil {
					s.log.Warn("dropping items that were kept for long enough", "error", err)
				}
				break
			}
			for _, i := range gone {
				s.dropBlob(i.Payload)
				s.dropBlob(i.Result)
			}
			if len(gone) < forgetMost {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// entryHeap is in the order of next.
type entryHeap []*entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].next < h[j].next }
func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = int32(i+1), int32(j+1)
}

// Push is heap.Interface's.
func (h *entryHeap) Push(x any) {
	e, _ := x.(*entry)
	*h = append(*h, e)
	e.slot = int32(len(*h))
}

// Pop is heap.Interface's.
func (h *entryHeap) Pop() any {
	n := len(*h)
	e := (*h)[n-1]
	(*h)[n-1] = nil
	*h = (*h)[:n-1]
	e.slot = 0
	return e
}

// waiters are told when something becomes of an item.
type waiters struct {
	mu   sync.Mutex
	wait map[string]*waiting
}

type waiting struct {
	ch    chan struct{}
	count int
}

// await returns a channel that is closed when an item is told of; done must be called.
func (n *waiters) await(id string) (told <-chan struct{}, done func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wait == nil {
		n.wait = map[string]*waiting{}
	}
	e := n.wait[id]
	if e == nil {
		e = &waiting{ch: make(chan struct{})}
		n.wait[id] = e
	}
	e.count++
	return e.ch, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if e.count--; e.count == 0 && n.wait[id] == e {
			delete(n.wait, id)
		}
	}
}

func (n *waiters) tell(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e := n.wait[id]; e != nil {
		close(e.ch)
		delete(n.wait, id)
	}
}
