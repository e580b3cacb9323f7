package limiter

import (
	"context"
	"errors"
	"time"
)

// Why a request is not let in.
var (
	// ErrFull says that every place is taken and the line is as long as it may be.
	ErrFull = errors.New("pending request queue full")
	// ErrClosed says that the limiter or pool was closed.
	ErrClosed = errors.New("limiter closed")
	// ErrLate says that no seat opened for as long as the request may be held.
	ErrLate = errors.New("no replica became ready in time")
)

// Ticket is a place in the line, or one at a seat when there was one at once.
type Ticket[T any] struct {
	pool *Pool[T]
	next *Ticket[T]
	prev *Ticket[T]
	size int64
	held bool

	ready chan struct{} // closed when seat or err is set; nil: seat was set at once
	seat  *Seat[T]
	err   error
}

// Held reports whether no seat was open when the ticket was drawn.
func (t *Ticket[T]) Held() bool { return t.held }

// Wait returns the seat when it is this ticket's turn. It fails with the pool's
// reason, with ctx's cause, and, if patience > 0, with ErrFull after that long
// without any open seat. The caller owes a Release when it does not fail.
func (t *Ticket[T]) Wait(ctx context.Context, patience time.Duration) (*Seat[T], error) {
	if t.ready == nil {
		return t.seat, nil
	}
	var late <-chan time.Time
	if patience > 0 {
		timer := time.NewTicker(patience)
		defer timer.Stop()
		late = timer.C
	}
	for {
		select {
		case <-t.ready:
			return t.seat, t.err
		case <-ctx.Done():
			if t.leave() {
				return nil, context.Cause(ctx)
			}
			return t.seat, t.err // it was given one at that very moment
		case <-late:
			if t.pool.Load().Open > 0 { // it is moving: a line may be long
				continue
			}
			if t.leave() {
				return nil, ErrLate
			}
			return t.seat, t.err
		}
	}
}

// leave takes t out of the line; false when it is no longer in it.
func (t *Ticket[T]) leave() bool {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	if t.seat != nil || t.err != nil {
		return false
	}
	t.pool.line.remove(t)
	t.err = ErrClosed
	return true
}

func (t *Ticket[T]) give(s *Seat[T], err error) {
	t.seat, t.err = s, err
	close(t.ready)
}

// lineOf is a queue of tickets from which any can leave.
type lineOf[T any] struct {
	first, last *Ticket[T]
	length      int
	bytes       int64
}

func (l *lineOf[T]) push(t *Ticket[T]) {
	if t.prev = l.last; t.prev != nil {
		t.prev.next = t
	} else {
		l.first = t
	}
	l.last = t
	l.length++
	l.bytes += t.size
}

func (l *lineOf[T]) remove(t *Ticket[T]) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	} else {
		l.last = t.prev
	}
	t.next, t.prev = nil, nil
	l.length--
	l.bytes -= t.size
}

func (l *lineOf[T]) pop() *Ticket[T] {
	t := l.first
	l.remove(t)
	return t
}

func (l *lineOf[T]) fail(err error) {
	for l.first != nil {
		l.pop().give(nil, err)
	}
}
