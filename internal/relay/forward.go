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
	if up.st != nil && !c.x.toHead && h.status != 204 && h.status != 304 {
		h.body = framed
		if unread, all := up.st.Ended(); all && unread == 0 && len(up.st.Trailer()) == 0 {
			h.body = noBody
		}
	}
	b.begin(&up.in, h.body, h.length)
	inNone := h.body == chunked || h.body == untilClose || h.body == framed && h.length < 0
	inChunks := inNone && c.req.minor == 1 && c.st == nil // else only closing can end it for HTTP/1.0
	closing := c.st == nil && (!c.req.persistent() || c.srv.draining.Load() || c.req.minor == 0 && inNone ||
		c.req.expects && c.uploading.Load()) // it may never send its body
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
		if c.write(c.out, true) != nil {
			return broken, nil
		}
		return answered, nil
	}
	begun, err := c.pumpOut(b, inChunks)
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

// pumpOut pumps c.out and the body b to the client.
func (c *conn) pumpOut(b *body, inChunks bool) (begun bool, err error) {
	if c.st != nil {
		return c.pumpFrames(c.st, b, c.out)
	}
	return c.pump(c.nc, b, inChunks, c.out)
}

// unreadBody reports whether the upstream may not have read the body that it has, and may
// take it for the next request. Servers do not look for a body where the method gives it
// no meaning, and many who refuse a request do not read it. A relay of ours reads all.
func (c *conn) unreadBody() bool {
	return c.req.body != noBody && !c.srv.behind && (c.res.status >= 400 || c.x.pointless)
}

// meaningless reports whether a body of a request by that method has no meaning (RFC 9110,
// section 9.3).
func meaningless(method string) bool {
	switch method {
	case "GET", "HEAD", "DELETE", "OPTIONS", "TRACE":
		return true
	}
	return false
}
