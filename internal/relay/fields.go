package relay

import (
	"bytes"
	"net/netip"
)

// What a byte may be part of.
const (
	isToken  = 1 << iota // a method or a field name
	isTarget             // a request target
	isValue              // a field value
	isHost               // a host with its port
)

var class = func() (t [256]uint8) {
	for c := range 256 {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), byte(c)) >= 0:
			t[c] |= isToken
		}
		if c > ' ' && c != 0x7f && c != '#' {
			t[c] |= isTarget
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			t[c] |= isValue
		}
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', bytes.IndexByte([]byte("!$%&'()*+,-.:;=[]_~"), byte(c)) >= 0:
			t[c] |= isHost
		}
	}
	return t
}()

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func validHost(v []byte) bool {
	for _, c := range v {
		if class[c]&isHost == 0 {
			return false
		}
	}
	return true
}

// validAuthority is validHost for the authority of an absolute target, which
// has to be a name or an address and maybe a port.
func validAuthority(v []byte) bool {
	host, port := v, []byte(nil)
	if i := bytes.LastIndexByte(v, ':'); i >= 0 && bytes.IndexByte(v[i:], ']') < 0 {
		host, port = v[:i], v[i+1:]
	}
	for _, c := range port {
		if !isDigit(c) {
			return false
		}
	}
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		a, err := netip.ParseAddr(string(host[1 : len(host)-1]))
		return err == nil && a.Is6() && a.Zone() == ""
	}
	for _, c := range host {
		if !(isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '.' || c == '_') {
			return false
		}
	}
	return len(host) > 0
}

// kind tells the fields apart that mean something to a relay.
type kind uint8

const (
	ordinary kind = iota
	kHost
	kContentLength
	kTransferEncoding
	kTrailer
	kExpect
	kForwardedFor
	kForwardedProto
	kForwardedHost
	kRequestID
	kTraceparent
	kTracestate
	kCortex // X-Cortex-…: ours, never a client's
	kDate
	kClaim      // what else says of a request who asks, and how
	kUnderscore // a name that servers may take for another one

	kConnection // the first of those that end at this hop
	kKeepAlive
	kProxyConnection
	kProxyAuthorization
	kProxyAuthenticate
	kTE
	kUpgrade
	kHTTP2Settings
)

func (k kind) isHop() bool { return k >= kConnection }

// kindOf is a switch on length and first letter, so that an ordinary field costs
// one comparison or none.
func kindOf(n []byte) kind {
	if bytes.IndexByte(n, '_') >= 0 {
		return kUnderscore
	}
	c := n[0] | 0x20
	switch len(n) {
	case 2:
		return named(n, "te", kTE)
	case 4:
		if c == 'h' {
			return named(n, "host", kHost)
		}
		return named(n, "date", kDate)
	case 6:
		return named(n, "expect", kExpect)
	case 7:
		if c == 'u' {
			return named(n, "upgrade", kUpgrade)
		}
		return named(n, "trailer", kTrailer)
	case 9:
		if c == 'f' {
			return named(n, "forwarded", kClaim)
		}
		if c == 'x' && equalFold(n, "x-real-ip") {
			return kClaim
		}
	case 10:
		switch c {
		case 'c':
			return named(n, "connection", kConnection)
		case 'k':
			return named(n, "keep-alive", kKeepAlive)
		case 't':
			return named(n, "tracestate", kTracestate)
		}
	case 11:
		if c == 't' {
			return named(n, "traceparent", kTraceparent)
		}
	case 12:
		if c == 'x' && equalFold(n, "x-request-id") {
			return kRequestID
		}
	case 14:
		if c == 'c' {
			return named(n, "content-length", kContentLength)
		}
		if c == 'h' {
			return named(n, "http2-settings", kHTTP2Settings)
		}
	case 15:
		if c == 'x' && equalFold(n, "x-forwarded-for") {
			return kForwardedFor
		}
	case 16:
		if c == 'p' {
			return named(n, "proxy-connection", kProxyConnection)
		}
		if c == 'x' && equalFold(n, "x-forwarded-host") {
			return kForwardedHost
		}
	case 17:
		if c == 't' {
			return named(n, "transfer-encoding", kTransferEncoding)
		}
		if c == 'x' && equalFold(n, "x-forwarded-proto") {
			return kForwardedProto
		}
	case 18:
		if c == 'p' {
			return named(n, "proxy-authenticate", kProxyAuthenticate)
		}
	case 19:
		if c == 'p' {
			return named(n, "proxy-authorization", kProxyAuthorization)
		}
	}
	if c == 'x' && len(n) > 9 && equalFold(n[:9], "x-cortex-") {
		return kCortex
	}
	if c == 'x' && len(n) > 12 && equalFold(n[:12], "x-forwarded-") {
		return kClaim
	}
	return ordinary
}

func named(n []byte, name string, k kind) kind {
	if equalFold(n, name) {
		return k
	}
	return ordinary
}

// equalFold compares b with lower, which is ASCII in lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// nextToken cuts the first element off a comma-separated list.
func nextToken(v []byte) (token, rest []byte) {
	if i := bytes.IndexByte(v, ','); i >= 0 {
		token, rest = v[:i], v[i+1:]
	} else {
		token = v
	}
	return bytes.Trim(token, " \t"), rest
}

func hasToken(v []byte, lower string) bool {
	for len(v) > 0 {
		var token []byte
		if token, v = nextToken(v); equalFold(token, lower) {
			return true
		}
	}
	return false
}

func trimCR(b []byte) []byte {
	if len(b) > 0 && b[len(b)-1] == '\r' {
		return b[:len(b)-1]
	}
	return b
}

// keepAliveTimeout reads "timeout=5, max=100"; 0 when it is not there.
func keepAliveTimeout(v []byte) int64 {
	for len(v) > 0 {
		var token []byte
		token, v = nextToken(v)
		const name = "timeout="
		if len(token) > len(name) && equalFold(token[:len(name)], name) {
			if n, ok := parseLength(token[len(name):]); ok && n <= 1<<20 {
				return max(n, 1)
			}
		}
	}
	return 0
}
