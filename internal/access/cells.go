package access

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// cell is what a limit remembers of one caller, in one word; see limit.
type cell struct {
	n atomic.Int64
	// held is how many requests have the cell: while there are any, it is not forgotten.
	held atomic.Int32
	sharing
}

// maxCells bounds the callers that one limit tells apart. More than that at once share a
// cell: who has hundreds of thousands of addresses does not get as many times the limit.
const (
	shards   = 32
	maxCells = 128 << 10
)

// who is whom a limit counts: a caller, or an address.
type who struct {
	caller  string
	address [16]byte
}

// cells are those of one limit.
type cells struct {
	one   cell // of all callers together, and of those past the bound
	seed  maphash.Seed
	parts [shards]shard
	from  int // where each begins
}

type shard struct {
	mu     sync.Mutex
	of     map[who]*cell
	looked int64 // when it was last searched for what can be forgotten
}

func newCells() *cells { return &cells{seed: maphash.MakeSeed()} }

// get returns the cell of whose, and holds it: the caller owes a release. idle says which
// cells may go when there are too many.
func (c *cells) get(whose who, now int64, idle func(*cell, int64) bool) *cell {
	s := &c.parts[maphash.Comparable(c.seed, whose)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.of[whose]; found != nil {
		found.held.Add(1)
		return found
	}
	if len(s.of) >= maxCells/shards {
		if now-s.looked < lookEvery {
			return &c.one
		}
		s.looked = now
		for name, old := range s.of {
			if old.held.Load() == 0 && idle(old, now) {
				delete(s.of, name)
			}
		}
		if len(s.of) >= maxCells/shards {
			return &c.one
		}
	}
	if s.of == nil {
		s.of = map[who]*cell{}
	}
	fresh := &cell{}
	fresh.held.Add(1)
	s.of[whose] = fresh
	return fresh
}

// release ends the hold of get.
func (c *cells) release(of *cell) {
	if of != &c.one {
		of.held.Add(-1)
	}
}

// lookEvery is how often a full shard is searched, in nanoseconds: each time costs as many
// looks as it has cells.
const lookEvery = int64(1e9)
