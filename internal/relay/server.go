package relay

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a Server needs.
type Config struct {
	Handler Handler
	Limits  Limits
	// Front says that a relay of ours is in front, and nobody else: what it says of
	// the client (X-Forwarded-…) stands, and nothing is added to it.
	Front bool
	// Trusted are the addresses of proxies in front whose word on their clients stands,
	// with this hop added. What anybody else says of itself is not passed on.
	Trusted []netip.Prefix
	// Behind says that the upstreams are relays of ours: their X-Cortex-Reason
	// travels on, and an answer with the reason Unreached is none: the request, if it
	// is still here whole, goes to another place.
	Behind bool
	// TLS has clients speak it. Nil: they do not.
	TLS *tls.Config
	// Shook is told how each handshake of TLS ended; nil: nobody is.
	Shook func(err error)
	// Observers are told of every exchange, in this order.
	Observers []Observer
	Log       *slog.Logger // defects only; nil: none
}

// Unreached is the reason (X-Cortex-Reason) of a relay whose upstream accepts no
// connection: nothing of the request was sent on.
const Unreached = "replica_unreachable"

// Server accepts connections of clients and forwards their requests.
type Server struct {
	handler Handler
	limits  Limits
	front   bool
	behind  bool
	trusted []netip.Prefix
	early   *Budget
	ahead   *Ahead
	tls     *tls.Config // nil: none is spoken
	shook   func(error)
	// watchers are usually one or two.
	watchers []Observer
	// answerHeader bounds the heads of upstreams as limits.Header does those of clients.
	answerHeader int
	log          *slog.Logger

	clock    clock
	draining atomic.Bool
	crowded  atomic.Bool   // there are nearly as many connections as there may be
	tasks    chan task     // streams, for goroutines that wait for one
	idle     atomic.Int32  // of those
	ended    chan struct{} // closed when there are no more streams

	mu    sync.Mutex
	conns map[*conn]struct{}
	peers map[netip.Addr]int // connections of each address that is bounded
	// All of conns are either looked at in every tick, or rest: see look.
	lively  map[*conn]struct{}
	resting [restingLooks]map[*conn]struct{}
	ticks   uint64    // looks at them
	taken   uint64    // connections ever
	shaking list.List // those whose handshake is not over, the oldest one first
	work    sync.WaitGroup
}

// NewServer returns a server that serves nothing yet.
func NewServer(cfg Config) *Server {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		handler: cfg.Handler, limits: cfg.Limits.WithDefaults(), front: cfg.Front, behind: cfg.Behind, watchers: cfg.Observers, log: log,
		conns: map[*conn]struct{}{}, lively: map[*conn]struct{}{}, peers: map[netip.Addr]int{}, trusted: cfg.Trusted, tls: cfg.TLS, shook: cfg.Shook,
		tasks: make(chan task), ended: make(chan struct{}),
	}
	s.early, s.ahead = NewBudget(s.limits.EarlyBodies), NewAhead(s.limits.AheadBodies)
	s.answerHeader = s.limits.Header
	if s.behind {
		s.answerHeader += roomHeader
	}
	if s.front { // the host went twice into the head: X-Forwarded-Host
		s.limits.Header = 2*s.limits.Header + roomHeader
	}
	s.clock.renew()
	return s
}

// Serve accepts from ln until ctx ends; then it finishes the requests that were
// accepted, for at most grace, closes everything and returns nil. It returns
// early only when ln fails. A server serves once.
func (s *Server) Serve(ctx context.Context, ln net.Listener, grace time.Duration) error {
	// The watch outlives ctx: what is finished after it has timeouts and clients, too.
	watch, stopWatch := context.WithCancel(context.WithoutCancel(ctx))
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(watch) })
	stopAccept := context.AfterFunc(ctx, func() {
		s.draining.Store(true)
		_ = ln.Close() // unblocks Accept, which reports it
	})
	err := s.accept(ctx, ln)
	stopAccept()
	s.draining.Store(true)
	_ = ln.Close() // a second time when ctx ended
	s.drain(grace)
	close(s.ended)
	stopWatch()
	watching.Wait()
	return err
}

func (s *Server) accept(ctx context.Context, ln net.Listener) error {
	var pause time.Duration
	for {
		nc, err := ln.Accept()
		if err == nil {
			pause = 0
			s.start(nc)
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return err
		}
		// Out of file descriptors, most likely: those who wait in the backlog are
		// served when connections close.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.log.Warn("accepting a connection", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// start serves nc in a goroutine of its own, or closes it when there are too many.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	ok := len(s.conns) < s.limits.Conns && (!c.peer.IsValid() || s.peers[c.peer] < s.limits.ConnsPerAddr)
	if ok {
		s.taken++
		c.number = s.taken
		s.conns[c], s.lively[c] = struct{}{}, struct{}{}
		if c.peer.IsValid() {
			s.peers[c.peer]++
		}
	}
	var oldest *conn
	if ok && s.tls != nil {
		c.shaking = s.shaking.PushBack(c)
		if s.shaking.Len() > s.limits.Handshakes {
			oldest, _ = s.shaking.Remove(s.shaking.Front()).(*conn)
		}
	}
	s.mu.Unlock()
	if oldest != nil {
		_ = oldest.nc.Close() // its handshake fails
	}
	if !ok {
		_ = nc.Close() // nothing was read from it
		return
	}
	s.work.Go(func() {
		c.serve()
		s.forget(c)
	})
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	delete(s.lively, c)
	delete(s.resting[c.number%restingLooks], c)
	if !c.peer.IsValid() {
		return
	}
	if s.peers[c.peer]--; s.peers[c.peer] == 0 {
		delete(s.peers, c.peer)
	}
}

// drain returns when the last connection is closed; after grace it closes them.
func (s *Server) drain(grace time.Duration) {
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	s.mu.Lock()
	for c := range s.conns {
		if m, _ := unmark(c.mark.Load()); m == shared {
			c.session.abort(errDrained)
		}
		c.abort(errDrained)
		_ = c.nc.Close() // its goroutine reports it
	}
	s.mu.Unlock()
	<-done
}

var (
	errDrained = errors.New("the server stopped")
	errGone    = errors.New("the client went away")
)
