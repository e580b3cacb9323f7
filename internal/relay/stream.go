package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"sync/atomic"

	"cortex.dev/cortex/internal/relay/h2"
)

// What an exchange does otherwise when its client is a stream of HTTP/2.

// readStream reads the head of the request.
func (c *conn) readStream() bool {
	text, whole := c.st.Request()
	if !whole {
		c.req.reset()
		return c.refuse(errHeadTooLarge)
	}
	if r := c.req.parseRequest(text); r != nil {
		return c.refuse(r)
	}
	if len(c.req.fields) > maxFields && !c.srv.front {
		return c.refuse(errManyFields)
	}
	c.req.body = framed
	if unread, all := c.st.Ended(); all && unread == 0 && len(c.st.Trailer()) == 0 {
		c.req.body = noBody
	}
	return true
}

// awaitStream is awaitBody.
func (c *conn) awaitStream() bool {
	if c.srv.behind {
		c.st.Keep(KeptBytes)
	}
	if _, all := c.st.Ended(); all {
		return true
	}
	c.reading.Store(c.srv.clock.now())
	if c.req.expects {
		return true
	}
	want := 1
	if c.req.length > 0 && c.req.length <= KeptBytes {
		want = int(c.req.length)
	}
	c.uploading.Store(true)
	defer c.uploading.Store(false)
	if err := c.st.Await(want); err != nil {
		return false
	}
	if _, all := c.st.Ended(); all {
		c.reading.Store(0)
	}
	return true
}

// gather puts a body that is here whole after the head in c.out.
func (c *conn) gather() {
	unread, all := c.st.Ended()
	if c.req.body != framed || !all || unread > KeptBytes {
		return
	}
	inChunks := c.reqInChunks()
	if inChunks && unread > 0 {
		c.out = append(strconv.AppendInt(c.out, int64(unread), 16), crlf...)
	}
	b := &c.reqBody
	for !b.done {
		p, err := b.next(nil)
		if err != nil {
			return // the stream broke off, which whoever sends the rest finds out
		}
		c.out = append(c.out, p...)
		b.pass(len(p))
	}
	if inChunks && unread > 0 {
		c.out = append(c.out, crlf...)
	}
	if inChunks {
		c.out = b.appendEnd(c.out)
	}
}

// reqInChunks reports whether the body goes upstream in chunks.
func (c *conn) reqInChunks() bool {
	return c.req.body == chunked || c.req.body == framed && c.req.length < 0 && !c.multiplexed()
}

// multiplexed reports whether the request goes upstream by HTTP/2: where it came so, a call
// of gRPC to everybody, anything else to relays of ours.
func (c *conn) multiplexed() bool {
	return c.st != nil && !c.x.ours && (c.x.call.is || c.srv.behind)
}

// rewind ends an upload and has the body begin anew, for another upstream. false: it
// cannot, because its beginning was let go.
func (c *conn) rewind() bool {
	if c.uploads == nil {
		return true
	}
	if c.st == nil || !c.st.Kept() {
		return false
	}
	c.stopUpload()
	if !c.st.Rewind() {
		return false
	}
	c.out = c.out[:0]
	return true
}

// pumpFrames is pump to a stream of HTTP/2.
func (c *conn) pumpFrames(dst *h2.Stream, b *body, head []byte) (begun bool, err error) {
	var ignored atomic.Int64
	reading, writing := &c.reading, &ignored
	toClient := dst == c.st
	if toClient {
		reading, writing = &ignored, &c.writing
	}
	var buf []byte
	if b.from.st == nil {
		kept := bodyBuffers.Get().(*[]byte)
		defer bodyBuffers.Put(kept)
		buf = *kept
	}
	for {
		if len(head) > 0 && !b.ready() && !b.done {
			if err := c.sendFrames(dst, writing, head, nil, false, nil); err != nil {
				return true, err
			}
			head, begun = nil, true
		}
		reading.CompareAndSwap(0, c.srv.clock.now())
		p, err := b.next(buf)
		reading.Store(0)
		if err != nil && !errors.Is(err, io.EOF) {
			return begun, fmt.Errorf("%w: %w", errSource, err)
		}
		if b.done {
			if toClient {
				c.noteCall(b.trailer)
				c.settle()
			}
			err := c.sendFrames(dst, writing, head, p, true, b.trailer)
			b.pass(len(p))
			return true, err
		}
		if toClient {
			rest, err := dst.TrySend(head, p)
			if err != nil {
				return true, fmt.Errorf("%w: %w", errSink, err)
			}
			if len(rest) > 0 {
				rest = append([]byte(nil), rest...)
				b.pass(len(p))
				return true, c.pumpAhead(b, false, rest)
			}
		} else if err := c.sendFrames(dst, writing, head, p, false, nil); err != nil {
			return true, err
		}
		head, begun = nil, true
		b.pass(len(p))
	}
}

func (c *conn) sendFrames(dst *h2.Stream, wait *atomic.Int64, head, p []byte, last bool, trailer []byte) error {
	wait.Store(c.srv.clock.now())
	err := dst.Send(head, p, last, trailer)
	wait.Store(0)
	if err != nil {
		return fmt.Errorf("%w: %w", errSink, err)
	}
	return nil
}

// call is what an exchange is beside a request of HTTP, if it is one of gRPC by HTTP/2.
type call struct {
	is     bool
	known  bool // how it ended is
	status int  // of gRPC
}

// IsCall reports whether x is a call of gRPC, by HTTP/2.
func (x *Exchange) IsCall() bool { return x.call.is }

// CallStatus returns the status of gRPC with which a call ended, where it has.
func (x *Exchange) CallStatus() (code int, ok bool) { return x.call.status, x.call.known }

var grpcType = []byte("application/grpc")

// isCall reports whether the request is one of gRPC.
func (c *conn) isCall() bool {
	for i := range c.req.fields {
		if f := &c.req.fields[i]; len(f.name) == len("content-type") && equalFold(f.name, "content-type") {
			rest, ok := bytes.CutPrefix(f.value, grpcType)
			return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
		}
	}
	return false
}

// noteCall remembers the status of gRPC that lines of fields have.
func (c *conn) noteCall(lines []byte) {
	if !c.x.call.is {
		return
	}
	if code, ok := callStatusIn(lines); ok {
		c.x.call.known, c.x.call.status = true, code
	}
}

// callStatusIn returns the status of gRPC that lines of fields have, if they have one.
func callStatusIn(lines []byte) (code int, ok bool) {
	for len(lines) > 0 {
		var line []byte
		line, lines, _ = bytes.Cut(lines, crlfcrlf[:2])
		if i := bytes.IndexByte(line, ':'); i == len("grpc-status") && equalFold(line[:i], "grpc-status") {
			if n, is := parseLength(bytes.TrimSpace(line[i+1:])); is {
				code, ok = int(min(n, 1<<20)), true
			}
		}
	}
	return code, ok
}

// noteHead is noteCall of the head of an answer, which may be all there is of it.
func (c *conn) noteHead() {
	if !c.x.call.is {
		return
	}
	for i := range c.res.fields {
		if f := &c.res.fields[i]; len(f.name) == len("grpc-status") {
			c.noteCall(f.line)
		}
	}
}

// status is that of the answer, by what came of a call where it is one.
func (c *conn) status() int {
	if c.x.call.known {
		return statusOfCall(c.x.call.status)
	}
	return c.res.status
}

// appendCallAnswer is appendAnswer for a call: its client does not read the status of
// HTTP.
func (c *conn) appendCallAnswer(out []byte, a *Answer) []byte {
	c.x.call.known, c.x.call.status = true, grpcStatus(a.Status)
	out = append(append(out, "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nX-Cortex-Reason: "...), a.Code...)
	if a.Origin != "" {
		out = append(append(out, "\r\nX-Cortex-Origin: "...), a.Origin...)
	}
	if c.x.idLen > 0 {
		out = append(append(out, "\r\nX-Request-ID: "...), c.x.id()...)
	}
	if a.Challenge != "" {
		out = append(append(out, "\r\nWWW-Authenticate: "...), a.Challenge...)
	}
	out = strconv.AppendInt(append(out, "\r\nGrpc-Status: "...), int64(c.x.call.status), 10)
	out = append(append(append(out, "\r\nGrpc-Message: "...), url.PathEscape(a.Message)...), crlf...)
	return append(append(out, c.x.added...), crlf...)
}

// statusOfCall is the HTTP status that says what a gRPC code does, as gRPC's own gateways
// to HTTP have it.
func statusOfCall(code int) int {
	if code < 0 || code >= len(callStatuses) {
		return 500
	}
	return callStatuses[code]
}

var callStatuses = [...]int{
	0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}

// grpcStatus is the gRPC code that says what an HTTP status does.
func grpcStatus(status int) int {
	switch status {
	case 400:
		return 13 // internal: gRPC has no word for a malformed path
	case 401:
		return 16 // unauthenticated
	case 403:
		return 7 // permission denied
	case 404:
		return 12 // unimplemented
	case 429:
		return 8 // resource exhausted
	}
	return 14 // unavailable
}
