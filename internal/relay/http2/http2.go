// Package http2 serves HTTP/2 without TLS on connections that a relay took in and
// hands over, and answers as a relay does. net/http speaks the protocol: its cost
// per request is several times that of the relay, and few clients use it.
//
// It promises that its streams are bounded, and that shutting it down finishes
// them. It must not decide where a request goes.
package http2

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/relay"
)

// Server serves connections given to Take.
type Server struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	addr   net.Addr
	once   sync.Once

	bodyTimeout time.Duration
	mu          sync.Mutex
	streams     map[*stream]struct{}
}

// Config is what a Server needs.
type Config struct {
	Handler http.Handler
	Addr    net.Addr     // of the listener from which connections come
	Log     *slog.Logger // defects only; nil: none
	// BodyTimeout ends a stream whose body makes no progress for so long because of the
	// client, in either direction; 5 min.
	BodyTimeout time.Duration
}

// New returns a server that serves nothing yet.
func New(cfg Config) *Server {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{conns: make(chan net.Conn), closed: make(chan struct{}), addr: cfg.Addr, bodyTimeout: cfg.BodyTimeout, streams: map[*stream]struct{}{}}
	if s.bodyTimeout <= 0 {
		s.bodyTimeout = 5 * time.Minute
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	s.server = &http.Server{
		Handler: s.watched(surviving(cfg.Handler, log)), Protocols: &protocols,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second, MaxHeaderBytes: 64 << 10,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 250, MaxReceiveBufferPerStream: 256 << 10, MaxReceiveBufferPerConnection: 1 << 20,
			WriteByteTimeout: s.bodyTimeout},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // what clients do wrong
	}
	return s
}

// surviving has a defect cost its stream, as one of a relay costs its connection.
func surviving(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p != http.ErrAbortHandler { //nolint:errorlint // net/http compares so, too
				log.Error("serving a stream of HTTP/2", "panic", p, "stack", string(debug.Stack()))
			}
			panic(http.ErrAbortHandler) // which breaks the stream
		}()
		h.ServeHTTP(w, r)
	})
}

// Take serves one connection, of which nothing was read, and returns when it is
// closed. Of a server that has ended it returns at once.
func (s *Server) Take(nc net.Conn) {
	c := &takenConn{Conn: nc, closed: make(chan struct{}), wrote: make(chan struct{}, 1), in: frames{skip: len(preface)}, left: floodBurst, at: time.Now()}
	select {
	case s.conns <- c:
		<-c.closed
	case <-s.closed:
	}
}

// Run serves until ctx ends, and then finishes the streams that are open, for at
// most grace.
func (s *Server) Run(ctx context.Context, grace time.Duration) {
	var both sync.WaitGroup
	both.Go(func() { _ = s.server.Serve(acceptor{s}) })           // ends with Shutdown, and says just that
	watch, stop := context.WithCancel(context.WithoutCancel(ctx)) // what is finished after ctx has clients, too
	defer stop()
	both.Go(func() { s.watch(watch) })
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if s.server.Shutdown(last) != nil {
		_ = s.server.Close() // what is left had its time
	}
	stop()
	both.Wait()
}

// acceptor makes taken connections a listener.
type acceptor struct{ s *Server }

func (a acceptor) Accept() (net.Conn, error) {
	select {
	case c := <-a.s.conns:
		return c, nil
	case <-a.s.closed:
		return nil, net.ErrClosed
	}
}

func (a acceptor) Close() error {
	a.s.once.Do(func() { close(a.s.closed) })
	return nil
}

func (a acceptor) Addr() net.Addr { return a.s.addr }

// takenConn tells when its server closed it, and ends when it is flooded.
type takenConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}

	in    frames
	left  float64 // of the budget for frames that do nothing
	at    time.Time
	moved atomic.Int64 // bytes that were written since the budget was renewed
	reset atomic.Int64 // streams that the server reset since then

	writing sync.Mutex // guards the rest
	out     frames
	broken  bool          // a write failed
	wrote   chan struct{} // of one, holds a token after a write
}

func (c *takenConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Transport returns one that speaks HTTP/1.1, or HTTP/2 without TLS, to replicas. An
// answer that switches protocols is Refused: no stream of HTTP/2 can ask for it.
func Transport(http2 bool) http.RoundTripper {
	var p http.Protocols
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	return transport{&http.Transport{
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, Protocols: &p,
		DisableCompression: true, MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second,
	}}
}

type transport struct{ *http.Transport }

// RoundTrip closes a connection on which the protocol was switched: a proxy that can
// make nothing of it closes no body, and what Then has to do would never be done.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	_ = resp.Body.Close()
	return nil, Refused{&relay.Answer{Status: 502, Code: "upstream_malformed", Origin: "api",
		Message: "the API's server switched protocols although the request did not ask for it"}}
}

// Answer writes a, made here, for the request r; to a gRPC client as the status of
// its call, because it does not read that of the request.
func Answer(w http.ResponseWriter, r *http.Request, a *relay.Answer) {
	h := w.Header()
	h.Set("X-Cortex-Reason", a.Code)
	if id := r.Header.Get("X-Request-Id"); id != "" {
		h.Set("X-Request-Id", id)
	}
	if a.Origin != "" {
		h.Set("X-Cortex-Origin", a.Origin)
	}
	if IsGRPC(r) {
		h.Set("Content-Type", "application/grpc")
		h.Set("Grpc-Status", strconv.Itoa(grpcStatus(a.Status)))
		h.Set("Grpc-Message", url.PathEscape(a.Message))
		w.WriteHeader(http.StatusOK)
		return
	}
	body, mediaType := a.Body()
	h.Set("Content-Type", mediaType)
	if s := a.RetrySeconds(); s > 0 {
		h.Set("Retry-After", strconv.Itoa(s))
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(body) // the client may be gone
}

// ForwardAtOnce has a reverse proxy whose FlushInterval is 0 pass on what comes of resp's
// body when it comes, and an answer without one as a whole. A gRPC call may end with
// nothing but a head; clients take a head and an empty body for a call broken off. With
// a FlushInterval of -1, which of them is sent is a race.
func ForwardAtOnce(resp *http.Response) {
	if resp.ContentLength != 0 {
		resp.ContentLength = -1 // the field of the head stays
	}
}

// ForwardTrailer has p.Out send the trailer of p.In, of which relays forward the same
// fields. net/http copies it before its values are there.
func ForwardTrailer(p *httputil.ProxyRequest) {
	for name := range p.In.Trailer {
		if !relay.MayTrail([]byte(name)) {
			delete(p.In.Trailer, name) // and so it is not read
		}
	}
	p.Out.Trailer = p.In.Trailer
}

// Unreached reports whether resp is the Answer of a relay of ours that reached nobody:
// nothing of the request was sent on. Whoever asks knows that a relay of ours sent it;
// anybody can write such a field.
func Unreached(resp *http.Response) bool {
	return resp.Header.Get("X-Cortex-Reason") == relay.Unreached // whatever the status: gRPC has its own
}

// Refused carries an answer that was made here out of a transport.
type Refused struct{ *relay.Answer }

func (e Refused) Error() string { return e.Message }

// Fail answers the request r, which got no response because of err: with the answer
// that err carries, or with 502 of origin. It returns the answer.
func Fail(w http.ResponseWriter, r *http.Request, err error, origin string) *relay.Answer {
	a := &relay.Answer{Status: 502, Code: "upstream_closed", Origin: origin,
		Message: "the API's server closed the connection before it answered; see its logs"}
	var with Refused
	if errors.As(err, &with) {
		a = with.Answer
	}
	Answer(w, r, a)
	return a
}

// IsGRPC reports whether r is a gRPC call.
func IsGRPC(r *http.Request) bool {
	t := r.Header.Get("Content-Type")
	return t == "application/grpc" || strings.HasPrefix(t, "application/grpc+") || strings.HasPrefix(t, "application/grpc;")
}

// CallStatus returns the gRPC code in an answer that was written whole, if it has one: in
// its trailer, or in its head when there is nothing else.
func CallStatus(answer http.Header) (code int, ok bool) {
	code, err := strconv.Atoi(cmp.Or(answer.Get("Grpc-Status"), answer.Get(http.TrailerPrefix+"Grpc-Status")))
	return code, err == nil
}

// StatusOfCall is the HTTP status that says what a gRPC code does, as gRPC's own gateways
// to HTTP have it.
func StatusOfCall(code int) int {
	if code < 0 || code >= len(callStatuses) {
		return http.StatusInternalServerError
	}
	return callStatuses[code]
}

var callStatuses = [...]int{
	0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}

// grpcStatus is the gRPC code that says what an HTTP status does.
func grpcStatus(status int) int {
	switch status {
	case 400:
		return 13 // internal: gRPC has no word for a malformed path
	case 404:
		return 12 // unimplemented
	}
	return 14 // unavailable
}
