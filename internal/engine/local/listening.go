package local

import (
	"bufio"
	"encoding/hex"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Listener is one listening TCP socket.
type Listener struct {
	Address netip.AddrPort
	Inode   uint64 // by which a process's file descriptor names it
}

// ParseListeners reads the listening sockets in the format of Linux's
// /proc/net/tcp and /proc/net/tcp6. Lines that do not parse are passed over.
func ParseListeners(r io.Reader) []Listener {
	const listen = "0A"
	var all []Listener
	lines := bufio.NewScanner(io.LimitReader(r, 16<<20))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != listen {
			continue
		}
		addr, ok := parseSocketAddress(f[1])
		if !ok {
			continue
		}
		inode, err := strconv.ParseUint(f[9], 10, 64)
		if err != nil {
			continue
		}
		all = append(all, Listener{addr, inode})
	}
	return all
}

// parseSocketAddress reads "0100007F:1F90": 32-bit words in the machine's byte
// order, which is little-endian on every machine this is built for.
func parseSocketAddress(text string) (netip.AddrPort, bool) {
	host, portText, ok := strings.Cut(text, ":")
	if !ok {
		return netip.AddrPort{}, false
	}
	port, err := strconv.ParseUint(portText, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(port)), ok
}
