package relay

import (
	"errors"
	"time"
)

// forwardAnswer writes the final answer: head and body in one write when the body
// is here already, streamed otherwise.
func (c *conn) forwardAnswer(up *upConn) (outcome, error) {
	h, b := &c.res, &c.resBody
	h.frame(c.x.toHead)
	b.begin(&up.in, h.body, h.length)
	inChunks := (h.body == chunked || h.body == untilClose) && c.req.minor == 1
	inNone := h.body == chunked || h.body == untilClose // only closing can end it for HTTP/1.0
	closing := !c.req.persistent() || c.srv.draining.Load() || c.req.minor == 0 && inNone ||
		c.req.expects && c.uploading.Load() // it may never send its body
	c.keep = !closing
	// An answer with two lengths is not trusted to have ended: what follows it could be
	// made to pass for the answer to somebody else (RFC 9112, section 6.3).
	c.keepUp = h.persistent() && h.body != untilClose && !(h.transfer && h.length >= 0) && !c.unreadBody()
	if h.idleFor > 0 { // a second early: its clock and ours differ
		up.keep = max(min(idleTimeout, time.Duration(h.idleFor-1)*time.Second), time.Second/2)
	}
	c.out = c.appendResponse(c.out[:0], inChunks, closing)
	if h.body == sized {
		n := min(int64(up.in.w-up.in.r), b.left)
		c.out = append(c.out, up.in.buf[up.in.r:][:n]...)
		up.in.r += int(n)
		b.left -= n
		b.done = b.left == 0
	}
	if b.done && h.body != chunked {
		c.settle()
		if c.write(c.out) != nil {
			return broken, nil
		}
		return answered, nil
	}
	begun, err := c.pump(c.nc, b, inChunks, c.out)
	switch {
	case err == nil:
		c.settle()
		return answered, nil
	case errors.Is(err, errSource) && !begun:
		return unanswered, noEOF(err) // the client has nothing yet, and can be told
	case errors.Is(err, errSource):
		return broken, err // the client sees that the body is cut short
	}
	return broken, nil
}

// unreadBody reports whether the upstream may not have read the body that it has, and may
// take it for the next request. Servers do not look for a body where the method gives it
// no meaning, and many who refuse a request do not read it. A relay of ours reads all.
func (c *conn) unreadBody() bool {
	return c.req.body != noBody && !c.srv.behind && (c.res.status >= 400 || c.x.pointless)
}

// Meaningless reports whether a body of a request by that method has no meaning (RFC 9110,
// section 9.3).
func Meaningless(method string) bool {
	switch method {
	case "GET", "HEAD", "DELETE", "OPTIONS", "TRACE":
		return true
	}
	return false
}
