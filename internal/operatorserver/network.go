package operatorserver

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
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

// quiet is how long a connection has said nothing that may be ended for another one of its
// address: behind one address there may be a whole office, and one of them must not keep
// the others out by holding connections. What follows a log hears of it every 15 seconds.
const quiet = 45 * time.Second

// bounded closes connections that are too many, at once so that whoever holds a
// thousand open does not keep others waiting. Of an address that has its share, the one
// that has been quiet for longest ends for a new one.
func bounded(ln net.Listener) net.Listener {
	return &boundedListener{Listener: ln, from: map[netip.Addr]map[*boundedConn]struct{}{}, now: time.Now}
}

type boundedListener struct {
	net.Listener
	now  func() time.Time
	mu   sync.Mutex
	open int
	from map[netip.Addr]map[*boundedConn]struct{}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &boundedConn{Conn: conn, of: l, from: addressOf(conn)}
		c.said()
		if l.take(c) {
			return c, nil
		}
		conn.Close()
	}
}

func (l *boundedListener) take(c *boundedConn) bool {
	if old := l.quietest(c.from); old != nil {
		old.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	same := l.from[c.from]
	if l.open >= MaxConnections || len(same) >= MaxConnectionsPerAddress {
		return false
	}
	if same == nil {
		same = map[*boundedConn]struct{}{}
		l.from[c.from] = same
	}
	l.open++
	same[c] = struct{}{}
	return true
}

// quietest returns the connection to end for another one of an address; nil where there is
// room, or where all of them are in use.
func (l *boundedListener) quietest(from netip.Addr) (oldest *boundedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := l.from[from]
	if len(same) < MaxConnectionsPerAddress {
		return nil
	}
	since := l.now().Add(-quiet).UnixNano()
	for c := range same {
		if last := c.last.Load(); last <= since {
			oldest, since = c, last
		}
	}
	return oldest
}

func (l *boundedListener) free(c *boundedConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := l.from[c.from]
	if _, open := same[c]; !open {
		return
	}
	l.open--
	if delete(same, c); len(same) == 0 {
		delete(l.from, c.from)
	}
}

type boundedConn struct {
	net.Conn
	of   *boundedListener
	from netip.Addr
	last atomic.Int64 // when something was said, in nanoseconds
}

func (c *boundedConn) said() { c.last.Store(c.of.now().UnixNano()) }

func (c *boundedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.said()
	}
	return n, err
}

func (c *boundedConn) Write(p []byte) (int, error) {
	c.said()
	return c.Conn.Write(p)
}

func (c *boundedConn) Close() error {
	c.of.free(c)
	return c.Conn.Close()
}
