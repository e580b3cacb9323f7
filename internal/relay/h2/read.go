package h2

import "encoding/binary"

// frames takes every frame that is there whole.
func (c *Conn) frames() error {
	for {
		b := c.buf[c.r:c.w]
		if len(b) < headerSize {
			return nil
		}
		f := parseFrame(b)
		switch {
		case f.length > maxFrame:
			return wrong(FrameSize, "a frame is larger than was agreed")
		case c.within && (f.kind != frameContinuation || f.id != c.opened.id):
			return wrong(ProtocolError, "a head was interrupted")
		case len(b) < headerSize+f.length:
			return nil
		}
		c.r += headerSize + f.length
		if !c.budget.pay(f) {
			return errFlood
		}
		if err := c.take(f, b[headerSize:][:f.length]); err != nil {
			return err
		}
	}
}

func (c *Conn) take(f frame, p []byte) error {
	if !c.greeted && (f.kind != frameSettings || f.flags&flagAck != 0) { // only who reads writes it
		return wrong(ProtocolError, "the first frame is not one of settings")
	}
	if f.kind == frameHeaders {
		return c.headers(f, p)
	}
	if f.kind == frameContinuation {
		return c.continuation(f, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch f.kind {
	case frameData:
		return c.data(f, p)
	case framePriority:
		return c.priority(f, p)
	case frameReset:
		return c.reset(f, p)
	case frameSettings:
		return c.settings(f, p)
	case framePush:
		return wrong(ProtocolError, "nobody may push")
	case framePing:
		return c.ping(f, p)
	case frameGoAway:
		return c.goAway(f, p)
	case frameWindow:
		return c.windowUpdate(f, p)
	}
	return nil // what is not known is ignored
}

// idle reports whether nobody has begun the stream with that id.
func (c *Conn) idle(id uint32) bool {
	if id%2 == 1 && c.server {
		return id > c.last
	}
	return c.server || id%2 == 0 || id >= c.next
}

// wasReset reports whether the stream was reset here a short while ago: what still comes
// of it was sent before the peer knew.
func (c *Conn) wasReset(id uint32) bool {
	for i := range c.resets {
		if c.resets[i] == id {
			return true
		}
	}
	return false
}

// appendReset resets a stream; mu is held.
func (c *Conn) appendReset(id uint32, code Code) {
	c.out = appendReset(c.out, id, code)
	c.forget(id)
	c.credit -= costOfReset
}

// forget has what still comes of a stream ignored.
func (c *Conn) forget(id uint32) {
	c.resets[c.nreset%len(c.resets)] = id
	c.nreset++
}

// fault ends a stream of which the peer sent what it must not.
func (c *Conn) fault(s *Stream, code Code) {
	if s.err == nil {
		c.appendReset(s.id, code)
		s.fail(ErrMalformed)
	}
}

func (c *Conn) data(f frame, p []byte) error {
	if f.id == 0 || c.idle(f.id) {
		return wrong(ProtocolError, "data without a stream")
	}
	if f.length > c.win {
		return wrong(FlowControl, "more data than the window of the connection")
	}
	c.win -= f.length
	rest, _, ok := unpad(f, p)
	if !ok {
		return wrong(ProtocolError, "padding is longer than its frame")
	}
	s := c.streams[f.id]
	switch {
	case s == nil || s.err != nil || s.closed:
		c.give(f.length)
		if s == nil && !c.wasReset(f.id) || s != nil && s.err == ErrReset {
			c.appendReset(f.id, StreamClosed)
		}
		return nil
	case s.ended:
		c.give(f.length)
		c.fault(s, StreamClosed)
		return nil
	case f.length > s.win:
		c.give(f.length)
		c.fault(s, FlowControl)
		return nil
	case !c.server && !s.answered:
		c.give(f.length)
		c.fault(s, ProtocolError)
		return nil
	}
	s.win -= f.length
	if !c.server {
		c.give(f.length)
	}
	s.give(f.length - len(rest))
	if s.left >= 0 {
		if s.left -= int64(len(rest)); s.left < 0 {
			c.fault(s, ProtocolError)
			return nil
		}
	}
	s.push(rest)
	if f.flags&flagEndStream != 0 {
		c.finish(s)
	}
	s.changed.Broadcast()
	return nil
}

// finish is for the end of what the peer sends on s; mu is held.
func (c *Conn) finish(s *Stream) {
	if s.left > 0 && !(s.bodyless && s.unread == 0 && s.pos == 0) {
		c.fault(s, ProtocolError)
		return
	}
	s.ended = true
}

// give gives n bytes of the connection's window back, when there are enough of them.
func (c *Conn) give(n int) {
	c.taken += n
	most := ofServers
	if c.server {
		most = connWindow
	}
	if c.taken >= most/2 {
		c.out = appendWindow(c.out, 0, c.taken)
		c.win += c.taken
		c.taken = 0
	}
}

func (c *Conn) priority(f frame, p []byte) error {
	if f.id == 0 {
		return wrong(ProtocolError, "a priority of no stream")
	}
	s := c.streams[f.id]
	switch {
	case len(p) != 5 && s == nil:
		return wrong(FrameSize, "a priority of another size")
	case len(p) != 5:
		c.fault(s, FrameSize)
	case binary.BigEndian.Uint32(p)&maxID == f.id && s == nil:
		return wrong(ProtocolError, "a stream that depends on itself")
	case binary.BigEndian.Uint32(p)&maxID == f.id:
		c.fault(s, ProtocolError)
	}
	return nil
}

func (c *Conn) reset(f frame, p []byte) error {
	switch {
	case f.id == 0 || c.idle(f.id):
		return wrong(ProtocolError, "a reset of no stream")
	case len(p) != 4:
		return wrong(FrameSize, "a reset of another size")
	}
	s := c.streams[f.id]
	if s == nil {
		return nil
	}
	switch Code(binary.BigEndian.Uint32(p)) {
	case RefusedStream:
		if !s.answered {
			s.fail(ErrRefused)
			return nil
		}
	case NoError:
		if !c.server && s.ended { // it has answered, and wants nothing more
			s.stop()
			return nil
		}
	}
	s.fail(ErrReset)
	return nil
}

func (c *Conn) settings(f frame, p []byte) error {
	if f.id != 0 {
		return wrong(ProtocolError, "settings of a stream")
	}
	if f.flags&flagAck != 0 {
		if len(p) > 0 {
			return wrong(FrameSize, "settings that are agreed to, and said")
		}
		return nil
	}
	if len(p)%6 != 0 {
		return wrong(FrameSize, "settings of another size")
	}
	if !c.greeted {
		c.greeted, c.most = true, maxID
	}
	for ; len(p) > 0; p = p[6:] {
		value := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingTable:
			c.enc.limit(value)
		case settingPush:
			if value > 1 || value == 1 && !c.server {
				return wrong(ProtocolError, "nobody may push")
			}
		case settingStreams:
			c.most = int(min(value, maxID))
		case settingWindow:
			if value > maxWindow {
				return wrong(FlowControl, "a window that is too large")
			}
			more := int(value) - c.winFirst
			c.winFirst = int(value)
			for _, s := range c.streams {
				if s.window += more; s.window > maxWindow {
					return wrong(FlowControl, "a window that is too large")
				}
			}
			c.wake()
		case settingFrame:
			if value < maxFrame || value > 1<<24-1 {
				return wrong(ProtocolError, "a size of frames that there is not")
			}
		}
	}
	c.out = appendFrame(c.out, 0, frameSettings, flagAck, 0)
	return c.bounded()
}

// bounded ends a connection whose peer asks and does not read.
func (c *Conn) bounded() error {
	if len(c.out) > maxControl {
		return wrong(EnhanceYourCalm, "what it is told is not read")
	}
	return nil
}

func (c *Conn) ping(f frame, p []byte) error {
	switch {
	case f.id != 0:
		return wrong(ProtocolError, "a ping of a stream")
	case len(p) != 8:
		return wrong(FrameSize, "a ping of another size")
	case f.flags&flagAck == 0:
		c.out = append(appendFrame(c.out, 8, framePing, flagAck, 0), p...)
	}
	return c.bounded()
}

func (c *Conn) goAway(f frame, p []byte) error {
	if f.id != 0 {
		return wrong(ProtocolError, "the end of a stream")
	}
	if len(p) < 8 {
		return wrong(FrameSize, "an end of another size")
	}
	if c.server {
		return nil // it closes the connection when it likes
	}
	c.going = true
	last := binary.BigEndian.Uint32(p) & maxID
	for id, s := range c.streams {
		if id > last && !s.answered {
			s.fail(ErrRefused)
		}
	}
	return nil
}

func (c *Conn) windowUpdate(f frame, p []byte) error {
	if len(p) != 4 {
		return wrong(FrameSize, "a window of another size")
	}
	n := int(binary.BigEndian.Uint32(p) & maxWindow)
	if f.id == 0 {
		if c.window += n; n == 0 {
			return wrong(ProtocolError, "a window that grows by nothing")
		} else if c.window > maxWindow {
			return wrong(FlowControl, "a window that is too large")
		}
		c.wake()
		return nil
	}
	if c.idle(f.id) {
		return wrong(ProtocolError, "a window of no stream")
	}
	s := c.streams[f.id]
	if s == nil || s.err != nil {
		return nil
	}
	if s.window += n; n == 0 {
		c.fault(s, ProtocolError)
	} else if s.window > maxWindow {
		c.fault(s, FlowControl)
	}
	s.changed.Broadcast()
	return nil
}
