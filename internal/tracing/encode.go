package tracing

import (
	"encoding/binary"
	"math"
	"time"
)

// wire writes protobuf messages: numbered fields, messages within messages.
type wire []byte

// The types of fields.
const (
	isVarint  = 0
	isFixed64 = 1
	isBytes   = 2
	isFixed32 = 5
)

func (w *wire) tag(field, of uint64) { *w = binary.AppendUvarint(*w, field<<3|of) }

func (w *wire) number(field, value uint64) {
	if value != 0 { // nothing means 0
		w.tag(field, isVarint)
		*w = binary.AppendUvarint(*w, value)
	}
}

func (w *wire) time(field uint64, at time.Time) {
	w.tag(field, isFixed64)
	*w = binary.LittleEndian.AppendUint64(*w, uint64(at.UnixNano()))
}

func (w *wire) text(field uint64, value string) {
	if value != "" {
		w.tag(field, isBytes)
		*w = append(binary.AppendUvarint(*w, uint64(len(value))), value...)
	}
}

func (w *wire) bytes(field uint64, value []byte) {
	w.tag(field, isBytes)
	*w = append(binary.AppendUvarint(*w, uint64(len(value))), value...)
}

// message writes what fill does as one field. Its length, which stands before it, is
// known only afterwards.
func (w *wire) message(field uint64, fill func()) {
	w.tag(field, isBytes)
	at := len(*w)
	fill()
	var length [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(length[:], uint64(len(*w)-at))
	*w = append(*w, length[:n]...)
	copy((*w)[at+n:], (*w)[at:len(*w)-n])
	copy((*w)[at:], length[:n])
}

// scope is who made the spans.
const scope = "cortex.dev/cortex"

// request appends an ExportTraceServiceRequest of OTLP 1.x with spans to w.
func (w *wire) request(resource []Attribute, spans []*Span) {
	w.message(1, func() { // resource_spans
		w.message(1, func() { w.attributes(1, resource) })
		w.message(2, func() { // scope_spans
			w.message(1, func() { w.text(1, scope) })
			for _, s := range spans {
				w.message(2, func() { w.span(s) })
			}
		})
	})
}

// In the flags of a span beside those of its trace.
const (
	knowsRemote = 0x100
	isRemote    = 0x200
)

func (w *wire) span(s *Span) {
	w.bytes(1, s.trace[:])
	w.bytes(2, s.id[:])
	if s.parent != (spanID{}) {
		w.bytes(4, s.parent[:])
	}
	w.text(5, s.name)
	w.number(6, uint64(s.kind))
	w.time(7, s.begin)
	w.time(8, s.end)
	w.attributes(9, s.attributes)
	for _, e := range s.events {
		w.message(11, func() {
			w.time(1, e.at)
			w.text(2, e.name)
			w.attributes(3, e.attributes)
		})
	}
	w.number(12, uint64(s.lost))
	if s.failed {
		w.message(15, func() {
			w.text(2, s.message)
			w.number(3, 2) // STATUS_CODE_ERROR
		})
	}
	flags := uint32(s.flags) | knowsRemote
	if s.remote {
		flags |= isRemote
	}
	w.tag(16, isFixed32)
	*w = binary.LittleEndian.AppendUint32(*w, flags)
}

func (w *wire) attributes(field uint64, all []Attribute) {
	for _, a := range all {
		w.message(field, func() {
			w.text(1, a.key)
			w.message(2, func() { // a value says its type also when it is 0
				switch a.of {
				case isText:
					w.bytes(1, []byte(a.text))
				case isNumber:
					w.tag(3, isVarint)
					*w = binary.AppendUvarint(*w, uint64(a.number))
				case isReal:
					w.tag(4, isFixed64)
					*w = binary.LittleEndian.AppendUint64(*w, math.Float64bits(a.real))
				}
			})
		})
	}
}

// rejected is how many spans a collector did not take, by its answer
// (ExportTraceServiceResponse), and why. What cannot be read says nothing.
func rejected(answer []byte) (n int64, why string) {
	eachField(answer, func(field uint64, _ uint64, partial []byte) {
		if field != 1 {
			return
		}
		eachField(partial, func(field, number uint64, text []byte) {
			switch field {
			case 1:
				n = max(int64(min(number, math.MaxInt64)), 0)
			case 2:
				why = clean(text)
			}
		})
	})
	return n, why
}

// eachField reads the numbers and the byte strings of a message, up to what is not
// one.
func eachField(p []byte, fn func(field, number uint64, data []byte)) {
	for len(p) > 0 {
		tag, n := binary.Uvarint(p)
		if n <= 0 {
			return
		}
		p = p[n:]
		value, n := binary.Uvarint(p)
		if n <= 0 {
			return
		}
		p = p[n:]
		switch tag & 7 {
		case isVarint:
			fn(tag>>3, value, nil)
		case isBytes:
			if value > uint64(len(p)) {
				return
			}
			fn(tag>>3, 0, p[:value])
			p = p[value:]
		default:
			return
		}
	}
}
