// Package h2 speaks HTTP/2 (RFC 9113) on one connection, as a server or as a client, for
// a relay: heads come and go as the text of HTTP/1.1, so that the relay has one set of
// rules for both, and bodies as pieces.
//
// One goroutine reads a connection and hands what it reads to the streams. Nobody writes
// for others: who has something to say adds it to what is to be written, and whoever is
// the first one to do so writes that of all, so that many small answers are one system
// call.
//
// It promises that every buffer is bounded, whatever the peer does; that what RFC 9113
// says of frames and fields is held to; and that a stream that rests keeps no buffer for
// what it might get. It knows neither requests' meaning nor where they go.
package h2

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
)

// Transport is the connection below.
type Transport interface {
	io.ReadWriteCloser
	// WriteNow writes what can be written without waiting.
	WriteNow(p []byte) (int, error)
}

// Config is what a Conn needs.
type Config struct {
	// Header bounds a head, as text.
	Header int
	// Streams is how many the peer may have open; of a client, how many it opens at most.
	Streams int
	// Begin takes a stream that a client began, and must not block. Nil: the connection is
	// a client's own.
	Begin func(*Stream)
}

const (
	streamWindow = 256 << 10 // bytes of a stream that nobody has read yet
	connWindow   = 1 << 20   // and of all of a client's
	// ofServers is that of a connection to a server. It is renewed as bytes come: what one
	// stream does not read must not hold the others up.
	ofServers   = 16 << 20
	outBound    = 64 << 10 // bytes that wait to be written; who has more waits, too
	maxControl  = 1 << 20  // bytes that wait to be written in all: the peer asks, and does not read
	smallBuffer = 4 << 10
	largeBuffer = 32 << 10
	ahead       = 100 // streams that a server takes before it has said how many
)

// Why streams fail.
var (
	// ErrClosed: the connection has ended.
	ErrClosed = errors.New("the connection of HTTP/2 has ended")
	// ErrReset: the peer has given the stream up.
	ErrReset = errors.New("the stream was reset")
	// ErrRefused: the server has done nothing with the request.
	ErrRefused = errors.New("the server has not taken the request")
	// ErrMalformed: what the peer sent on the stream is not HTTP/2.
	ErrMalformed = errors.New("what was sent is not HTTP/2")
	// ErrInterrupted: Interrupt was called.
	ErrInterrupted = errors.New("reading was interrupted")
	errOver        = errors.New("the stream is over")
)

// Conn is a connection. All methods may be called at once, but for Run.
type Conn struct {
	nc     Transport
	cfg    Config
	server bool

	// Of the goroutine that reads:
	buf    []byte
	r, w   int // buf[r:w] is unread
	dec    *hpack.Decoder
	d      decoding
	block  []byte // of a head whose end is still to come
	opened frame  // by which it began
	within bool   // there is one
	self   bool   // it says that its stream depends on itself
	budget budget

	mu      sync.Mutex
	streams map[uint32]*Stream
	open    int // streams whose owners have not closed them
	last    uint32
	resets  [64]uint32 // streams that were reset here, of late
	nreset  int
	err     error // the connection has ended
	said    bool  // GOAWAY was sent: what is after final is not taken
	final   uint32
	going   bool // no more streams are opened here
	// finishing says that the connection ends with its last stream.
	finishing bool
	next      uint32
	used      uint64 // streams ever
	came      uint64 // bytes ever
	greeted   bool   // the peer's first settings came, and were looked at
	half      bool   // a head has begun
	credit    int    // of the budget: what streams added and took since it was looked at

	out      []byte
	spare    []byte
	flushing bool
	stuck    time.Time // since when the peer takes nothing; zero: it does
	waiting  []*Stream // for a window or for room in out
	enc      encoder

	window   int // what may be sent
	winFirst int // of a new stream
	most     int // streams that the peer takes
	win      int // what the peer may send
	taken    int // of which was read, and is still to be given back

	pinged  time.Time
	unheard bool // a ping was not answered yet
}

// NewConn returns a connection on which nothing was said. Its first frames go out with Run.
func NewConn(nc Transport, cfg Config) *Conn {
	c := &Conn{nc: nc, cfg: cfg, server: cfg.Begin != nil, streams: map[uint32]*Stream{}, window: firstWin, winFirst: firstWin, most: ahead, next: 1, win: ofServers}
	c.budget.left, c.budget.at = floodBurst, time.Now()
	c.dec = hpack.NewDecoder(tableSize, c.field)
	c.dec.SetMaxStringLength(cfg.Header)
	c.enc.init()
	if !c.server {
		c.out = append(c.out, Preface...)
		c.out = appendFrame(c.out, 18, frameSettings, 0, 0)
		c.out = appendSetting(c.out, settingPush, 0)
	} else {
		c.win = connWindow
		c.out = appendFrame(c.out, 18, frameSettings, 0, 0)
		c.out = appendSetting(c.out, settingStreams, cfg.Streams)
	}
	c.out = appendSetting(c.out, settingWindow, streamWindow)
	c.out = appendSetting(c.out, settingList, cfg.Header)
	c.out = appendWindow(c.out, 0, c.win-firstWin)
	return c
}

// Run reads until the connection ends, and says why; begun is what was read of it before.
// What the peer did wrong is an Error, of which it was told. The transport stays open.
func (c *Conn) Run(begun []byte) error {
	c.buf = make([]byte, max(smallBuffer, len(begun)))
	c.w = copy(c.buf, begun)
	c.mu.Lock()
	c.flush()
	c.mu.Unlock()
	err := c.read()
	var e *Error
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.As(err, &e) && c.err == nil {
		c.out = appendGoAway(c.out, c.last, e.Code)
		c.flush()
	}
	c.end(ErrClosed)
	return err
}

func (c *Conn) read() error {
	for greeted := !c.server; ; {
		if !greeted && c.w-c.r >= len(Preface) {
			if string(c.buf[c.r:][:len(Preface)]) != Preface {
				return wrong(ProtocolError, "the preface is another one")
			}
			c.r += len(Preface)
			greeted = true
		}
		if greeted {
			if err := c.frames(); err != nil {
				return err
			}
		}
		if c.r == c.w {
			c.r, c.w = 0, 0
		} else if c.r > 0 && c.w == len(c.buf) {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		}
		if c.w == len(c.buf) { // a frame that is longer
			larger := make([]byte, largeBuffer)
			copy(larger, c.buf[:c.w])
			c.buf = larger
		}
		c.mu.Lock()
		c.flush()
		err := c.err
		c.mu.Unlock()
		if err != nil {
			return err
		}
		n, err := c.nc.Read(c.buf[c.w:])
		if n == 0 && err != nil {
			return err
		}
		c.w += n
		if len(c.buf) > smallBuffer && c.w < smallBuffer/4 { // it has become quiet
			small := make([]byte, smallBuffer)
			copy(small, c.buf[:c.w])
			c.buf = small
		}
		c.mu.Lock()
		c.came += uint64(n) //nolint:gosec // it is not negative
		credit := c.credit
		c.credit, c.unheard = 0, false
		c.mu.Unlock()
		c.budget.renew(n)
		if !c.budget.take(float64(-credit)) {
			return errFlood
		}
	}
}

// end fails every stream; mu is held.
func (c *Conn) end(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	for _, s := range c.streams {
		s.fail(err)
	}
}

// flush writes what there is to be written, unless somebody does. mu is held, and let go
// meanwhile.
func (c *Conn) flush() {
	if c.flushing || len(c.out) == 0 || c.err != nil {
		return
	}
	c.flushing = true
	if len(c.streams) > 1 { // those who are about to say something say it first
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.writeNow()
}

// flushNow is flush without waiting for others, for who holds other locks.
func (c *Conn) flushNow() {
	if !c.flushing && len(c.out) > 0 && c.err == nil {
		c.flushing = true
		c.writeNow()
	}
}

func (c *Conn) writeNow() {
	for len(c.out) > 0 && c.err == nil {
		p := c.out
		c.out, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		n, err := c.nc.WriteNow(p)
		c.mu.Lock()
		if err != nil {
			c.end(ErrClosed)
			_ = c.nc.Close() // its reader reports it
			break
		}
		if n < len(p) {
			c.stuck = time.Now()
			go c.writeOn(p, n)
			return // with flushing
		}
		c.wrote(p)
	}
	c.flushing = false
}

// wrote is for what was written whole; mu is held.
func (c *Conn) wrote(p []byte) {
	if cap(p) <= 2*outBound {
		c.spare = p[:0]
	}
	if len(c.out) < outBound {
		c.wake()
	}
}

// writeOn writes p[n:], and what comes after it, for a peer that takes it slowly.
func (c *Conn) writeOn(p []byte, n int) {
	for {
		_, err := c.nc.Write(p[n:])
		n = 0
		c.mu.Lock()
		c.stuck = time.Time{}
		if err != nil {
			c.end(ErrClosed)
			_ = c.nc.Close() // its reader reports it
		}
		c.wrote(p)
		if len(c.out) == 0 || c.err != nil {
			c.flushing = false
			c.mu.Unlock()
			return
		}
		c.stuck = time.Now()
		p = c.out
		c.out, c.spare = c.spare[:0], nil
		c.mu.Unlock()
	}
}

// wake has those look again who wait to send; mu is held.
func (c *Conn) wake() {
	for _, s := range c.waiting {
		s.waits = false
		s.changed.Broadcast()
	}
	clear(c.waiting)
	c.waiting = c.waiting[:0]
}

// State is how a connection does.
type State struct {
	Open  int       // streams
	Came  uint64    // bytes ever
	Stuck time.Time // since when the peer takes nothing of what is written; zero: it does
	Half  bool      // a head has begun, or the peer has yet to introduce itself
	Over  bool      // nobody can open a stream any more
}

// State returns that of c.
func (c *Conn) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return State{Open: c.open, Came: c.came, Stuck: c.stuck, Half: c.half || !c.greeted, Over: c.going || c.err != nil}
}

// GoAway has the peer begin no more streams. Those that it began are finished; with final,
// what it began since it was told is not taken.
func (c *Conn) GoAway(final bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.said {
		return
	}
	last := uint32(maxID)
	if final {
		last, c.said, c.final = c.last, true, c.last
	}
	c.out = appendGoAway(c.out, last, NoError)
	c.flushNow()
}

// Ping asks a peer that has said nothing for a while whether it is there; false: it was
// asked at least within before, and has said nothing since.
func (c *Conn) Ping(now time.Time, within time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unheard {
		return now.Sub(c.pinged) < within
	}
	c.unheard, c.pinged = true, now
	c.out = append(appendFrame(c.out, 8, framePing, 0, 0), "cortex.."...)
	c.flushNow()
	return true
}

// Close ends the connection, and with it every stream.
func (c *Conn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end(ErrClosed)
	_ = c.nc.Close() // its reader reports it
}

// Finish ends the connection when its last stream is closed; no more are opened.
func (c *Conn) Finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.going, c.finishing = true, true
	if c.open == 0 {
		c.end(ErrClosed)
		_ = c.nc.Close() // its reader reports it
	}
}

// Open returns a new stream of a client, or nil when the server takes no more on this
// connection. first says that nothing went over the connection before.
func (c *Conn) Open() (s *Stream, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.going || c.open >= min(c.most, c.cfg.Streams) || c.next > maxID-2*uint32(c.cfg.Streams) { //nolint:gosec // a few hundred
		return nil, false
	}
	c.used++
	c.open++
	s = newStream(c)
	return s, c.used == 1
}
