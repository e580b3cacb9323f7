package proxyspan

import (
	"context"
	"net/http"
	"strconv"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/relay/http2"
	"cortex.dev/cortex/internal/tracing"
)

type key struct{}

// OfContext is Of for a request that net/http has read.
func (c *Recorder) OfContext(ctx context.Context) *Request {
	if c == nil {
		return nil
	}
	r, _ := ctx.Value(key{}).(*Request)
	return r
}

// Handler records what next, a reverse proxy, does. next calls Answering or Refused.
func (c *Recorder) Handler(next http.Handler) http.Handler {
	if c == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		id, trace, remote := relay.Identify(in.Header.Get("X-Request-Id"), in.Header.Get("Traceparent"))
		traceparent := []byte(trace)
		r := c.start(traceparent, remote)
		ctx := in.Context()
		if r != nil {
			r.describe(in.Method, in.URL.EscapedPath(), strconv.Itoa(in.ProtoMajor), id)
			traceparent = r.traceparent(nil)
			ctx = context.WithValue(ctx, key{}, r)
		}
		out := in.WithContext(ctx)
		out.Header = in.Header.Clone()
		out.Header.Set("X-Request-Id", id)
		out.Header.Set("Traceparent", string(traceparent))
		if !remote {
			out.Header.Del("Tracestate")
		}
		whole := false
		defer func() { r.finish(in, w.Header(), whole) }()
		next.ServeHTTP(w, out)
		whole = true // else it panicked: the answer broke off
	})
}

// Answering records that the upstream's answer begins; with a reason it is the next
// relay's of ours.
func (r *Request) Answering(resp *http.Response) {
	if r == nil {
		return
	}
	r.status, r.reason = resp.StatusCode, resp.Header.Get("X-Cortex-Reason")
	r.answering()
}

// Refused records that the request was answered here.
func (r *Request) Refused(a *relay.Answer) {
	if r == nil {
		return
	}
	r.status, r.reason, r.local = a.Status, a.Code, true
}

// finish ends the spans of a request of HTTP/2.
func (r *Request) finish(in *http.Request, out http.Header, whole bool) {
	switch {
	case r == nil:
		return
	case in.Context().Err() != nil && (r.local || !whole):
		r.status, r.reason = 0, relay.ClientGone
	case !whole:
		r.status, r.reason = 0, "upstream_closed"
	}
	if http2.IsGRPC(in) && r.status > 0 {
		r.grpc(out)
	}
	r.end(r.status, r.reason)
}

// grpc records how a call ended: its own status is in the trailer, and that of the
// request is 200 whatever happened.
func (r *Request) grpc(out http.Header) {
	if r.local {
		r.status = http.StatusOK
	}
	code, ok := http2.CallStatus(out)
	if !ok {
		return
	}
	r.server.Set(tracing.String("rpc.system", "grpc"), tracing.Int("rpc.grpc.status_code", int64(code)))
	r.client.Set(tracing.String("rpc.system", "grpc"), tracing.Int("rpc.grpc.status_code", int64(code)))
	switch code {
	case 2, 4, 12, 13, 14, 15: // those that are the server's fault, by the conventions
		r.failed = strconv.Itoa(code)
	}
}
