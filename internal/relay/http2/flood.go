package http2

import (
	"encoding/binary"
	"errors"
	"time"

	"cortex.dev/cortex/internal/relay"
)

// Some frames cost a server work and bring nobody on: resets, pings, settings, windows,
// priorities, and empty pieces of a body. A healthy client sends them along with what it
// transfers, so they have a budget that time and transferred bytes renew: it bounds a
// rate, and a long connection does not use it up.
const (
	floodBurst   = 5_000 // net/http ends a connection without a word when 10,000 frames wait to be answered
	floodRefill  = 1_000 // each second
	floodBytes   = 1 << 10
	costOfReset  = 10 // a stream was begun for it, and maybe a request
	costOfOthers = 1
)

// Types of frames (RFC 9113, section 6).
const (
	frameData    = 0
	frameHeaders = 1
	frameReset   = 3
	frameGoAway  = 7

	flagEndStream = 1
	headerSize    = 9
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frames follows the frames of one direction of a connection.
type frames struct {
	skip int // bytes before the next header
	head [headerSize]byte
	n    int    // of head
	last uint32 // the highest stream that was begun
}

// next passes over p up to the end of the next frame's header, which is then in head;
// false: p ends before.
func (f *frames) next(p []byte) (rest []byte, ok bool) {
	if f.n == headerSize {
		f.n = 0
	}
	if f.skip >= len(p) {
		f.skip -= len(p)
		return nil, false
	}
	p = p[f.skip:]
	f.skip = 0
	n := copy(f.head[f.n:], p)
	if f.n += n; f.n < headerSize {
		return nil, false
	}
	f.skip = f.length()
	if f.head[3] == frameHeaders {
		f.last = max(f.last, binary.BigEndian.Uint32(f.head[5:])&(1<<31-1))
	}
	return p[n:], true
}

func (f *frames) length() int {
	return int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
}

// between reports whether nothing of a frame is under way.
func (f *frames) between() bool { return f.skip == 0 && (f.n == 0 || f.n == headerSize) }

// cost is what the frame with that header takes from the budget.
func (f *frames) cost() float64 {
	switch f.head[3] {
	case frameData:
		if f.length() > 0 || f.head[4]&flagEndStream != 0 {
			return 0
		}
	case frameHeaders:
		return 0
	case frameReset:
		return costOfReset
	}
	return costOfOthers
}

var errFlood = errors.New("a flood of frames that do nothing")

// Read is where a flood ends.
func (c *takenConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	now := time.Now()
	c.left += now.Sub(c.at).Seconds()*floodRefill + float64(int64(n)+c.moved.Swap(0))/floodBytes
	c.at = now
	c.left = min(c.left, floodBurst) - costOfReset*float64(c.reset.Swap(0))
	for rest, ok := c.in.next(p[:n]); ok; rest, ok = c.in.next(rest) {
		c.left -= c.in.cost()
	}
	if c.left < 0 {
		c.sayGoAway()
		relay.Linger(c.Conn) // a flood has always more
		return 0, errFlood
	}
	return n, err
}

// sayGoAway tells the client why the connection ends, if it listens. The server writes
// what it has through a buffer, so that a frame may be under way; it ends meanwhile, as
// nothing more is read.
func (c *takenConn) sayGoAway() {
	if c.SetWriteDeadline(time.Now().Add(time.Second)) != nil { // of a write that waits, too
		return
	}
	for late := time.After(time.Second); !c.tryGoAway(); {
		select {
		case <-c.wrote:
		case <-late:
			return
		}
	}
}

// tryGoAway reports whether the last frame was written, or nothing can be.
func (c *takenConn) tryGoAway() bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.broken || !c.out.between() {
		return c.broken
	}
	const enhanceYourCalm = 0xb
	frame := []byte{2: 8, 3: frameGoAway, headerSize + 7: 0}
	binary.BigEndian.PutUint32(frame[headerSize:], c.in.last)
	binary.BigEndian.PutUint32(frame[headerSize+4:], enhanceYourCalm)
	_, _ = c.Conn.Write(frame) // it is closed either way
	return true
}

// Write counts what the server sends: a client that provokes resets floods, too.
func (c *takenConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for rest, ok := c.out.next(p); ok; rest, ok = c.out.next(rest) {
		if c.out.head[3] == frameReset {
			c.reset.Add(1)
		}
	}
	n, err := c.Conn.Write(p)
	c.broken = c.broken || err != nil
	c.moved.Add(int64(n))
	select {
	case c.wrote <- struct{}{}:
	default:
	}
	return n, err
}
