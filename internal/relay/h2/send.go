package h2

// Send sends text, if there is any, which begins with a head and may have some of the body
// after it, and then p. With end this is all, and after it comes a trailer, which is lines
// of fields. It waits for the peer to take it.
func (s *Stream) Send(text, p []byte, end bool, trailer []byte) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	defer s.c.flush()
	all := end && len(trailer) == 0
	if len(text) > 0 {
		rest, err := s.sendHead(text, all && len(p) == 0)
		if err == nil {
			_, err = s.sendData(rest, all && len(p) == 0, true)
		}
		if err != nil {
			return err
		}
	}
	if _, err := s.sendData(p, all, true); err != nil || !end || all {
		return err
	}
	if err := s.sendable(); err != nil {
		return err
	}
	s.c.enc.trailer(trailer)
	s.c.appendHead(s.id, true)
	s.done = true
	return nil
}

// TrySend is Send without an end, and without waiting. It returns what of p is left; text
// has no body.
func (s *Stream) TrySend(text, p []byte) (rest []byte, err error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	defer s.c.flush()
	if len(text) > 0 {
		if _, err := s.sendHead(text, false); err != nil {
			return p, err
		}
	}
	return s.sendData(p, false, false)
}

// Writable reports whether something could be sent at once.
func (s *Stream) Writable() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err != nil || s.window > 0 && s.c.window > 0 && len(s.c.out) < outBound
}

func (s *Stream) sendable() error {
	switch {
	case s.err != nil:
		return s.err
	case s.c.err != nil:
		return s.c.err
	case s.halt || s.done:
		return errOver
	}
	return nil
}

// sendHead sends the head that text begins with, and returns what comes after it.
func (s *Stream) sendHead(text []byte, end bool) (rest []byte, err error) {
	if err := s.sendable(); err != nil {
		return nil, err
	}
	c := s.c
	if s.id == 0 {
		if c.going {
			return nil, ErrRefused
		}
		s.id = c.next
		c.next += 2
		s.window = c.winFirst
		c.streams[s.id] = s
		s.bodyless = len(text) > 4 && string(text[:5]) == "HEAD "
	}
	rest = c.enc.head(text, c.server)
	s.done = end && len(rest) == 0
	c.appendHead(s.id, s.done)
	return rest, nil
}

// sendData sends p, as far as there are windows and room for it.
func (s *Stream) sendData(p []byte, end, wait bool) (rest []byte, err error) {
	c := s.c
	for !s.done && (len(p) > 0 || end) {
		if err := s.sendable(); err != nil {
			return p, err
		}
		n := max(min(len(p), maxFrame, s.window, c.window), 0)
		switch {
		case len(c.out) < outBound && (n > 0 || len(p) == 0):
			flags := byte(0)
			if end && n == len(p) {
				flags, s.done = flagEndStream, true
			}
			c.out = append(appendFrame(c.out, n, frameData, flags, s.id), p[:n]...)
			s.window -= n
			c.window -= n
			p = p[n:]
		case !c.flushing && len(c.out) > 0:
			c.flush()
		case !wait:
			return p, nil
		default:
			if !s.waits {
				s.waits = true
				c.waiting = append(c.waiting, s)
			}
			s.changed.Wait()
		}
	}
	return p, nil
}
