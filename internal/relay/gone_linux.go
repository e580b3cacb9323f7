package relay

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// poll asks the kernel for the present state of nc without waiting, and without
// taking anything from it.
func poll(nc net.Conn, events int16) (got int16, ok bool) {
	sc, is := nc.(syscall.Conn)
	if !is {
		return 0, false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = rc.Control(func(fd uintptr) {
		asked := unix.PollFd{Fd: int32(fd), Events: events}
		_, errno := pollNow(&asked)
		got, ok = asked.Revents, errno == 0
	})
	return got, ok && err == nil
}

// gone reports whether the peer of nc closed it; where it only closed its
// sending side, that counts if half does. Unread data does not hide it.
func gone(nc net.Conn, half bool) bool {
	events := int16(0)
	if half {
		events = unix.POLLRDHUP
	}
	got, ok := poll(nc, events)
	return ok && got&(events|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
}

// ear listens on one connection again and again without allocating.
type ear struct {
	rc   syscall.RawConn // nil: not a socket, about which nothing can be known
	fd   unix.PollFd
	look func(fd uintptr)
	ok   bool
}

func listenTo(nc net.Conn) *ear {
	e := &ear{}
	if sc, is := nc.(syscall.Conn); is {
		e.rc, _ = sc.SyscallConn()
	}
	e.look = func(fd uintptr) {
		e.fd = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
		n, errno := pollNow(&e.fd)
		e.ok = errno == 0 && n == 0
	}
	return e
}

// quiet reports whether the connection is open and has nothing to read.
func (e *ear) quiet() bool {
	e.ok = false
	return e.rc != nil && e.rc.Control(e.look) == nil && e.ok
}

// quiet reports whether an idle connection is open and has nothing to read.
func quiet(nc net.Conn) bool {
	got, ok := poll(nc, unix.POLLIN|unix.POLLRDHUP)
	return ok && got == 0
}

// writable reports whether a write to nc would not wait.
func writable(nc net.Conn) bool {
	got, ok := poll(nc, unix.POLLOUT)
	return ok && got != 0
}
