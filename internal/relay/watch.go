package relay

import (
	"context"
	"time"
)

// tick is how often the watch looks at every connection. It is the resolution of
// the clock, of every timeout and of noticing that a client went away.
const tick = 50 * time.Millisecond

// lastRequest is how long a server that drains waits for one more request on a
// connection that was used, whose answer then tells the client to close it. A client
// that is about to send cannot know that the other side is closing: what it sends then
// is lost. HAProxy (idle-close-on-response) and Envoy wait for the same reason.
const lastRequest = time.Second

// phase is what a connection waits for.
type phase int64

const (
	idle      phase = iota // the first byte of a request
	heading                // the rest of its head
	busy                   // its answer
	tunnelled              // one side of an upgraded connection to close it
	shared                 // streams, or their end
	closing                // nothing: it is being closed
	shaking                // the handshake of TLS
	phaseBits = 3
)

// A mark is a phase with the millisecond in which it began. They are one word, so that
// one CompareAndSwap decides between a connection that goes on and the watch that ends
// it, and so that the watch does not take a phase for an earlier one of the same name.
func mark(p phase, ms int64) int64 { return ms<<phaseBits | int64(p) }

func unmark(m int64) (p phase, ms int64) { return phase(m & (1<<phaseBits - 1)), m >> phaseBits }

// watch is the only timer of a server: it renews the clock, ends what takes too
// long and notices clients that went away, so that exchanges need no timer and no
// goroutine for any of it.
func (s *Server) watch(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	var late []suspect
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := s.clock.renew()
		late = s.look(now, late[:0])
		for _, l := range late {
			if p, _ := unmark(l.mark); p == shared {
				l.c.session.judge(now)
				continue
			}
			l.c.judge(l.mark, now)
		}
		clear(late)
	}
}

// suspect is a connection with the mark that made it one.
type suspect struct {
	c    *conn
	mark int64
}

// look gathers the connections that need a closer look. A short exchange begins
// and ends between two looks and is never among them. The closer look costs system
// calls and is not under the lock, which every new connection needs.
func (s *Server) look(now int64, late []suspect) []suspect {
	idleFor := s.limits.IdleTimeout
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticks++
	crowded := 10*len(s.conns) >= 9*s.limits.Conns
	s.crowded.Store(crowded)
	if crowded {
		idleFor = min(idleFor, time.Second) // make room
	}
	shakeFor := s.limits.HeaderTimeout
	if s.draining.Load() {
		idleFor, shakeFor = min(idleFor, lastRequest), min(shakeFor, lastRequest)
	}
	look := func(c *conn, n uint64) (rests bool) {
		m := c.mark.Load()
		p, since := unmark(m)
		age := time.Duration(now-since) * time.Millisecond
		works := p == busy || p == tunnelled
		switch {
		case p == idle && age >= idleFor,
			p == heading && age >= s.limits.HeaderTimeout,
			p == shaking && age >= shakeFor,
			works && age >= tick && due(age, n):
			late = append(late, suspect{c, m})
		case p == shared && (c.session.busy.Load() > 0 || s.draining.Load() || (s.ticks+c.number)%4 == 0):
			late = append(late, suspect{c, m})
		}
		return works && age >= restingAge
	}
	for c := range s.lively {
		if look(c, s.ticks+c.number) {
			delete(s.lively, c)
			if at := &s.resting[c.number%restingLooks]; *at == nil {
				*at = map[*conn]struct{}{c: {}}
			} else {
				(*at)[c] = struct{}{}
			}
		}
	}
	bucket := s.resting[s.ticks%restingLooks]
	for c := range bucket {
		if !look(c, s.ticks) {
			delete(bucket, c)
			s.lively[c] = struct{}{}
		}
	}
	return late
}

// What has worked for restingAge is looked at in one tick of so many: of thousands of callers
// who wait, to find out in every tick that they still do is most of what they cost. One that
// goes on is lively again from the next such look.
const (
	restingAge   = 10 * time.Second
	restingLooks = 20
)

// due spreads the looks at long exchanges, of which there may be thousands: each
// costs a system call. n is the number of the look.
func due(age time.Duration, n uint64) bool {
	switch {
	case age < time.Second:
		return true
	case age < restingAge:
		return n%4 == 0
	case age < 30*time.Second:
		return true // one that rests
	}
	return n/restingLooks%3 == 0
}

// judge ends what c waits for if that takes too long or makes no sense any more,
// unless c has moved on since it was looked at.
func (c *conn) judge(m, now int64) {
	switch p, _ := unmark(m); p {
	case idle, heading:
		// The goroutine of c takes its phase back the same way when bytes arrive,
		// so a request is either begun or refused, never cut in two.
		if c.mark.CompareAndSwap(m, mark(closing, now)) {
			c.timedOut.Store(p == heading)
			// Not closed: its goroutine wakes from the read, and answers half a head with 408.
			_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // only fails when closed
		}
	case shaking:
		if c.mark.CompareAndSwap(m, mark(closing, now)) {
			_ = c.nc.Close() // the handshake fails
		}
	case busy:
		if c.stalled(now) {
			c.abort(errGone)
			_ = c.nc.Close() // unblocks whoever reads or writes it
			return
		}
		// The kernel tells the end of what a client sends before all of it was read.
		// While the body is, whoever reads it finds out whether that was too early.
		if gone(c.nc, !c.uploading.Load()) {
			c.leave(now)
		}
		if c.writing.Load() != 0 { // or the goroutine of c would find out
			c.upstreamGone()
		}
	case tunnelled:
		if c.tunnelEnded(now) {
			c.abort(errGone)
			_ = c.nc.Close()
		}
	}
}

// tunnelRest is how long a client may keep a tunnel whose upstream has ended, and of
// which it has everything.
const tunnelRest = 10 * time.Second

// tunnelEnded reports whether the tunnel of c ends with its upstream, of which the client
// takes no notice.
func (c *conn) tunnelEnded(now int64) bool {
	if at := c.severed.Load(); at != 0 && now-at >= tunnelRest.Milliseconds() {
		return true
	}
	if !c.upstreamGone() {
		return false
	}
	if c.deaf == 0 {
		c.deaf = now
	}
	return now-c.deaf >= c.srv.limits.BodyTimeout.Milliseconds()
}

// upstreamGone reports whether the upstream sends no more, and gives the place back if so:
// what the client has yet to take is no work.
func (c *conn) upstreamGone() bool {
	c.mu.Lock()
	over := c.up != nil && c.up.silent()
	var place Place
	if over {
		place, c.place = c.place, nil
	}
	c.mu.Unlock()
	if place != nil {
		place.Done(0)
	}
	return over
}

// stalled reports whether a body made no progress for too long on the client's
// side. Where the kernel moves the body, a mark covers both sides; the client is
// the one who is waited for if there is nothing to read from it, or no room.
func (c *conn) stalled(now int64) bool {
	limit := c.srv.limits.BodyTimeout.Milliseconds()
	r, w := c.reading.Load(), c.writing.Load()
	return r != 0 && now-r > limit && c.waits() || w != 0 && now-w > limit && !c.takes()
}
