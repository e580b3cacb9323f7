package h2

import "sync"

// piece is a part of a body.
type piece struct {
	b    []byte
	n    int
	pool *sync.Pool
}

var (
	pieces = [...]struct {
		size int
		pool *sync.Pool
	}{{1 << 10, new(sync.Pool)}, {smallBuffer, new(sync.Pool)}, {maxFrame, new(sync.Pool)}}
)

func newPiece(n int) *piece {
	for _, class := range pieces {
		if n > class.size {
			continue
		}
		if p, ok := class.pool.Get().(*piece); ok {
			return p
		}
		return &piece{b: make([]byte, class.size), pool: class.pool}
	}
	return &piece{b: make([]byte, n)}
}

func (p *piece) free() {
	if p.n = 0; p.pool != nil {
		p.pool.Put(p)
	}
}

// push adds to the body; the connection's mu is held.
func (s *Stream) push(p []byte) {
	s.unread += len(p)
	if n := len(s.pieces); n > 0 && s.at < n {
		last := s.pieces[n-1]
		m := copy(last.b[last.n:], p)
		last.n += m
		p = p[m:]
	}
	if len(p) > 0 {
		more := newPiece(len(p))
		more.n = copy(more.b, p)
		s.pieces = append(s.pieces, more)
	}
}

// Keep has the first n bytes of the body kept, for a Rewind.
func (s *Stream) Keep(n int) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.keep = n
}

// LetGo keeps nothing more.
func (s *Stream) LetGo() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.letGo()
}

func (s *Stream) letGo() {
	s.keep, s.lost = 0, s.lost || s.pos > 0
	for i, p := range s.pieces[:s.at] {
		p.free()
		s.pieces[i] = nil
	}
	s.pieces = append(s.pieces[:0], s.pieces[s.at:]...)
	s.at = 0
}

// Kept reports whether a Rewind is possible.
func (s *Stream) Kept() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return !s.lost
}

// Interrupt ends what waits for the body, until Rewind.
func (s *Stream) Interrupt() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.halted = true
	s.changed.Broadcast()
}

// Rewind has the body begin anew. false: its beginning was let go.
func (s *Stream) Rewind() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.halted = false
	if s.lost {
		return false
	}
	s.unread += s.pos
	s.at, s.off, s.pos = 0, 0, 0
	return true
}

// Advance passes over the next n bytes of the body.
func (s *Stream) Advance(n int) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.advance(n)
	if len(s.c.out) > 0 {
		s.c.flush()
	}
}

func (s *Stream) advance(n int) {
	if n == 0 {
		return
	}
	s.off += n
	s.pos += n
	s.unread -= n
	if s.off == s.pieces[s.at].n && (s.at+1 < len(s.pieces) || s.off == len(s.pieces[s.at].b) || s.keep == 0) {
		s.at, s.off = s.at+1, 0
	}
	if s.pos > s.keep {
		s.letGo()
	}
	if s.pos > s.high {
		s.give(s.pos - s.high)
		s.high = s.pos
	}
}

// give gives n bytes of the window back, when there are enough of them.
func (s *Stream) give(n int) {
	if s.c.server {
		s.c.give(n)
	}
	s.taken += n
	if s.taken >= streamWindow/2 && !s.ended && s.err == nil {
		s.c.out = appendWindow(s.c.out, s.id, s.taken)
		s.win += s.taken
		s.taken = 0
	}
}
