//go:build linux && !race && (amd64 || arm64)

package relay

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls on sockets that do not wait, made without the scheduler; see socket. They
// are those of sockets, not of files: read and write look at a file's position and at who
// watches it first, which was 6 % of what an event of a stream cost.

// readNow reads what is there.
func readNow(fd uintptr, p []byte) (int, syscall.Errno) { return now(syscall.SYS_RECVFROM, fd, p) }

// writeNow writes as much as there is room for.
func writeNow(fd uintptr, p []byte) (int, syscall.Errno) { return now(syscall.SYS_SENDTO, fd, p) }

// noSignal: a write to a connection that is closed is an error and nothing else. Reads take
// it for nothing.
const noSignal = syscall.MSG_NOSIGNAL

func now(call, fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), noSignal, 0, 0) //nolint:gosec // p is live during the call
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
