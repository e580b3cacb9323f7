//go:build unix && (!linux || race || !(amd64 || arm64))

package relay

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// The same as in now_raw.go by Go's own calls: where there are no raw ones, and where
// they would hide from the race detector what they read and write.

func readNow(fd uintptr, p []byte) (int, syscall.Errno) { return now(syscall.Read, fd, p) }

func writeNow(fd uintptr, p []byte) (int, syscall.Errno) { return now(syscall.Write, fd, p) }

func now(call func(fd int, p []byte) (int, error), fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, err := call(int(fd), p)
		errno, _ := err.(syscall.Errno) //nolint:errorlint // system calls return nothing else
		if errno != syscall.EINTR {
			return max(n, 0), errno
		}
	}
}

func pollNow(fd *unix.PollFd) (int, syscall.Errno) {
	fds := []unix.PollFd{*fd}
	n, err := unix.Poll(fds, 0)
	errno, _ := err.(syscall.Errno) //nolint:errorlint // likewise
	fd.Revents = fds[0].Revents
	return max(n, 0), errno
}
