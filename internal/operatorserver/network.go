package operatorserver

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
)

// Bounds of the connections of the management listener, most of which an attacker
// without an identity could open.
const (
	MaxConnections           = 4096
	MaxConnectionsPerAddress = 512
)

// AllowOnly accepts connections from these networks only; from anywhere when there
// are none. Others are closed before a byte of them is read.
func AllowOnly(ln net.Listener, allowed []netip.Prefix, log *slog.Logger) net.Listener {
	if len(allowed) == 0 {
		return ln
	}
	return &allowList{Listener: ln, allowed: allowed, log: log}
}

type allowList struct {
	net.Listener
	allowed []netip.Prefix
	log     *slog.Logger
}

func (l *allowList) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(conn)
		if l.allows(from) {
			return conn, nil
		}
		l.log.Debug("refused a connection from outside the allowed networks", "from", from)
		conn.Close()
	}
}

func (l *allowList) allows(from netip.Addr) bool {
	for _, network := range l.allowed {
		if network.Contains(from) {
			return true
		}
	}
	return false
}

func addressOf(conn net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// bounded closes connections that are too many, at once so that whoever holds a
// thousand open does not keep others waiting.
func bounded(ln net.Listener) net.Listener {
	return &boundedListener{Listener: ln, from: map[netip.Addr]int{}}
}

type boundedListener struct {
	net.Listener
	mu   sync.Mutex
	open int
	from map[netip.Addr]int
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(conn)
		if l.take(from) {
			return &boundedConn{Conn: conn, free: sync.OnceFunc(func() { l.free(from) })}, nil
		}
		conn.Close()
	}
}

func (l *boundedListener) take(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= MaxConnections || l.from[from] >= MaxConnectionsPerAddress {
		return false
	}
	l.open++
	l.from[from]++
	return true
}

func (l *boundedListener) free(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.from[from]--; l.from[from] == 0 {
		delete(l.from, from)
	}
}

type boundedConn struct {
	net.Conn
	free func()
}

func (c *boundedConn) Close() error {
	c.free()
	return c.Conn.Close()
}
