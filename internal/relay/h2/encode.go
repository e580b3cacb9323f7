package h2

import "bytes"

// encoder writes heads by HPACK (RFC 7541). What it does is what golang.org/x/net's does,
// but for one thing: it remembers fields by the lines of text that they come as, so that
// one that was said before is one look, and no string is made.
type encoder struct {
	to    []byte            // the block
	lines map[string]uint64 // lines with the number of their entry, or notSaid
	names map[string]uint64 // names with the number of an entry that has them
	seen  map[string]bool   // lines that were said once, and are in no entry
	table []entry           // the oldest first
	next  uint64            // number of the next entry; they are counted from 1
	size  int
	most  int
	least int // the smallest that most was since the peer was told; -1: it was told
}

// entry is one of the dynamic table.
type entry struct {
	line, name string
	size       int
}

const (
	staticSize = 61
	entrySize  = 32 // that an entry takes beside its text
	maxSeen    = 512
	maxLine    = 512       // bytes of a line that is remembered
	notSaid    = 1<<64 - 1 // of a line that says something of a connection of HTTP/1.1
	indexed    = 0x80      // prefixes of representations
	adding     = 0x40
	resizing   = 0x20
	plain      = 0
)

func (e *encoder) init() {
	e.lines, e.names, e.seen = map[string]uint64{}, map[string]uint64{}, map[string]bool{}
	e.next, e.most, e.least = 1, tableSize, -1
}

// limit is for what the peer says of the table.
func (e *encoder) limit(size uint32) {
	most := int(min(size, tableSize))
	if e.least < 0 || most < e.least {
		e.least = most
	}
	e.most = most
	e.evict(0)
}

// begin begins a block.
func (e *encoder) begin() {
	e.to = e.to[:0]
	if e.least < 0 {
		return
	}
	if e.least < e.most { // there are decoders that take two sizes only if one is 0
		most := e.most
		e.most = 0
		e.evict(0)
		e.most = most
		e.to = appendInt(e.to, resizing, 5, 0)
	}
	e.to = appendInt(e.to, resizing, 5, uint64(e.most)) //nolint:gosec // likewise
	e.least = -1
}

// head writes the head that text begins with, and returns what comes after it. A client
// says requests, whose second line is the host, a server answers.
func (e *encoder) head(text []byte, server bool) (rest []byte) {
	e.begin()
	line, text := cutLine(text)
	if server {
		e.pseudo(":status: ", line[len("HTTP/1.1 "):][:3])
		return e.fields(text)
	}
	method, line, _ := bytes.Cut(line, space)
	target, _, _ := bytes.Cut(line, space)
	e.pseudo(":method: ", method)
	e.to = append(e.to, indexed|6) // :scheme: http
	e.pseudo(":path: ", target)
	if line, rest := cutLine(text); bytes.HasPrefix(line, hostName) {
		e.pseudo(":authority: ", line[len(hostName):])
		text = rest
	}
	return e.fields(text)
}

var (
	space    = []byte(" ")
	hostName = []byte("Host: ")
)

// static are lines of the static table that are said often.
var static = map[string]byte{
	":method: GET": 2, ":method: POST": 3, ":path: /": 4, ":status: 200": 8, ":status: 204": 9, ":status: 206": 10, ":status: 304": 11,
	":status: 400": 12, ":status: 404": 13, ":status: 500": 14,
}

// pseudo writes a field that a head begins with.
func (e *encoder) pseudo(name string, value []byte) {
	var small [128]byte
	line := append(append(small[:0], name...), value...)
	if n, ok := static[string(line)]; ok {
		e.to = append(e.to, indexed|n)
		return
	}
	e.line(line)
}

// trailer writes lines.
func (e *encoder) trailer(lines []byte) {
	e.begin()
	e.fields(lines)
}

// fields writes lines up to an empty one, or the end.
func (e *encoder) fields(text []byte) (rest []byte) {
	for len(text) > 0 {
		var line []byte
		if line, text = cutLine(text); len(line) == 0 {
			break
		}
		e.line(line)
	}
	return text
}

// line writes one field. Of those that come once, as far as is known, the peer remembers
// nothing.
func (e *encoder) line(line []byte) {
	if n, ok := e.lines[string(line)]; ok {
		if n != notSaid {
			e.to = appendInt(e.to, indexed, 7, staticSize+e.next-n)
		}
		return
	}
	i := bytes.IndexByte(line[1:], ':') + 1
	if i <= 0 {
		return // nobody writes such a line
	}
	var small [64]byte
	name := appendLower(small[:0], line[:i])
	value := bytes.Trim(line[i+1:], " \t")
	switch string(name) {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "host":
		if len(line) < maxLine && len(e.seen) < maxSeen {
			e.lines[string(line)] = notSaid
			e.seen[string(line)] = true // which bounds them
		}
		return
	case "x-request-id", "traceparent", "grpc-timeout", "grpc-message":
		if _, ok := e.names[string(name)]; ok {
			e.literal(name, value)
			return
		}
		e.add(line, name, value) // for its name
		return
	}
	size := len(name) + len(value) + entrySize
	switch {
	case len(line) > maxLine || size > e.most/2:
		e.literal(name, value)
	case !e.seen[string(line)]:
		if len(e.seen) >= maxSeen {
			e.forget()
		}
		e.seen[string(line)] = true
		e.literal(name, value)
	default:
		delete(e.seen, string(line))
		e.add(line, name, value)
	}
}

// forget forgets what was said once.
func (e *encoder) forget() {
	clear(e.seen)
	for line, n := range e.lines {
		if n == notSaid {
			delete(e.lines, line)
		}
	}
}

// literal writes a field that is not put into the table.
func (e *encoder) literal(name, value []byte) { e.text(plain, 4, name, value) }

func (e *encoder) text(prefix byte, bits int, name, value []byte) {
	if n, ok := e.names[string(name)]; ok {
		e.to = appendInt(e.to, prefix, bits, staticSize+e.next-n)
	} else {
		e.to = append(e.to, prefix)
		e.to = append(appendInt(e.to, 0, 7, uint64(len(name))), name...)
	}
	e.to = append(appendInt(e.to, 0, 7, uint64(len(value))), value...)
}

// add writes a field that is put into the table.
func (e *encoder) add(line, name, value []byte) {
	size := len(name) + len(value) + entrySize
	if size > e.most {
		e.literal(name, value)
		return
	}
	e.text(adding, 6, name, value)
	e.evict(size)
	added := entry{string(line), string(name), size}
	e.table = append(e.table, added)
	e.lines[added.line], e.names[added.name] = e.next, e.next
	e.next++
	e.size += size
}

// evict makes room for n bytes.
func (e *encoder) evict(n int) {
	for e.size+n > e.most && len(e.table) > 0 {
		old, number := e.table[0], e.next-uint64(len(e.table))
		e.table[0] = entry{}
		e.table = e.table[1:]
		e.size -= old.size
		if e.lines[old.line] == number {
			delete(e.lines, old.line)
		}
		if e.names[old.name] == number {
			delete(e.names, old.name)
		}
	}
}

// appendInt appends an integer with a prefix of so many bits (RFC 7541, section 5.1).
func appendInt(b []byte, prefix byte, bits int, n uint64) []byte {
	most := uint64(1)<<bits - 1
	if n < most {
		return append(b, prefix|byte(n))
	}
	b = append(b, prefix|byte(most))
	for n -= most; n >= 128; n >>= 7 {
		b = append(b, byte(n)|128)
	}
	return append(b, byte(n))
}

func appendLower(to, b []byte) []byte {
	for _, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		to = append(to, c)
	}
	return to
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
