package limiter

import (
	"context"
	"sync"
)

// Pool shares one queue among backends. A backend stands for a replica and takes a
// bounded number of requests at once; the queue is as long as the ready backends
// together allow, or QueueLimit while none is ready. Requests leave the queue in the
// order in which they joined it, to whichever backend has a free slot first, so no
// request waits at a busy replica while another one has nothing to do.
//
// The zero value is an empty pool that lets nothing wait. All methods may be called
// at once.
type Pool[T any] struct {
	mu      sync.Mutex
	choice  choice[T]
	ready   int // backends
	bound   int // of the queue, by the ready backends
	running int // on all backends, those that are not ready included
	queue   queueOf[T]
	limit   QueueLimit
	refusal error // why everything is refused while nothing is ready; nil: nothing is
	closed  bool

	load Meter // running + waiting
}

// QueueLimit bounds the queue of a pool.
type QueueLimit struct {
	Requests int   // that may wait while no backend is ready
	Bytes    int64 // that waiting requests may keep in memory together, at any time; 0: no bound
}

// Backend is one replica's share of a pool.
type Backend[T any] struct {
	Value T // what the backend stands for; set by NewBackend

	pool *Pool[T]
	settings
	running int
	idle    chan struct{} // closed when running falls to 0; nil: nobody waits for that

	// Of choice:
	class      *class[T] // nil unless ready and not ejected
	next, prev *Backend[T]
	arrival    uint64
	listed     bool
}

// settings decide whether and how often a backend is chosen.
type settings struct {
	limit   int // of requests at once
	queue   int // that it adds to the pool's
	ready   bool
	ejected bool
}

// NewBackend returns a backend of p, not ready, that takes limit requests at once and
// lengthens the queue by queue.
func (p *Pool[T]) NewBackend(value T, limit, queue int) *Backend[T] {
	return &Backend[T]{Value: value, pool: p, settings: settings{limit: limit, queue: queue}}
}

// SetQueueLimit changes what may wait; those who wait already stay.
func (p *Pool[T]) SetQueueLimit(l QueueLimit) {
	p.mu.Lock()
	p.limit = l
	p.mu.Unlock()
}

// Try returns the least loaded backend with a slot, already taken, or nil when the
// caller would have to wait. The caller owes a Release.
func (p *Pool[T]) Try() *Backend[T] {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queue.first != nil || p.closed {
		return nil // whoever waits already is first
	}
	b := p.take()
	if b != nil {
		p.load.Change(1)
	}
	return b
}

// MeanLoad returns how many requests ran or waited on average since it was called before;
// see Meter.Mean.
func (p *Pool[T]) MeanLoad() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.load.Mean()
}

// take takes a slot at the best backend; nil when there is none.
func (p *Pool[T]) take() *Backend[T] {
	b := p.choice.best()
	if b != nil {
		p.count(b, 1)
	}
	return b
}

// count changes how much b runs, and with it b's place in the choice.
func (p *Pool[T]) count(b *Backend[T], by int) {
	p.choice.leave(b)
	b.running += by
	p.running += by
	if b.class != nil {
		p.choice.enter(b)
	}
}

// Join takes a slot if there is one, or joins the queue with a request that keeps
// size bytes in memory. It fails with ErrFull past the bound, and with the error
// given to Refuse or ErrClosed. again marks a request that had a slot before and
// lost it through no fault of its own: no bound refuses it.
func (p *Pool[T]) Join(size int64, again bool) (*Waiter[T], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.refusal != nil && p.ready == 0:
		return nil, p.refusal
	}
	if p.queue.first == nil {
		if b := p.take(); b != nil {
			p.load.Change(1)
			return &Waiter[T]{pool: p, backend: b}, nil
		}
	}
	if !again && (p.queue.length >= p.mayWait() || p.limit.Bytes > 0 && p.queue.bytes+size > p.limit.Bytes) {
		return nil, ErrFull
	}
	w := &Waiter[T]{pool: p, size: size, done: make(chan struct{}), held: p.ready == 0}
	p.queue.push(w)
	p.load.Change(1)
	return w, nil
}

// mayWait is how long the queue may be now.
func (p *Pool[T]) mayWait() int {
	if p.ready == 0 {
		return p.limit.Requests
	}
	return p.bound
}

// Refuse makes every request that finds no ready backend fail with err, those in the
// queue included, until it is called with nil.
func (p *Pool[T]) Refuse(err error) {
	p.mu.Lock()
	p.refusal = err
	if err != nil && p.ready == 0 {
		p.fail(err)
	}
	p.mu.Unlock()
}

// Close makes everything that waits or comes fail with ErrClosed. What runs may finish.
func (p *Pool[T]) Close() {
	p.mu.Lock()
	p.closed = true
	p.fail(ErrClosed)
	p.mu.Unlock()
}

// fail ends every wait.
func (p *Pool[T]) fail(err error) {
	p.load.Change(-p.queue.length)
	p.queue.fail(err)
}

// Load is what a pool has to do at one moment.
type Load struct {
	Running int   // on all backends
	Waiting int   // in the queue
	Bytes   int64 // that the queue keeps in memory
	Ready   int   // backends
}

// Load returns the present load.
func (p *Pool[T]) Load() Load {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Load{Running: p.running, Waiting: p.queue.length, Bytes: p.queue.bytes, Ready: p.ready}
}

// dispatch hands free slots to those who wait. Whatever frees a slot calls it before it
// gives up the lock, so a slot is never free while somebody waits: that is why those who
// come need only look whether there is a queue.
func (p *Pool[T]) dispatch() {
	for p.queue.first != nil {
		b := p.take()
		if b == nil {
			return
		}
		p.queue.pop().finish(b, nil)
	}
}

// Occupy takes a slot although none may be free: for what runs at the backend already. The
// caller owes a Release.
func (b *Backend[T]) Occupy() {
	p := b.pool
	p.mu.Lock()
	p.count(b, 1)
	p.load.Change(1)
	p.mu.Unlock()
}

// Release returns the slot.
func (b *Backend[T]) Release() {
	p := b.pool
	p.mu.Lock()
	p.count(b, -1)
	p.load.Change(-1)
	if b.running == 0 && b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
	p.dispatch()
	p.mu.Unlock()
}

// set changes the settings, and gives what that frees to those who wait. Without a
// change b keeps its turn: whoever is told of replicas may be told the same again.
func (b *Backend[T]) set(change func(*settings)) {
	p := b.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	// Class, ready and bound are counted by the settings: b goes out with the old ones
	// and comes in with the new.
	next := b.settings
	change(&next)
	if next == b.settings {
		return
	}
	if b.class != nil {
		p.choice.dismiss(b)
	}
	if b.ready {
		p.ready--
		p.bound -= b.queue
	}
	b.settings = next
	if b.ready {
		p.ready++
		p.bound += b.queue
		if !b.ejected {
			p.choice.admit(b)
		}
	}
	if p.ready == 0 && p.refusal != nil { // the last one has gone: who waited for it waits for nobody
		p.fail(p.refusal)
	}
	p.dispatch()
}

// SetReady lets the backend take requests, those that wait first, and ends Eject; or
// takes it out of the choice at once. What it runs may finish.
func (b *Backend[T]) SetReady(ready bool) {
	b.set(func(s *settings) { s.ready, s.ejected = ready, s.ejected && !ready })
}

// Eject leaves the backend out of the choice until Restore, without shortening the
// queue: its replica did not accept a connection, and may already be back.
func (b *Backend[T]) Eject() { b.set(func(s *settings) { s.ejected = true }) }

// Restore ends Eject.
func (b *Backend[T]) Restore() { b.set(func(s *settings) { s.ejected = false }) }

// Resize changes how much the backend takes. What runs above a smaller limit may finish.
func (b *Backend[T]) Resize(limit, queue int) {
	b.set(func(s *settings) { s.limit, s.queue = limit, queue })
}

// Running returns how many slots are taken.
func (b *Backend[T]) Running() int {
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	return b.running
}

// Idle returns when no slot is taken, or with ctx's error.
func (b *Backend[T]) Idle(ctx context.Context) error {
	for { // between the end of the last request and a look another one may begin
		b.pool.mu.Lock()
		if b.running == 0 {
			b.pool.mu.Unlock()
			return nil
		}
		if b.idle == nil {
			b.idle = make(chan struct{})
		}
		idle := b.idle
		b.pool.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
