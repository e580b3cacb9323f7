package limiter

import (
	"context"
	"errors"
	"time"
)

// Why a request is not let in.
var (
	// ErrFull says that every slot is taken and the queue is as long as it may be.
	ErrFull = errors.New("pending request queue full")
	// ErrClosed says that the limiter or pool was closed.
	ErrClosed = errors.New("limiter closed")
	// ErrTimeout says that no backend was ready for as long as the request may be held.
	ErrTimeout = errors.New("no replica became ready in time")
)

// Waiter is a request in the queue, or one that got a slot at once.
type Waiter[T any] struct {
	pool *Pool[T]
	next *Waiter[T]
	prev *Waiter[T]
	size int64
	held bool

	done chan struct{} // closed when backend or err is set; nil: backend was set at once
	// Set once, under the pool's lock and before done is closed: who has seen done, or
	// that leave came too late, may read them without it.
	backend *Backend[T]
	err     error
}

// Held reports whether no backend was ready when the request came.
func (w *Waiter[T]) Held() bool { return w.held }

// Wait returns the backend whose slot the request got. It fails with the pool's
// reason, with ctx's cause, and, if patience > 0, with ErrTimeout after that long
// without any ready backend. The caller owes a Release when it does not fail.
func (w *Waiter[T]) Wait(ctx context.Context, patience time.Duration) (*Backend[T], error) {
	if w.done == nil {
		return w.backend, nil
	}
	var late <-chan time.Time
	if patience > 0 {
		// Not once: a backend that is ready at the first look may be gone at the next.
		looks := time.NewTicker(patience)
		defer looks.Stop()
		late = looks.C
	}
	for {
		select {
		case <-w.done:
			return w.backend, w.err
		case <-ctx.Done():
			if w.leave() {
				return nil, context.Cause(ctx)
			}
			return w.backend, w.err // it was given a slot at that very moment
		case <-late:
			if w.pool.Load().Ready > 0 { // the queue is moving; a long one takes its time
				continue
			}
			if w.leave() {
				return nil, ErrTimeout
			}
			return w.backend, w.err
		}
	}
}

// leave takes w out of the queue; false when it is no longer in it.
func (w *Waiter[T]) leave() bool {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	if w.backend != nil || w.err != nil {
		return false
	}
	w.pool.queue.remove(w)
	w.pool.load.Change(-1)
	w.err = ErrClosed
	return true
}

func (w *Waiter[T]) finish(b *Backend[T], err error) {
	w.backend, w.err = b, err
	close(w.done)
}

// queueOf is a list of waiters from which any can leave: a caller that hangs up
// must not hold up those behind it.
type queueOf[T any] struct {
	first, last *Waiter[T]
	length      int
	bytes       int64
}

func (q *queueOf[T]) push(w *Waiter[T]) {
	if w.prev = q.last; w.prev != nil {
		w.prev.next = w
	} else {
		q.first = w
	}
	q.last = w
	q.length++
	q.bytes += w.size
}

func (q *queueOf[T]) remove(w *Waiter[T]) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.next, w.prev = nil, nil
	q.length--
	q.bytes -= w.size
}

func (q *queueOf[T]) pop() *Waiter[T] {
	w := q.first
	q.remove(w)
	return w
}

func (q *queueOf[T]) fail(err error) {
	for q.first != nil {
		q.pop().finish(nil, err)
	}
}
