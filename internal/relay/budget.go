package relay

import "sync/atomic"

// Budget is memory that many share. Who gets none of it goes on without: it waits for
// whoever is slow, as if there were no buffer.
type Budget struct{ left atomic.Int64 }

// NewBudget returns a budget of n bytes.
func NewBudget(n int64) *Budget {
	b := &Budget{}
	b.left.Store(n)
	return b
}

// Take takes n bytes, or nothing and returns false.
func (b *Budget) Take(n int) bool {
	if b.left.Add(-int64(n)) >= 0 {
		return true
	}
	b.left.Add(int64(n))
	return false
}

// Give gives n bytes back.
func (b *Budget) Give(n int) { b.left.Add(int64(n)) }

// Force takes n bytes whether or not they are left: for what has to be.
func (b *Budget) Force(n int) { b.left.Add(-int64(n)) }
