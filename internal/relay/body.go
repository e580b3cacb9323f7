package relay

import (
	"bytes"
	"errors"
	"io"
)

// body reads one message body off a reader, decoded.
type body struct {
	torn    bool // what was taken of it and what was passed on differ: nothing can follow it
	from    *reader
	framing framing
	left    int64 // of a sized body, or of the present chunk
	begun   bool  // the data of a chunk was read, and the end of its line was not
	done    bool
	excess  int // bytes of chunk framing beyond what chunks of a decent size need
	trailer []byte
	tee     *Copy // gets what is read; nil: nothing
	copied  func(*Copy)
}

var (
	errChunk    = bad("malformed_chunk", "the chunked body is malformed")
	errOverhead = bad("malformed_chunk", "the chunked body is mostly framing")
	errTrailer  = bad("malformed_trailer", "the trailer section is malformed or too large")
)

const (
	maxChunkLine = 256
	maxExcess    = 16 << 10
)

func (b *body) begin(from *reader, f framing, length int64) {
	*b = body{from: from, framing: f, left: max(length, 0), trailer: b.trailer[:0]}
	if f != sized {
		b.left = 0 // no chunk has begun
	}
	b.done = f == noBody
}

// read reads some of the body; io.EOF exactly when it ended well.
func (b *body) read(p []byte) (int, error) {
	n, err := b.decode(p)
	if b.tee != nil {
		b.take(p[:n])
	}
	return n, err
}

func (b *body) decode(p []byte) (int, error) {
	if b.done {
		return 0, io.EOF
	}
	switch b.framing {
	case sized:
		return b.readLeft(p)
	case untilClose:
		n, err := b.from.read(p)
		if n > 0 {
			return n, nil
		}
		b.done = errors.Is(err, io.EOF)
		return 0, err
	}
	if b.framing == framed {
		return b.readFrames(p)
	}
	return b.readChunks(p)
}

// next reads some of the body where it lies, or into buf, to be passed over by pass;
// io.EOF as with read.
func (b *body) next(buf []byte) ([]byte, error) {
	if b.framing != framed {
		n, err := b.read(buf)
		return buf[:n], err
	}
	if b.done {
		return nil, io.EOF
	}
	p, last, err := b.from.st.Next()
	if err != nil {
		return nil, err
	}
	if last {
		b.finish()
	}
	if b.tee != nil {
		b.take(p)
	}
	return p, nil
}

// pass passes over n bytes of what next returned.
func (b *body) pass(n int) {
	if b.framing == framed && n > 0 {
		b.from.st.Advance(n)
	}
}

func (b *body) readFrames(p []byte) (int, error) {
	have, last, err := b.from.st.Next()
	if err != nil {
		return 0, err
	}
	n := copy(p, have)
	b.from.st.Advance(n)
	if last && n == len(have) {
		b.finish()
		if n == 0 {
			return 0, io.EOF
		}
	}
	return n, nil
}

// finish ends a body of frames.
func (b *body) finish() {
	b.done = true
	for lines := b.from.st.Trailer(); len(lines) > 0; {
		line, rest, _ := bytes.Cut(lines, crlfcrlf[:2])
		if b.addTrailer(line) != nil {
			break // what is no field of HTTP/1.1 either
		}
		lines = rest
	}
}

// readChunks gathers as many chunks as are buffered and fit, so that a stream of
// small ones costs one read and one write; it waits for the first one only.
func (b *body) readChunks(p []byte) (n int, err error) {
	for n < len(p) {
		if n > 0 && !b.ready() {
			return n, nil
		}
		if b.left == 0 {
			if err := b.nextChunk(); err != nil {
				if n > 0 && b.done {
					return n, nil // the end is told by the next call
				}
				return n, err
			}
			if n > 0 && b.from.r == b.from.w {
				return n, nil
			}
		}
		m, err := b.from.read(p[n:][:min(int64(len(p)-n), b.left)])
		b.left -= int64(m)
		n += m
		if err != nil {
			return n, noEOF(err)
		}
	}
	return n, nil
}

func (b *body) readLeft(p []byte) (int, error) {
	n, err := b.from.read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.done = b.left == 0
	if n > 0 {
		return n, nil
	}
	return 0, noEOF(err)
}

// ready reports whether the next read is served from the buffer alone.
func (b *body) ready() bool {
	if b.framing == framed {
		unread, all := b.from.st.Ended()
		return unread > 0 || all
	}
	buf := b.from.buffered()
	if b.framing != chunked || b.left > 0 {
		return len(buf) > 0
	}
	if b.begun { // the line end after the last chunk's data
		if len(buf) < 2 || buf[0] != '\r' {
			return false
		}
		buf = buf[2:]
	}
	if len(buf) > 0 && buf[0] == '0' {
		return bytes.HasPrefix(buf, lastChunk)
	}
	i := bytes.IndexByte(buf, '\n')
	return i >= 0 && i+1 < len(buf)
}

// rests reports whether nothing of the next chunk is here.
func (b *body) rests() bool {
	if b.framing != chunked || b.left > 0 || b.done {
		return false
	}
	here := b.from.buffered()
	return len(here) == 0 || b.begun && string(here) == crlf
}

// await waits for more of a body that rests. What went wrong, the next read says again.
func (b *body) await() {
	if b.begun && len(b.from.buffered()) > 0 {
		b.from.r, b.begun = b.from.w, false // the end of the chunk before: nothing has to be kept
	}
	_ = b.from.await()
}

var lastChunk = []byte("0\r\n\r\n")

// nextChunk reads up to the data of the next chunk; io.EOF after the last one.
func (b *body) nextChunk() error {
	if b.begun {
		line, err := b.from.line(2)
		if err != nil {
			return err
		}
		if len(line) != 0 {
			return errChunk
		}
	}
	b.begun = true
	line, err := b.from.line(maxChunkLine)
	if err != nil {
		return err
	}
	size, ok := chunkSize(line)
	if !ok {
		return errChunk
	}
	// A chunk may cost 16 bytes and its own size in framing; more is saved up
	// against, so that a flood of extensions or of tiny chunks has an end.
	b.excess += len(line) + 4 - 16 - int(2*min(size, 1<<20))
	if b.excess = max(b.excess, 0); b.excess > maxExcess {
		return errOverhead
	}
	b.left = size
	if size == 0 {
		if err := b.readTrailer(); err != nil {
			return err
		}
		b.done = true
		return io.EOF
	}
	return nil
}

// chunkSize parses the line before a chunk. An extension is checked and ignored.
func chunkSize(line []byte) (int64, bool) {
	var n int64
	i := 0
	for ; i < len(line); i++ {
		d := unhex(line[i])
		if d > 15 {
			break
		}
		if i >= 15 { // sixteen digits could be a negative number
			return 0, false
		}
		n = n<<4 | int64(d)
	}
	if i == 0 {
		return 0, false
	}
	ext := line[i:]
	for len(ext) > 0 && (ext[0] == ' ' || ext[0] == '\t') {
		ext = ext[1:]
	}
	if len(ext) > 0 && ext[0] != ';' {
		return 0, false
	}
	for _, c := range ext {
		if class[c]&isValue == 0 {
			return 0, false
		}
	}
	return n, true
}

// readTrailer keeps the trailer fields that may be forwarded, as lines.
func (b *body) readTrailer() error {
	total := 0
	for {
		line, err := b.from.line(maxTrailer)
		if errors.Is(err, errTooLong) {
			return errTrailer
		}
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if total += len(line); total > maxTrailer {
			return errTrailer
		}
		if err := b.addTrailer(line); err != nil {
			return err
		}
	}
}

func (b *body) addTrailer(line []byte) error {
	i := 0
	for i < len(line) && class[line[i]]&isToken != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ':' {
		return errTrailer
	}
	for _, c := range line[i+1:] {
		if class[c]&isValue == 0 {
			return errTrailer
		}
	}
	if mayTrail(line[:i]) {
		b.trailer = append(append(b.trailer, line...), '\r', '\n')
	}
	return nil
}

// mayTrail reports whether a field of this name, which is not empty, is forwarded after
// a body. Fields that frame, route or authenticate a message have no meaning after it,
// and receivers that merge them would be misled.
func mayTrail(name []byte) bool {
	return kindOf(name) == ordinary && !equalFold(name, "authorization") && !equalFold(name, "cookie") &&
		!equalFold(name, "content-encoding") && !equalFold(name, "content-type") && !equalFold(name, "content-range")
}
