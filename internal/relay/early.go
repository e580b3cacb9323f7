package relay

import "bytes"

// awaitBody returns when enough of the request's body is here for the request to ask for
// a place: all of a small body, the beginning of any other. A place is for work, and a
// client that sends nothing must not have one. false: the client left, or was too slow.
//
// Not so with a client that waits for 100 Continue: that is the upstream's to say.
func (c *conn) awaitBody() bool {
	if c.st != nil {
		return c.awaitStream()
	}
	h := &c.req
	if c.bodyIsHere() {
		return true
	}
	// What is still to come has its time from here, however long the request waits for a
	// place; see upload.
	c.reading.Store(c.srv.clock.now())
	if h.expects {
		return true
	}
	want := 1
	if h.body == sized && h.length <= KeptBytes {
		want = int(h.length)
		if extra := c.in.r + want; extra > len(c.in.buf) {
			if c.srv.early.Take(extra) {
				c.early = extra
				c.in.extend(want)
			} else {
				want = 1
			}
		}
	}
	if len(c.in.buf) == c.in.r { // the head fills it
		c.in.extend(1)
	}
	if c.in.w-c.in.r < want {
		c.uploading.Store(true)
		defer c.uploading.Store(false)
		for c.in.w-c.in.r < want {
			if c.in.more() != nil {
				return false
			}
		}
	}
	if c.bodyIsHere() {
		c.reading.Store(0)
	}
	return true
}

// bodyIsHere reports whether nothing of the body is waited for.
func (c *conn) bodyIsHere() bool {
	switch buf := c.in.buffered(); c.req.body {
	case sized:
		return int64(len(buf)) >= c.req.length
	case chunked:
		return endsIn(buf)
	}
	return true
}

// endsIn reports whether a chunked body ends in buf, well or not.
func endsIn(buf []byte) bool {
	for {
		i := bytes.IndexByte(buf, '\n')
		if i < 0 {
			return false
		}
		n, ok := chunkSize(trimCR(buf[:i]))
		if !ok {
			return true
		}
		buf = buf[i+1:]
		switch {
		case n == 0: // what follows is a trailer, or an empty line
			return bytes.HasPrefix(buf, crlfcrlf[:2]) || bytes.Contains(buf, crlfcrlf)
		case int64(len(buf)) < n+2:
			return false
		}
		buf = buf[n+2:]
	}
}

// letEarly gives back what awaitBody took.
func (c *conn) letEarly() {
	if c.early > 0 {
		c.srv.early.Give(c.early)
		c.early = 0
	}
}
