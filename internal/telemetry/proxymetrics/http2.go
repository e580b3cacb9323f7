package proxymetrics

import (
	"context"
	"net/http"
	"time"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/relay/http2"
)

type key struct{}

// Request is one that net/http has read, while a reverse proxy works on it.
type Request struct {
	// Series counts it. Who finds out which one that is sets it.
	Series *Series
	// Placed says that it was sent to a container.
	Placed bool

	status int
	reason string
	local  bool // the answer is not the upstream's
}

// Of returns the request of ctx, which Handler has made.
func Of(ctx context.Context) *Request { return ctx.Value(key{}).(*Request) }

// Handler counts what next, a reverse proxy, does: in none, unless it says where. Next
// calls Answering or Refused.
func Handler(next http.Handler, none *Series) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		r, began, whole := &Request{Series: none}, time.Now(), false
		defer func() { r.finish(in, w.Header(), whole, time.Since(began)) }()
		next.ServeHTTP(w, in.WithContext(context.WithValue(in.Context(), key{}, r)))
		whole = true // else it panicked: the answer broke off
	})
}

// Answering records that the upstream's answer begins; with a reason it is the next
// relay's of ours.
func (r *Request) Answering(resp *http.Response) {
	r.status, r.reason = resp.StatusCode, resp.Header.Get("X-Cortex-Reason")
}

// Refused records that the request was answered here.
func (r *Request) Refused(a *relay.Answer) { r.status, r.reason, r.local = a.Status, a.Code, true }

func (r *Request) finish(in *http.Request, out http.Header, whole bool, age time.Duration) {
	switch {
	case in.Context().Err() != nil && (r.local || !whole):
		r.status, r.reason = 0, relay.ClientGone
	case !whole:
		r.status, r.reason = 0, "upstream_closed"
	case !r.local && http2.IsGRPC(in):
		// The status of the request is 200 whatever came of the call.
		if call, ok := http2.CallStatus(out); ok {
			r.status = http2.StatusOfCall(call)
		}
	}
	r.Series.Count(r.status, r.reason, r.Placed, age)
}
