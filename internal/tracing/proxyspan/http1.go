package proxyspan

import (
	"bytes"

	"cortex.dev/cortex/internal/relay"
)

// Observers has what a relay tells; none of a nil Recorder.
func (c *Recorder) Observers() []relay.Observer {
	if c == nil {
		return nil
	}
	return []relay.Observer{observer{c}}
}

type observer struct{ recorder *Recorder }

// Of returns the spans of x; nil: it is not sampled.
func Of(x *relay.Exchange) *Request {
	if x.Watched == nil {
		return nil
	}
	return x.Watched.(*Request)
}

func (o observer) Began(x *relay.Exchange) {
	r := o.recorder.start(x.Traceparent())
	if r == nil {
		return
	}
	path := x.Target()
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	version := "1.1"
	if x.Minor() == 0 {
		version = "1.0"
	}
	r.describe(string(x.Method()), string(path), version, string(x.RequestID()))
	var scratch [64]byte
	x.SetTraceparent(r.traceparent(scratch[:0]))
	x.Watched = r
}

func (o observer) Answering(x *relay.Exchange) { Of(x).answering() }

func (o observer) Unread(int, string) {} // there is no request to record

func (o observer) Ended(x *relay.Exchange, status int, reason string) { Of(x).end(status, reason) }
