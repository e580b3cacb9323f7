package tracing

import (
	"strings"
	"time"
)

// Bounds of one span.
const (
	maxText       = 1 << 10 // bytes of a text
	maxAttributes = 32
	maxEvents     = 32
)

// kind of a span, by its number in OTLP.
type kind uint64

const (
	server kind = 2
	client kind = 3
)

// Span is something that took time. One goroutine at a time uses it, and nobody
// after End. All methods do nothing on nil.
type Span struct {
	tracer     *Tracer
	carried           // its parent is that of the span
	id         spanID // its own
	kind       kind
	remote     bool // the parent is somebody else's
	name       string
	begin, end time.Time
	attributes []Attribute
	events     []event
	lost       int // events past the bound
	failed     bool
	message    string
}

type event struct {
	at         time.Time
	name       string
	attributes []Attribute
}

// Attribute is one fact.
type Attribute struct {
	key    string
	text   string
	number int64
	real   float64
	of     valueKind
}

type valueKind uint8

const (
	isText valueKind = iota
	isNumber
	isReal
)

// Text is a fact in words; past 1 KiB it is cut off.
func Text[T string | []byte](key string, value T) Attribute {
	return Attribute{key: key, text: clean(value)}
}

// Number is a fact that is counted.
func Number(key string, value int64) Attribute {
	return Attribute{key: key, number: value, of: isNumber}
}

// Seconds is a fact that is measured.
func Seconds(key string, value time.Duration) Attribute {
	return Attribute{key: key, real: value.Seconds(), of: isReal}
}

// clean is what a collector takes for text, within its bound, and keeps nothing else
// of value alive: a path may be 64 KiB of any bytes.
func clean[T string | []byte](value T) string {
	if len(value) > maxText {
		value = T(strings.Clone(string(value[:maxText])))
	}
	return strings.ToValidUTF8(string(value), "\uFFFD")
}

// Client returns the span of a request that is made on behalf of s. It begins now,
// or when Started is called again.
func (s *Span) Client() *Span {
	if s == nil {
		return nil
	}
	of := s.carried
	of.parent = s.id
	return &Span{tracer: s.tracer, carried: of, id: newSpanID(), kind: client, begin: time.Now()}
}

// Restart makes s begin at the given time.
func (s *Span) Restart(at time.Time) {
	if s != nil {
		s.begin = at
	}
}

// Name sets the name, one of few: by it spans are grouped.
func (s *Span) Name(name string) {
	if s != nil {
		s.name = clean(name)
	}
}

// NameAfter adds to the name what the request was for.
func (s *Span) NameAfter(what string) {
	if s != nil {
		s.Name(s.name + " " + what)
	}
}

// Set adds facts. A later one of the same key takes the place of an earlier one.
func (s *Span) Set(facts ...Attribute) {
	if s == nil {
		return
	}
next:
	for _, fact := range facts {
		for i := range s.attributes {
			if s.attributes[i].key == fact.key {
				s.attributes[i] = fact
				continue next
			}
		}
		if len(s.attributes) < maxAttributes {
			s.attributes = append(s.attributes, fact)
		}
	}
}

// Event adds that something happened at a time.
func (s *Span) Event(at time.Time, name string, facts ...Attribute) {
	switch {
	case s == nil:
	case len(s.events) >= maxEvents:
		s.lost++
	default:
		s.events = append(s.events, event{at, name, facts})
	}
}

// Fail marks what the span stands for as failed.
func (s *Span) Fail(message string) {
	if s != nil {
		s.failed, s.message = true, clean(message)
	}
}

// IsClient reports whether s is of a request that was made, not of one that was got.
func (s *Span) IsClient() bool { return s != nil && s.kind == client }

// AppendTraceparent appends the traceparent of requests that are made within s.
func (s *Span) AppendTraceparent(to []byte) []byte {
	c := s.carried
	c.parent = s.id
	return c.appendTraceparent(to)
}

// End ends s and hands it over to be sent.
func (s *Span) End(at time.Time) {
	if s == nil {
		return
	}
	s.end = at
	s.tracer.take(s)
}
