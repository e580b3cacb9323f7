package gateway

import (
	"bytes"
	"maps"
	"net/http"
	"slices"

	"cortex.dev/cortex/internal/relay"
)

// ofHost finds who has the host name of a request as its own; nil: nobody. It then has every
// path. While nobody has one this costs a look at a map that is empty.
func (s *snapshot) ofHost(x *relay.Exchange) *route {
	if len(s.hosts) == 0 || x.Target()[0] != '/' { // an asterisk is no path
		return nil
	}
	var scratch [maxHost]byte
	return s.hosts[string(plainHost(scratch[:0], x.Host()))]
}

// base is what stands before the paths of a request, of which strip bytes were the endpoint:
// nothing where it came by the host name, which has every path.
func (r *route) base(strip int) string {
	if strip == 0 {
		return ""
	}
	return r.endpoint
}

const maxHost = 253

// plainHost appends to out a host as names are compared: in lower case, without a port and
// without the dot that may end a name. It is empty where it is too long to be one.
func plainHost(out, host []byte) []byte {
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	if host = bytes.TrimSuffix(host, []byte(".")); len(host) > maxHost {
		return out
	}
	for _, c := range host {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		out = append(out, c)
	}
	return out
}

// Names knows the host names for which there are certificates.
type Names interface {
	// Challenge returns what proves a host name to an authority that asks for a path by plain
	// HTTP (RFC 8555, 8.3); nil: nothing is to be proven there.
	Challenge(host, path string) []byte
	// Redirect returns where requests for a host name by plain HTTP belong, such as
	// https://iris.example.com; empty: here.
	Redirect(host string) string
}

var challenges = []byte("/.well-known/acme-challenge/")

// misled answers requests that belong elsewhere: nil for those that do not.
//
// By TLS that is a request for another name than the one of which the client has seen the
// certificate: it reuses a connection for a name that the certificate has too, and opens one
// of its own when it hears that (RFC 9110, 15.5.20); or it hides for whom it is.
func (g *Gateway) misled(x *relay.Exchange) *relay.Answer {
	var scratch [maxHost]byte
	if name := x.ServerName(); name != "" {
		if host := x.Host(); len(host) > 0 && string(plainHost(scratch[:0], host)) != name {
			return &relay.Answer{Status: 421, Code: "misdirected_request", Message: "the request is for another host name than the one of which the certificate was asked for"}
		}
		return nil
	}
	if g.cfg.Names == nil || x.Secure() {
		return nil
	}
	host := string(plainHost(scratch[:0], x.Host()))
	if path := pathOf(x.Target()); bytes.HasPrefix(path, challenges) {
		if proof := g.cfg.Names.Challenge(host, string(path)); proof != nil {
			return &relay.Answer{Status: 200, Fields: textFields, Whole: proof}
		}
	}
	if to := g.cfg.Names.Redirect(host); to != "" && x.Target()[0] == '/' {
		return &relay.Answer{Status: 308, Code: "https_only", Fields: http.Header{"Content-Type": textFields["Content-Type"], "Location": {to + string(x.Target())}}}
	}
	return nil
}

var textFields = http.Header{"Content-Type": {"text/plain; charset=utf-8"}}

// shook counts the handshakes of TLS.
func (g *Gateway) shook(err error) {
	if err != nil {
		g.shaken[0].Add(1)
		return
	}
	g.shaken[1].Add(1)
}

// Hosts returns the host names of what is deployed.
func (g *Gateway) Hosts() []string { return slices.Sorted(maps.Keys(g.snap.Load().hosts)) }
