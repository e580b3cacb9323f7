package relay

import (
	"io"
	"sync"
)

// Ahead reads answers ahead of clients that are slower than their servers, within a
// budget of memory: a server that has answered is done, whether or not somebody takes the
// answer.
type Ahead struct{ budget *Budget }

// NewAhead returns one that keeps at most so many bytes of all answers together.
func NewAhead(bytes int64) *Ahead { return &Ahead{NewBudget(bytes)} }

const (
	aheadBytes = 64 << 10 // of one answer
	pieceSize  = 16 << 10 // of one read
)

// of returns body, to be read and closed by one goroutine. done is called once: when
// all of body was read, by whoever reads, or when it is closed.
func (a *Ahead) of(body io.ReadCloser, done func()) *readAhead {
	r := &readAhead{with: a, from: body, done: done}
	r.changed.L = &r.mu
	return r
}

type readAhead struct {
	with *Ahead
	from io.ReadCloser
	done func()
	once sync.Once
	fill chan struct{} // closed when the goroutine that fills has returned; nil: there is none yet

	mu      sync.Mutex
	changed sync.Cond // any of what follows
	buf     []byte    // what was read
	had     int       // of it
	err     error     // how the body ended
	closed  bool
}

// start has a goroutine read on.
func (r *readAhead) start() {
	r.fill = make(chan struct{})
	go r.ahead()
}

// Read reads a first time itself: most answers are there whole then, and need no
// goroutine.
func (r *readAhead) Read(p []byte) (int, error) {
	if r.fill == nil {
		n, err := r.from.Read(p)
		if err != nil {
			r.once.Do(r.done)
			return n, err
		}
		r.start()
		return n, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.had == len(r.buf) && r.err == nil {
		r.changed.Wait()
	}
	n := copy(p, r.buf[r.had:])
	r.had += n
	if r.had == len(r.buf) {
		r.with.budget.Give(len(r.buf))
		r.buf, r.had = r.buf[:0], 0
	}
	r.changed.Broadcast()
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}

// ahead reads until the body ends, or is closed.
func (r *readAhead) ahead() {
	defer close(r.fill)
	buffer := bodyBuffers.Get().(*[]byte)
	defer bodyBuffers.Put(buffer)
	piece := (*buffer)[:pieceSize]
	for r.mayFill() {
		n, err := r.from.Read(piece)
		if err != nil {
			r.once.Do(r.done) // before anybody hears that this is all
		}
		r.mu.Lock()
		r.with.budget.Give(pieceSize - n)
		r.buf = append(r.buf, piece[:n]...)
		r.err = err
		r.changed.Broadcast()
		r.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// mayFill waits until there is room for a piece; false: nobody wants it any more.
func (r *readAhead) mayFill() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closed {
		switch {
		case len(r.buf) < aheadBytes && r.with.budget.Take(pieceSize):
			return true
		case len(r.buf) == 0: // as if there were no budget: one piece at a time
			r.with.budget.Force(pieceSize)
			return true
		}
		r.changed.Wait()
	}
	return false
}

// Close ends the goroutine, too.
func (r *readAhead) Close() error {
	err := r.from.Close() // which ends a Read
	r.mu.Lock()
	r.closed = true
	r.changed.Broadcast()
	r.mu.Unlock()
	if r.fill != nil {
		<-r.fill
	}
	r.with.budget.Give(len(r.buf))
	r.buf, r.had = nil, 0
	r.once.Do(r.done)
	return err
}
