package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// Allowed is where messages may go besides public addresses over https.
type Allowed struct {
	names    map[string]bool
	networks []netip.Prefix
}

// Loopback are the hosts of this machine, for ParseAllowed.
func Loopback() []string { return []string{"localhost", "127.0.0.0/8", "::1/128"} }

// ParseAllowed reads hosts: names, addresses, and networks such as 10.1.0.0/16.
func ParseAllowed(hosts []string) (*Allowed, error) {
	a := &Allowed{names: map[string]bool{}}
	for _, h := range hosts {
		if n, err := netip.ParsePrefix(h); err == nil {
			a.networks = append(a.networks, n.Masked())
			continue
		}
		if ip, err := netip.ParseAddr(h); err == nil && ip.Zone() == "" {
			a.networks = append(a.networks, netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
			continue
		}
		if h == "" || strings.ContainsAny(h, "/:@* ") {
			return nil, fmt.Errorf("%q is neither a host, nor an address, nor a network such as 10.1.0.0/16", h)
		}
		a.names[canonical(h)] = true
	}
	return a, nil
}

func canonical(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// maxURL is the longest address of a receiver.
const maxURL = 2000

// CheckURL says why no message can go to an address. What its name leads to is looked at
// when it is sent.
func (a *Allowed) CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return fmt.Errorf("an address of webhooks has at most %d bytes", maxURL)
	case err != nil, u.Host == "", u.Hostname() == "":
		return errors.New("it is no address such as https://example.com/hook")
	case u.User != nil:
		return errors.New("an address of webhooks has no user or password: messages are signed")
	case u.Scheme != "https" && u.Scheme != "http":
		return errors.New("an address of webhooks begins with https://")
	}
	ip, err := netip.ParseAddr(u.Hostname())
	isIP := err == nil
	if isIP {
		if err := a.dialled(u.Hostname(), ip); err != nil {
			return err
		}
	}
	if u.Scheme == "http" && !a.names[canonical(u.Hostname())] && !(isIP && a.network(ip.Unmap())) {
		return errors.New("messages are sent by http only to hosts that whoever runs this environment allows; use https")
	}
	return nil
}

// refusedError says that a message may not go to where its address leads.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// control refuses a connection, in the moment before it is made, to an address that
// messages for host may not go to.
func (a *Allowed) control(host string) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return &refusedError{"its address is none: " + address}
		}
		return a.dialled(host, at.Addr())
	}
}

// dialled says why a message for host may not go to an address.
func (a *Allowed) dialled(host string, ip netip.Addr) error {
	ip = ip.Unmap()
	switch {
	case never(ip):
		return &refusedError{fmt.Sprintf("%s is link-local, for many, or of a cloud's own services: messages never go there", ip)}
	case public(ip), a.names[canonical(host)], a.network(ip):
		return nil
	}
	return &refusedError{fmt.Sprintf("%s is not a public address; whoever runs this environment can allow it", ip)}
}

func (a *Allowed) network(ip netip.Addr) bool {
	return slices.ContainsFunc(a.networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

var (
	// instance has the services by which machines of clouds get their credentials, where
	// they are not link-local: of AWS by IPv6, of Alibaba, of Oracle, and of Azure.
	instance = prefixes("fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32")
	// translated are networks in which an IPv4 address is the last part.
	translated = prefixes("::/96", "64:ff9b::/96")
	// special are networks that are nobody's on the Internet, or that another address is
	// hidden in (RFC 6890 and what came after it).
	special = prefixes("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10")
)

// hidden is the IPv4 address that a translator makes of an IPv6 one.
func hidden(ip netip.Addr) (inside netip.Addr, ok bool) {
	b := ip.As16()
	switch {
	case in(translated, ip):
		inside, ok = netip.AddrFromSlice(b[12:])
	case ip.Is6() && b[0] == 0x20 && b[1] == 0x02: // 6to4
		inside, ok = netip.AddrFromSlice(b[2:6])
	}
	return inside, ok
}

// never are addresses that nobody can allow.
func never(ip netip.Addr) bool {
	if inside, ok := hidden(ip); ok && !ip.IsLoopback() && never(inside) {
		return true
	}
	return !ip.IsValid() || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || in(instance, ip)
}

func public(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !ip.IsLoopback() && !in(special, ip)
}

func in(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}
