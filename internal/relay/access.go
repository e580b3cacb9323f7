package relay

import (
	"bytes"
	"net/netip"
)

// Credentials returns the values of the fields Authorization and X-API-Key, nil where there is
// none, and whether one of them came more than once.
func (x *Exchange) Credentials() (authorization, apiKey []byte, twice bool) {
	h := &x.conn.req
	for i := range h.fields {
		f := &h.fields[i]
		into := &authorization
		switch {
		case f.kind != ordinary:
			continue
		case len(f.name) == len("authorization") && equalFold(f.name, "authorization"):
		case len(f.name) == len("x-api-key") && equalFold(f.name, "x-api-key"):
			into = &apiKey
		default:
			continue
		}
		twice = twice || *into != nil
		*into = f.value
	}
	return authorization, apiKey, twice
}

// Address is that of the client: of a proxy that is trusted, the one that it speaks for. It
// is invalid where that cannot be known.
func (x *Exchange) Address() netip.Addr {
	c := x.conn
	own, err := netip.ParseAddr(c.ip)
	if err != nil || !c.trusted || c.req.xff < 0 {
		return own
	}
	// From the last hop back to the first one that is not a proxy of ours.
	for i := len(c.req.fields) - 1; i >= 0; i-- {
		if c.req.fields[i].kind != kForwardedFor {
			continue
		}
		for rest := c.req.fields[i].value; len(rest) > 0; {
			hop := rest
			if comma := bytes.LastIndexByte(rest, ','); comma >= 0 {
				hop, rest = rest[comma+1:], rest[:comma]
			} else {
				rest = nil
			}
			addr, err := netip.ParseAddr(string(bytes.TrimSpace(hop)))
			if err != nil {
				return own
			}
			if own = addr; !Within(c.srv.trusted, addr) {
				return addr
			}
		}
	}
	return own
}

// Identified says that who calls was found out here. What the client says of that itself
// does not travel on, nor does the field that proved it, if hide is not empty (in lower
// case). Told are lines of the head that the upstream gets: whole fields, each with its line
// end. They are kept until the exchange is over.
func (x *Exchange) Identified(hide string, told []byte) {
	x.identified, x.hidden, x.told = true, hide, told
}

// Add has the answer, wherever it comes from, have these lines too, as Identified has them.
func (x *Exchange) Add(lines []byte) { x.added = lines }

// isCaller reports whether a field says who calls.
func isCaller(name []byte) bool {
	return equalFold(name, "x-cortex-caller") || equalFold(name, "x-cortex-caller-name")
}
