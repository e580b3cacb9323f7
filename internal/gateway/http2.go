package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/relay"
)

// front serves HTTP/2 without TLS over the same route, split, limit and hold as
// HTTP/1. net/http speaks the protocol: its cost per request is several times
// that of the relay, and few clients use it.
type front struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{}
	addr   net.Addr
	once   sync.Once
}

func (g *Gateway) newFront(addr net.Addr) *front {
	f := &front{conns: make(chan net.Conn), closed: make(chan struct{}), addr: addr}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	f.server = &http.Server{
		Handler: g.http2Handler(), Protocols: &protocols,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second, MaxHeaderBytes: 64 << 10,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 250, MaxReceiveBufferPerStream: 256 << 10, MaxReceiveBufferPerConnection: 1 << 20},
		ErrorLog: log.New(io.Discard, "", 0), // what clients do wrong
	}
	return f
}

// take serves one connection and returns when it is closed.
func (f *front) take(nc net.Conn) {
	c := &takenConn{Conn: nc, closed: make(chan struct{})}
	select {
	case f.conns <- c:
		<-c.closed
	case <-f.closed:
	}
}

// Accept, Close and Addr make f the listener of its server.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (f *front) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// Addr returns the address of the listener the connections came from.
func (f *front) Addr() net.Addr { return f.addr }

// takenConn tells when its server closed it.
type takenConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *takenConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// http2Handler forwards requests that net/http has read.
func (g *Gateway) http2Handler() http.Handler {
	var cleartext http.Protocols
	cleartext.SetUnencryptedHTTP2(true)
	transport := func(p *http.Protocols) *http.Transport {
		return &http.Transport{
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, Protocols: p,
			DisableCompression: true, MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second,
		}
	}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	placing := &placingTransport{g: g, http1: transport(&http1), http2: transport(&cleartext)}
	return &httputil.ReverseProxy{
		Transport: placing, FlushInterval: -1,
		Rewrite:        rewrite,
		ModifyResponse: markResponse,
		ErrorHandler:   answerHTTP2,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
}

func rewrite(p *httputil.ProxyRequest) {
	h := p.Out.Header
	for name := range h {
		if strings.HasPrefix(name, "X-Cortex-") {
			delete(h, name)
		}
	}
	h["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
	p.SetXForwarded()
	for _, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Host"} {
		if given := p.In.Header.Values(name); len(given) > 0 {
			h[name] = given
		}
	}
	id, trace, traced := relay.Identify(p.In.Header.Get("X-Request-Id"), p.In.Header.Get("Traceparent"))
	h.Set("X-Request-ID", id)
	h.Set("Traceparent", trace)
	if !traced {
		h.Del("Tracestate")
	}
	p.Out.Host = p.In.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery               // as it came, even where Go could not parse it
	p.Out.URL.Scheme, p.Out.URL.Host = "http", "replica" // chosen by the transport
}

func markResponse(resp *http.Response) error {
	for name := range resp.Header {
		if strings.HasPrefix(name, "X-Cortex-") {
			delete(resp.Header, name)
		}
	}
	resp.Header.Set("X-Cortex-Origin", "api")
	if resp.Header.Get("X-Request-Id") == "" {
		resp.Header.Set("X-Request-Id", resp.Request.Header.Get("X-Request-Id"))
	}
	return nil
}

// answerError carries an Answer out of a transport.
type answerError struct{ answer *relay.Answer }

func (e *answerError) Error() string { return e.answer.Message }

// answerHTTP2 answers a request that got no response from a replica.
func answerHTTP2(w http.ResponseWriter, r *http.Request, err error) {
	a := &relay.Answer{Status: 502, Code: "upstream_closed", Origin: "api",
		Message: "the API's server closed the connection before it answered; see its logs"}
	var with *answerError
	if errors.As(err, &with) {
		a = with.answer
	}
	h := w.Header()
	h.Set("X-Cortex-Reason", a.Code)
	if id := r.Header.Get("X-Request-Id"); id != "" { // r is the request that was to be sent
		h.Set("X-Request-Id", id)
	}
	if a.Origin != "" {
		h.Set("X-Cortex-Origin", a.Origin)
	}
	if isGRPC(r) { // its clients read the status of the call, not of the request
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

func isGRPC(r *http.Request) bool {
	t := r.Header.Get("Content-Type")
	return t == "application/grpc" || strings.HasPrefix(t, "application/grpc+") || strings.HasPrefix(t, "application/grpc;")
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

// placingTransport gives each request its place before it is sent, and takes it
// back when the response was read.
type placingTransport struct {
	g            *Gateway
	http1, http2 *http.Transport
}

// heldHTTP2 is what a request that waits is taken to keep in memory.
const heldHTTP2 = 16 << 10

func (t *placingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	target := []byte(req.URL.EscapedPath())
	w, strip, split, ans := t.g.route(target)
	if ans != nil {
		return nil, &answerError{ans}
	}
	if split != nil && split.shadow != nil && split.shadow.due() {
		split.shadow.dropped.Add(1) // copies are made of HTTP/1 requests only
	}
	next := t.http1
	if isGRPC(req) {
		next = t.http2
		if bytes.Count(target[strip:], []byte("/")) < 2 {
			// A method is called /service/name. An endpoint that took the service
			// itself must be the service's name: the server has to see it.
			strip = 0
		}
	}
	if err := stripTarget(req.URL, string(target[strip:])); err != nil {
		return nil, &answerError{&relay.Answer{Status: 400, Code: "malformed_target", Message: err.Error()}}
	}
	body := req.Body
	for again := 0; ; again++ {
		r, ans := t.g.seat(req.Context(), w, heldHTTP2, again)
		if ans != nil {
			return nil, &answerError{ans}
		}
		out := *req
		u := *req.URL
		u.Host = r.upstream.Addr()
		out.URL = &u
		if body != nil && body != http.NoBody {
			out.Body = io.NopCloser(body) // a failed dial must not close it
		}
		resp, err := next.RoundTrip(&out)
		if relay.Unreachable(err) && req.Context().Err() == nil {
			r.Unreached(err)
			continue
		}
		if err != nil {
			r.Done(0)
			return nil, err
		}
		resp.Request = req
		resp.Body = &placedBody{ReadCloser: resp.Body, r: r, status: resp.StatusCode}
		return resp, nil
	}
}

// stripTarget sets the path of u to escaped, which keeps its escapes.
func stripTarget(u *url.URL, escaped string) error {
	if !strings.HasPrefix(escaped, "/") {
		escaped = "/" + escaped
	}
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return fmt.Errorf("the request target is malformed: %w", err)
	}
	u.Path, u.RawPath = plain, escaped
	return nil
}

// placedBody gives the place back when the response is done with.
type placedBody struct {
	io.ReadCloser
	once   sync.Once
	r      *replica
	status int
}

func (b *placedBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { b.r.Done(b.status) })
	return err
}

// shutdown finishes the streams that are open, for at most grace.
func (f *front) shutdown(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if f.server.Shutdown(ctx) != nil {
		_ = f.server.Close() // what is left had its time
	}
}
