package relay

import (
	"context"
	"errors"
	"time"

	"cortex.dev/cortex/internal/relay/h2"
)

// Connections of HTTP/2 to an upstream, each of which has many requests.

const (
	pingAfter  = 15 * time.Second // that nothing came, while requests wait for answers
	pingWithin = 15 * time.Second // that the server has to answer
)

// multiplexed is one of them.
type multiplexed struct {
	h     *h2.Conn
	came  uint64
	since time.Time // that so much came
}

// opening is a connection that is being opened, for everybody who waits for one.
type opening struct {
	done chan struct{}
	err  error
}

// stream opens a stream to u in into, of whose answer the head is bounded by header. fresh
// asks for a new connection. ctx is called by who waits for one.
func (u *Upstream) stream(ctx func() context.Context, header int, into *upConn, fresh bool) error {
	for {
		u.mu.Lock()
		if !fresh {
			if u.pick(into) {
				u.mu.Unlock()
				return nil
			}
		}
		o := u.opening
		if o == nil {
			o = &opening{done: make(chan struct{})}
			u.opening = o
			go u.openShared(o, header)
		}
		u.mu.Unlock()
		waiting := ctx()
		select {
		case <-o.done:
		case <-waiting.Done():
			return context.Cause(waiting)
		}
		if o.err != nil {
			return o.err
		}
		fresh = false
	}
}

// pick opens a stream on one of the connections there are; mu is held.
func (u *Upstream) pick(into *upConn) bool {
	for i := len(u.shared) - 1; i >= 0; i-- {
		st, first := u.shared[i].h.Open()
		if st == nil {
			continue
		}
		if u.closed {
			u.shared[i].h.Finish()
		}
		*into = upConn{end: end{st: st}, up: u, reused: !first, in: reader{nc: st, st: st}}
		return true
	}
	return false
}

func (u *Upstream) openShared(o *opening, header int) {
	nc, err := u.reachNow(context.Background()) // it has a timeout
	u.mu.Lock()
	defer u.mu.Unlock()
	u.opening = nil
	if o.err = err; err == nil {
		m := &multiplexed{since: time.Now()}
		m.h = h2.NewConn(newSocket(nc), h2.Config{Header: header, Streams: maxStreams})
		u.shared = append(u.shared, m)
		go u.runShared(m)
	}
	close(o.done)
}

func (u *Upstream) runShared(m *multiplexed) {
	_ = m.h.Run(nil) // its streams report it
	m.h.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.shared {
		if u.shared[i] == m {
			u.shared = append(u.shared[:i], u.shared[i+1:]...)
			return
		}
	}
}

// sweepShared closes connections that nobody uses, or whose server is away; mu is held.
func (u *Upstream) sweepShared(now time.Time) {
	for _, m := range u.shared {
		state := m.h.State()
		if state.Came != m.came {
			m.came, m.since = state.Came, now
		}
		rest := now.Sub(m.since)
		switch {
		case state.Open == 0 && (rest > idleTimeout || state.Over):
			m.h.GoAway(true)
			m.h.Close()
		case state.Open > 0 && rest > pingAfter && !m.h.Ping(now, pingWithin):
			m.h.Close()
		}
	}
}

// fromStream is what reading an answer off a stream came to.
func fromStream(err error) error {
	switch {
	case errors.Is(err, h2.ErrClosed):
		return errSilent
	case errors.Is(err, h2.ErrMalformed):
		return errFrames
	}
	return noEOF(err)
}

var errFrames = bad("malformed_frames", "what came is not HTTP/2")

// readAnswerOf is readResponseHead of a stream.
func (c *conn) readAnswerOf(st *h2.Stream) error {
	text, err := st.Answer()
	if err != nil {
		return fromStream(err)
	}
	if r := c.res.parseResponse(text); r != nil {
		return r
	}
	if len(c.res.fields) > maxFields && !c.srv.behind {
		return errManyFields
	}
	return nil
}
