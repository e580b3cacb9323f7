// Package tracing records what happened to single requests, as spans of
// OpenTelemetry, and sends them to a collector by OTLP over HTTP.
//
// It promises that no request waits for it, fails because of it, or takes memory
// without a bound: spans wait in a queue of a fixed length, what does not fit is
// dropped and counted, and a collector that is away costs nothing but the spans.
// A nil Tracer is one that is off; everything about it is a nil check.
//
// What is sent are OTLP's own types; the rest is not the SDK's because it is in every
// sidecar: docs/adr/0033. It must not know what is traced (proxyspan does), nor read a
// request.
package tracing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"cortex.dev/cortex/internal/telemetry"
)

// DefaultRatio of requests that are recorded when their callers do not say.
const DefaultRatio = 0.01

// Config of a Tracer.
type Config struct {
	// Endpoint is the URL of a collector that takes OTLP over HTTP; without a path it
	// means /v1/traces there. Empty: no tracing.
	Endpoint string
	// Ratio of the traces that begin here that are recorded, 0 to 1. Whether one that
	// began elsewhere is recorded, its beginning has decided.
	Ratio     float64
	Service   string              // service.name
	Version   string              // service.version; empty: not told
	Resource  []Attribute         // what else is the same for all spans
	Telemetry *telemetry.Registry // nil: no metrics
	Log       *slog.Logger        // nil: none
}

// Tracer makes spans and sends them. All methods may be called at once, and on nil.
type Tracer struct {
	endpoint  string
	threshold uint64 // of the lower 63 bits of a trace id; below it is recorded
	resource  []Attribute
	log       *slog.Logger
	client    *http.Client
	timing    timing

	queue   chan *otlp.Span
	stopped atomic.Bool
	sent    atomic.Uint64
	dropped [reasons]atomic.Uint64
}

// New returns a tracer that sends nothing until Run; nil without an endpoint.
func New(cfg Config) (*Tracer, error) {
	if cfg.Endpoint == "" {
		return nil, nil
	}
	endpoint, err := parseEndpoint(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	if err := CheckRatio(cfg.Ratio); err != nil {
		return nil, err
	}
	if cfg.Service == "" {
		return nil, errors.New("spans need the name of a service")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tracer{
		endpoint: endpoint, threshold: uint64(cfg.Ratio * (1 << 63)), log: cfg.Log, client: newClient(), timing: usual,
		resource: append([]Attribute{String("service.name", cfg.Service)}, cfg.Resource...), queue: make(chan *otlp.Span, maxQueue),
	}
	if cfg.Version != "" {
		t.resource = append(t.resource, String("service.version", cfg.Version))
	}
	t.measure(cfg.Telemetry)
	return t, nil
}

// CheckEndpoint says what is wrong with the URL of a collector; nil for none.
func CheckEndpoint(text string) error {
	if text == "" {
		return nil
	}
	_, err := parseEndpoint(text)
	return err
}

func parseEndpoint(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("%q is not the URL of a collector, such as http://collector:4318", text)
	case u.User != nil:
		return "", errors.New("the URL of a collector has a password in it, which everybody who sees the command line could read")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

// CheckRatio says what is wrong with a ratio; nil for nothing.
func CheckRatio(ratio float64) error {
	if math.IsNaN(ratio) || ratio < 0 || ratio > 1 {
		return fmt.Errorf("%g is not between 0 and 1", ratio)
	}
	return nil
}

// ParseResource reads attributes as the variable OTEL_RESOURCE_ATTRIBUTES has them:
// key=value, separated by commas, with escapes as in a URL.
func ParseResource(text string) ([]Attribute, error) {
	var all []Attribute
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		plain, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || key == "" || err != nil {
			return nil, fmt.Errorf("%q is not an attribute: key=value", pair)
		}
		all = append(all, String(clean(key), plain)) // text of any bytes would spoil every batch
	}
	return all, nil
}

// Start starts the span of a request that a server got with traceparent, which is
// valid. remote says that the caller sent it; otherwise it was made here, and the
// trace begins with this span. Nil: it is not recorded, and then the traceparent of
// a trace that begins here is changed in place to say so.
func (t *Tracer) Start(traceparent []byte, remote bool) *Span {
	if t == nil {
		return nil
	}
	from, ok := parseTraceparent(traceparent)
	if !ok {
		return nil
	}
	if !remote {
		from.parent, from.flags = spanID{}, from.flags&^flagSampled
		if binary.BigEndian.Uint64(from.trace[8:])>>1 < t.threshold {
			from.flags |= flagSampled
		} else {
			traceparent[lengthTraceparent-1] = '0'
		}
	}
	if from.flags&flagSampled == 0 {
		return nil
	}
	return newSpan(t, from, remote, otlp.Span_SPAN_KIND_SERVER)
}

func newSpanID() (id spanID) {
	binary.BigEndian.PutUint64(id[:], rand.Uint64()|1)
	return id
}
