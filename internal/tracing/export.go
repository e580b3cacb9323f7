package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"cortex.dev/cortex/internal/telemetry"
)

const (
	maxQueue  = 2048 // spans that wait
	maxBatch  = 256  // spans of one request
	maxAnswer = 64 << 10
)

// timing of what is sent.
type timing struct {
	every    time.Duration // a span waits for others
	timeout  time.Duration // of one attempt
	attempts int           // to send a batch
	pause    time.Duration // after the first attempt; each further one waits twice as long
	longest  time.Duration // that a collector may ask to wait
	flush    time.Duration // from being told to end to the end
}

// usual: together the attempts take a minute at most, and the end is within what
// Kubernetes leaves a pod after its drain.
var usual = timing{every: 2 * time.Second, timeout: 10 * time.Second, attempts: 4, pause: time.Second, longest: 10 * time.Second, flush: 3 * time.Second}

// Why spans are dropped.
const (
	queueFull = iota // they come faster than they are taken
	unsent           // the collector is away
	refused          // the collector does not want them
	ended            // the program ends
	reasons
)

var reasonNames = [reasons]string{"queue_full", "unsent", "refused", "ended"}

func (t *Tracer) measure(r *telemetry.Registry) {
	r.Collect(telemetry.Metric{Name: "cortex_traces_sent_total", Help: "Spans that the collector of traces took."},
		func(emit telemetry.Emit) { emit(float64(t.sent.Load())) })
	r.Collect(telemetry.Metric{Name: "cortex_traces_dropped_total", Help: "Spans that did not reach the collector of traces, by reason.", Labels: []string{"reason"}},
		func(emit telemetry.Emit) {
			for i := range t.dropped {
				emit(float64(t.dropped[i].Load()), reasonNames[i])
			}
		})
}

// enqueue puts s into the queue, or drops it: it never waits.
func (t *Tracer) enqueue(s *otlp.Span) {
	if t.stopped.Load() {
		t.dropped[ended].Add(1)
		return
	}
	select {
	case t.queue <- s:
	default:
		t.dropped[queueFull].Add(1)
	}
}

// newClient never goes through a proxy, follows nobody elsewhere, and keeps one
// connection.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, TLSHandshakeTimeout: 5 * time.Second,
			MaxConnsPerHost: 1, IdleConnTimeout: 30 * time.Second, DisableCompression: true, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Run sends spans until ctx ends, and then for at most three seconds what is left.
func (t *Tracer) Run(ctx context.Context) error {
	if t == nil {
		<-ctx.Done()
		return nil
	}
	defer t.client.CloseIdleConnections()
	// The last batches are sent after ctx ended, but not for long.
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var end atomic.Pointer[time.Timer]
	stop := context.AfterFunc(ctx, func() { end.Store(time.AfterFunc(t.timing.flush, cancel)) })
	defer func() {
		if timer := end.Load(); !stop() && timer != nil {
			timer.Stop()
		}
	}()
	e := exporter{Tracer: t}
	e.collect(ctx, last)
	t.stopped.Store(true)
	e.flush(last)
	return nil
}

// exporter is what Run keeps.
type exporter struct {
	*Tracer
	batch   []*otlp.Span
	body    []byte
	failing bool // the latest batch did not get through
}

// collect sends batches as they are full, or old, until ctx ends.
func (e *exporter) collect(ctx, last context.Context) {
	tick := time.NewTicker(e.timing.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-e.queue:
			if e.batch = append(e.batch, s); len(e.batch) == maxBatch {
				e.send(last)
			}
		case <-tick.C:
			e.send(last)
		}
	}
}

// flush sends what is left.
func (e *exporter) flush(last context.Context) {
	for {
		select {
		case s := <-e.queue:
			if e.batch = append(e.batch, s); len(e.batch) == maxBatch {
				e.send(last)
			}
		default:
			e.send(last)
			return
		}
	}
}

// send sends the batch, again while that could help, and forgets it.
func (e *exporter) send(ctx context.Context) {
	if len(e.batch) == 0 {
		return
	}
	n := uint64(len(e.batch))
	err := e.encode()
	clear(e.batch)
	e.batch = e.batch[:0]
	if err == nil {
		err = e.deliver(ctx)
	}
	var refusal *refusalError
	switch {
	case err == nil:
		e.sent.Add(n)
	case errors.As(err, &refusal):
		lost := min(uint64(refusal.spans), n)
		if refusal.all {
			lost = n
		}
		e.dropped[refused].Add(lost)
		e.sent.Add(n - lost)
	default:
		e.dropped[unsent].Add(n)
	}
	e.report(err)
}

// encode makes the body of a request of the batch. A request has the one field that
// TracesData has; its own Go type would link gRPC.
func (e *exporter) encode() (err error) {
	e.body, err = proto.MarshalOptions{}.MarshalAppend(e.body[:0], &otlp.TracesData{ResourceSpans: []*otlp.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: e.resource},
		ScopeSpans: []*otlp.ScopeSpans{{Scope: &common.InstrumentationScope{Name: "cortex.dev/cortex"}, Spans: e.batch}},
	}}})
	if err != nil {
		return &refusalError{all: true, why: err.Error()}
	}
	return nil
}

// report says once when traces stop to arrive, and once when they do again.
func (e *exporter) report(err error) {
	switch {
	case err != nil && !e.failing:
		e.log.Warn("traces do not reach the collector", "endpoint", e.endpoint, "error", err)
	case err == nil && e.failing:
		e.log.Info("traces reach the collector again", "endpoint", e.endpoint)
	}
	e.failing = err != nil
}

func (e *exporter) deliver(ctx context.Context) error {
	pause := e.timing.pause
	for attempt := 1; ; attempt++ {
		asked, err := e.post(ctx)
		var refusal *refusalError
		if err == nil || errors.As(err, &refusal) || attempt == e.timing.attempts {
			return err
		}
		// Those who were refused together do not come back together.
		wait := max(min(asked, e.timing.longest), pause/2+rand.N(pause))
		pause *= 2
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// refusalError says that sending again will not help.
type refusalError struct {
	all   bool
	spans int64 // without all: how many
	why   string
}

func (e *refusalError) Error() string { return e.why }

// post is one attempt. wait is how long the collector asks not to come again.
func (e *exporter) post(ctx context.Context) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.timing.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.endpoint, bytes.NewReader(e.body))
	if err != nil {
		return 0, &refusalError{all: true, why: err.Error()}
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "cortex-tracing")
	resp, err := e.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what came before an error is enough
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		if n, why := rejected(answer); n > 0 {
			return 0, &refusalError{spans: n, why: fmt.Sprintf("the collector rejected %d spans: %s", n, why)}
		}
		return 0, nil
	case retryable(resp.StatusCode):
		if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
			wait = min(time.Duration(min(seconds, 3600))*time.Second, e.timing.longest)
		}
		return wait, fmt.Errorf("the collector answered %s", resp.Status)
	}
	return 0, &refusalError{all: true, why: "the collector answered " + resp.Status}
}

// retryable reports whether OTLP has such an answer tried again.
func retryable(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// rejected is how many spans a collector did not take, by its answer, and why: an
// ExportTraceServiceResponse, whose Go type would link gRPC. What cannot be read says
// nothing.
func rejected(answer []byte) (n int64, why string) {
	_, partial := field(answer, 1)
	number, _ := field(partial, 1)
	_, text := field(partial, 2)
	return max(int64(min(number, math.MaxInt64)), 0), clean(text)
}

// field returns the last value that message has for a field, as a number or as bytes.
func field(message []byte, want protowire.Number) (number uint64, data []byte) {
	for len(message) > 0 {
		is, of, n := protowire.ConsumeField(message)
		if n < 0 {
			return number, data
		}
		if is == want {
			value := message[protowire.SizeTag(is):n]
			switch of {
			case protowire.VarintType:
				number, _ = protowire.ConsumeVarint(value)
			case protowire.BytesType:
				data, _ = protowire.ConsumeBytes(value)
			}
		}
		message = message[n:]
	}
	return number, data
}
