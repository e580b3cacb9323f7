// Package limiter bounds how many requests are worked on at once and how many
// more may wait, exactly, for one replica (Limiter) or for several that share one
// queue (Pool).
//
// It promises that the bound is never exceeded, that no slot is lost however a
// wait ends, that those who wait are served in the order in which they came, and
// that choosing a replica costs the same however many there are.
// It must not know what a request is.
package limiter

import "context"

// Limiter bounds one replica. All methods may be called at once.
type Limiter struct {
	pool    Pool[struct{}]
	backend *Backend[struct{}]
}

// New returns a limiter that lets concurrency requests run and queue more wait.
func New(concurrency, queue int) *Limiter {
	l := &Limiter{}
	l.backend = l.pool.NewBackend(struct{}{}, concurrency, queue)
	l.backend.SetReady(true)
	return l
}

// Try takes a slot if there is one at once. The caller owes a Release when it
// returns true.
func (l *Limiter) Try() bool { return l.pool.Try() != nil }

// Acquire takes a slot, waiting for one if the queue is not full. It fails with
// ErrFull, ErrClosed or ctx's cause. The caller owes a Release when it does not.
func (l *Limiter) Acquire(ctx context.Context) error {
	if l.Try() {
		return nil
	}
	w, err := l.pool.Join(0, false)
	if err != nil {
		return err
	}
	_, err = w.Wait(ctx, 0)
	return err
}

// Release returns a slot.
func (l *Limiter) Release() { l.backend.Release() }

// Resize changes the bounds. What runs or waits above smaller ones may finish.
func (l *Limiter) Resize(concurrency, queue int) { l.backend.Resize(concurrency, queue) }

// InFlight returns how many requests run and how many wait.
func (l *Limiter) InFlight() (running, waiting int) {
	load := l.pool.Load()
	return load.Running, load.Waiting
}

// Close makes those who wait, and everybody who comes later, fail with ErrClosed,
// so that they can go elsewhere. What runs may finish.
func (l *Limiter) Close() { l.pool.Close() }

// Idle returns when nothing runs, or with ctx's cause.
func (l *Limiter) Idle(ctx context.Context) error { return l.backend.Idle(ctx) }
