// Package tracingtest is a collector of traces for tests: it reads OTLP over HTTP
// with OpenTelemetry's own types, and keeps what it got.
//
// It promises to take nothing that a collector would refuse. No program imports it.
package tracingtest

import (
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is one span as a collector has it, with ids in hexadecimal and attributes as text.
type Span struct {
	Trace, ID, Parent    string
	Service, Name        string
	Kind                 string // SERVER or CLIENT
	Remote               bool   // its parent is another program's
	Resource, Attributes map[string]string
	Events               []string
	Failed               bool
	Message              string
	Began, Ended         time.Time
}

// Collector takes spans. All methods may be called at once.
type Collector struct {
	URL string

	mu       sync.Mutex
	spans    []Span
	requests int
	answer   func(request int, w http.ResponseWriter) bool
}

// New returns a collector that lives as long as the test.
func New(t testing.TB) *Collector { return Listen(t, "127.0.0.1:0") }

// Listen is New at an address that programs elsewhere reach.
func Listen(t testing.TB, address string) *Collector {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := &Collector{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.take(w, r); err != nil {
			t.Errorf("the collector got what it cannot take: %v", err)
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	}))
	_ = server.Listener.Close() // of an address that the server chose
	server.Listener = ln
	server.Start()
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// Answer has fn answer: it gets the number of the request, from 1, and returns
// whether it did; else the spans are taken.
func (c *Collector) Answer(fn func(request int, w http.ResponseWriter) bool) {
	c.mu.Lock()
	c.answer = fn
	c.mu.Unlock()
}

// Requests returns how many there were.
func (c *Collector) Requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

// Spans returns those that were taken.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

func (c *Collector) take(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("%s %s of %s, want POST /v1/traces of application/x-protobuf", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var all collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &all); err != nil {
		return err
	}
	spans, err := read(&all)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	if c.answer != nil && c.answer(c.requests, w) {
		return nil
	}
	c.spans = append(c.spans, spans...)
	w.Header().Set("Content-Type", "application/x-protobuf")
	return nil
}

func read(all *collector.ExportTraceServiceRequest) ([]Span, error) {
	var out []Span
	for _, r := range all.GetResourceSpans() {
		resource, err := attributes(r.GetResource().GetAttributes())
		if err != nil {
			return nil, err
		}
		for _, scope := range r.GetScopeSpans() {
			if scope.GetScope().GetName() == "" {
				return nil, fmt.Errorf("spans without a scope")
			}
			for _, s := range scope.GetSpans() {
				span, err := spanOf(s)
				if err != nil {
					return nil, err
				}
				span.Resource, span.Service = resource, resource["service.name"]
				out = append(out, span)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("a request without spans")
	}
	return out, nil
}

func spanOf(s *trace.Span) (Span, error) {
	if len(s.GetTraceId()) != 16 || len(s.GetSpanId()) != 8 || len(s.GetParentSpanId()) != 8 && len(s.GetParentSpanId()) != 0 || s.GetName() == "" {
		return Span{}, fmt.Errorf("a span without ids or name: %v", s)
	}
	if s.GetFlags()&1 == 0 || s.GetFlags()&0x100 == 0 || s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
		return Span{}, fmt.Errorf("a span that is not sampled, or ended before it began: %v", s)
	}
	known, err := attributes(s.GetAttributes())
	if err != nil {
		return Span{}, err
	}
	out := Span{
		Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Name: s.GetName(), Kind: s.GetKind().String()[len("SPAN_KIND_"):], Remote: s.GetFlags()&0x200 != 0, Attributes: known,
		Failed: s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR, Message: s.GetStatus().GetMessage(),
		Began: time.Unix(0, int64(s.GetStartTimeUnixNano())), Ended: time.Unix(0, int64(s.GetEndTimeUnixNano())),
	}
	for _, e := range s.GetEvents() {
		if _, err := attributes(e.GetAttributes()); err != nil {
			return Span{}, err
		}
		out.Events = append(out.Events, e.GetName())
	}
	return out, nil
}

// attributes are attributes as text; a key stands once.
func attributes(all []*common.KeyValue) (map[string]string, error) {
	out := map[string]string{}
	for _, a := range all {
		if _, again := out[a.GetKey()]; again || a.GetKey() == "" {
			return nil, fmt.Errorf("the attribute %q stands twice, or has no key", a.GetKey())
		}
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			out[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			out[a.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		case *common.AnyValue_DoubleValue:
			out[a.GetKey()] = strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
		default:
			return nil, fmt.Errorf("the attribute %q has a value of type %T", a.GetKey(), v)
		}
	}
	return out, nil
}
