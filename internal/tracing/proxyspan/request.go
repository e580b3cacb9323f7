// Package proxyspan records, as spans, what gateways and sidecars do with a request:
// where it went, what it waited for, how it was answered. Attributes are those of
// OpenTelemetry's conventions for HTTP, and ours begin with cortex.
//
// It promises that a request that is not sampled allocates nothing here, that one
// proxy's span is the parent of the next one's, by HTTP/1 and HTTP/2 alike, and that no
// query, header or body is recorded. It must not decide anything about a request.
package proxyspan

import (
	"cmp"
	"strconv"
	"time"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/tracing"
)

// Recorder records requests. A nil Recorder records none.
type Recorder struct {
	tracer     *tracing.Tracer
	clientSpan bool
}

// New returns a recorder that records with tracer; nil when that is nil. clientSpan says
// that the request to the upstream is a span of its own, which then is its parent.
func New(tracer *tracing.Tracer, clientSpan bool) *Recorder {
	if tracer == nil {
		return nil
	}
	return &Recorder{tracer: tracer, clientSpan: clientSpan}
}

// Request is the spans of one request. All methods do nothing on nil: it is not sampled.
type Request struct {
	server  *tracing.Span
	client  *tracing.Span // nil: none
	replica string        // that it was sent to
	placed  time.Time     // zero: it has no place
	waited  time.Duration // in all
	waiting time.Time     // since when it waits; zero: it does not

	failed string // the type of an error that the status does not show
}

// start starts the spans of a request. Its traceparent is read, and changed where it
// says that the trace is sampled and it is not.
func (c *Recorder) start(traceparent []byte, remote bool) *Request {
	s := c.tracer.Start(traceparent, remote)
	if s == nil {
		return nil
	}
	r := &Request{server: s}
	if c.clientSpan {
		r.client = s.Client()
	}
	return r
}

// traceparent is what the upstream gets.
func (r *Request) traceparent(to []byte) []byte { return r.innermost().AppendTraceparent(to) }

// describe records what was asked for, without its query.
func (r *Request) describe(method, scheme, path, version, id string) {
	name, known := methodName(method)
	for _, s := range []*tracing.Span{r.server, r.client} {
		s.SetName(name)
		s.Set(tracing.String("http.request.method", known))
		if known != method {
			s.Set(tracing.String("http.request.method_original", method))
		}
		s.Set(tracing.String("network.protocol.version", version))
	}
	r.server.Set(tracing.String("url.scheme", scheme), tracing.String("url.path", path), tracing.String("cortex.request_id", id))
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

// Routed records to which API the request goes, by which endpoint and, if there is one,
// by which splitter.
func (r *Request) Routed(endpoint, api, kind, splitter string) {
	if r == nil {
		return
	}
	for _, s := range []*tracing.Span{r.server, r.client} {
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
	Queue     = "queue"      // for a place, at replicas that are ready
	ColdStart = "cold_start" // for a first replica
)

// Admission is what a request met on its way to a place. It is gathered while the
// request is admitted and recorded once, by Admitted: admission itself knows no spans.
type Admission struct {
	unreached time.Time // that the place before took no connection; zero: it is the first
	waits     string    // for what; empty: it does not wait
	since     time.Time // it waits
}

// Start begins an admission that is still empty. again counts the places that took no connection.
func (a *Admission) Start(again int) {
	if again > 0 {
		a.unreached = time.Now()
	}
}

// Waits says that the request waits from now on.
func (a *Admission) Waits(what string) { a.waits, a.since = what, time.Now() }

// Since is when the request began to wait.
func (a *Admission) Since() time.Time { return a.since }

// Admitted records how an admission ended: with a place, at a replica if that is known
// here, or without.
func (r *Request) Admitted(a *Admission, placed bool, replica, revision string) {
	if r == nil {
		return
	}
	if !a.unreached.IsZero() {
		r.unreached(a.unreached)
	}
	if a.waits != "" {
		r.waiting = a.since
		r.server.Set(tracing.String("cortex.wait", a.waits))
		r.server.AddEvent(a.since, "cortex.waiting", tracing.String("cortex.wait", a.waits))
	}
	if placed {
		r.place(replica, revision)
	}
}

func (r *Request) place(replica, revision string) {
	r.placed, r.replica = time.Now(), replica
	if !r.waiting.IsZero() {
		r.endWait(r.placed)
		r.server.AddEvent(r.placed, "cortex.placed")
	}
	r.client.SetStart(r.placed)
	if replica == "" {
		return
	}
	for _, s := range []*tracing.Span{r.server, r.client} {
		s.Set(tracing.String("cortex.replica", replica), tracing.String("cortex.revision", revision))
	}
}

// endWait adds up what was waited: a request whose replica died waits again.
func (r *Request) endWait(now time.Time) {
	if !r.waiting.IsZero() {
		r.waited += now.Sub(r.waiting)
		r.waiting = time.Time{}
		r.server.Set(tracing.Seconds("cortex.wait.seconds", r.waited))
	}
}

// unreached records that the replica of the place takes no connection.
func (r *Request) unreached(at time.Time) {
	r.placed = time.Time{}
	var attributes []tracing.Attribute
	if r.replica != "" {
		attributes = append(attributes, tracing.String("cortex.replica", r.replica))
	}
	r.server.AddEvent(at, "cortex.replica_unreachable", attributes...)
}

// answering records that the answer begins.
func (r *Request) answering() {
	if r != nil && !r.placed.IsZero() {
		r.innermost().Set(tracing.Seconds("cortex.first_byte.seconds", time.Since(r.placed)))
	}
}

// innermost is the span that stands for what the upstream does.
func (r *Request) innermost() *tracing.Span {
	if r.client != nil {
		return r.client
	}
	return r.server
}

// end ends the spans: with status 0 there was no whole answer, and with a reason it
// was not the upstream's.
func (r *Request) end(status int, reason string) {
	if r == nil {
		return
	}
	now := time.Now()
	r.endWait(now)
	r.outcome(r.server, status, reason)
	if !r.placed.IsZero() {
		if r.client == nil {
			r.server.Set(tracing.Seconds("cortex.upstream.seconds", now.Sub(r.placed)))
		} else {
			r.outcome(r.client, status, reason)
			r.client.End(now)
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
