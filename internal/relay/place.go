package relay

// hold keeps the place until it is given back.
func (c *conn) hold(p Place) {
	c.mu.Lock()
	c.place = p
	c.mu.Unlock()
}

// giveBack gives the place back if that was not done yet.
func (c *conn) giveBack(status int) {
	if p := c.takePlace(); p != nil {
		p.Done(status)
	}
}

func (c *conn) takePlace() Place {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.place
	c.place = nil
	return p
}

// settle ends what the exchange has to do with its upstream, which has done its part: the
// connection is kept or closed and the place given back, in this order, so that a server
// of one connection at a time finds the next request on the one it has. What is left of
// the answer is between the client and us.
func (c *conn) settle() {
	up := c.using
	if up == nil {
		return
	}
	c.using = nil
	keep := c.keepUp && up.st == nil && up.in.r == up.in.w // bytes after the answer would be taken for the next one
	if c.uploads != nil && !c.uploads.sent.Load() {
		keep = false // the rest of the body would be taken for the next request
	}
	c.mu.Lock()
	c.up = nil
	keep = keep && c.aborted == nil
	place := c.place
	c.place = nil
	c.mu.Unlock()
	if keep {
		up.up.put(up, c.srv.clock.now())
	} else {
		up.shut()
	}
	if place != nil {
		place.Done(c.res.status)
	}
}

// leave takes note that the client has left. A server that works on the whole request
// goes on, with the place, and for a while only; anything else is given up, and nobody who
// stops waits for an answer that nobody wants.
func (c *conn) leave(now int64) {
	if c.turn.Load() == working && !c.srv.draining.Load() && (c.left.CompareAndSwap(0, now) || now-c.left.Load() < c.srv.limits.Finish.Milliseconds()) {
		return
	}
	c.abort(errGone)
}

// Whose turn it is in an exchange, as far as a client that leaves is concerned.
const (
	sending   int32 = iota // the request is not there whole, or must not be finished
	working                // the upstream has it, and has not begun to answer
	answering              // it has
)
