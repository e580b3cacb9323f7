package relay

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a client's connection. Its goroutine owns every field up to the mutex.
type conn struct {
	srv *Server
	nc  *socket
	ip  string
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

// Exchange is one request on its way. It is valid until its Place is done.
type Exchange struct {
	// State is the Handler's, to remember between its calls for one exchange.
	State any
	// Watched is the Observer's, likewise.
	Watched any

	conn      *conn
	prefix    int // bytes of the target that do not travel on
	traced    bool
	upgrade   bool // the upstream may switch protocols
	toHead    bool // the answer has no body
	pointless bool // its body has no meaning, and may not be read
	traceLen  int
	idLen     int
	trace     [maxTraceparent]byte
	requestID [maxRequestID]byte
	copyTo    func(*Copy)
	reason    string // of a relay behind this one; only for an Observer
	began     time.Duration
	placed    bool
	held      bool // the answer says that it waited for a first replica
	cancel    bool // when the client leaves, the upstream is told at once
	ours      bool // the upstream is a server of ours

	identified bool   // see Identified
	hidden     string // the field that proved it, in lower case
	told       []byte // lines for the upstream
	added      []byte // lines for the client
}

// Method returns the request's method. It and what else returns bytes of the head is for
// Began and Admit: the body that is read afterwards takes the head's place.
func (x *Exchange) Method() []byte { return x.conn.req.method }

// Target returns the path as the client sent it, with its query. It begins with a
// slash, or is an asterisk.
func (x *Exchange) Target() []byte { return x.conn.req.target }

// Bodiless reports whether the request has no body.
func (x *Exchange) Bodiless() bool { return x.conn.req.body == noBody }

// Whole returns the request as its upstream would get it, head and body, if all of it is here
// and it does not switch protocols; nil otherwise. It is for an Admit that answers, after
// whatever else changes the request, and valid until then.
func (x *Exchange) Whole() []byte {
	c := x.conn
	if x.upgrade || !c.bodyIsHere() {
		return nil
	}
	if len(c.out) == 0 {
		c.prepare()
	}
	if !c.reqBody.done {
		return nil
	}
	return c.out
}

// Mentions reports whether a field of a name has a word in it, whatever else it says. Both are
// in lower case; their case does not matter in the request.
func (x *Exchange) Mentions(name, word string) bool {
	for i := range x.conn.req.fields {
		f := &x.conn.req.fields[i]
		if equalFold(f.name, name) && bytes.Contains(bytes.ToLower(f.value), []byte(word)) {
			return true
		}
	}
	return false
}

// Minor returns the minor version of HTTP/1 that the client speaks.
func (x *Exchange) Minor() int { return x.conn.req.minor }

// RequestID returns the request's id, the client's or a new one.
func (x *Exchange) RequestID() []byte { return x.id() }

// Traceparent returns the trace context that travels on, to be changed in place, and
// whether the client sent it.
func (x *Exchange) Traceparent() (value []byte, given bool) { return x.trace[:x.traceLen], x.traced }

// SetTraceparent makes value, a valid one, the trace context that travels on.
func (x *Exchange) SetTraceparent(value []byte) { x.traceLen = copy(x.trace[:], value) }

// Age is how long ago the request's head was read whole.
func (x *Exchange) Age() time.Duration { return monotonic() - x.began }

// Placed reports whether the request was sent to the place that it has, in part at least.
func (x *Exchange) Placed() bool { return x.placed }

// monotonic is the time since the program began: half the cost of asking for the date too.
func monotonic() time.Duration { return time.Since(start) }

var start = time.Now()

// Held has the answer say that the request waited for a first replica.
func (x *Exchange) Held() { x.held = true }

// CancelWhenGone has the upstream connection closed as soon as the client leaves, which
// gives the place back. Without it a server that works on the whole request is not
// interrupted, and the place is free when it has answered or closed: most servers cannot
// be interrupted, and would have more to do at once than the place is worth.
func (x *Exchange) CancelWhenGone() { x.cancel = true }

// Ours says that the request is for a server of ours: it gets the fields that begin with
// X-Cortex-, which are options that the client may give to it and to nobody else, and what
// it gives as the reason of its answer is passed on.
func (x *Exchange) Ours() { x.ours = true }

// Strip keeps the first n bytes of the target from the upstream.
func (x *Exchange) Strip(n int) { x.prefix = n }

// Size returns how many bytes of memory the request keeps while it waits.
func (x *Exchange) Size() int64 { return int64(len(x.conn.in.buf) + cap(x.conn.out)) }

// Context returns a context that ends when the client goes away, with the reason
// as its cause, or when the exchange is over. It is made on the first call: an
// exchange that waits for nothing needs none.
func (x *Exchange) Context() context.Context {
	c := x.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(context.Background())
		if c.aborted != nil {
			c.cancel(c.aborted)
		}
	}
	return c.ctx
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, nc: newSocket(nc)}
	c.x.conn = c
	c.ip = "unknown"
	if peer, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.ip = peer.Addr().String()
		c.trusted = Within(s.trusted, peer.Addr())
		if !c.trusted && !s.front {
			c.peer = household(peer.Addr())
		}
	}
	c.mark.Store(mark(idle, s.clock.now()))
	return c
}

// serve runs exchanges until the connection ends. A defect costs its connection,
// not the process.
func (c *conn) serve() {
	defer func() {
		if r := recover(); r != nil {
			c.srv.log.Error("relaying a request", "panic", r, "stack", string(debug.Stack()))
		}
		c.end()
		_ = c.nc.Close() // the client may have closed it
	}()
	c.in.open(c.nc)
	c.out = pooled(smallBuffer)[:0]
	for first := true; ; first = false {
		if !c.readHead() {
			break
		}
		if string(c.req.method) == "PRI" && c.req.target[0] == '*' {
			if first && c.srv.http2 != nil {
				c.handOver()
			} else {
				c.refuse(errVersion)
			}
			break
		}
		open := c.exchange()
		c.end()
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
	if cap(c.out) > 2*smallBuffer { // a large head or answer; do not keep it
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
	c.out = c.appendAnswer(c.out[:0], &Answer{Status: r.status, Code: r.code, Message: r.message}, true)
	if c.write(c.out) == nil {
		c.linger()
	}
	return false
}

// write writes to the client.
func (c *conn) write(p []byte) error {
	c.writing.Store(c.srv.clock.now())
	_, err := c.nc.Write(p)
	c.writing.Store(0)
	return err
}

const (
	lingerBytes = 256 << 10
	lingerTime  = time.Second
)

func (c *conn) linger() { Linger(c.nc) }

// Linger lets a client read what was written last before the connection closes, which it
// does not do itself: closing with unread input would reset it, and that might be lost.
func Linger(nc net.Conn) {
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, nc, lingerBytes); err == nil {
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
		_ = c.up.nc.Close() // its reader reports it
	}
}

// attach makes u the connection an abort closes; false after one.
func (c *conn) attach(u *upConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
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

// end releases what the exchange made. After a panic that includes its place.
func (c *conn) end() {
	c.giveBack(0)
	c.letEarly()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel(nil)
		c.ctx, c.cancel = nil, nil
	}
}

var preface = []byte("PRI * HTTP/2.0\r\n\r\n")

func isPreface(b []byte) bool { return string(b) == string(preface) }
