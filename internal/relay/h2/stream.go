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

var streams = sync.Pool{New: func() any { return new(Stream) }}

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
// that nothing comes after it. A stream that broke off says so after what came before.
func (s *Stream) Next() (p []byte, last bool, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for {
		err := s.fails()
		if s.halted || s.readErr != nil || s.err == errOver && !s.ended {
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
		switch {
		case s.ended:
			return nil, true, nil
		case err != nil:
			return nil, false, err
		}
		s.changed.Wait()
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
