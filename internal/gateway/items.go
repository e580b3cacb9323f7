package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"cortex.dev/cortex/internal/executions"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/workload"
)

// Inside answers the requests of APIs that have none of their own replicas do that.
type Inside interface {
	// Serve answers a request to an API. The path of r begins below its endpoint, which is
	// what base is.
	Serve(api, base string, w http.ResponseWriter, r *http.Request)
}

// Items takes the requests of AsyncAPIs, and knows how many of them wait.
type Items interface {
	Inside
	// MeanLoad returns how many items of an API waited or were executed, on average since
	// it was called before.
	MeanLoad(api string) float64
	// Backlog returns what an API has to do, without what no replica is started for.
	Backlog(api string) workload.Backlog
	// Look returns the JSON that Serve answers to a GET of an item, where that can be said at
	// once and in some kilobytes; nil: ask Serve.
	Look(ctx context.Context, api, base, id string) []byte
	// Load returns how many of them wait and are executed now.
	Load(api string) (queued, running int)
}

// Seat is a place at a replica for the execution of an item: one of those that requests
// get. Its holder owes a Done or an Unreached.
type Seat struct {
	r       *replica
	cuts    uint32
	next    http.RoundTripper
	keeps   bool // its sidecar has the item executed
	stopped bool // its sidecar said that the replica had to stop
	ended   sync.Once
}

// Seat waits for a place at a replica of an API. If the API sleeps it is woken, or, without
// wake, Seat fails. It fails with what a request would be answered, or with ctx's error.
func (g *Gateway) Seat(ctx context.Context, api string, wake bool) (*Seat, error) {
	g.mu.Lock()
	w := g.works[api]
	g.mu.Unlock()
	switch {
	case w == nil || !w.deployed.Load() || !w.items.Load() || w.jobs.Load():
		return nil, errDeleted
	case w.stopped.Load():
		return nil, errStopped
	case !wake && w.pool.Load().Ready == 0:
		return nil, errAsleep
	}
	// again: who hands items out waits for one place at a time, and no bound is for that.
	r, ans := g.acquireAgain(ctx, w)
	if ctx.Err() != nil && ans != nil {
		return nil, context.Cause(ctx)
	}
	if ans != nil {
		return nil, fmt.Errorf("%s: %s", ans.Code, ans.Message)
	}
	return g.seat(r), nil
}

func (g *Gateway) seat(r *replica) *Seat {
	return &Seat{r: r, cuts: r.upstream.Cuts(), next: g.executing, keeps: g.cfg.Sidecars}
}

// SeatAt is a place at one replica, for an item that it executes already. It waits for a
// moment where the replica is not known: this gateway may have started just now.
func (g *Gateway) SeatAt(ctx context.Context, api, replica string) (*Seat, error) {
	ctx, cancel := context.WithTimeout(ctx, seatAtWithin)
	defer cancel()
	tick := time.NewTicker(seatAtEvery)
	defer tick.Stop()
	for {
		g.mu.Lock()
		if w := g.works[api]; w != nil {
			if r := w.replicas[replica]; r != nil && r.upstream.Addr() != "" {
				r.backend.Occupy()
				g.mu.Unlock()
				return g.seat(r), nil
			}
		}
		g.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no replica %s of %s is known", replica, api)
		case <-tick.C:
		}
	}
}

// How long a replica is waited for that is not known, and how often it is looked.
const (
	seatAtWithin = 5 * time.Second
	seatAtEvery  = 50 * time.Millisecond
)

// acquireAgain is acquire for an item, which no bound of a queue refuses.
func (g *Gateway) acquireAgain(ctx context.Context, w *work) (*replica, *relay.Answer) {
	var v visit // of which nothing is recorded: there is no request
	return g.acquire(func() context.Context { return ctx }, w, 0, 1, &v)
}

// Replica is which replica the place is at, and of which revision.
func (s *Seat) Replica() (id, revision string) { return s.r.id, *s.r.revision.Load() }

// Keeps reports whether the replica goes on with an execution, and keeps its answer, when we
// go away: its sidecar does.
func (s *Seat) Keeps() bool { return s.keeps }

// Execute sends r, of which id is the execution. It fails as a connection that cannot be
// opened does where nothing of it has reached the container.
func (s *Seat) Execute(r *http.Request, id string) (*http.Response, error) {
	out := *r
	u := *r.URL
	u.Scheme, u.Host = "http", s.r.upstream.Addr()
	if out.URL = &u; !s.keeps {
		return s.next.RoundTrip(&out)
	}
	if err := s.execution(&u, id); err != nil {
		return nil, err
	}
	return s.told(s.next.RoundTrip(&out))
}

// Attach waits for the answer of an execution that was sent before. It fails where the
// replica does not know it.
func (s *Seat) Attach(ctx context.Context, id string) (*http.Response, error) {
	r, err := s.ask(ctx, http.MethodGet, id)
	if err != nil {
		return nil, err
	}
	return s.told(s.next.RoundTrip(r))
}

// Forget ends an execution, or has its answer forgotten.
func (s *Seat) Forget(ctx context.Context, id string) error {
	r, err := s.ask(ctx, http.MethodDelete, id)
	if err != nil {
		return err
	}
	resp, err := s.next.RoundTrip(r)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (s *Seat) ask(ctx context.Context, method, id string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://replica/", http.NoBody)
	if err != nil {
		return nil, err
	}
	return r, s.execution(r.URL, id)
}

// execution is where the sidecar has an execution.
func (s *Seat) execution(u *url.URL, id string) error {
	host, _, err := net.SplitHostPort(s.r.upstream.Addr())
	if err != nil {
		return fmt.Errorf("the address of a replica: %w", err)
	}
	executions.At(u, host, workload.ExecutionsPath+id)
	return nil
}

// told reads what a sidecar says of an execution.
func (s *Seat) told(resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		return nil, err
	}
	resp, err = executions.Answer(resp)
	s.stopped = s.stopped || errors.Is(err, executions.ErrStopped)
	return resp, err
}

// Cut reports whether the replica was told to stop, and could not wait for the end.
func (s *Seat) Cut() bool { return s.stopped || s.r.upstream.Cuts() != s.cuts }

// Done gives the place back.
func (s *Seat) Done() { s.ended.Do(func() { s.r.Done(0) }) }

// Unreached gives the place back of a replica that took no connection.
func (s *Seat) Unreached(err error) { s.ended.Do(func() { s.r.Unreached(err) }) }

// inside is where requests to AsyncAPIs go: a server in this process, which the relay
// reaches as it does a replica, by pairs of sockets that nobody else can open. What is
// bounded, watched and streamed for replicas is so for items too.
type inside struct {
	conns chan net.Conn
	once  sync.Once
	ended chan struct{}
}

func newInside() *inside { return &inside{conns: make(chan net.Conn), ended: make(chan struct{})} }

var _ net.Listener = (*inside)(nil)

// upstream returns the way of the requests of one API.
func (n *inside) upstream(api string) *relay.Upstream {
	return relay.NewUpstreamOf("items of "+api, func(ctx context.Context) (net.Conn, error) {
		ours, theirs, err := pair()
		if err != nil {
			return nil, &net.OpError{Op: "dial", Net: "unix", Err: err}
		}
		select {
		case n.conns <- insideConn{theirs, api}:
			return ours, nil
		case <-n.ended:
			err = net.ErrClosed
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		_, _ = ours.Close(), theirs.Close() // nothing was said
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: err}
	})
}

// insideConn is a connection on which there are requests of one API only.
type insideConn struct {
	net.Conn
	api string
}

// pair returns two connected sockets.
func pair() (a, b net.Conn, _ error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if a, err = connOf(fds[0]); err != nil {
		_ = syscall.Close(fds[1]) // the error is known
		return nil, nil, err
	}
	if b, err = connOf(fds[1]); err != nil {
		_ = a.Close() // the error is known
		return nil, nil, err
	}
	return a, b, nil
}

func connOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "items")
	defer f.Close() // net keeps a copy
	return net.FileConn(f)
}

// Accept is net.Listener's.
func (n *inside) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.ended:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (n *inside) Close() error {
	n.once.Do(func() { close(n.ended) })
	return nil
}

// Addr is net.Listener's.
func (n *inside) Addr() net.Addr { return &net.UnixAddr{Name: "items", Net: "unix"} }

type insideKey struct{}

// serve answers until ctx ends; then what is open is given a moment.
func (n *inside) serve(ctx context.Context, g *Gateway) {
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			api, _ := r.Context().Value(insideKey{}).(string)
			g.serveItems(api, w, r)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			with, _ := c.(insideConn)
			return context.WithValue(ctx, insideKey{}, with.api)
		},
		ReadHeaderTimeout: 10 * time.Second, // the relay has the head, and writes it at once
		MaxHeaderBytes:    1 << 20,          // the relay has bounded it
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if server.Shutdown(late) != nil {
			_ = server.Close() // who is still there is not served any more
		}
	})
	defer stop()
	_ = server.Serve(n) // it ends when it is closed
}

// serveItems answers a request to an AsyncAPI, whose path begins below the endpoint.
func (g *Gateway) serveItems(api string, w http.ResponseWriter, r *http.Request) {
	base, jobs := "", false
	if route := g.snap.Load().claims[api]; route != nil {
		base, jobs = route.endpoint, route.jobs()
		if route.host != "" && string(plainHost(nil, []byte(r.Host))) == route.host {
			base = "" // see route.base
		}
	}
	if jobs {
		g.cfg.Jobs.Serve(api, cmp.Or(base, "/"), w, r)
		return
	}
	g.cfg.Items.Serve(api, base, w, r)
}

// itemsPlace is where a request to an AsyncAPI goes.
type itemsPlace struct{ upstream *relay.Upstream }

var _ relay.Place = itemsPlace{}

// Upstream is the server inside.
func (p itemsPlace) Upstream() *relay.Upstream { return p.upstream }

// Done is relay.Place's: nothing was taken.
func (p itemsPlace) Done(int) {}

// Unreached is relay.Place's.
func (p itemsPlace) Unreached(error) {}
