//go:build unix && !linux

package relay

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peek looks at the next byte without taking it or waiting.
func peek(nc net.Conn) (n int, err error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return 0, syscall.EAGAIN
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return 0, syscall.EAGAIN
	}
	var b [1]byte
	if cerr := rc.Control(func(fd uintptr) {
		n, _, err = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}); cerr != nil {
		return 0, cerr
	}
	return n, err
}

// gone reports whether the peer of nc closed it. Unread data hides that here.
func gone(nc net.Conn, half bool) bool {
	n, err := peek(nc)
	if err != nil {
		return err != syscall.EAGAIN && err != syscall.EINTR
	}
	return n == 0 && half
}

// quiet reports whether an idle connection is open and has nothing to read.
func quiet(nc net.Conn) bool {
	_, err := peek(nc)
	return err == syscall.EAGAIN
}

// ear listens on one connection again and again.
type ear struct{ nc net.Conn }

func listenTo(nc net.Conn) *ear { return &ear{nc} }

func (e *ear) quiet() bool { return quiet(e.nc) }

// writable reports whether a write to nc would not wait.
func writable(nc net.Conn) (yes bool) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	err = rc.Control(func(fd uintptr) {
		n, errno := pollNow(&unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT})
		yes = errno == 0 && n > 0
	})
	return yes && err == nil
}
