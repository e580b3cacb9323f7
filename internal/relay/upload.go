package relay

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// upload is the sending of a request body that did not fit into one write with
// its head. It has a goroutine of its own, because the answer may begin, and even
// end, before the body does.
type upload struct {
	done     chan struct{}         // closed when the goroutine returned
	sent     atomic.Bool           // the upstream has the whole body
	complete bool                  // all of it was taken from the client; read after done
	fault    atomic.Pointer[error] // of the client's body; set before the upstream is lost
	kept     []byte                // what was sent, where it may be sent once more; read after done
}

// KeptBytes bounds what of a body that is being sent is kept for a second place: here,
// of one of known length, what is left of it. Most clients send even small bodies in
// more than one write.
const KeptBytes = 64 << 10

// upload sends what prepare left of the body to up.
func (c *conn) upload(up *upConn) {
	u := &upload{done: make(chan struct{})}
	c.uploads = u
	c.uploading.Store(true)
	if c.srv.behind && c.req.body == sized && c.reqBody.left <= KeptBytes {
		u.kept = make([]byte, 0, c.reqBody.left)
		c.reqBody.kept = &u.kept
	}
	go func() {
		defer close(u.done)
		defer c.uploading.Store(false)
		inChunks := c.req.body == chunked
		err := c.pump(up.nc, &c.reqBody, inChunks, nil)
		switch {
		case err == nil:
			u.complete = true
			u.sent.Store(true)
		case errors.Is(err, errSource):
			u.fault.Store(&err)
			c.loseUpstream() // it must not take a part for the whole
		default:
			// It stopped listening, maybe after an answer: that is read by the
			// connection's own goroutine. The rest of the body is of no use.
			u.complete = c.discardBody()
		}
	}()
}

// rewind has the whole request in c.out again, so that it can be sent to another
// place; false when that cannot be. It waits a moment for the rest of the body, which
// the upstream reads although it has answered.
func (c *conn) rewind() bool {
	u := c.uploads
	if u == nil {
		return true // all that was sent is still there
	}
	if c.reqBody.kept == nil || c.req.expects { // who expects a 100 would wait for it
		return false
	}
	late := time.NewTimer(lingerTime)
	defer late.Stop()
	select {
	case <-u.done:
	case <-late.C:
		return false
	}
	if !u.complete || u.fault.Load() != nil {
		return false
	}
	c.uploads = nil
	c.out = append(c.out, u.kept...)
	c.reqBody.kept = nil
	return true
}

// loseUpstream closes the upstream connection without giving the client up.
func (c *conn) loseUpstream() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up != nil {
		_ = c.up.nc.Close() // its reader reports it
	}
}

// discardBody reads the rest of the body, within bounds, so that the connection
// can be used again; false when it cannot.
func (c *conn) discardBody() bool {
	if c.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return false
	}
	buf := *bodyBuffers.Get().(*[]byte)
	defer bodyBuffers.Put(&buf)
	for left := lingerBytes; left > 0; {
		n, err := c.reqBody.read(buf)
		left -= n
		if errors.Is(err, io.EOF) {
			return c.nc.SetReadDeadline(time.Time{}) == nil
		}
		if err != nil {
			return false
		}
	}
	return false
}

// stopUpload returns when no upload runs any more, and whether the client's
// connection stands at the beginning of the next request.
func (c *conn) stopUpload() bool {
	u := c.uploads
	if u == nil {
		return true
	}
	c.uploads = nil
	select {
	case <-u.done:
		return u.complete
	default:
	}
	if !u.sent.Load() {
		// The upstream connection is closed by now, so a write to it fails; a read
		// from the client may take forever.
		_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime)) // only fails when closed
	}
	<-u.done
	return c.nc.SetReadDeadline(time.Time{}) == nil && u.complete
}
