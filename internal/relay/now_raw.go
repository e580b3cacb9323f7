//go:build linux && !race

package relay

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls on sockets that do not wait, made without the scheduler; see socket.

// readNow reads what is there.
func readNow(fd uintptr, p []byte) (int, syscall.Errno) { return now(syscall.SYS_READ, fd, p) }

// writeNow writes as much as there is room for.
func writeNow(fd uintptr, p []byte) (int, syscall.Errno) { return now(syscall.SYS_WRITE, fd, p) }

func now(call, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // p is live during the call
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// pollNow returns how many of one descriptors have something to tell: 0 or 1.
func pollNow(fd *unix.PollFd) (int, syscall.Errno) {
	var none unix.Timespec
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(fd)), 1, uintptr(unsafe.Pointer(&none)), 0, 0, 0) //nolint:gosec // likewise
	return int(n), errno
}
