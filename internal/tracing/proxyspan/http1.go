package proxyspan

import (
	"bytes"

	"cortex.dev/cortex/internal/relay"
)

// Observer is what a relay tells; nil of a nil Hop.
func (h *Hop) Observer() relay.Observer {
	if h == nil {
		return nil
	}
	return observer{h}
}

type observer struct{ hop *Hop }

// Of returns what is told of x; nil: nothing.
func Of(x *relay.Exchange) *Request {
	if x.Watched == nil {
		return nil
	}
	return x.Watched.(*Request)
}

func (o observer) Began(x *relay.Exchange) {
	r := o.hop.begin(x.Traceparent())
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

func (o observer) Ended(x *relay.Exchange, status int, reason string) { Of(x).end(status, reason) }
