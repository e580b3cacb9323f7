package relay

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// uploading is the sending of a request body that did not fit into one write with
// its head. It has a goroutine of its own, because the answer may begin, and even
// end, before the body does.
type upload struct {
	done     chan struct{} // closed when the goroutine returned
	complete atomic.Bool   // the whole body was taken from the client
	sent     atomic.Bool   // and given to the upstream
	discard  atomic.Bool   // nobody wants the rest
	fault    error         // of the client's body; read after done
}

// upload sends what prepare left of the body to up.
func (c *conn) upload(up *upConn) {
	u := &upload{done: make(chan struct{})}
	c.uploads = u
	c.uploading.Store(true)
	go func() {
		defer close(u.done)
		defer c.uploading.Store(false)
		inChunks := c.req.body == chunked
		err := c.pump(up.nc, &c.reqBody, inChunks, nil)
		switch {
		case err == nil:
			u.sent.Store(true)
			u.complete.Store(true)
		case errors.Is(err, errSource):
			u.fault = err
			c.loseUpstream() // it must not take a part for the whole
		default:
			// It stopped listening, maybe after an answer: that is read by the
			// connection's own goroutine. The rest of the body is of no use.
			u.complete.Store(c.discardBody())
		}
	}()
}

// loseUpstream closes the upstream connection without giving the client up.
func (c *conn) loseUpstream() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up != nil {
		_ = c.up.nc.Close() // its reader reports it
	}
}

// uploaded reports whether the upload is over and the upstream has the whole body.
func (c *conn) uploaded() bool {
	select {
	case <-c.uploads.done:
		return c.uploads.sent.Load()
	default:
		return false
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
	default:
		// The upstream connection is closed by now, so a write to it fails; a read
		// from the client may take forever.
		_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
		<-u.done
		if c.nc.SetReadDeadline(time.Time{}) != nil {
			return false
		}
	}
	return u.complete.Load()
}
