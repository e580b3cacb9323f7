package process

import (
	"math"

	"golang.org/x/sys/unix"
)

// KeepInherited keeps what this program was started with, but for its standard input,
// output and error, from what it starts: the local environment and every server would
// hold a file of the caller's shell, and its lock, for as long as they live.
func KeepInherited() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	for fd := 3; fd < 1024; fd++ { // kernels before 5.11
		unix.CloseOnExec(fd)
	}
}
