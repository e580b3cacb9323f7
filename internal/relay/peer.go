package relay

import "net/netip"

// Within reports whether one of the prefixes has addr.
func Within(prefixes []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// household is what stands for addr where addresses are counted: whoever has one address
// of IPv6 has the other ones of its /64, too.
func household(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	p, err := addr.Prefix(64)
	if err != nil { // an address of IPv6 has a /64
		return addr
	}
	return p.Addr()
}
