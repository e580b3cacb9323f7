package relay

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
)

// What a connection does otherwise when it is one of TLS. It takes the way of what is no
// socket of the kernel: nothing is spliced, and all that it writes is encrypted first.

// backlog is the transport below TLS. TLS cannot send a part of a record and then do
// something else; so that a write need not wait for the client, what the kernel does not take
// at once is owed to it, and paid before anything else is written.
type backlog struct {
	*socket
	mu   sync.Mutex
	owed []byte
	now  bool // writes do not wait
	last bool // nor ever again: the connection is being ended
}

// newSecured is newSocket for a client who is to speak TLS.
func newSecured(nc net.Conn, cfg *tls.Config) *socket {
	b := &backlog{socket: newSocket(nc)}
	return &socket{Conn: tls.Server(b, cfg), below: b}
}

// Write is that of TLS: whole records, and alerts of whoever reads.
func (b *backlog) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.now && !b.last {
		if err := b.pay(b.socket.Write); err != nil {
			return 0, err
		}
		return b.socket.Write(p)
	}
	rest := p
	if len(b.owed) == 0 {
		n, err := b.socket.WriteNow(p)
		if err != nil {
			return n, err
		}
		rest = p[n:]
	}
	b.owed = append(b.owed, rest...)
	return len(p), nil
}

// pay writes what is owed, by a write that waits or not; mu is held.
func (b *backlog) pay(write func([]byte) (int, error)) error {
	if len(b.owed) == 0 {
		return nil
	}
	n, err := write(b.owed)
	b.owed = b.owed[:copy(b.owed, b.owed[n:])]
	if len(b.owed) == 0 {
		b.owed = nil // most connections never owe anything
	}
	return err
}

// settle pays, and has the writes that follow wait or not. It reports whether nothing is owed.
func (b *backlog) settle(now bool) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = now
	write := b.socket.Write
	if now || b.last {
		write = b.socket.WriteNow
	}
	err := b.pay(write)
	return len(b.owed) == 0, err
}

// waits has writes wait again, and reports whether something is owed.
func (b *backlog) waits() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = false
	return len(b.owed) > 0
}

var errOwing = errors.New("the client takes nothing more")

// alert has send say that nothing follows. It waits for nobody, as the watch may call it: who
// takes nothing, or is being written to, is not told.
func (b *backlog) alert(send func() error) error {
	if !b.mu.TryLock() {
		return errOwing
	}
	free := len(b.owed) == 0
	b.last = b.last || free
	b.mu.Unlock()
	if !free {
		return errOwing
	}
	return send()
}

// writeSecured is Write.
func (s *socket) writeSecured(p []byte) (int, error) {
	if _, err := s.below.settle(false); err != nil {
		return 0, err
	}
	n := s.skip(len(p))
	if n == len(p) {
		return n, nil
	}
	more, err := s.Conn.Write(p[n:])
	return n + more, err
}

// writeSecuredNow is WriteNow. What it has encrypted and cannot send counts as not written;
// the next write begins with the same bytes, which are skipped then.
func (s *socket) writeSecuredNow(p []byte) (int, error) {
	if paid, err := s.below.settle(true); err != nil || !paid {
		return 0, err
	}
	n := s.skip(len(p))
	if n == len(p) {
		return n, nil
	}
	_, err := s.Conn.Write(p[n:])
	if s.below.waits() && err == nil {
		s.taken = len(p) - n
		return n, nil
	}
	if err != nil {
		return n, err
	}
	return len(p), nil
}

// skip is how much of the next n bytes is encrypted and sent.
func (s *socket) skip(n int) int {
	n = min(n, s.taken)
	s.taken -= n
	return n
}

// Close ends the connection, and does not wait.
func (s *socket) Close() error {
	if s.below == nil || s.below.alert(s.Conn.Close) != nil {
		if s.below != nil {
			return s.below.Close()
		}
		return s.Conn.Close()
	}
	return nil
}

// acme is the protocol by which an authority proves a name (RFC 8737): there is nothing after
// its handshake.
const acme = "acme-tls/1"

// shake is the handshake of a client of TLS. It returns false when there is nothing to follow.
func (c *conn) shake() bool {
	t, ok := c.nc.Conn.(*tls.Conn)
	if !ok {
		return false // those of a server with TLS all are
	}
	err := t.Handshake() //nolint:noctx // the watch ends it
	c.srv.mu.Lock()
	c.srv.shaking.Remove(c.shaking)
	c.srv.mu.Unlock()
	if c.srv.shook != nil {
		c.srv.shook(err)
	}
	if err != nil {
		return false
	}
	state := t.ConnectionState()
	c.secure, c.name = true, strings.ToLower(state.ServerName)
	return state.NegotiatedProtocol != acme && c.enter(idle)
}

// Secure reports whether the client speaks TLS: with us, or with a proxy that is trusted and
// says so.
func (x *Exchange) Secure() bool {
	c := x.conn
	return c.secure || c.trusted && c.req.xfp >= 0 && string(c.req.fields[c.req.xfp].value) == "https"
}

// ServerName is the name for which the client of TLS wanted a certificate, in lower case;
// empty: it did not say one, or does not speak TLS with us.
func (x *Exchange) ServerName() string { return x.conn.name }
