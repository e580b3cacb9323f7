package h2

import (
	"bytes"

	"golang.org/x/net/http2/hpack"
)

// encoder writes heads.
type encoder struct {
	hpack *hpack.Encoder
	to    []byte // the block
	names map[string]string
	seen  map[string]string // values
	fresh bool              // nothing of the block was written: what is said of the table's size comes first
}

// Bounds of what an encoder remembers, to make no string twice and to put into the table
// only what comes again.
const (
	maxNames  = 256
	maxSeen   = 512
	maxValue  = 256
	longLived = 64 // bytes of a name
)

func (e *encoder) init() {
	e.hpack = hpack.NewEncoder((*block)(e))
	e.names, e.seen = map[string]string{}, map[string]string{}
}

func (e *encoder) limit(size uint32) {
	e.hpack.SetMaxDynamicTableSizeLimit(size)
	e.hpack.SetMaxDynamicTableSize(min(size, tableSize))
}

// block is where an encoder writes.
type block encoder

func (b *block) Write(p []byte) (int, error) {
	b.to = append(b.to, p...)
	return len(p), nil
}

// remember returns b as a string, and whether it was remembered.
func remember(m map[string]string, b []byte, most int) (s string, known bool) {
	if s, known = m[string(b)]; known {
		return s, true
	}
	if len(m) >= most {
		clear(m)
	}
	s = string(b)
	m[s] = s
	return s, false
}

// first writes a field that a head begins with.
func (e *encoder) first(name string, value []byte) {
	if len(value) > maxValue {
		e.literal(name, value)
		return
	}
	s, known := remember(e.seen, value, maxSeen)
	_ = e.hpack.WriteField(hpack.HeaderField{Name: name, Value: s, Sensitive: !known && name == ":path"}) // to memory
}

// field writes one of the others. Of values that come once, as far as is known, the peer
// remembers nothing.
func (e *encoder) field(name string, value []byte) {
	if e.fresh {
		e.fresh = false
		_ = e.hpack.WriteField(hpack.HeaderField{Name: name, Value: string(value), Sensitive: true}) // to memory
		return
	}
	if len(value) > maxValue || unique(name) {
		e.literal(name, value)
		return
	}
	s, known := remember(e.seen, value, maxSeen)
	if !known {
		e.literal(name, value)
		return
	}
	_ = e.hpack.WriteField(hpack.HeaderField{Name: name, Value: s}) // to memory
}

func unique(name string) bool {
	switch name {
	case "x-request-id", "traceparent", "grpc-timeout", "grpc-message", "date":
		return true
	}
	return false
}

// literal writes a field that is not put into the table, as it is.
func (e *encoder) literal(name string, value []byte) {
	e.to = append(appendLength(append(e.to, 0), len(name)), name...)
	e.to = append(appendLength(e.to, len(value)), value...)
}

// appendLength is an integer with a prefix of 7 bits (RFC 7541, section 5.1).
func appendLength(b []byte, n int) []byte {
	if n < 127 {
		return append(b, byte(n))
	}
	b = append(b, 127)
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n&127|128)) //nolint:gosec // of 8 bits
	}
	return append(b, byte(n)) //nolint:gosec // likewise
}

// head writes the head that text begins with, and returns what comes after it. A client
// says requests, whose second line is the host, a server answers.
func (e *encoder) head(text []byte, server bool) (rest []byte) {
	e.to, e.fresh = e.to[:0], false
	line, text := cutLine(text)
	if server {
		e.first(":status", line[len("HTTP/1.1 "):][:3])
		return e.fields(text)
	}
	method, line, _ := bytes.Cut(line, space)
	target, _, _ := bytes.Cut(line, space)
	e.first(":method", method)
	e.first(":scheme", http)
	e.first(":path", target)
	if line, rest := cutLine(text); bytes.HasPrefix(line, hostName) {
		e.first(":authority", line[len(hostName):])
		text = rest
	}
	return e.fields(text)
}

var (
	space    = []byte(" ")
	http     = []byte("http")
	hostName = []byte("Host: ")
)

// trailer writes lines.
func (e *encoder) trailer(lines []byte) {
	e.to, e.fresh = e.to[:0], true
	e.fields(lines)
}

// fields writes lines up to an empty one, or the end.
func (e *encoder) fields(text []byte) (rest []byte) {
	for len(text) > 0 {
		var line []byte
		if line, text = cutLine(text); len(line) == 0 {
			break
		}
		i := bytes.IndexByte(line, ':')
		if i <= 0 {
			continue // nobody writes such a line
		}
		name := e.name(line[:i])
		if name == "" {
			continue
		}
		e.field(name, bytes.Trim(line[i+1:], " \t"))
	}
	return text
}

// name returns a name in lower case; empty: it says something of a connection of
// HTTP/1.1.
func (e *encoder) name(b []byte) string {
	var small [longLived]byte
	lower := small[:0]
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		lower = append(lower, c)
	}
	switch string(lower) {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "host":
		return ""
	}
	if len(lower) > longLived {
		return string(lower)
	}
	s, _ := remember(e.names, lower, maxNames)
	return s
}

func cutLine(text []byte) (line, rest []byte) {
	i := bytes.IndexByte(text, '\n')
	if i < 0 {
		return text, nil
	}
	line, rest = text[:i], text[i+1:]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, rest
}

// appendHead appends what was written last as frames.
func (c *Conn) appendHead(id uint32, end bool) {
	b := c.enc.to
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	for kind := byte(frameHeaders); ; kind, flags = frameContinuation, 0 {
		n := min(len(b), maxFrame)
		if n == len(b) {
			flags |= flagEndHeaders
		}
		c.out = append(appendFrame(c.out, n, kind, flags, id), b[:n]...)
		if b = b[n:]; len(b) == 0 {
			break
		}
	}
	if cap(c.enc.to) > 2*smallBuffer {
		c.enc.to = nil
	}
}
