package relay

import (
	"errors"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/relay/h2"
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
	x.renew()
	x.identify(&c.req)
	x.toHead = string(c.req.method) == "HEAD"
	x.pointless = c.req.body != noBody && meaningless(string(c.req.method))
	if c.st != nil && c.isCall() { // whoever calls it off says so, and every server of gRPC hears it
		x.call.is, x.cancel = true, true
	}
	x.upgrade = c.req.upgrading && len(c.req.upgrade) > 0 && c.req.body == noBody && !hasToken(c.req.upgrade, "h2c") && c.req.minor == 1
	c.resBody.framing = noBody
	c.out = c.out[:0]
	x.began = monotonic()
	for _, o := range c.srv.watchers {
		o.Began(x)
	}
	c.resent = false
	for _, mark := range [...]*atomic.Int64{&c.left, &c.reading} {
		if mark.Load() != 0 { // a store costs more than a look
			mark.Store(0)
		}
	}
	if !c.awaitBody() {
		return c.bodyBroke()
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
		c.hold(place)
		up := place.Upstream()
		cuts := up.Cuts()
		result, err := c.forward(up)
		cut := up.Cuts() != cuts
		switch result {
		case answered:
			c.giveBack(c.res.status)
			if c.left.Load() != 0 {
				c.ended(0, ClientGone)
				c.stopUpload()
				return false
			}
			c.ended(c.status(), x.reason)
			return c.finish()
		case unreached:
			x.placed = false
			if place := c.takePlace(); place != nil {
				place.Unreached(err)
			}
			continue
		case unanswered:
			return c.unanswered(err, cut)
		default:
			c.giveBack(0)
			c.ended(0, c.brokenBy(err, cut))
			c.hangUp() // ends an upload that reads it
			c.stopUpload()
			return false
		}
	}
}

// hangUp ends the client's side of an exchange that broke off.
func (c *conn) hangUp() {
	if c.st != nil {
		c.st.Reset(h2.InternalError)
		return
	}
	_ = c.nc.Close() // nothing depends on what closing says
}

// bodyBroke ends an exchange whose body did not come.
func (c *conn) bodyBroke() bool {
	if c.st != nil && errors.Is(c.st.Await(1), errSlowBody) {
		return c.answer(errSlowBody.answer())
	}
	c.ended(0, c.brokenBy(nil, false))
	return false
}

// unanswered answers for an upstream that did not, unless it was the client's
// body that went wrong.
func (c *conn) unanswered(err error, cut bool) bool {
	if u := c.uploads; u != nil {
		if fault := u.fault.Load(); fault != nil {
			<-u.done // it has nothing left to wait for
			c.uploads = nil
			var r *refusal
			if errors.As(*fault, &r) {
				c.giveBack(r.status)
				c.ended(r.status, r.code)
				return c.answerRefusal(r)
			}
			c.giveBack(0) // the client stopped in the middle
			c.ended(0, ClientGone)
			return false
		}
	}
	c.giveBack(502)
	if cut {
		return c.answer(CutOff("api"))
	}
	return c.answer(badGateway(err))
}

// prepare writes the upstream head to c.out, and as much of the body as came with it.
func (c *conn) prepare() {
	h := &c.req
	c.out = c.appendRequest(c.out[:0])
	c.headLen = len(c.out)
	c.reqBody.begin(&c.in, h.body, h.length)
	if c.st != nil {
		c.startCopy()
		c.gather()
		return
	}
	if h.body == sized {
		n := min(int64(c.in.w-c.in.r), h.length)
		if all := c.headLen + int(n); all > cap(c.out) {
			large := pooled(all)
			copy(large, c.out)
			recycle(c.out)
			c.out = large[:c.headLen]
		}
		c.out = append(c.out, c.in.buf[c.in.r:][:n]...)
		c.in.r += int(n)
		c.reqBody.left -= n
		c.reqBody.done = c.reqBody.left == 0
	}
	if c.reqBody.done && c.reading.Load() != 0 {
		c.reading.Store(0)
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
			switch {
			case c.isAborted():
				return broken, err
			case c.resent:
				return unanswered, errSilent
			}
			return unreached, err
		}
		if !c.attach(up) {
			up.shut()
			return broken, errGone
		}
		switch result, err := c.converse(up, again); {
		case result == unreached && c.resent:
			return unanswered, errSilent
		case result != retry:
			return result, err
		}
	}
}

// converse runs the exchange on up, and keeps or closes it.
func (c *conn) converse(up *upConn, again bool) (outcome, error) {
	c.turn.Store(sending)
	if c.reqBody.done {
		c.sentWhole() // before: send waits for the answer
	}
	n, werr := up.send(c.out, c.reqBody.done, c.reqBody.trailer)
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
	c.using, c.keepUp = up, false
	result, err := c.respond(up)
	if c.using == nil { // it was settled when the upstream had done its part
		return result, err
	}
	c.using = nil
	if result == unanswered && err == errSilent && up.reused && !again && c.uploads == nil && up.wasStale(c.x.Context()) {
		err = errStale
	}
	if errors.Is(err, h2.ErrRefused) && c.uploads == nil && !c.resent && c.reqBody.done {
		c.resent = true
		result = retry // the server has not looked at it
	}
	alive := c.detach()
	// The upload still writes to it: closing ends that, the buffer is for respond
	// alone.
	up.shut()
	if !alive {
		return broken, errGone
	}
	if result == retry {
		return retry, nil
	}
	if result == unanswered && err == errSilent && up.reused && again && c.uploads == nil {
		c.resent = true
		return retry, nil
	}
	if result == unanswered && werr != nil {
		err = werr
	}
	return result, err
}

// sentWhole says that it is the upstream's turn, unless it has begun to answer already.
func (c *conn) sentWhole() {
	if !c.x.cancel {
		c.turn.CompareAndSwap(sending, working)
	}
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

// errStale says that a server which is well closed a kept connection, with the request in it.
var errStale = errors.New("a kept connection was closed")

// errSilent says that the connection ended before the first byte of an answer.
var errSilent = errors.New("closed before it answered")

// respond reads the answer from up and writes it to the client.
func (c *conn) respond(up *upConn) (outcome, error) {
	for informal := 0; ; informal++ {
		if err := c.readResponseHead(up); err != nil {
			if informal > 0 {
				err = noEOF(err) // it did begin to answer
			}
			return unanswered, err
		}
		h := &c.res
		switch {
		case h.status == 101:
			if !c.x.upgrade {
				return unanswered, errStatusLine
			}
			c.turn.Store(answering)
			c.answering()
			return c.tunnel(up), nil
		case string(c.reason()) == Unreached && h.status >= 200 && c.rewind():
			return unreached, errUnreached // all that was sent is still here
		case h.status >= 200:
			c.turn.Store(answering)
			c.answering()
			return c.forwardAnswer(up)
		case informal >= maxInformal+int(c.x.Age()/time.Second):
			return unanswered, errStatusLine
		case c.req.minor == 0, h.status == 100 && !c.req.expects:
			continue // the client cannot know what to do with it
		}
		c.info = c.appendInformation(c.info[:0])
		if c.write(c.info, false) != nil && c.turn.Load() != working {
			return broken, nil
		}
	}
}

// readResponseHead reads and parses the next head of an answer.
func (c *conn) readResponseHead(up *upConn) error {
	if up.st != nil {
		return c.readAnswerOf(up.st)
	}
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
	if c.st != nil {
		c.stopUpload()
		return false
	}
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
	if c.write(c.out, true) != nil {
		c.ended(0, ClientGone)
		return false
	}
	c.ended(a.Status, a.Code)
	if !open && c.st == nil {
		c.linger()
	}
	return open
}

// skipBody passes over a body that is wholly buffered.
func (c *conn) skipBody() bool {
	switch {
	case c.req.body == noBody:
		return true
	case c.req.body != sized || c.st != nil:
		return false
	case len(c.out) > 0: // prepare took what there was
		return c.reqBody.done
	case int64(c.in.w-c.in.r) < c.req.length:
		return false
	}
	c.in.r += int(c.req.length)
	return true
}
