package proxyspan

import (
	"bytes"
	"net/http"
	"strconv"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/tracing"
)

// Observers has what a relay tells; none of a nil Recorder.
func (c *Recorder) Observers() []relay.Observer {
	if c == nil {
		return nil
	}
	return []relay.Observer{observer{c}}
}

type observer struct{ recorder *Recorder }

// Of returns the spans of x; nil: it is not sampled.
func Of(x *relay.Exchange) *Request {
	if x.Watched == nil {
		return nil
	}
	return x.Watched.(*Request)
}

func (o observer) Began(x *relay.Exchange) {
	r := o.recorder.start(x.Traceparent())
	if r == nil {
		return
	}
	path := x.Target()
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	scheme := "http"
	if x.Secure() {
		scheme = "https"
	}
	r.describe(string(x.Method()), scheme, string(path), x.Version(), string(x.RequestID()))
	var scratch [64]byte
	x.SetTraceparent(r.traceparent(scratch[:0]))
	x.Watched = r
}

func (o observer) Answering(x *relay.Exchange) { Of(x).answering() }

func (o observer) Unread(int, string) {} // there is no request to record

func (o observer) Ended(x *relay.Exchange, status int, reason string) {
	r := Of(x)
	if code, ok := x.CallStatus(); ok && status != 0 {
		r.ofCall(code)
		status = http.StatusOK // whatever happened
	}
	r.end(status, reason)
}

// ofCall records how a call of gRPC ended.
func (r *Request) ofCall(code int) {
	if r == nil {
		return
	}
	for _, s := range []*tracing.Span{r.server, r.client} {
		s.Set(tracing.String("rpc.system", "grpc"), tracing.Int("rpc.grpc.status_code", int64(code)))
	}
	switch code {
	case 2, 4, 12, 13, 14, 15: // those that are the server's fault, by the conventions
		r.failed = strconv.Itoa(code)
	}
}
