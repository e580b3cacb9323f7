package limiter

import (
	"context"
	"sync"
)

// Pool shares one waiting line among seats. A seat stands for a replica and
// takes a bounded number of requests at once; the line is as long as the open
// seats together allow, or Room while no seat is open. Requests leave the line in
// the order in which they joined it, to whichever seat has a place first, so no
// request waits at a busy replica while another one has nothing to do.
//
// The zero value is an empty pool without room. All methods may be called at once.
type Pool[T any] struct {
	mu      sync.Mutex
	seats   []*Seat[T] // open ones
	turn    int        // where the next search among equals begins
	running int        // on all seats, closed ones included
	line    lineOf[T]
	room    Room
	refusal error // why everything is refused; nil: nothing is
	closed  bool
}

// Room bounds the line of a pool.
type Room struct {
	Requests int   // that may wait while no seat is open
	Bytes    int64 // that waiting requests may keep in memory together, at any time; 0: no bound
}

// Seat is one replica's share of a pool.
type Seat[T any] struct {
	Value T // what the seat stands for; set by NewSeat

	pool      *Pool[T]
	limit     int
	queue     int
	running   int
	open      bool
	suspected bool
	idle      chan struct{} // closed when running falls to 0; nil: nobody waits for that
}

// NewSeat returns a closed seat of p that takes limit requests at once and
// lengthens the line by queue.
func (p *Pool[T]) NewSeat(value T, limit, queue int) *Seat[T] {
	return &Seat[T]{Value: value, pool: p, limit: limit, queue: queue}
}

// SetRoom changes what may wait; those who wait already stay.
func (p *Pool[T]) SetRoom(r Room) {
	p.mu.Lock()
	p.room = r
	p.mu.Unlock()
}

// Try returns the least loaded seat with a place, already taken, or nil when the
// caller would have to wait. The caller owes a Release.
func (p *Pool[T]) Try() *Seat[T] {
	p.mu.Lock()
	if p.line.first != nil || p.closed {
		p.mu.Unlock()
		return nil
	}
	s := p.choose()
	if s != nil {
		s.running++
		p.running++
	}
	p.mu.Unlock()
	return s
}

// Join takes a place if there is one, or joins the line with a request that
// keeps size bytes in memory. It fails with ErrFull past the bound, and with the
// error given to Refuse or ErrClosed. again marks a request that had a place
// before and lost it through no fault of its own: no bound refuses it.
func (p *Pool[T]) Join(size int64, again bool) (*Ticket[T], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.refusal != nil && len(p.seats) == 0:
		return nil, p.refusal
	}
	if p.line.first == nil {
		if s := p.choose(); s != nil {
			s.running++
			p.running++
			return &Ticket[T]{pool: p, seat: s}, nil
		}
	}
	if !again && (p.line.length >= p.bound() || p.room.Bytes > 0 && p.line.bytes+size > p.room.Bytes) {
		return nil, ErrFull
	}
	t := &Ticket[T]{pool: p, size: size, ready: make(chan struct{}), held: len(p.seats) == 0}
	p.line.push(t)
	return t, nil
}

// Refuse makes every request that finds no open seat fail with err, those in the
// line included, until it is called with nil.
func (p *Pool[T]) Refuse(err error) {
	p.mu.Lock()
	p.refusal = err
	if err != nil && len(p.seats) == 0 {
		p.line.fail(err)
	}
	p.mu.Unlock()
}

// Close makes everything that waits or comes fail with ErrClosed. What runs may finish.
func (p *Pool[T]) Close() {
	p.mu.Lock()
	p.closed = true
	p.line.fail(ErrClosed)
	p.mu.Unlock()
}

// Load is what a pool has to do at one moment.
type Load struct {
	Running int   // on all seats
	Waiting int   // in the line
	Bytes   int64 // that the line keeps in memory
	Open    int   // seats
}

// Load returns the present load.
func (p *Pool[T]) Load() Load {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Load{Running: p.running, Waiting: p.line.length, Bytes: p.line.bytes, Open: len(p.seats)}
}

// bound is how long the line may be now.
func (p *Pool[T]) bound() int {
	if len(p.seats) == 0 {
		return p.room.Requests
	}
	n := 0
	for _, s := range p.seats {
		n += s.queue
	}
	return n
}

// choose returns the open seat with a place whose share of taken places is least,
// in turn among equals; nil without one.
func (p *Pool[T]) choose() *Seat[T] {
	n := len(p.seats)
	if n == 1 { // the common case, kept free of the loop
		if s := p.seats[0]; s.running < s.limit && !s.suspected {
			return s
		}
		return nil
	}
	var best *Seat[T]
	at := p.turn
	for i := 0; i < n; i++ {
		if at >= n {
			at = 0
		}
		s := p.seats[at]
		at++
		if s.running >= s.limit || s.suspected {
			continue
		}
		if best == nil || s.running*best.limit < best.running*s.limit {
			best = s
			p.turn = at
		}
	}
	return best
}

// dispatch hands free places to those who wait.
func (p *Pool[T]) dispatch() {
	for p.line.first != nil {
		s := p.choose()
		if s == nil {
			return
		}
		s.running++
		p.running++
		p.line.pop().give(s, nil)
	}
}

// Release returns the place.
func (s *Seat[T]) Release() {
	p := s.pool
	p.mu.Lock()
	s.running--
	p.running--
	if s.running == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
	if p.line.first != nil {
		p.dispatch()
	}
	p.mu.Unlock()
}

// Open lets the seat take requests, those that wait first.
func (s *Seat[T]) Open() {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	s.suspected = false
	if !s.open {
		s.open = true
		p.seats = append(p.seats, s)
	}
	p.dispatch()
}

// Shut takes the seat out of the choice at once. What it runs may finish.
func (s *Seat[T]) Shut() {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.open {
		return
	}
	s.open = false
	for i, o := range p.seats {
		if o == s {
			p.seats = append(p.seats[:i:i], p.seats[i+1:]...)
			break
		}
	}
	if len(p.seats) == 0 && p.refusal != nil {
		p.line.fail(p.refusal)
	}
}

// Suspect leaves the seat out of the choice until Trust, without shortening the
// line: its replica did not accept a connection, and may already be back.
func (s *Seat[T]) Suspect() {
	s.pool.mu.Lock()
	s.suspected = true
	s.pool.mu.Unlock()
}

// Trust ends Suspect.
func (s *Seat[T]) Trust() {
	s.pool.mu.Lock()
	s.suspected = false
	s.pool.dispatch()
	s.pool.mu.Unlock()
}

// Resize changes how much the seat takes. What runs above a smaller limit may finish.
func (s *Seat[T]) Resize(limit, queue int) {
	s.pool.mu.Lock()
	s.limit, s.queue = limit, queue
	s.pool.dispatch()
	s.pool.mu.Unlock()
}

// Running returns how many places are taken.
func (s *Seat[T]) Running() int {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.running
}

// Idle returns when no place is taken, or with ctx's error.
func (s *Seat[T]) Idle(ctx context.Context) error {
	for {
		s.pool.mu.Lock()
		if s.running == 0 {
			s.pool.mu.Unlock()
			return nil
		}
		if s.idle == nil {
			s.idle = make(chan struct{})
		}
		idle := s.idle
		s.pool.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
