package tracing

import "encoding/hex"

type (
	traceID [16]byte
	spanID  [8]byte
)

// spanContext is what a request carries of its trace (W3C Trace Context).
type spanContext struct {
	trace  traceID
	parent spanID
	flags  byte
}

const (
	flagSampled = 0x01 // the trace is recorded
	// Of the flags those travel on that mean something: whether the trace is recorded,
	// and whether its id is random.
	knownFlags = 0x03

	lengthTraceparent = 55
)

// parseTraceparent reads one; of a version that is not known, what it has in common
// with the first.
func parseTraceparent(v []byte) (c spanContext, ok bool) {
	if len(v) < lengthTraceparent {
		return c, false
	}
	var flags [1]byte
	for _, part := range []struct{ to, from []byte }{{c.trace[:], v[3:35]}, {c.parent[:], v[36:52]}, {flags[:], v[53:55]}} {
		if _, err := hex.Decode(part.to, part.from); err != nil {
			return c, false
		}
	}
	c.flags = flags[0] & knownFlags
	return c, c.trace != traceID{} && c.parent != spanID{}
}

// appendTraceparent appends what the requests carry whose parent is c's.
func (c spanContext) appendTraceparent(to []byte) []byte {
	to = hex.AppendEncode(append(to, "00-"...), c.trace[:])
	to = hex.AppendEncode(append(to, '-'), c.parent[:])
	return hex.AppendEncode(append(to, '-'), []byte{c.flags})
}
