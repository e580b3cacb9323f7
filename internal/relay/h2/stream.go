package h2

import (
	"bytes"
	"io"
	"slices"
	"sync"
)

// Owner is told of what ends a stream from outside: the peer, or its connection. It is
// called with the connection locked, and must not call it or the stream.
type Owner interface{ Gone() }

// Stream is one request with its answer. Reading is for one goroutine at a time, and
// writing too; everything else may be called at once. Close it, exactly once, when nobody
// uses it any more.
type Stream struct {
	c       *Conn
	id      uint32 // 0: of a client, and not sent yet
	changed sync.Cond
	owner   Owner

	head     []byte // text
	headAt   int    // of it, what was not read yet
	large    bool
	answered bool // of a client: a final head came
	bodyless bool // of a client: a length may be said of a body that does not come
	trailer  []byte
	ended    bool // the peer has said everything
	err      error
	readErr  error // of reading alone: Fail
	halted   bool  // Interrupt
	left     int64 // bytes that its length says are to come; -1: it has none

	pieces []*piece
	at     int // of pieces, what is read next
	off    int // and within it
	unread int
	pos    int // bytes that were read, since the last Rewind
	high   int // and ever
	keep   int // bytes that are kept for a Rewind, at most
	lost   bool
	win    int // what the peer may still send
	taken  int // of which was read, and is still to be given back

	window int  // what may still be sent
	done   bool // the last byte was sent
	halt   bool // what is sent is of no use
	waits  bool // for a window, or for room
	closed bool
}

// piece is a part of a body.
type piece struct {
	b    []byte
	n    int
	pool *sync.Pool
}

var (
	streams = sync.Pool{New: func() any { return new(Stream) }}
	pieces  = [...]struct {
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

func newStream(c *Conn) *Stream {
	s := streams.Get().(*Stream)
	*s = Stream{c: c, head: s.head[:0], trailer: s.trailer[:0], pieces: s.pieces[:0], left: -1, win: streamWindow, window: c.winFirst}
	s.changed.L = &c.mu
	return s
}

// Own has o told.
func (s *Stream) Own(o Owner) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.owner = o
	if s.err != nil && o != nil {
		o.Gone()
	}
}

// Request returns the head of a request, and whether it is whole. It stays until Close.
func (s *Stream) Request() (text []byte, whole bool) { return s.head, !s.large }

// Answer waits for the next head of the answer, and returns it. It stays until Close; one
// of an answer of 1xx, until the next.
func (s *Stream) Answer() ([]byte, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for {
		rest := s.head[s.headAt:]
		if i := bytes.Index(rest, endOfHead); i >= 0 {
			n := i + len(endOfHead)
			s.headAt += n
			return rest[:n:n], nil
		}
		if err := s.fails(); err != nil {
			return nil, err
		}
		s.changed.Wait()
	}
}

var endOfHead = []byte("\r\n\r\n")

// fails returns why nothing more comes.
func (s *Stream) fails() error {
	switch {
	case s.halted:
		return ErrInterrupted
	case s.readErr != nil:
		return s.readErr
	}
	return s.err
}

// fail ends the stream; the connection's mu is held.
func (s *Stream) fail(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.changed.Broadcast()
	if s.owner != nil {
		s.owner.Gone()
	}
}

// stop is for a peer that wants nothing more to be sent.
func (s *Stream) stop() {
	s.halt = true
	s.changed.Broadcast()
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

// Fail ends what waits for the body, with err.
func (s *Stream) Fail(err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.readErr = err
	s.changed.Broadcast()
}

// Await returns when n bytes of the body are there, or all of it.
func (s *Stream) Await(n int) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for s.unread < n && !s.ended {
		if err := s.fails(); err != nil {
			return err
		}
		s.changed.Wait()
	}
	return nil
}

// Ended reports whether all of the body is there, and how much of it was not read.
func (s *Stream) Ended() (unread int, all bool) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.unread, s.ended
}

// Next waits for more of the body and returns it, to be passed over by Advance; last says
// that nothing comes after it. What came before a stream broke off is lost with it.
func (s *Stream) Next() (p []byte, last bool, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for {
		if err := s.fails(); err != nil && (!s.ended || s.halted) {
			return nil, false, err
		}
		if s.at < len(s.pieces) {
			if now := s.pieces[s.at]; s.off < now.n {
				p = now.b[s.off:now.n:now.n]
				return p, s.ended && len(p) == s.unread, nil
			}
			if s.at+1 < len(s.pieces) {
				s.at, s.off = s.at+1, 0
				continue
			}
		}
		if s.ended {
			return nil, true, nil
		}
		s.changed.Wait()
	}
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

// Read reads of the body.
func (s *Stream) Read(p []byte) (int, error) {
	b, last, err := s.Next()
	n := copy(p, b)
	if n > 0 {
		s.Advance(n)
	}
	switch {
	case err != nil:
		return 0, err
	case n == 0 && last:
		return 0, io.EOF
	}
	return n, nil
}

// Sent reports whether anything of s was sent.
func (s *Stream) Sent() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.id != 0
}

// Silent reports whether nothing more comes.
func (s *Stream) Silent() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.ended || s.err != nil
}

// Trailer returns the fields after the body, as lines.
func (s *Stream) Trailer() []byte { return s.trailer }

// Reset gives the stream up, from any goroutine. Who reads it or writes to it fails.
func (s *Stream) Reset(code Code) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.giveUp(code)
	s.c.flushNow()
}

func (s *Stream) giveUp(code Code) {
	if s.err != nil || s.closed || s.done && s.ended {
		return
	}
	if s.id != 0 && s.c.err == nil {
		s.c.appendReset(s.id, code)
	}
	s.owner = nil // who gives it up knows
	s.fail(errOver)
}

// Close is for the end of everybody's use of s. What is not whole is reset.
func (s *Stream) Close() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.owner = nil
	switch {
	case s.err != nil || s.id == 0:
	case s.done && s.ended:
		c.credit += floodAnswer
	case s.done && c.server: // answered before all of the request came
		c.appendReset(s.id, NoError)
	default:
		c.appendReset(s.id, Cancel)
	}
	s.closed = true
	delete(c.streams, s.id)
	c.open--
	if c.server && s.unread > 0 {
		c.give(s.unread)
	}
	for i, p := range s.pieces {
		p.free()
		s.pieces[i] = nil
	}
	s.pieces = s.pieces[:0]
	if s.waits { // nobody does any more, but a wake-up may be due
		c.waiting = slices.DeleteFunc(c.waiting, func(w *Stream) bool { return w == s })
	}
	if c.finishing && c.open == 0 {
		c.end(ErrClosed)
		_ = c.nc.Close() // its reader reports it
	}
	if cap(s.head) > 2<<10 {
		s.head = nil
	}
	c.flush()
	streams.Put(s)
}
