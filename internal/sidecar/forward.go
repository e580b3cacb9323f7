package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"cortex.dev/cortex/internal/limiter"
	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/relay/http2"
	"cortex.dev/cortex/internal/telemetry/proxymetrics"
	"cortex.dev/cortex/internal/tracing/proxyspan"
)

var _ relay.Handler = (*Sidecar)(nil)

// Admit waits for one of the container's places.
func (s *Sidecar) Admit(x *relay.Exchange, again int) (relay.Place, *relay.Answer) {
	if s.cfg.CancelWhenGone {
		x.CancelWhenGone()
	}
	if ans := s.acquire(x.Context, again, proxyspan.Of(x)); ans != nil {
		return nil, ans
	}
	return &s.place, nil
}

// acquire takes a place, or says why there is none, and records which. again counts the
// places that were given back because the container accepted no connection. ctx is
// called by a request that waits: the others need no context.
func (s *Sidecar) acquire(ctx func() context.Context, again int, spans *proxyspan.Request) *relay.Answer {
	var a proxyspan.Admission
	a.Start(again)
	ans := s.admit(ctx, again, &a)
	spans.Admitted(&a, ans == nil, "", "")
	return ans
}

func (s *Sidecar) admit(ctx func() context.Context, again int, a *proxyspan.Admission) *relay.Answer {
	if again > 0 {
		// Whoever sent it knows other replicas.
		return &relay.Answer{Status: 503, Code: relay.Unreached, RetryAfter: time.Second,
			Message: fmt.Sprintf("no healthy upstream: nothing listens on port %d of the replica", s.cfg.Target)}
	}
	s.came.Store(time.Now().UnixNano()) // before it is in flight: a drain looks in the other order
	if s.limit.Try() {
		return nil
	}
	a.Waits(proxyspan.Queue)
	switch err := s.limit.Acquire(ctx()); {
	case err == nil:
		return nil
	case errors.Is(err, limiter.ErrFull):
		return &relay.Answer{Status: 503, Code: "queue_full", Text: true, Message: limiter.ErrFull.Error(), RetryAfter: time.Second}
	default: // the client has gone, and reads nothing
		return &relay.Answer{Status: 503, Code: relay.ClientGone, Message: err.Error()}
	}
}

// place is one of the container's places; they are all alike.
type place struct{ s *Sidecar }

var _ relay.Place = (*place)(nil)

func (p *place) Upstream() *relay.Upstream { return p.s.upstream }

func (p *place) Done(int) { p.s.limit.Release() }

func (p *place) Unreached(error) { p.s.limit.Release() }

// http2Handler forwards requests that came as HTTP/2, which gRPC does.
func (s *Sidecar) http2Handler() http.Handler {
	transport := &limited{s: s, http1: http2.Transport(false), http2: http2.Transport(true), ahead: relay.NewAhead(maxAhead)}
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
				if given := p.In.Header[name]; given != nil { // the proxy takes them out
					p.Out.Header[name] = given
				}
			}
			http2.ForwardTrailer(p)
			p.Out.Host = p.In.Host
			p.Out.URL.RawQuery = p.In.URL.RawQuery // as it came, even where Go could not parse it
			p.Out.URL.Scheme, p.Out.URL.Host = "http", s.upstream.Addr()
		},
		ModifyResponse: func(resp *http.Response) error {
			for name := range resp.Header { // what containers say in our name
				if strings.HasPrefix(name, "X-Cortex-") {
					delete(resp.Header, name)
				}
			}
			http2.ForwardAtOnce(resp)
			s.spans.OfContext(resp.Request.Context()).Answering(resp)
			proxymetrics.Of(resp.Request.Context()).Answering(resp)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			a := http2.Fail(w, r, err, "")
			s.spans.OfContext(r.Context()).Refused(a)
			proxymetrics.Of(r.Context()).Refused(a)
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
}

// limited gives each request its place before it is sent, and takes it back when
// the response was read.
type limited struct {
	s            *Sidecar
	http1, http2 http.RoundTripper
	ahead        *relay.Ahead
}

// maxAhead bounds what is kept of answers that gateways have yet to take.
const maxAhead = 16 << 20

func (t *limited) RoundTrip(req *http.Request) (*http.Response, error) {
	spans := t.s.spans.OfContext(req.Context())
	if ans := relay.CheckRequest(req.Method, req.Host); ans != nil {
		return nil, http2.Refused{Answer: ans}
	}
	if ans := t.s.acquire(req.Context, 0, spans); ans != nil {
		return nil, http2.Refused{Answer: ans}
	}
	next := t.http1
	if http2.IsGRPC(req) {
		next = t.http2
	}
	counted := proxymetrics.Of(req.Context())
	counted.Placed = true
	cuts := t.s.upstream.Cuts()
	out, body := *req, http2.NewBody(req)
	body.LetGo()
	body.Attempt(&out)
	out.Close = body != nil && relay.Meaningless(req.Method)
	finish := relay.Limits{}.WithDefaults().Finish
	if t.s.cfg.CancelWhenGone {
		finish = 0
	}
	resp, sent, err := http2.RoundTrip(next, &out, body, finish)
	if err != nil {
		t.s.limit.Release()
		if t.s.upstream.Cuts() != cuts {
			return nil, http2.Refused{Answer: relay.CutOff("")}
		}
		if relay.Unreachable(err) && !sent && req.Context().Err() == nil {
			counted.Placed = false
			return nil, http2.Refused{Answer: t.s.acquire(req.Context, 1, spans)}
		}
		return nil, err
	}
	resp.Request = req
	resp.Body = t.ahead.Body(resp.Body, t.s.limit.Release)
	return resp, nil
}
