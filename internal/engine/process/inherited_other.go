//go:build !linux

package process

import "golang.org/x/sys/unix"

// KeepInherited does what it does on Linux: see there.
func KeepInherited() {
	for fd := 3; fd < 1024; fd++ {
		unix.CloseOnExec(fd)
	}
}
