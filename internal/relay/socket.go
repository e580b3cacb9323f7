package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// socket is a connection whose system calls Go's scheduler does not hear of. They
// never wait; but on a busy core one is often interrupted, and the scheduler takes
// that for waiting: it has another thread go on and looks for the next such call
// every 20 µs, which cost a sidecar a fifth of its time (ADR 27). What has to wait,
// waits in Go's poller as ever.
//
// One goroutine at a time may read, and one write.
type socket struct {
	net.Conn
	raw    syscall.RawConn // nil: not a socket, and Conn does everything
	below  *backlog        // of a connection of TLS, which is Conn; nil: it is none
	taken  int             // see writeSecuredNow
	in     transfer
	out    transfer
	once   func(fd uintptr) bool // a write that does not wait
	lend   func(fd uintptr) bool // a read into lent
	lent   *reader
	asking bool // the request of ask is still to be sent
	ask1   func(fd uintptr) bool
}

// transfer is one read or write on its way. It is kept, so that none allocates.
type transfer struct {
	p     []byte
	n     int
	errno syscall.Errno
	try   func(fd uintptr) bool // false: it would have to wait
}

func newSocket(nc net.Conn) *socket {
	s := &socket{Conn: nc}
	if sc, ok := nc.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
		}
	}
	s.in.try = func(fd uintptr) bool { return s.in.took(readNow(fd, s.in.p)) }
	s.out.try = func(fd uintptr) bool { return s.out.took(writeNow(fd, s.out.p)) }
	s.lend = func(fd uintptr) bool {
		if s.lent.buf == nil {
			s.lent.buf = pooled(smallBuffer)
		}
		if s.in.took(readNow(fd, s.lent.buf)) {
			return true
		}
		recycle(s.lent.buf)
		s.lent.buf = nil
		return false
	}
	s.once = func(fd uintptr) bool { s.out.try(fd); return true }
	s.ask1 = func(fd uintptr) bool {
		if !s.asking {
			return s.in.try(fd)
		}
		s.asking = false
		s.out.try(fd)
		return s.out.n < len(s.out.p) // all was sent: now wait
	}
	return s
}

// took keeps what a system call said, and reports whether it was done at all.
func (t *transfer) took(n int, errno syscall.Errno) bool {
	t.n, t.errno = n, errno
	return errno != syscall.EAGAIN
}

func (s *socket) Read(p []byte) (int, error) {
	if s.raw == nil || len(p) == 0 {
		return s.Conn.Read(p)
	}
	s.in.p = p
	err := s.raw.Read(s.in.try)
	s.in.p = nil
	return s.got(err)
}

// got is what a read came to that has waited.
func (s *socket) got(err error) (int, error) {
	switch {
	case err != nil:
		return 0, err
	case s.in.errno != 0:
		return 0, s.failed("read", s.in.errno)
	case s.in.n == 0:
		return 0, io.EOF
	}
	return s.in.n, nil
}

// readFor reads into r, which is empty, and has no buffer while there is nothing to read.
func (s *socket) readFor(r *reader) error {
	s.lent = r
	n, err := s.got(s.raw.Read(s.lend))
	s.lent = nil
	if r.buf == nil {
		r.buf = pooled(smallBuffer)
	}
	if err == nil {
		r.r, r.w = 0, n
	}
	return err
}

func (s *socket) Write(p []byte) (written int, err error) {
	if s.below != nil {
		return s.writeSecured(p)
	}
	if s.raw == nil {
		return s.Conn.Write(p)
	}
	for written < len(p) {
		s.out.p = p[written:]
		err := s.raw.Write(s.out.try)
		s.out.p = nil
		if err != nil {
			return written, err
		}
		if s.out.errno != 0 {
			return written, s.failed("write", s.out.errno)
		}
		written += s.out.n
	}
	return written, nil
}

// WriteNow writes what can be written without waiting. What is left of p is what the next
// write begins with.
func (s *socket) WriteNow(p []byte) (int, error) {
	if s.below != nil {
		return s.writeSecuredNow(p)
	}
	if s.raw == nil {
		return s.Conn.Write(p)
	}
	s.out.p, s.out.n, s.out.errno = p, 0, 0
	err := s.raw.Write(s.once)
	s.out.p = nil
	switch {
	case err != nil:
		return 0, err
	case s.out.errno == syscall.EAGAIN:
		return 0, nil
	case s.out.errno != 0:
		return 0, s.failed("write", s.out.errno)
	}
	return s.out.n, nil
}

// ask writes a request and reads what comes first of its answer into answer: with one
// system call less than Write and Read, because it does not look for an answer before
// it waits for one. Nothing may be there to read before: it could stay unseen.
//
// The error is that of writing. When reading failed, got is 0, and Read tells why.
func (s *socket) ask(request, answer []byte) (sent, got int, err error) {
	if s.raw == nil {
		sent, err = s.Conn.Write(request)
		return sent, 0, err
	}
	s.out.p, s.in.p, s.asking = request, answer, true
	s.in.n, s.in.errno = 0, 0
	err = s.raw.Read(s.ask1)
	s.out.p, s.in.p = nil, nil
	switch {
	case s.asking: // it was closed here
		return 0, 0, err
	case s.out.errno != 0 && s.out.errno != syscall.EAGAIN:
		return 0, 0, s.failed("write", s.out.errno)
	case s.out.n < len(request):
		sent = s.out.n
		n, err := s.Write(request[sent:])
		return sent + n, 0, err
	}
	return len(request), s.in.n, nil
}

func (s *socket) failed(call string, errno syscall.Errno) error {
	return &net.OpError{Op: call, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError(call, errno)}
}

// CloseWrite ends what is sent.
func (s *socket) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		if s.below != nil {
			return s.below.alert(half.CloseWrite)
		}
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn gives access to the kernel's socket.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	if s.below != nil {
		return s.below.SyscallConn()
	}
	if s.raw == nil {
		return nil, errors.ErrUnsupported
	}
	return s.raw, nil
}
