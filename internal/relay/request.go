package relay

import (
	"bytes"
	"context"
	"time"
)

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
	call      call

	identified bool   // see Identified
	hidden     string // the field that proved it, in lower case
	told       []byte // lines for the upstream
	added      []byte // lines for the client
}

// renew prepares x for the next request. Inlined, its copy would lie on the stack for as
// long as the exchange lasts.
//
//go:noinline
func (x *Exchange) renew() {
	*x = Exchange{conn: x.conn, trace: x.trace, requestID: x.requestID}
}

// Method returns the request's method. It and what else returns bytes of the head is for
// Began and Admit: the body that is read afterwards takes the head's place.
func (x *Exchange) Method() []byte { return x.conn.req.method }

// Target returns the path as the client sent it, with its query. It begins with a
// slash, or is an asterisk.
func (x *Exchange) Target() []byte { return x.conn.req.target }

// Host returns what the client asked for as the host, with a port if it said one.
func (x *Exchange) Host() []byte { return x.conn.req.host }

// Bodiless reports whether the request has no body.
func (x *Exchange) Bodiless() bool { return x.conn.req.body == noBody }

// Whole returns the request as its upstream would get it, head and body, if it came by HTTP/1,
// all of it is here and it does not switch protocols; nil otherwise. It is for an Admit that
// answers, after whatever else changes the request, and valid until then.
func (x *Exchange) Whole() []byte {
	c := x.conn
	if x.upgrade || c.st != nil || !c.bodyIsHere() {
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

// Version returns the version of HTTP that the client speaks.
func (x *Exchange) Version() string {
	switch {
	case x.conn.st != nil:
		return "2"
	case x.conn.req.minor == 0:
		return "1.0"
	}
	return "1.1"
}

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
func (x *Exchange) Size() int64 {
	c := x.conn
	if c.st == nil {
		return int64(len(c.in.buf) + cap(c.out))
	}
	head, _ := c.st.Request()
	body, _ := c.st.Ended()
	return streamSize + int64(cap(c.out)+cap(head)+body)
}

// streamSize is what a stream takes beside what it keeps: two goroutines, mostly.
const streamSize = 12 << 10

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
