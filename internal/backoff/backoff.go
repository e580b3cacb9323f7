// Package backoff spaces looks at something that another process changes: a lock,
// a socket, a status. The first come shortly after each other, later ones less
// often.
//
// It must not know what is looked at, and it is no substitute for being told.
package backoff

import (
	"context"
	"time"
)

const (
	first = 10 * time.Millisecond
	// Longest is the longest pause between two looks.
	Longest = 200 * time.Millisecond
)

// Backoff is the pauses of one wait; its zero value is ready.
type Backoff struct {
	pause time.Duration
	Total time.Duration // of the pauses begun so far
}

// Next waits for the next look, or returns the error of ctx when that ends first.
func (b *Backoff) Next(ctx context.Context) error {
	b.pause = min(Longest, max(first, b.pause*3/2))
	b.Total += b.pause
	t := time.NewTimer(b.pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
