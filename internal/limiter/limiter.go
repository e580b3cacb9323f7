// Package limiter bounds how many requests are worked on at once and how many
// more may wait, exactly, for one replica (Limiter) or for several that share one
// line (Pool).
//
// It promises that the bound is never exceeded, that no place is lost however a
// wait ends, and that those who wait are served in the order in which they came.
// It must not know what a request is.
package limiter

import "context"

// Limiter bounds one replica. All methods may be called at once.
type Limiter struct {
	pool Pool[struct{}]
	seat *Seat[struct{}]
}

// New returns a limiter that lets concurrency requests run and queue more wait.
func New(concurrency, queue int) *Limiter {
	l := &Limiter{}
	l.seat = l.pool.NewSeat(struct{}{}, concurrency, queue)
	l.seat.Open()
	return l
}

// Try takes a place if there is one at once. The caller owes a Release when it
// returns true.
func (l *Limiter) Try() bool { return l.pool.Try() != nil }

// Acquire takes a place, waiting for one if the line is not full. It fails with
// ErrFull, ErrClosed or ctx's cause. The caller owes a Release when it does not.
func (l *Limiter) Acquire(ctx context.Context) error {
	if l.Try() {
		return nil
	}
	t, err := l.pool.Join(0, false)
	if err != nil {
		return err
	}
	_, err = t.Wait(ctx, 0)
	return err
}

// Release returns a place.
func (l *Limiter) Release() { l.seat.Release() }

// Resize changes the bounds. What runs or waits above smaller ones may finish.
func (l *Limiter) Resize(concurrency, queue int) { l.seat.Resize(concurrency, queue) }

// InFlight returns how many requests run and how many wait.
func (l *Limiter) InFlight() (running, waiting int) {
	load := l.pool.Load()
	return load.Running, load.Waiting
}

// Close makes those who wait, and everybody who comes later, fail with ErrClosed,
// so that they can go elsewhere. What runs may finish.
func (l *Limiter) Close() { l.pool.Close() }

// Idle returns when nothing runs, or with ctx's cause.
func (l *Limiter) Idle(ctx context.Context) error { return l.seat.Idle(ctx) }
