// Package relay forwards HTTP exchanges between clients and upstream servers, fast: one
// goroutine per client connection of HTTP/1, or per stream of HTTP/2, pooled buffers and
// upstream connections, no timer, allocation or extra goroutine for an ordinary exchange.
//
// It promises that a request either reaches the upstream with exactly the meaning
// it has by RFC 9112 or 9113, or is refused; that bodies are streamed both ways at the
// same time, and only small ones collected; that hop-by-hop fields stay on their hop;
// and that every input is bounded.
//
// It must not decide where a request goes: that is its Handler's. It knows no
// workload, no replica and no metric.
package relay

import (
	"time"
)

// Handler decides where requests go. Its methods are called from the goroutine of
// the client's connection or stream, and may block as long as x.Context() lives.
type Handler interface {
	// Admit returns a place for x, or the answer that refuses it. again counts the
	// places that were given up because their upstream could not be reached.
	Admit(x *Exchange, again int) (Place, *Answer)
}

// Place is the right to forward one request to an upstream.
type Place interface {
	// Upstream is where the request goes.
	Upstream() *Upstream
	// Done gives the place back, exactly once: when the upstream has done its part, even
	// where the client has yet to take the answer. status is that of the answer, or 0
	// when there was no whole one. It may be called from another goroutine.
	Done(status int)
	// Unreached gives the place back when no connection could be opened, so that
	// nothing was sent.
	Unreached(err error)
}

// Observer is told of exchanges, and cannot change what becomes of them. Its methods
// are called from the goroutine of the client's connection or stream, and must not block.
type Observer interface {
	// Began: a request was read. Its trace context may still be changed.
	Began(x *Exchange)
	// Answering: the upstream's answer is about to be passed on.
	Answering(x *Exchange)
	// Ended: the client got an answer of this status or, with 0, no whole one. reason
	// is the code of what is not an upstream's answer; empty: it is one.
	Ended(x *Exchange, status int, reason string)
	// Unread: what came could not be read as a request, and was answered so. There is no
	// exchange.
	Unread(status int, reason string)
}

// Limits bound what clients may do. The zero value of each means its default.
type Limits struct {
	Header        int           // bytes of a request line and its fields; 64 KiB
	HeaderTimeout time.Duration // for a head to arrive whole once it began; 10 s
	IdleTimeout   time.Duration // between exchanges of one connection; 75 s
	BodyTimeout   time.Duration // without any progress of a body to or from the client; 5 min
	Finish        time.Duration // that a server may go on after its client has left; 5 min
	Conns         int           // open client connections; 20,000
	// ConnsPerAddr bounds those of one address, or of one /64 of IPv6, so that nobody has
	// them all. Many may stand behind one address: a quarter of Conns. It does not bind
	// proxies that are trusted.
	ConnsPerAddr int
	// Handshakes bounds those of TLS that are under way; 1,000. Past it the oldest one ends:
	// one that goes on is over in a moment, and one that does not is an attack.
	Handshakes  int
	EarlyBodies int64 // bytes of small bodies of requests that wait for a place, together; 64 MiB
	AheadBodies int64 // bytes of answers that clients have yet to take, together; 64 MiB
}

// WithDefaults returns l with its defaults in place of zero values.
func (l Limits) WithDefaults() Limits {
	if l.Header <= 0 {
		l.Header = 64 << 10
	}
	if l.HeaderTimeout <= 0 {
		l.HeaderTimeout = 10 * time.Second
	}
	if l.IdleTimeout <= 0 {
		l.IdleTimeout = 75 * time.Second
	}
	if l.BodyTimeout <= 0 {
		l.BodyTimeout = 5 * time.Minute
	}
	if l.Finish <= 0 {
		l.Finish = 5 * time.Minute
	}
	if l.Conns <= 0 {
		l.Conns = 20_000
	}
	if l.ConnsPerAddr <= 0 {
		l.ConnsPerAddr = max(l.Conns/4, 1)
	}
	if l.Handshakes <= 0 {
		l.Handshakes = 1000
	}
	if l.EarlyBodies <= 0 {
		l.EarlyBodies = 64 << 20
	}
	if l.AheadBodies <= 0 {
		l.AheadBodies = 64 << 20
	}
	return l
}

const (
	smallBuffer = 4 << 10                   // a head and a small body
	bodyBuffer  = 32 << 10                  // for bodies that do not fit
	largeBuffer = KeptBytes + 2*smallBuffer // a head with a body that is read before there is a place
	maxFields   = 500                       // fields of one head
	// What a relay of ours adds to a head must not make the next one refuse it.
	roomFields  = 16
	roomHeader  = 4 << 10
	maxInformal = 100      // 1xx answers to one request, and one more for each second of it
	maxTrailer  = 16 << 10 // bytes of a trailer section
)
