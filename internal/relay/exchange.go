package relay

import (
	"errors"
	"time"
)

// What an attempt to forward came to.
type outcome uint8

const (
	answered   outcome = iota // the client got the whole answer
	broken                    // the client did not; its connection is of no more use
	unreached                 // nothing was sent: another place may do it
	retry                     // the kept connection was closed: a fresh one may do it
	unanswered                // the upstream gave no answer that can be forwarded
)

// exchange forwards the request whose head was read. It returns whether the
// client's connection can carry another one.
func (c *conn) exchange() bool {
	x := &c.x
	*x = Exchange{conn: c, trace: x.trace, requestID: x.requestID}
	x.identify(&c.req)
	x.toHead = string(c.req.method) == "HEAD"
	x.upgrade = c.req.upgrading && len(c.req.upgrade) > 0 && c.req.body == noBody && !hasToken(c.req.upgrade, "h2c") && c.req.minor == 1
	c.resBody.framing = noBody
	c.out = c.out[:0]
	x.began = monotonic()
	for _, o := range c.srv.watchers {
		o.Began(x)
	}
	for again := 0; ; again++ {
		place, ans := c.srv.handler.Admit(x, again)
		if ans != nil {
			return c.answer(ans)
		}
		if len(c.out) == 0 { // another place gets the same bytes: they are taken from the client once
			c.prepare()
		}
		x.placed = true
		up := place.Upstream()
		cuts := up.Cuts()
		result, err := c.forward(up)
		cut := up.Cuts() != cuts
		switch result {
		case answered:
			place.Done(c.res.status)
			c.ended(c.res.status, x.reason)
			return c.finish()
		case unreached:
			x.placed = false
			place.Unreached(err)
			continue
		case unanswered:
			return c.unanswered(place, err, cut)
		default:
			place.Done(0)
			c.ended(0, c.brokenBy(err, cut))
			_ = c.nc.Close() // ends an upload that reads it
			c.stopUpload()
			return false
		}
	}
}

// unanswered answers for an upstream that did not, unless it was the client's
// body that went wrong.
func (c *conn) unanswered(place Place, err error, cut bool) bool {
	if u := c.uploads; u != nil {
		if fault := u.fault.Load(); fault != nil {
			<-u.done // it has nothing left to wait for
			c.uploads = nil
			var r *refusal
			if errors.As(*fault, &r) {
				place.Done(r.status)
				c.ended(r.status, r.code)
				return c.answerRefusal(r)
			}
			place.Done(0) // the client stopped in the middle
			c.ended(0, ClientGone)
			return false
		}
	}
	place.Done(502)
	if cut {
		return c.answer(CutOff("api"))
	}
	return c.answer(badGateway(err))
}

// ended tells who watches how the exchange ended.
func (c *conn) ended(status int, reason string) {
	for _, o := range c.srv.watchers {
		o.Ended(&c.x, status, reason)
	}
}

// ClientGone is the reason of an exchange whose client left before it had the answer.
const ClientGone = "client_gone"

// brokenBy is the reason of an exchange that broke off.
func (c *conn) brokenBy(err error, cut bool) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.aborted == errDrained:
		return "shutting_down"
	case c.aborted == nil && errors.Is(err, errSource) && cut:
		return cutOff
	case c.aborted == nil && errors.Is(err, errSource):
		return "upstream_closed"
	}
	return ClientGone
}

// answering tells who watches that the upstream's answer begins.
func (c *conn) answering() {
	if len(c.srv.watchers) == 0 {
		return
	}
	c.x.reason = string(c.reason()) // its bytes are gone when the exchange ends
	for _, o := range c.srv.watchers {
		o.Answering(&c.x)
	}
}

// badGateway says what the upstream did instead of answering.
func badGateway(err error) *Answer {
	var r *refusal
	if errors.As(err, &r) {
		return &Answer{Status: 502, Code: "upstream_malformed", Origin: "api",
			Message: "the API's server sent an answer that is not HTTP: " + r.message}
	}
	return &Answer{Status: 502, Code: "upstream_closed", Origin: "api",
		Message: "the API's server closed the connection before it answered; see its logs"}
}

// prepare writes the upstream head to c.out, and as much of the body as came with it.
func (c *conn) prepare() {
	h := &c.req
	c.out = c.appendRequest(c.out[:0])
	c.headLen = len(c.out)
	c.reqBody.begin(&c.in, h.body, h.length)
	if h.body == sized {
		n := min(int64(c.in.w-c.in.r), h.length)
		c.out = append(c.out, c.in.buf[c.in.r:][:n]...)
		c.in.r += int(n)
		c.reqBody.left -= n
		c.reqBody.done = c.reqBody.left == 0
	}
	c.startCopy()
}

// forward sends the request to u and the answer to the client. err says why for
// unreached and unanswered.
func (c *conn) forward(u *Upstream) (outcome, error) {
	// What is sent once more is what is in out.
	again := idempotent(c.req.method) && c.reqBody.done
	for fresh := false; ; fresh = true {
		up, err := u.get(&c.x, again, fresh)
		if err != nil {
			if c.isAborted() {
				return broken, err
			}
			return unreached, err
		}
		if !c.attach(up) {
			up.shut()
			return broken, errGone
		}
		result, err := c.converse(up, again)
		if result != retry {
			return result, err
		}
	}
}

// converse runs the exchange on up, and keeps or closes it.
func (c *conn) converse(up *upConn, again bool) (outcome, error) {
	n, werr := up.send(c.out, c.reqBody.done)
	if werr != nil && n == 0 && !c.isAborted() { // it was closed before; nothing was sent
		c.detach()
		up.shut()
		if up.reused {
			return retry, nil
		}
		return unreached, werr
	}
	if werr == nil && !c.reqBody.done {
		c.upload(up)
	}
	result, keep, err := c.respond(up)
	alive := c.detach()
	if c.uploads != nil && !c.uploads.sent.Load() {
		keep = false // the rest of the body would be taken for the next request
	}
	// Bytes after the answer would be taken for the next one.
	if keep && alive && result == answered && up.in.r == up.in.w {
		up.up.put(up, c.srv.clock.now())
		return result, nil
	}
	// The upload still writes to it: closing ends that, the buffer is for respond
	// alone.
	up.shut()
	if !alive {
		return broken, errGone
	}
	if result == unanswered && err == errSilent && up.reused && again && c.uploads == nil {
		return retry, nil
	}
	if result == unanswered && werr != nil {
		err = werr
	}
	return result, err
}

func (c *conn) isAborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aborted != nil
}

func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE":
		return true
	}
	return false
}

// errUnreached says that the relay behind this one reached nobody.
var errUnreached = errors.New("the replica accepts no connection")

// errSilent says that the connection ended before the first byte of an answer.
var errSilent = errors.New("closed before it answered")

// respond reads the answer from up and writes it to the client. keep says that up
// can carry another exchange.
func (c *conn) respond(up *upConn) (result outcome, keep bool, err error) {
	for informal := 0; ; informal++ {
		if err := c.readResponseHead(up); err != nil {
			if informal > 0 {
				err = noEOF(err) // it did begin to answer
			}
			return unanswered, false, err
		}
		h := &c.res
		switch {
		case h.status == 101:
			if !c.x.upgrade {
				return unanswered, false, errStatusLine
			}
			c.answering()
			return c.tunnel(up), false, nil
		case h.status == 503 && string(c.reason()) == Unreached && c.rewind():
			return unreached, false, errUnreached
		case h.status >= 200:
			c.answering()
			return c.forwardAnswer(up)
		case informal >= maxInformal:
			return unanswered, false, errStatusLine
		case c.req.minor == 0, h.status == 100 && !c.req.expects:
			continue // the client cannot know what to do with it
		}
		c.info = c.appendInformation(c.info[:0])
		if c.write(c.info) != nil {
			return broken, false, nil
		}
	}
}

// readResponseHead reads and parses the next head of an answer.
func (c *conn) readResponseHead(up *upConn) error {
	in := &up.in
	in.rewind()
	scanned := 0
	for {
		buf := in.buffered()
		if n := headEnd(buf, scanned, false); n > 0 {
			in.r += n
			if r := c.res.parseResponse(buf[:n]); r != nil {
				return r
			}
			if len(c.res.fields) > maxFields && !c.srv.behind {
				return errManyFields
			}
			return nil
		}
		scanned = len(buf)
		if err := in.fill(c.srv.answerHeader); err != nil {
			switch {
			case errors.Is(err, errTooLong):
				return errHeadTooLarge
			case scanned == 0:
				return errSilent
			}
			return noEOF(err)
		}
	}
}

// forwardAnswer writes the final answer: head and body in one write when the body
// is here already, streamed otherwise.
func (c *conn) forwardAnswer(up *upConn) (outcome, bool, error) {
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
	keep := h.persistent() && h.body != untilClose && !(h.transfer && h.length >= 0)
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
		if c.write(c.out) != nil {
			return broken, false, nil
		}
		return answered, keep, nil
	}
	err := c.pump(c.nc, b, inChunks, c.out)
	switch {
	case err == nil:
		return answered, keep, nil
	case errors.Is(err, errSource):
		return broken, false, err // the client sees that the body is cut short
	}
	return broken, false, nil
}

var (
	errSource = errors.New("reading the body")
	errSink   = errors.New("writing the body")
)

const (
	chunkRoom   = 16 // before the data: its size in hexadecimal and a line end
	spliceAbove = 128 << 10
	splicePiece = 1 << 20
)

// finish leaves the client's connection ready for the next request, or says that
// it has to be closed.
func (c *conn) finish() bool {
	if c.uploads != nil {
		if !c.stopUpload() {
			c.linger()
			return false
		}
	}
	if !c.keep && c.in.r < c.in.w {
		c.linger()
	}
	return c.keep
}

// answer sends a, made here. A body that is not here yet is not waited for.
func (c *conn) answer(a *Answer) bool {
	if c.isAborted() {
		c.ended(0, c.brokenBy(nil, false))
		c.stopUpload()
		return false
	}
	var consumed bool
	if c.uploads != nil {
		consumed = c.stopUpload()
	} else {
		consumed = c.skipBody()
	}
	open := consumed && c.req.persistent() && !c.srv.draining.Load()
	c.out = c.appendAnswer(c.out[:0], a, !open)
	if c.write(c.out) != nil {
		c.ended(0, ClientGone)
		return false
	}
	c.ended(a.Status, a.Code)
	if !open {
		c.linger()
	}
	return open
}

// skipBody passes over a body that is wholly buffered.
func (c *conn) skipBody() bool {
	switch {
	case c.req.body == noBody:
		return true
	case c.req.body != sized:
		return false
	case len(c.out) > 0: // prepare took what there was
		return c.reqBody.done
	case int64(c.in.w-c.in.r) < c.req.length:
		return false
	}
	c.in.r += int(c.req.length)
	return true
}
