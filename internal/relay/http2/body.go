package http2

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"

	"cortex.dev/cortex/internal/relay"
)

// Body is the body of a request that may be sent more than once: what was read of it
// is kept, up to relay.KeptBytes, until LetGo. A nil Body is that of a request without
// one, and always whole.
//
// Attempts to send it may overlap: a transport may still wait in Read for the client
// when its answer is long there. What comes then is for the next attempt. Nothing here
// closes the request's own body; who gave the request ends such a Read.
type Body struct {
	from      io.Reader
	small     int         // how long it says it is, where that is little; 0: it is not, or does not say
	trailer   http.Header // net/http puts the values in when from has ended
	announced http.Header // without them

	mu      sync.Mutex
	changed sync.Cond // any of what follows
	latest  *attempt  // nil: none, or Rewind ended it
	reading bool      // an attempt reads, maybe one that is over
	kept    []byte    // what was read, without what was lost
	had     int       // how much of kept the latest attempt has read
	bound   int       // of kept; past it, what an attempt has read is lost
	lost    bool      // the beginning is not there any more
	err     error     // how the body ended
}

// NewBody returns the body of r, of which nothing was read, with its trailer.
func NewBody(r *http.Request) *Body {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	b := &Body{from: r.Body, trailer: r.Trailer, announced: r.Trailer.Clone(), bound: relay.KeptBytes}
	if r.ContentLength > relay.KeptBytes {
		b.bound = 0 // it will not be whole
	}
	if r.ContentLength > 0 && r.ContentLength <= relay.KeptBytes {
		b.small = int(r.ContentLength)
	}
	b.changed.L = &b.mu
	return b
}

// Await returns when enough of the body is there for the request to ask for a place: all
// of one that says it is small, the beginning of any other. Call it before any attempt.
func (b *Body) Await() error {
	if b == nil {
		return nil
	}
	for {
		if len(b.kept) == cap(b.kept) { // memory comes with the body, not with what it says
			b.kept = slices.Grow(b.kept, min(len(b.kept), b.small)+1<<10)
		}
		n, err := b.from.Read(b.kept[len(b.kept):cap(b.kept)])
		b.kept, b.err = b.kept[:len(b.kept)+n], err
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case err != nil, n > 0 && b.small == 0, len(b.kept) > b.small && b.small > 0: // it is longer than it said
			return nil
		}
	}
}

// Whole returns the body, if all of it is here and nothing was sent yet.
func (b *Body) Whole() ([]byte, bool) {
	if b == nil {
		return nil, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept, errors.Is(b.err, io.EOF) && b.had == 0 && !b.lost
}

// Sent reports whether the latest attempt has read the whole body.
func (b *Body) Sent() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Is(b.err, io.EOF) && b.had == len(b.kept)
}

// Attempt gives out, which is a copy of the request, a body and a trailer to be sent.
// The attempt before it has read nothing, or Rewind has ended it.
func (b *Body) Attempt(out *http.Request) {
	if b == nil {
		return
	}
	// A trailer of its own: while it announces that, the one before may read its values.
	a := &attempt{of: b, trailer: b.announced.Clone()}
	out.Trailer = a.trailer
	out.Body = io.NopCloser(a) // net/http closes bodies, and may then send them by another connection
	b.mu.Lock()
	defer b.mu.Unlock()
	b.latest = a
}

// Rewind ends the latest attempt, so that the next one begins where the body does. It
// returns false, and does nothing, when the body's beginning was let go.
func (b *Body) Rewind() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost {
		return false
	}
	b.latest, b.had = nil, 0
	b.changed.Broadcast()
	return true
}

// LetGo keeps no more of the body than what the latest attempt has yet to read: it
// will not be sent again.
func (b *Body) LetGo() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.letGo()
}

// letGo is LetGo with mu held.
func (b *Body) letGo() {
	b.bound, b.lost = 0, b.lost || b.had > 0
	b.kept, b.had = b.kept[b.had:], 0
	if len(b.kept) == 0 {
		b.kept = nil // with its memory
	}
}

// Kept returns how many bytes of memory the body takes.
func (b *Body) Kept() int64 {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(cap(b.kept))
}

// attempt is a Body for one attempt to send it.
type attempt struct {
	of      *Body
	trailer http.Header
}

var errOver = errors.New("this attempt to send the request is over")

// Read reads what is kept, and then from the client. Of what the client sent while the
// attempt ended, it returns nothing.
func (a *attempt) Read(p []byte) (int, error) {
	b := a.of
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.latest == a && b.had == len(b.kept) && b.err == nil {
		if !b.reading {
			return b.fetch(a, p)
		}
		b.changed.Wait()
	}
	if b.latest != a {
		return 0, errOver
	}
	n := copy(p, b.kept[b.had:])
	b.had += n
	rest := len(b.kept) - b.had
	if len(b.kept) > b.bound {
		b.letGo()
	}
	if rest > 0 {
		return n, nil
	}
	return n, a.ended()
}

// ended returns how the body ended, nil if it has not, with what its trailer says.
func (a *attempt) ended() error {
	if errors.Is(a.of.err, io.EOF) {
		maps.Copy(a.trailer, a.of.trailer)
	}
	return a.of.err
}

// fetch reads from the client for a, which has read all there is, with mu held but for
// that time.
func (b *Body) fetch(a *attempt, p []byte) (int, error) {
	b.reading = true
	b.mu.Unlock()
	n, err := b.from.Read(p)
	b.mu.Lock()
	b.reading, b.err = false, err
	b.changed.Broadcast()
	switch {
	case b.latest != a: // whoever comes after it has it to read
		b.kept = append(b.kept, p[:n]...)
		return 0, errOver
	case len(b.kept)+n <= b.bound:
		b.kept = append(b.kept, p[:n]...)
		b.had += n
	case n > 0:
		b.kept, b.had, b.bound, b.lost = nil, 0, 0, true
	}
	return n, a.ended()
}
