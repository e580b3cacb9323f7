package relay

import (
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/relay/h2"
)

// session is a client's connection of HTTP/2. Each of its streams is an exchange, with a
// goroutine of its own.
type session struct {
	c    *conn
	h    *h2.Conn
	work sync.WaitGroup
	busy atomic.Int32 // exchanges

	mu   sync.Mutex
	live map[*conn]struct{}

	// Of the watch:
	came  uint64 // bytes ever, when it looked
	since int64  // that they are so many
	told  int64  // since when the client knows that no more streams are taken; 0: it does not
	bye   int64  // since when nothing more is said; 0: it is
}

const (
	maxStreams = 250 // of one connection
	// idleWorkers is how many goroutines wait for the next stream, with their stacks.
	idleWorkers = 256
	manyFields  = 64 // more of them are not kept for the next stream
)

// task is a stream that began.
type task struct {
	s  *session
	st *h2.Stream
}

// serveHTTP2 takes the connection over, of which the first line and an empty one were read.
func (c *conn) serveHTTP2() {
	read := append([]byte(nil), c.in.buf[c.in.r-len(preface):c.in.w]...)
	c.in.shut()
	s := &session{c: c, live: map[*conn]struct{}{}, since: c.srv.clock.now()}
	s.h = h2.NewConn(c.nc, h2.Config{Header: c.srv.limits.Header, Streams: maxStreams, Begin: s.begin})
	c.session = s
	if !c.enter(shared) {
		return
	}
	err := s.h.Run(read)
	var e *h2.Error
	if errors.As(err, &e) {
		c.linger()
	}
	_ = c.nc.Close() // what is written to it fails
	s.work.Wait()
}

// begin has a goroutine serve st.
func (s *session) begin(st *h2.Stream) {
	s.work.Add(1)
	srv := s.c.srv
	select {
	case srv.tasks <- task{s, st}:
	default:
		go srv.worker(task{s, st})
	}
}

// worker serves streams, one after another.
func (s *Server) worker(t task) {
	for {
		t.s.serve(t.st)
		if s.idle.Add(1) > idleWorkers {
			s.idle.Add(-1)
			return
		}
		select {
		case t = <-s.tasks:
			s.idle.Add(-1)
		case <-s.ended:
			return
		}
	}
}

// exchanges have room for what most of them have, so that nothing of it grows.
var exchanges = sync.Pool{New: func() any {
	return &conn{out: make([]byte, 0, 1<<10), req: head{fields: make([]field, 0, 16)}, res: head{fields: make([]field, 0, 8)}}
}}

// serve runs the exchange of one stream. A defect costs its stream.
func (s *session) serve(st *h2.Stream) {
	defer s.work.Done()
	c := exchanges.Get().(*conn)
	c.open(s, st)
	s.mu.Lock()
	s.live[c] = struct{}{}
	s.mu.Unlock()
	s.busy.Add(1)
	st.Own(c)
	fine := s.exchange(c)
	s.busy.Add(-1)
	s.mu.Lock()
	delete(s.live, c)
	s.mu.Unlock()
	c.closeStreams()
	if fine && cap(c.out) <= smallBuffer && cap(c.info) <= smallBuffer && cap(c.req.fields)+cap(c.res.fields) <= 2*manyFields {
		exchanges.Put(c)
	}
}

func (s *session) exchange(c *conn) (fine bool) {
	defer func() {
		if r := recover(); r != nil {
			c.srv.log.Error("relaying a request", "panic", r, "stack", string(debug.Stack()))
			c.abort(errDefect)
			c.st.Reset(h2.InternalError)
			c.stopUpload()
		}
		c.finishExchange()
	}()
	if c.readStream() {
		c.exchange()
	}
	return true
}

var errDefect = errors.New("a defect")

// open prepares c for st.
func (c *conn) open(s *session, st *h2.Stream) {
	c.srv, c.ip, c.trusted, c.number, c.secure, c.name = s.c.srv, s.c.ip, s.c.trusted, s.c.number, s.c.secure, s.c.name
	c.st = st
	c.in = reader{nc: st, st: st}
	c.x = Exchange{conn: c}
	c.aborted, c.up, c.place, c.uploads, c.using, c.early = nil, nil, nil, nil, nil, 0
	c.uploading.Store(false)
	c.turn.Store(sending)
	for _, mark := range [...]*atomic.Int64{&c.left, &c.reading, &c.writing} {
		mark.Store(0)
	}
	c.mark.Store(mark(busy, c.srv.clock.now()))
}

// closeStreams closes those that the exchange used, when nobody uses them any more.
func (c *conn) closeStreams() {
	for i, st := range c.spent {
		st.Close()
		c.spent[i] = nil
	}
	c.spent = c.spent[:0]
	c.st.Close()
	c.st = nil
}

// Gone is h2.Owner's: the client has given the stream up, or left.
func (c *conn) Gone() { c.leave(c.srv.clock.now()) }

// finishing is how long a connection that is over may take to be closed by its client.
const finishing = 2 * time.Second

// judge ends what takes too long, in s and its streams.
func (s *session) judge(now int64) {
	s.judgeStreams(now)
	srv, limits := s.c.srv, &s.c.srv.limits
	state := s.h.State()
	if state.Came != s.came || state.Open > 0 {
		s.came, s.since = state.Came, now
	}
	rest := time.Duration(now-s.since) * time.Millisecond
	idleFor := limits.IdleTimeout
	if srv.crowded.Load() {
		idleFor = min(idleFor, time.Second)
	}
	switch {
	case s.bye != 0:
		if time.Duration(now-s.bye)*time.Millisecond > finishing {
			s.h.Close()
		}
	case !state.Stuck.IsZero() && time.Since(state.Stuck) > limits.BodyTimeout:
		s.h.Close()
	case state.Half && rest > limits.HeaderTimeout, state.Open == 0 && rest > idleFor && s.told == 0:
		s.told = now
		s.h.GoAway(true)
		s.end(now)
	case srv.draining.Load() && s.told == 0:
		s.told = now
		s.h.GoAway(false)
	case s.told != 0 && time.Duration(now-s.told)*time.Millisecond > lastRequest:
		s.h.GoAway(true)
		if state.Open == 0 {
			s.end(now)
		}
	}
}

// end says nothing more: the client, which has read that, closes the connection.
func (s *session) end(now int64) {
	s.bye = now
	_ = s.c.nc.CloseWrite() // what fails ends by itself
}

func (s *session) judgeStreams(now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.live {
		_, since := unmark(c.mark.Load())
		if age := time.Duration(now-since) * time.Millisecond; age < tick || !due(age, uint64(now)/uint64(tick.Milliseconds())+s.c.number) { //nolint:gosec // neither is negative
			continue
		}
		limit := c.srv.limits.BodyTimeout.Milliseconds()
		r, w := c.reading.Load(), c.writing.Load()
		// A client that sends nothing more once the answer has begun is in a conversation, of
		// which the server knows how long it may rest.
		if r != 0 && now-r > limit && c.turn.Load() != answering && c.waits() {
			c.st.Fail(errSlowBody)
		}
		if w != 0 && now-w > limit && !c.takes() {
			c.abort(errGone)
			c.st.Reset(h2.Cancel)
		}
		if c.left.Load() != 0 {
			c.leave(now)
		}
		if w != 0 {
			c.upstreamGone()
		}
	}
}

// abort gives every exchange up.
func (s *session) abort(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.live {
		c.abort(why)
	}
}

// errSlowBody answers a request whose body did not come.
var errSlowBody = &refusal{408, "body_timeout", "the body of the request did not arrive in time"}
