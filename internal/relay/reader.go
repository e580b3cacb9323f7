package relay

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"cortex.dev/cortex/internal/relay/h2"
)

// reader reads a connection through a small buffer that holds a head and whatever
// came with it.
type reader struct {
	nc   io.Reader
	st   *h2.Stream // nc, if it is one: then what comes is a body, and buf stays empty
	buf  []byte
	r, w int // buf[r:w] is unread

	outgrown []byte // where buf was before extend: slices may point there
}

var (
	errTooLong = errors.New("longer than its bound")

	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	bodyBuffers  = sync.Pool{New: func() any { b := make([]byte, bodyBuffer); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}
)

// pooled returns a buffer of at least n bytes; what recycle is given may come back.
func pooled(n int) []byte {
	switch {
	case n <= smallBuffer:
		return *smallBuffers.Get().(*[]byte)
	case n <= largeBuffer:
		return *largeBuffers.Get().(*[]byte)
	}
	return make([]byte, n)
}

// recycle gives b back; nothing may refer to it any more.
func recycle(b []byte) {
	switch cap(b) { // b itself stays on the stack, for those of which nothing is kept
	case smallBuffer:
		kept := b[:smallBuffer]
		smallBuffers.Put(&kept)
	case largeBuffer:
		kept := b[:largeBuffer]
		largeBuffers.Put(&kept)
	}
}

func (r *reader) open(nc *socket) {
	r.nc, r.st, r.buf, r.r, r.w = nc, nil, pooled(smallBuffer), 0, 0
}

// shut gives the buffer back; nothing may refer to it any more.
func (r *reader) shut() {
	recycle(r.buf)
	recycle(r.outgrown)
	r.buf, r.outgrown, r.r, r.w = nil, nil, 0, 0
}

func (r *reader) buffered() []byte { return r.buf[r.r:r.w] }

// rewind makes room at the end by forgetting what was read. Slices into the
// buffer are void afterwards.
func (r *reader) rewind() {
	if r.r == 0 {
		return
	}
	if r.r < r.w {
		copy(r.buf, r.buf[r.r:r.w])
	}
	r.w -= r.r
	r.r = 0
}

// fill reads once from the connection, growing the buffer up to limit bytes.
func (r *reader) fill(limit int) error {
	if r.w == len(r.buf) {
		r.rewind()
	}
	if r.w == len(r.buf) {
		if len(r.buf) >= limit {
			return errTooLong
		}
		grown := make([]byte, min(2*len(r.buf), limit))
		copy(grown, r.buf[:r.w])
		recycle(r.buf)
		r.buf = grown
	}
	n, err := r.nc.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// await is fill for a reader that may have nothing to read for long: it holds no buffer
// meanwhile where it needs none. Slices into the buffer are void afterwards.
func (r *reader) await() error {
	s, ok := r.nc.(*socket)
	if !ok || s.raw == nil || s.below != nil || r.r < r.w {
		return r.fill(len(r.buf))
	}
	return s.readFor(r)
}

// extend makes room for n unread bytes. Other than with fill, slices into the buffer
// stay good until shrink.
func (r *reader) extend(n int) {
	if r.r+n <= len(r.buf) {
		return
	}
	grown := pooled(r.r + n)
	copy(grown, r.buf[:r.w])
	r.outgrown, r.buf = r.buf, grown
}

// more reads once from the connection into the room there is, which fill would make.
func (r *reader) more() error {
	n, err := r.nc.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil
	}
	return err
}

// shrink goes back to a small buffer after a large head, so that an idle
// connection does not keep a large one.
func (r *reader) shrink() {
	recycle(r.outgrown)
	r.outgrown = nil
	if len(r.buf) > smallBuffer && r.r == r.w {
		recycle(r.buf)
		r.buf, r.r, r.w = pooled(smallBuffer), 0, 0
	}
}

// read reads what is buffered, or past the buffer.
func (r *reader) read(p []byte) (int, error) {
	if r.r < r.w {
		n := copy(p, r.buf[r.r:r.w])
		r.r += n
		return n, nil
	}
	return r.nc.Read(p)
}

// line returns the next line without its end, which has to be CR LF. The slice is
// valid until the next call.
func (r *reader) line(limit int) ([]byte, error) {
	scanned := 0
	for {
		if i := bytes.IndexByte(r.buf[r.r+scanned:r.w], '\n'); i >= 0 {
			line := r.buf[r.r : r.r+scanned+i]
			r.r += scanned + i + 1
			if len(line) > 0 && line[len(line)-1] == '\r' {
				return line[:len(line)-1], nil
			}
			return nil, errBareLine
		}
		scanned = r.w - r.r
		if scanned > limit {
			return nil, errTooLong
		}
		if err := r.fill(max(len(r.buf), limit+2)); err != nil {
			return nil, noEOF(err)
		}
	}
}

// headEnd returns the length of the head that buf begins with, its empty line
// included; 0 while it is incomplete. from is where the last search stopped.
func headEnd(buf []byte, from int, strict bool) int {
	if strict {
		from = max(from-3, 0)
		if i := bytes.Index(buf[from:], crlfcrlf); i >= 0 {
			return from + i + 4
		}
		return 0
	}
	for i := max(from-3, 0); i < len(buf); i++ {
		j := bytes.IndexByte(buf[i:], '\n')
		if j < 0 {
			return 0
		}
		i += j
		switch rest := buf[i+1:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 2
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 3
		}
	}
	return 0
}

var crlfcrlf = []byte("\r\n\r\n")

func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, errSilent) {
		return io.ErrUnexpectedEOF
	}
	return err
}
