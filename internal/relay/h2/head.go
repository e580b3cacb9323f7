package h2

// headers begins a head.
func (c *Conn) headers(f frame, p []byte) error {
	block, self, ok := unpad(f, p)
	switch {
	case !ok:
		return wrong(ProtocolError, "padding is longer than its frame")
	case f.id == 0 || f.id%2 == 0 || !c.server && f.id >= c.nextID():
		return wrong(ProtocolError, "a head of no stream")
	}
	c.opened, c.self = f, self
	if f.flags&flagEndHeaders != 0 {
		return c.headed(block)
	}
	c.block = append(c.block[:0], block...)
	c.inHead(true)
	return nil
}

func (c *Conn) nextID() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.next
}

func (c *Conn) inHead(yes bool) {
	c.within = yes
	c.mu.Lock()
	c.half = yes
	c.mu.Unlock()
}

func (c *Conn) continuation(f frame, p []byte) error {
	if !c.within {
		return wrong(ProtocolError, "a head goes on that has not begun")
	}
	// Compressed it is no longer than as text, but for what is said of the table.
	if len(c.block)+len(p) > c.cfg.Header+maxFrame {
		return wrong(EnhanceYourCalm, "a head is far too large")
	}
	c.block = append(c.block, p...)
	if f.flags&flagEndHeaders == 0 {
		return nil
	}
	c.inHead(false)
	err := c.headed(c.block)
	if cap(c.block) > smallBuffer {
		c.block = nil
	}
	return err
}

// headed takes a whole head. It is decoded whatever becomes of it: the next one is told
// by its differences.
func (c *Conn) headed(block []byte) error {
	id := c.opened.id
	c.mu.Lock()
	s := c.streams[id]
	kind := trailer
	switch {
	case c.server && s == nil && id > c.last:
		kind = request
	case !c.server && s != nil && !s.answered:
		kind = response
	}
	c.mu.Unlock()
	if err := c.decode(kind, block); err != nil {
		return err
	}
	if kind == request {
		return c.begin(id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s = c.streams[id]; s == nil {
		if !c.wasReset(id) && c.server {
			return wrong(StreamClosed, "a head of a stream that is over")
		}
		return nil
	}
	return c.follow(s, kind)
}

// begin begins a stream for a client.
func (c *Conn) begin(id uint32) error {
	ended := c.opened.flags&flagEndStream != 0
	c.mu.Lock()
	c.last = id
	switch {
	case c.said && id > c.final:
		c.forget(id)
		c.mu.Unlock()
		return nil
	case c.open >= c.cfg.Streams:
		c.appendReset(id, RefusedStream)
		c.mu.Unlock()
		return nil
	case c.d.bad || c.self || ended && c.d.length > 0:
		c.appendReset(id, ProtocolError)
		c.mu.Unlock()
		return nil
	}
	s := newStream(c)
	s.id, s.ended, s.left, s.large = id, ended, c.d.length, c.d.large
	s.head = append(s.head[:0], c.d.text...)
	c.streams[id] = s
	c.open++
	c.mu.Unlock()
	c.cfg.Begin(s)
	return nil
}

// follow is for a head that is not the first thing of its stream; mu is held.
func (c *Conn) follow(s *Stream, kind kind) error {
	ended := c.opened.flags&flagEndStream != 0
	switch {
	case s.err == ErrReset:
		return wrong(StreamClosed, "a head of a stream that was reset")
	case s.err != nil:
		return nil
	case s.ended && s.done:
		// Both sides have ended it, though its owner may not have closed it yet.
		return wrong(StreamClosed, "a head of a stream that is over")
	case s.ended:
		c.fault(s, StreamClosed)
	case c.d.bad || c.self || c.d.large:
		c.fault(s, ProtocolError)
	case kind == trailer && !ended:
		c.fault(s, ProtocolError)
	case kind == trailer:
		s.trailer = append(s.trailer[:0], c.d.text...)
		c.finish(s)
	case c.d.status < 200 && (ended || len(s.head)-s.headAt > c.cfg.Header):
		c.fault(s, ProtocolError)
	default:
		s.head = append(s.head, c.d.text...)
		if c.d.status < 200 {
			break
		}
		s.answered = true
		s.left, s.bodyless = c.d.length, s.bodyless || c.d.status == 304
		if ended {
			c.finish(s)
		}
	}
	s.changed.Broadcast()
	return nil
}
