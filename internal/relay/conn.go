package relay

import (
	"container/list"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/relay/h2"
)

// conn is a client's connection. Its goroutine owns every field up to the mutex.
type conn struct {
	srv *Server
	end // the client's
	ip  string
	// secure says that the client speaks TLS, name for which name it wanted a certificate;
	// shaking is where the handshake is among those of the server.
	secure  bool
	name    string
	shaking *list.Element
	// session is what the connection became if it is one of HTTP/2; nil: it is not, or it is
	// one of the streams of such a connection, and has st.
	session *session
	// number tells connections apart, so that they are not all looked at in one tick.
	number uint64
	// trusted says that the peer is a proxy whose word on its own client counts.
	trusted bool
	peer    netip.Addr // whose connections are counted; invalid: nobody's

	in  reader
	out []byte // what is written next
	req head
	res head
	x   Exchange

	headLen int    // bytes of out that are the upstream head
	info    []byte // a 1xx answer; out may still be needed
	reqBody body
	resBody body
	uploads *upload // nil: the body went out with the head
	keep    bool    // the answer promised another exchange
	early   int     // bytes of the server's budget that the request has
	using   *upConn // the exchange is on it; nil: none, or the upstream has done its part
	keepUp  bool    // using can carry another exchange
	// resent says that the request was sent on a kept connection which ended without an
	// answer. Maybe that was an old one; maybe the request has ended the server, and it
	// must not end another one.
	resent bool
	// onStream is using where that is a stream of HTTP/2, of which each attempt uses up one.
	onStream upConn
	spent    []*h2.Stream

	mark      atomic.Int64 // see watch.go
	timedOut  atomic.Bool  // the watch ended an incomplete head
	uploading atomic.Bool  // the request's body is still being read
	reading   atomic.Int64 // when the present read of a body began; 0: none
	writing   atomic.Int64 // when the present write to the client began; 0: none
	turn      atomic.Int32 // see working
	left      atomic.Int64 // when the client was seen to have left while the upstream worked; 0: it was not
	severed   atomic.Int64 // when a tunnel had passed on all that its upstream sent; 0: not yet
	deaf      int64        // of the watch: since when the upstream of a tunnel is gone; 0: it is not

	mu      sync.Mutex
	aborted error   // why the exchange is given up; nil: it is not
	up      *upConn // closed by an abort
	place   Place   // nil: it was given back
	ctx     context.Context
	cancel  context.CancelCauseFunc
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s}
	begin := idle
	if s.tls != nil {
		c.nc, begin = newSecured(nc, s.tls), shaking
	} else {
		c.nc = newSocket(nc)
	}
	c.x.conn = c
	c.ip = "unknown"
	if peer, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.ip = peer.Addr().String()
		c.trusted = Within(s.trusted, peer.Addr())
		if !c.trusted && !s.front {
			c.peer = household(peer.Addr())
		}
	}
	c.mark.Store(mark(begin, s.clock.now()))
	return c
}

// serve runs exchanges until the connection ends. A defect costs its connection,
// not the process.
func (c *conn) serve() {
	defer func() {
		if r := recover(); r != nil {
			c.srv.log.Error("relaying a request", "panic", r, "stack", string(debug.Stack()))
		}
		c.finishExchange()
		_ = c.nc.Close() // the client may have closed it
	}()
	if c.srv.tls != nil && !c.shake() {
		return
	}
	c.in.open(c.nc)
	c.out = pooled(smallBuffer)[:0]
	for first := true; ; first = false {
		if !c.readHead() {
			break
		}
		if string(c.req.method) == "PRI" && c.req.target[0] == '*' {
			if first {
				c.serveHTTP2()
			} else {
				c.refuse(errVersion)
			}
			break
		}
		open := c.exchange()
		c.finishExchange()
		if !open || c.srv.draining.Load() {
			break
		}
		c.rest()
	}
	// Not deferred: after a panic an upload may still be reading into the buffer.
	c.in.shut()
	recycle(c.out)
}

// enter moves to the next phase; false when the watch is closing the connection.
func (c *conn) enter(p phase) bool {
	m := c.mark.Load()
	if at, _ := unmark(m); at == closing {
		return false
	}
	return c.mark.CompareAndSwap(m, mark(p, c.srv.clock.now()))
}

// rest prepares for the next request.
func (c *conn) rest() {
	c.in.shrink()
	c.in.rewind()
	if cap(c.out) > 2*smallBuffer || c.out == nil { // a large head or answer; do not keep it
		recycle(c.out)
		c.out = pooled(smallBuffer)[:0]
	}
	c.enter(idle)
}

// readHead reads and parses the next request head, which then lies before c.in.r.
// It returns false when the connection is to be closed, after answering why.
func (c *conn) readHead() bool {
	scanned := 0
	for skipped := false; ; {
		buf := c.in.buffered()
		if !skipped && len(buf) >= 2 && buf[0] == '\r' && buf[1] == '\n' {
			c.in.r += 2 // an empty line that old clients send after a body
			skipped, scanned = true, 0
			continue
		}
		if n := headEnd(buf, scanned, true); n > 0 {
			c.in.r += n
			if !c.enter(busy) {
				return false
			}
			if n > c.srv.limits.Header {
				return c.refuse(errHeadTooLarge)
			}
			if r := c.req.parseRequest(buf[:n]); r != nil && !isPreface(buf[:n]) {
				return c.refuse(r)
			}
			if len(c.req.fields) > maxFields && !c.srv.front {
				return c.refuse(errManyFields)
			}
			return true
		}
		if len(buf) > 0 {
			if p, _ := unmark(c.mark.Load()); p == idle && !c.enter(heading) {
				return false
			}
			if r := hopeless(buf, scanned); r != nil {
				c.req.reset()
				return c.refuse(r)
			}
		}
		scanned = len(buf)
		if err := c.in.fill(c.srv.limits.Header + 1); err != nil {
			return c.unread(err)
		}
	}
}

// hopeless finds out early that buf cannot become a request head. Who ends lines with LF
// alone ends the head so too, which headEnd does not see, and would hear nothing until
// the timeout.
func hopeless(buf []byte, from int) *refusal {
	for i := max(from, 0); i < len(buf); i++ {
		if buf[i] == '\n' && (i == 0 || buf[i-1] != '\r') {
			return errBareLine
		}
	}
	return nil
}

// unread answers a head that never became complete, where there is anything to say.
func (c *conn) unread(err error) bool {
	c.req.reset()
	switch {
	case errors.Is(err, errTooLong):
		// Without a line end all of it is the request line, so its target is too long.
		for _, b := range c.in.buffered() {
			if b == '\n' {
				return c.refuse(errHeadTooLarge)
			}
		}
		return c.refuse(errTargetTooLong)
	case c.timedOut.Load():
		return c.refuse(&refusal{408, "header_timeout", "the request head did not arrive in time"})
	}
	return false
}

// refuse answers r and says that the connection is to be closed. What follows
// such a head cannot be told apart from its body.
func (c *conn) refuse(r *refusal) bool {
	for _, o := range c.srv.watchers {
		o.Unread(r.status, r.code)
	}
	return c.answerRefusal(r)
}

func (c *conn) answerRefusal(r *refusal) bool {
	c.x.idLen, c.x.toHead = 0, false
	c.out = c.appendAnswer(c.out[:0], r.answer(), true)
	if c.write(c.out, true) == nil && c.st == nil {
		c.linger()
	}
	return false
}

// write writes to the client: a head, and maybe a body after it. last says that this is
// the whole answer.
func (c *conn) write(p []byte, last bool) error {
	if c.st != nil {
		return c.sendFrames(c.st, &c.writing, p, nil, last, nil)
	}
	c.writing.Store(c.srv.clock.now())
	_, err := c.nc.Write(p)
	c.writing.Store(0)
	return err
}

const (
	lingerBytes = 256 << 10
	lingerTime  = time.Second
)

// linger lets a client read what was written last before the connection closes, which it
// does not do itself: closing with unread input would reset it, and that might be lost.
func (c *conn) linger() {
	if c.nc.CloseWrite() != nil || c.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, c.nc, lingerBytes); err == nil {
		// It sends on. Not reading makes it wait; closing now would fail its next
		// write, which many clients report before they look for an answer.
		time.Sleep(lingerTime / 2)
	}
}

// abort gives the present exchange up from another goroutine.
func (c *conn) abort(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted != nil {
		return
	}
	c.aborted = why
	if c.cancel != nil {
		c.cancel(why)
	}
	if c.up != nil {
		c.up.giveUp()
	}
}

// attach makes u the connection an abort closes; false after one.
func (c *conn) attach(u *upConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.st != nil {
		c.spent = append(c.spent, u.st)
	}
	if c.aborted != nil {
		return false
	}
	c.up = u
	return true
}

// detach takes the upstream connection out of an abort's reach; false after one.
func (c *conn) detach() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up = nil
	return c.aborted == nil
}

// finishExchange releases what the exchange made. After a panic that includes its place.
func (c *conn) finishExchange() {
	c.giveBack(0)
	c.letEarly()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up = nil
	if c.cancel != nil {
		c.cancel(nil)
		c.ctx, c.cancel = nil, nil
	}
}

var preface = []byte("PRI * HTTP/2.0\r\n\r\n")

func isPreface(b []byte) bool { return string(b) == string(preface) }
