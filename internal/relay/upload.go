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
}

// KeptBytes bounds a small body: one that is read before its request has a place, and
// kept for a second one. Most clients send even small bodies in more than one write.
const KeptBytes = 64 << 10

// bodyMercy is what a body has at least to go on in when the request gets its place.
const bodyMercy = 5 * time.Second

// upload sends what prepare left of the body to up.
func (c *conn) upload(up *upConn) {
	u := &upload{done: make(chan struct{})}
	c.uploads = u
	c.uploading.Store(true)
	// The clock of the body does not start anew: else those who send nothing take turns,
	// each with all of that time.
	limit := c.srv.limits.BodyTimeout
	c.reading.Store(max(c.reading.Load(), c.srv.clock.now()-(limit-min(limit, bodyMercy)).Milliseconds()))
	to := up.end
	go func() {
		defer close(u.done)
		defer c.uploading.Store(false)
		var err error
		if to.st != nil {
			_, err = c.pumpFrames(to.st, &c.reqBody, nil)
		} else {
			_, err = c.pump(to.nc, &c.reqBody, c.reqInChunks(), nil)
		}
		switch {
		case err == nil:
			u.complete = true
			u.sent.Store(true)
			c.sentWhole()
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

// loseUpstream closes the upstream connection without giving the client up.
func (c *conn) loseUpstream() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up != nil {
		c.up.giveUp()
	}
}

// discardBody reads the rest of the body, within bounds, so that the connection
// can be used again; false when it cannot.
func (c *conn) discardBody() bool {
	if c.st != nil { // the client is told that the rest is of no use
		return true
	}
	if c.reqBody.torn || c.nc.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
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
	if c.st != nil {
		c.st.Interrupt()
		<-u.done
		return u.complete
	}
	if !u.sent.Load() {
		// The upstream connection is closed by now, so a write to it fails; a read
		// from the client may take forever.
		_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime)) // only fails when closed
	}
	<-u.done
	return c.nc.SetReadDeadline(time.Time{}) == nil && u.complete
}
