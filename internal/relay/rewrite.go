package relay

import (
	"bytes"
	"math/rand/v2"
	"strconv"
)

// appendRequest appends the head that goes upstream.
func (c *conn) appendRequest(out []byte) []byte {
	h, x := &c.req, &c.x
	out = c.appendFields(out)
	switch {
	case c.reqInChunks():
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case h.length >= 0:
		out = append(out, "Content-Length: "...)
		out = append(strconv.AppendInt(out, h.length, 10), crlf...)
	}
	if h.expects {
		out = append(out, "Expect: 100-continue\r\n"...)
	}
	switch {
	case x.upgrade:
		out = append(append(append(out, "Connection: Upgrade\r\nUpgrade: "...), h.upgrade...), crlf...)
	case x.pointless && !c.srv.behind:
		out = append(out, "Connection: close\r\n"...) // see unreadBody
	}
	return append(out, crlf...)
}

// travels reports whether f goes upstream as it came. What relays of ours have in front
// has looked already.
func (c *conn) travels(f *field) bool {
	if f.hop {
		return false
	}
	switch f.kind {
	case ordinary, kDate:
		return c.x.hidden == "" || !equalFold(f.name, c.x.hidden)
	case kTrailer: // only chunks are followed by a trailer that could be announced
		return c.req.body == chunked || c.req.body == framed
	case kTracestate: // it is about the traceparent that came with it, not about one made here
		return c.x.traced
	case kUnderscore: // WSGI and CGI take X_Forwarded_For for X-Forwarded-For
		return c.srv.front || c.x.call.is // gRPC knows one name from another
	case kClaim: // anybody could say so
		return c.srv.front || c.trusted
	case kCortex: // who calls, where that was found out in front
		return c.srv.front && isCaller(f.name) || c.x.ours && !(c.x.identified && isCaller(f.name))
	}
	return false
}

// appendFields appends the part of a head that says what is asked and not how it
// is sent: the request line in origin form without the prefix, the fields that
// travel on, and ours.
func (c *conn) appendFields(out []byte) []byte {
	h, x := &c.req, &c.x
	out = append(append(out, h.method...), ' ')
	target := h.target[x.prefix:]
	if len(target) == 0 || target[0] != '/' {
		out = append(out, '/')
	}
	out = append(append(out, target...), " HTTP/1.1\r\nHost: "...)
	out = append(append(out, h.host...), crlf...)
	for i := range h.fields {
		f := &h.fields[i]
		switch {
		case !c.travels(f):
		case f.kind == kTrailer:
			out = appendTrailerNames(out, f.value)
		default:
			out = append(append(out, f.line...), crlf...)
		}
	}
	out = c.appendForwarded(out)
	out = append(append(append(out, "X-Request-ID: "...), x.id()...), crlf...)
	out = append(append(append(out, "Traceparent: "...), x.trace[:x.traceLen]...), crlf...)
	out = append(out, x.told...)
	if h.trailers {
		out = append(out, "TE: trailers\r\n"...)
	}
	return out
}

const crlf = "\r\n"

// appendTrailerNames appends the names of those fields after the body that are forwarded.
func appendTrailerNames(out, value []byte) []byte {
	lead := "Trailer: "
	for len(value) > 0 {
		var name []byte
		if name, value = nextToken(value); len(name) > 0 && mayTrail(name) {
			out = append(append(out, lead...), name...)
			lead = ", "
		}
	}
	if lead == ", " {
		out = append(out, crlf...)
	}
	return out
}

// appendForwarded appends X-Forwarded-For with this hop added, and the scheme and
// host that the client used unless a proxy that is trusted already said so.
func (c *conn) appendForwarded(out []byte) []byte {
	h := &c.req
	if c.srv.front {
		for i := range h.fields {
			if k := h.fields[i].kind; k == kForwardedFor || k == kForwardedProto || k == kForwardedHost {
				out = append(append(out, h.fields[i].line...), crlf...)
			}
		}
		return out
	}
	out = append(out, "X-Forwarded-For: "...)
	if h.xff >= 0 && c.trusted {
		for i := range h.fields {
			if h.fields[i].kind == kForwardedFor && len(h.fields[i].value) > 0 {
				out = append(append(out, h.fields[i].value...), ", "...)
			}
		}
	}
	out = append(out, c.ip...)
	switch {
	case h.xfp >= 0 && c.trusted:
		out = append(append(out, "\r\nX-Forwarded-Proto: "...), h.fields[h.xfp].value...)
	case c.secure:
		out = append(out, "\r\nX-Forwarded-Proto: https"...)
	default:
		out = append(out, "\r\nX-Forwarded-Proto: http"...)
	}
	out = append(out, "\r\nX-Forwarded-Host: "...)
	if h.xfh >= 0 && c.trusted {
		out = append(out, h.fields[h.xfh].value...)
	} else {
		out = append(out, h.host...)
	}
	return append(out, crlf...)
}

// identify keeps the request's id and trace context where they are sane, and
// makes what is missing. The slices of the head may be forgotten afterwards.
func (x *Exchange) identify(h *head) {
	x.traced = false
	if h.trace >= 0 && validTraceparent(h.fields[h.trace].value) {
		x.traced = true
		x.traceLen = copy(x.trace[:], h.fields[h.trace].value)
	} else {
		b := append(x.trace[:0], "00-"...)
		b = appendHex(b, rand.Uint64()|1)
		b = appendHex(b, rand.Uint64())
		b = appendHex(append(b, '-'), rand.Uint64()|1)
		// Sampled: a service that follows its parent's decision would otherwise
		// record nothing of requests that begin here.
		x.traceLen = len(append(b, "-01"...))
	}
	if h.requestID >= 0 && saneID(h.fields[h.requestID].value) {
		x.idLen = copy(x.requestID[:], h.fields[h.requestID].value)
		return
	}
	x.idLen = copy(x.requestID[:], x.trace[3:35]) // one id to look for in logs and traces
}

func (x *Exchange) id() []byte { return x.requestID[:x.idLen] }

const maxRequestID = 128

func saneID(v []byte) bool {
	if len(v) == 0 || len(v) > maxRequestID {
		return false
	}
	for _, c := range v {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// validTraceparent follows W3C Trace Context: version, trace, parent and flags.
func validTraceparent(v []byte) bool {
	const length = 55
	if len(v) < length || len(v) > maxTraceparent || len(v) > length && (v[length] != '-' || v[0] == '0' && v[1] == '0') {
		return false
	}
	if v[2] != '-' || v[35] != '-' || v[52] != '-' || v[0] == 'f' && v[1] == 'f' {
		return false
	}
	for i, c := range v[:length] {
		if i != 2 && i != 35 && i != 52 && !(isDigit(c) || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return !allZero(v[3:35]) && !allZero(v[36:52])
}

const maxTraceparent = 96

func allZero(v []byte) bool { return len(bytes.TrimLeft(v, "0")) == 0 }

func appendHex(b []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, digits[n>>shift&15])
	}
	return b
}

// appendResponse appends the head that goes to the client. chunkedOut says that
// the body is sent in chunks, closing that no further exchange follows.
func (c *conn) appendResponse(out []byte, chunkedOut, closing bool) []byte {
	h, x := &c.res, &c.x
	out = h.appendStatus(out, chunkedOut || c.st != nil)
	if h.requestID == -1 {
		out = append(append(append(out, "X-Request-ID: "...), x.id()...), crlf...)
	}
	if x.held {
		out = append(out, "X-Cortex-Origin: activator\r\n"...)
	} else {
		out = append(out, "X-Cortex-Origin: api\r\n"...)
	}
	if r := c.reason(); len(r) > 0 {
		out = append(append(append(out, "X-Cortex-Reason: "...), r...), crlf...)
	}
	out = append(out, x.added...)
	switch {
	case chunkedOut:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case h.length >= 0 && !h.transfer && h.status >= 200 && h.status != 204: // 101 has none either
		out = append(out, "Content-Length: "...)
		out = append(strconv.AppendInt(out, h.length, 10), crlf...)
	}
	switch {
	case h.status == 101:
		out = append(append(append(out, "Connection: Upgrade\r\nUpgrade: "...), h.upgrade...), crlf...)
	case closing:
		out = append(out, "Connection: close\r\n"...)
	case c.req.minor == 0: // which takes silence for close
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	return append(out, crlf...)
}

// reason is what a relay or a server of ours behind this one gives as the reason of its
// answer.
func (c *conn) reason() []byte {
	if !c.srv.behind && !c.x.ours {
		return nil
	}
	for i := range c.res.fields {
		if f := &c.res.fields[i]; f.kind == kCortex && equalFold(f.name, "x-cortex-reason") {
			return f.value
		}
	}
	return nil
}

// appendInformation appends a 1xx answer, which has no field of ours.
func (c *conn) appendInformation(out []byte) []byte {
	if c.res.status == 100 {
		return append(out, "HTTP/1.1 100 Continue\r\n\r\n"...)
	}
	return append(c.res.appendStatus(out, false), crlf...)
}

// appendStatus appends the status line and the fields that travel on.
func (h *head) appendStatus(out []byte, trailers bool) []byte {
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(h.status), 10)
	if len(h.reason) == 0 {
		out = append(out, ' ')
	}
	out = append(append(out, h.reason...), crlf...)
	for i := range h.fields {
		f := &h.fields[i]
		switch f.kind {
		case kContentLength, kTransferEncoding, kCortex:
			continue
		case kTrailer:
			if !trailers {
				continue
			}
		}
		if !f.hop {
			out = append(append(out, f.line...), crlf...)
		}
	}
	return out
}
