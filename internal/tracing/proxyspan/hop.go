// Package proxyspan tells, in spans, what gateways and sidecars do with a request: where it
// went, what it waited for, how it was answered. The words are those of
// OpenTelemetry's conventions for HTTP, and ours begin with cortex.
//
// It promises that a request that is not recorded allocates nothing here, that one
// hop's span is the parent of the next one's, by HTTP/1 and HTTP/2 alike, and that no
// query, header or body is recorded. It must not decide anything about a request.
package proxyspan

import (
	"cmp"
	"strconv"
	"time"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/tracing"
)

// Hop records requests. A nil Hop records none.
type Hop struct {
	tracer *tracing.Tracer
	onward bool
}

// New returns a hop that records with tracer; nil when that is nil. onward says that
// the way to the next hop is a span of its own, which then is what travels on.
func New(tracer *tracing.Tracer, onward bool) *Hop {
	if tracer == nil {
		return nil
	}
	return &Hop{tracer: tracer, onward: onward}
}

// Request is what is told of one request. All methods do nothing on nil: it is not
// recorded.
type Request struct {
	server *tracing.Span
	onward *tracing.Span // nil: none
	to     string        // the replica that it was given to
	since  time.Time     // it has its place; zero: it has none
	joined time.Time     // it waits; zero: it does not
	waited time.Duration

	// How HTTP/2 ended, which is known before it is over.
	status int
	reason string
	made   bool   // the answer is not the upstream's
	failed string // by what, where the status does not say that it did
}

// begin starts the story of a request whose traceparent is to be read, and written.
func (h *Hop) begin(traceparent []byte, given bool) *Request {
	s := h.tracer.Start(traceparent, given)
	if s == nil {
		return nil
	}
	r := &Request{server: s}
	if h.onward {
		r.onward = s.Client()
	}
	return r
}

// traceparent is what the next hop gets.
func (r *Request) traceparent(to []byte) []byte {
	if r.onward != nil {
		return r.onward.AppendTraceparent(to)
	}
	return r.server.AppendTraceparent(to)
}

// describe says what was asked for, without its query.
func (r *Request) describe(method, path, version, id string) {
	name, known := methodName(method)
	for _, s := range []*tracing.Span{r.server, r.onward} {
		s.SetName(name)
		s.Set(tracing.String("http.request.method", known))
		if known != method {
			s.Set(tracing.String("http.request.method_original", method))
		}
		s.Set(tracing.String("network.protocol.version", version))
	}
	r.server.Set(tracing.String("url.scheme", "http"), tracing.String("url.path", path), tracing.String("cortex.request_id", id))
}

// methodName is what a span is called by a method, and what the method counts as:
// anybody may invent methods, and names must be few.
func methodName(method string) (name, known string) {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE":
		return method, method
	}
	return "HTTP", "_OTHER"
}

// Routed says to which API the request goes, by which endpoint and, if there is one,
// by which splitter.
func (r *Request) Routed(endpoint, api, kind, splitter string) {
	if r == nil {
		return
	}
	for _, s := range []*tracing.Span{r.server, r.onward} {
		s.AppendName(endpoint)
		s.Set(tracing.String("cortex.api.name", api), tracing.String("cortex.api.kind", kind))
	}
	r.server.Set(tracing.String("http.route", endpoint))
	if splitter != "" {
		r.server.Set(tracing.String("cortex.splitter", splitter))
	}
}

// What a request waits for.
const (
	InLine    = "queue"      // for a place, at replicas that are ready
	ColdStart = "cold_start" // for a first replica
)

// Waits says that the request waits from now on.
func (r *Request) Waits(what string) {
	if r == nil {
		return
	}
	r.joined = time.Now()
	r.server.Set(tracing.String("cortex.wait", what))
	r.server.AddEvent(r.joined, "cortex.waiting", tracing.String("cortex.wait", what))
}

// Placed says that the request has a place, at a replica if that is known here.
func (r *Request) Placed(replica, revision string) {
	if r == nil {
		return
	}
	r.since, r.to = time.Now(), replica
	if !r.joined.IsZero() {
		r.endWait(r.since)
		r.server.AddEvent(r.since, "cortex.placed")
	}
	r.onward.SetStart(r.since)
	if replica == "" {
		return
	}
	for _, s := range []*tracing.Span{r.server, r.onward} {
		s.Set(tracing.String("cortex.replica", replica), tracing.String("cortex.revision", revision))
	}
}

// endWait adds up what was waited: a request whose replica died waits again.
func (r *Request) endWait(now time.Time) {
	if !r.joined.IsZero() {
		r.waited += now.Sub(r.joined)
		r.joined = time.Time{}
		r.server.Set(tracing.Seconds("cortex.wait.seconds", r.waited))
	}
}

// Unreached says that the place was of no use: its replica takes no connection.
func (r *Request) Unreached() {
	if r == nil {
		return
	}
	r.since = time.Time{}
	if r.to == "" {
		r.server.AddEvent(time.Now(), "cortex.replica_unreachable")
		return
	}
	r.server.AddEvent(time.Now(), "cortex.replica_unreachable", tracing.String("cortex.replica", r.to))
}

// answering says that the answer begins.
func (r *Request) answering() {
	if r != nil && !r.since.IsZero() {
		r.last().Set(tracing.Seconds("cortex.first_byte.seconds", time.Since(r.since)))
	}
}

// last is the span that stands for what is behind this hop.
func (r *Request) last() *tracing.Span {
	if r.onward != nil {
		return r.onward
	}
	return r.server
}

// end ends the story: with status 0 there was no whole answer, and with a reason it
// was not the upstream's.
func (r *Request) end(status int, reason string) {
	if r == nil {
		return
	}
	now := time.Now()
	r.endWait(now)
	r.outcome(r.server, status, reason)
	if !r.since.IsZero() {
		if r.onward == nil {
			r.server.Set(tracing.Seconds("cortex.upstream.seconds", now.Sub(r.since)))
		} else {
			r.outcome(r.onward, status, reason)
			r.onward.End(now)
		}
	}
	r.server.End(now)
}

// outcome follows the conventions: what a server answers with 4xx is no failure of
// the server, but one of the client that asked. Who leaves has not failed either.
func (r *Request) outcome(s *tracing.Span, status int, reason string) {
	failsAt := 500
	if s.IsClient() {
		failsAt = 400
	}
	if status > 0 {
		s.Set(tracing.Int("http.response.status_code", int64(status)))
	}
	if reason != "" {
		s.Set(tracing.String("cortex.reason", reason))
	}
	if r.failed != "" || status >= failsAt || status == 0 && reason != relay.ClientGone {
		s.Set(tracing.String("error.type", cmp.Or(reason, r.failed, strconv.Itoa(status))))
		s.SetError(reason)
	}
}
