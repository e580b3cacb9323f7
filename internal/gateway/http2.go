package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/relay/http2"
	"cortex.dev/cortex/internal/telemetry/proxymetrics"
	"cortex.dev/cortex/internal/tracing/proxyspan"
)

// http2Handler forwards requests that net/http has read.
func (g *Gateway) http2Handler() http.Handler {
	placing := &placingTransport{g: g, http1: http2.Transport(false), http2: http2.Transport(true), ahead: relay.NewAhead(maxAhead)}
	return &httputil.ReverseProxy{
		Transport:      placing,
		Rewrite:        g.rewrite,
		ModifyResponse: g.markResponse,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { // r is the request that was to be sent
			a := http2.Fail(w, r, err, "api")
			g.spans.OfContext(r.Context()).Refused(a)
			proxymetrics.Of(r.Context()).Refused(a)
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
}

func (g *Gateway) rewrite(p *httputil.ProxyRequest) {
	h := p.Out.Header
	peer, err := netip.ParseAddrPort(p.In.RemoteAddr)
	trusted := err == nil && relay.Within(g.cfg.Trusted, peer.Addr())
	for name := range h { // the proxy has taken X-Forwarded-For, -Host and -Proto out
		if !relay.Travels(name, trusted, http2.IsGRPC(p.In)) {
			delete(h, name)
		}
	}
	if trusted {
		h["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
	}
	p.SetXForwarded()
	for _, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"} {
		if given := p.In.Header.Values(name); trusted && len(given) > 0 {
			h[name] = given
		}
	}
	id, trace, traced := relay.Identify(p.In.Header.Get("X-Request-Id"), p.In.Header.Get("Traceparent"))
	h.Set("X-Request-ID", id)
	h.Set("Traceparent", trace)
	if !traced {
		h.Del("Tracestate")
	}
	http2.ForwardTrailer(p)
	p.Out.Host = p.In.Host
	p.Out.URL.RawQuery = p.In.URL.RawQuery               // as it came, even where Go could not parse it
	p.Out.URL.Scheme, p.Out.URL.Host = "http", "replica" // chosen by the transport
}

func (g *Gateway) markResponse(resp *http.Response) error {
	for name := range resp.Header { // place has set the origin
		if strings.HasPrefix(name, "X-Cortex-") && name != originField && !(g.cfg.Sidecars && name == "X-Cortex-Reason") {
			delete(resp.Header, name)
		}
	}
	http2.ForwardAtOnce(resp)
	g.spans.OfContext(resp.Request.Context()).Answering(resp)
	proxymetrics.Of(resp.Request.Context()).Answering(resp)
	if resp.Header.Get("X-Request-Id") == "" {
		resp.Header.Set("X-Request-Id", resp.Request.Header.Get("X-Request-Id"))
	}
	return nil
}

// placingTransport gives each request its place before it is sent, and takes it
// back when the response was read.
type placingTransport struct {
	g            *Gateway
	http1, http2 http.RoundTripper
	ahead        *relay.Ahead
}

// maxAhead bounds what is kept of answers that their clients have yet to take.
const maxAhead = 64 << 20

const originField = "X-Cortex-Origin"

// heldHTTP2 is what a request that waits is taken to keep in memory.
const heldHTTP2 = 16 << 10

func (t *placingTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	target := []byte(req.URL.EscapedPath())
	spans := t.g.spans.OfContext(req.Context())
	counted := proxymetrics.Of(req.Context())
	var v visit
	w, strip, split, ans := t.g.route(target, &v)
	switch {
	case w != nil:
		counted.Series = w.counts.requests
	case v.route != nil:
		counted.Series = v.route.split.requests
	}
	refuse := func(ans *relay.Answer) (*http.Response, error) {
		v.record(spans, nil)
		return nil, http2.Refused{Answer: ans}
	}
	if ans == nil {
		ans = relay.CheckRequest(req.Method, req.Host)
	}
	if ans == nil && (v.route.policy != nil || split != nil && w.policy.Load() != nil) {
		ans = notByHTTP2
	}
	if ans != nil {
		return refuse(ans)
	}
	var copyTo func(*relay.Copy)
	if split != nil {
		copyTo = t.g.copyFor(split.shadow)
	}
	next := t.http1
	if http2.IsGRPC(req) {
		next = t.http2
		if bytes.Count(target[strip:], []byte("/")) < 2 {
			// A method is called /service/name. An endpoint that took the service
			// itself must be the service's name: the server has to see it.
			strip = 0
		}
	}
	if err := stripTarget(req.URL, string(target[strip:])); err != nil {
		return refuse(&relay.Answer{Status: 400, Code: "malformed_target", Message: err.Error()})
	}
	return t.place(req, w, next, copyTo, v, spans)
}

// notByHTTP2 answers requests to APIs that do not let everybody in: who calls is asked on
// the way of HTTP/1.1 alone.
var notByHTTP2 = &relay.Answer{Status: 505, Code: "http_1_1_required", Message: "this API asks who calls, or limits how much, and takes requests by HTTP/1.1 only"}

// place sends req to a replica of w, and to another one as long as nothing of it has
// reached a container and all of it is still at hand. copyTo gets a copy; nil: none is made.
func (t *placingTransport) place(req *http.Request, w *work, next http.RoundTripper, copyTo func(*relay.Copy), v visit, spans *proxyspan.Request) (*http.Response, error) {
	counted := proxymetrics.Of(req.Context())
	body := http2.NewBody(req)
	if err := body.Await(); err != nil {
		return nil, err
	}
	if copyTo != nil { // copies are HTTP/1, of requests that are here whole
		all, whole := body.Whole()
		copyTo(relay.NewCopy(req, all, whole && !http2.IsGRPC(req)))
	}
	if !t.g.cfg.Sidecars {
		body.LetGo() // a replica that accepts a connection has the request
	}
	origin := "api"
	for again := 0; ; again++ {
		r, ans := t.g.acquire(req.Context, w, heldHTTP2+body.Kept(), again, &v)
		v.record(spans, r)
		if v.held {
			origin = "activator"
		}
		v = visit{} // of the next attempt
		if ans != nil {
			return nil, http2.Refused{Answer: ans}
		}
		out := *req
		u := *req.URL
		u.Host = r.upstream.Addr()
		out.URL = &u
		body.Attempt(&out)
		// A server may not look for a body where it has no meaning, and take it for the
		// next request.
		out.Close = body != nil && !t.g.cfg.Sidecars && relay.Meaningless(req.Method)
		counted.Placed = true
		cuts := r.upstream.Cuts()
		resp, sent, err := http2.RoundTrip(next, &out, body, t.g.finish(w))
		if t.unreached(req, resp, sent, err) && body.Rewind() {
			if resp != nil {
				// It may wait for what the attempt is still reading from the client.
				t.g.tasks.Go(func() { _ = resp.Body.Close() })
			}
			r.Unreached(err)
			counted.Placed = false
			continue
		}
		body.LetGo()
		if err != nil {
			r.Done(0)
			if r.upstream.Cuts() != cuts {
				return nil, http2.Refused{Answer: relay.CutOff("api")}
			}
			return nil, err
		}
		resp.Request = req
		resp.Header.Set(originField, origin)
		status := resp.StatusCode
		resp.Body = t.ahead.Body(resp.Body, func() { r.Done(status) })
		return resp, nil
	}
}

// unreached reports whether what came of req says that nothing of it reached the
// container: the dial failed, and there was no connection before on which it was sent, or
// the sidecar says so.
func (t *placingTransport) unreached(req *http.Request, resp *http.Response, sent bool, err error) bool {
	if err != nil {
		return relay.Unreachable(err) && !sent && req.Context().Err() == nil
	}
	return t.g.cfg.Sidecars && http2.Unreached(resp)
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
