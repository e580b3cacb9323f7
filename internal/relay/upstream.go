package relay

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Upstream is a server that requests are forwarded to, with its idle connections.
// All methods may be called at once.
type Upstream struct {
	addr    string
	reach   func(ctx context.Context) (net.Conn, error) // nil: by TCP, at addr
	mu      sync.Mutex
	idle    []*upConn // the last one was used last
	shared  []*multiplexed
	opening *opening // nil: no shared connection is being opened
	closed  bool
	cut     atomic.Uint32 // how often Cut was called
}

// Cut is told that what is in flight at u now is ended by us, with its server: such
// requests break for that reason, and not because of the server.
func (u *Upstream) Cut() { u.cut.Add(1) }

// Cuts is how often that was said. Where it differs between the beginning of a request
// and its end, the request was cut.
func (u *Upstream) Cuts() uint32 { return u.cut.Load() }

// CutOff answers a request that was cut.
func CutOff(origin string) *Answer {
	return &Answer{Status: 502, Code: cutOff, Origin: origin,
		Message: "the replica had to stop before it answered: the request took longer than the replica's termination_grace_period leaves"}
}

const cutOff = "grace_period_over"

const (
	maxIdle     = 1024             // connections kept per upstream
	idleTimeout = 30 * time.Second // of a kept connection; less if the server says so
	// freshIdle is how long ago a connection must have been used to carry a request
	// that cannot be sent twice: a server that closes idle connections does so
	// after seconds, and its closing could cross the request.
	freshIdle   = time.Second
	dialTimeout = 5 * time.Second
)

// NewUpstream returns the upstream at addr, host:port.
func NewUpstream(addr string) *Upstream { return &Upstream{addr: addr} }

// NewUpstreamOf returns a server that is reached by reach; its name is for people.
func NewUpstreamOf(name string, reach func(ctx context.Context) (net.Conn, error)) *Upstream {
	return &Upstream{addr: name, reach: reach}
}

// Addr returns host:port.
func (u *Upstream) Addr() string { return u.addr }

// upConn is a connection to an upstream.
type upConn struct {
	end
	ear    *ear
	in     reader
	up     *Upstream
	reused bool
	since  int64         // milliseconds of the clock when it became idle
	keep   time.Duration // how long it may stay idle
}

// get returns a kept connection, or opens one. replayable says that the request
// may be sent again if the connection turns out to be closed.
//
// Every kept connection is looked at first, for half a microsecond: one that was
// closed would fail a request that cannot be repeated, and bytes that a broken
// server sent after its answer would be taken for the answer to somebody else.
func (u *Upstream) get(x *Exchange, replayable, fresh bool) (*upConn, error) {
	if x.conn.multiplexed() {
		c := &x.conn.onStream
		return c, u.stream(x.Context, x.conn.srv.answerHeader, c, fresh)
	}
	now := x.conn.srv.clock.now()
	for !fresh {
		c := u.pop()
		if c == nil {
			break
		}
		age := time.Duration(now-c.since) * time.Millisecond
		if age > c.keep || age > freshIdle && !replayable || !c.ear.quiet() {
			c.shut()
			continue
		}
		c.reused = true
		return c, nil
	}
	return u.dial(x.Context())
}

func (u *Upstream) pop() *upConn {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := len(u.idle)
	if n == 0 {
		return nil
	}
	c := u.idle[n-1]
	u.idle[n-1] = nil
	u.idle = u.idle[:n-1]
	return c
}

func (u *Upstream) reachNow(ctx context.Context) (net.Conn, error) {
	if u.reach != nil {
		return u.reach(ctx)
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "tcp", u.addr)
}

func (u *Upstream) dial(ctx context.Context) (*upConn, error) {
	nc, err := u.reachNow(ctx)
	if err != nil {
		return nil, err
	}
	c := &upConn{end: end{nc: newSocket(nc)}, ear: listenTo(nc), up: u, keep: idleTimeout}
	c.in.open(c.nc)
	return c, nil
}

// put keeps c for the next request.
func (u *Upstream) put(c *upConn, now int64) {
	c.since = now
	c.in.r, c.in.w = 0, 0
	c.in.shrink()
	u.mu.Lock()
	keep := !u.closed && len(u.idle) < maxIdle
	if keep {
		u.idle = append(u.idle, c)
	}
	u.mu.Unlock()
	if !keep {
		c.shut()
	}
}

// send sends what there is of a request. If that is all of it, the beginning of the
// answer is waited for, too, unless the connection is new: get has not looked whether
// somebody speaks there who was not asked.
func (c *upConn) send(out []byte, whole bool, trailer []byte) (sent int, err error) {
	if c.st != nil {
		if err := c.st.Send(out, nil, whole, trailer); err != nil {
			if c.st.Sent() {
				return len(out), err
			}
			return 0, err
		}
		return len(out), nil
	}
	if !whole || !c.reused {
		return c.nc.Write(out)
	}
	sent, c.in.w, err = c.nc.ask(out, c.in.buf)
	return sent, err
}

// staleWithin is how long the news may take that a server closed a connection without
// reading what was sent: a round trip.
const staleWithin = 20 * time.Millisecond

// wasStale reports whether the peer of c, which has ended without an answer, closed it
// without reading the request, and still takes connections: a server that ends idle ones
// as it likes, not one that has crashed.
func (c *upConn) wasStale(ctx context.Context) bool {
	if c.st != nil { // nobody knows what its server has read
		return false
	}
	for deadline := time.Now().Add(staleWithin); !gone(c.nc.Conn, false); {
		if time.Now().After(deadline) {
			return false // it had read the request
		}
		time.Sleep(time.Millisecond)
	}
	d := net.Dialer{Timeout: time.Second}
	nc, err := d.DialContext(ctx, "tcp", c.up.addr)
	if err != nil {
		return false
	}
	return nc.Close() == nil
}

// shut closes c for good; a stream, as far as its server is concerned.
func (c *upConn) shut() {
	if c.st != nil {
		c.giveUp()
		return
	}
	_ = c.nc.Close() // nothing depends on what closing says
	c.in.shut()
}

// Sweep closes connections that were idle for too long. Call it every few seconds.
func (u *Upstream) Sweep(now time.Time) {
	ms := now.UnixMilli()
	u.mu.Lock()
	var old []*upConn
	for len(u.idle) > 0 { // the first ones were used longest ago
		c := u.idle[0]
		if time.Duration(ms-c.since)*time.Millisecond <= c.keep {
			break
		}
		old = append(old, c)
		u.idle = u.idle[1:]
	}
	u.sweepShared(now)
	u.mu.Unlock()
	for _, c := range old {
		c.shut()
	}
}

// Close closes the idle connections, and every other one when its request is done.
func (u *Upstream) Close() {
	u.mu.Lock()
	idle := u.idle
	u.idle, u.closed = nil, true
	for _, m := range u.shared {
		m.h.Finish()
	}
	u.mu.Unlock()
	for _, c := range idle {
		c.shut()
	}
}

// clock is the time in milliseconds, renewed by the watch instead of read by
// every request.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() int64 { return c.ms.Load() }

func (c *clock) renew() int64 {
	ms := time.Now().UnixMilli()
	c.ms.Store(ms)
	return ms
}

// Unreachable reports whether err says that no connection could be opened, so that
// nothing was sent.
func Unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
