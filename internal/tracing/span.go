package tracing

import (
	"slices"
	"strings"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Bounds of one span.
const (
	maxText       = 1 << 10 // bytes of a text
	maxAttributes = 32
	maxEvents     = 32
)

// Span is something that took time. One goroutine at a time uses it, and nobody
// after End. All methods do nothing on nil.
type Span struct {
	tracer      *Tracer
	spanContext // what its children carry
	otlp        *otlp.Span
}

// Attribute is a key and a value, as OTLP has it.
type Attribute = *common.KeyValue

// String is an attribute of text; past 1 KiB it is cut off.
func String[T string | []byte](key string, value T) Attribute {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: clean(value)}}}
}

// Int is an attribute that is counted.
func Int(key string, value int64) Attribute {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: value}}}
}

// Seconds is an attribute that is measured.
func Seconds(key string, value time.Duration) Attribute {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: value.Seconds()}}}
}

// clean is what a collector takes for text, within its bound, and keeps nothing else
// of value alive: a path may be 64 KiB of any bytes.
func clean[T string | []byte](value T) string {
	if len(value) > maxText {
		value = T(strings.Clone(string(value[:maxText])))
	}
	return strings.ToValidUTF8(string(value), "\uFFFD")
}

// newSpan returns a span that begins now and whose parent is from's.
func newSpan(t *Tracer, from spanContext, remote bool, kind otlp.Span_SpanKind) *Span {
	flags := uint32(from.flags) | uint32(otlp.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
	if remote {
		flags |= uint32(otlp.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
	}
	s := &Span{tracer: t, spanContext: from, otlp: &otlp.Span{TraceId: from.trace[:], Kind: kind, Flags: flags, StartTimeUnixNano: uint64(time.Now().UnixNano())}}
	if from.parent != (spanID{}) {
		s.otlp.ParentSpanId = from.parent[:]
	}
	s.parent = newSpanID()
	s.otlp.SpanId = s.parent[:]
	return s
}

// Client returns the span of a request that is made on behalf of s. It begins now,
// or when SetStart is called.
func (s *Span) Client() *Span {
	if s == nil {
		return nil
	}
	return newSpan(s.tracer, s.spanContext, false, otlp.Span_SPAN_KIND_CLIENT)
}

// SetStart makes s begin at the given time.
func (s *Span) SetStart(at time.Time) {
	if s != nil {
		s.otlp.StartTimeUnixNano = uint64(at.UnixNano())
	}
}

// SetName sets the name, one of few: by it spans are grouped.
func (s *Span) SetName(name string) {
	if s != nil {
		s.otlp.Name = clean(name)
	}
}

// AppendName adds to the name what the request was for.
func (s *Span) AppendName(what string) {
	if s != nil {
		s.SetName(s.otlp.Name + " " + what)
	}
}

// Set adds attributes. A later one of the same key takes the place of an earlier one.
func (s *Span) Set(attributes ...Attribute) {
	if s == nil {
		return
	}
	for _, a := range attributes {
		if i := slices.IndexFunc(s.otlp.Attributes, func(b Attribute) bool { return b.Key == a.Key }); i >= 0 {
			s.otlp.Attributes[i] = a
		} else if len(s.otlp.Attributes) < maxAttributes {
			s.otlp.Attributes = append(s.otlp.Attributes, a)
		}
	}
}

// AddEvent adds that something happened at a time.
func (s *Span) AddEvent(at time.Time, name string, attributes ...Attribute) {
	switch {
	case s == nil:
	case len(s.otlp.Events) >= maxEvents:
		s.otlp.DroppedEventsCount++
	default:
		s.otlp.Events = append(s.otlp.Events, &otlp.Span_Event{TimeUnixNano: uint64(at.UnixNano()), Name: name, Attributes: attributes})
	}
}

// SetError marks what the span stands for as failed.
func (s *Span) SetError(message string) {
	if s != nil {
		s.otlp.Status = &otlp.Status{Code: otlp.Status_STATUS_CODE_ERROR, Message: clean(message)}
	}
}

// IsClient reports whether s is of a request that was made, not of one that was got.
func (s *Span) IsClient() bool { return s != nil && s.otlp.Kind == otlp.Span_SPAN_KIND_CLIENT }

// AppendTraceparent appends the traceparent of requests that are made within s.
func (s *Span) AppendTraceparent(to []byte) []byte { return s.appendTraceparent(to) }

// End ends s and hands it over to be sent.
func (s *Span) End(at time.Time) {
	if s == nil {
		return
	}
	s.otlp.EndTimeUnixNano = uint64(at.UnixNano())
	s.tracer.enqueue(s.otlp)
}
