package cli

import "golang.org/x/sys/unix"

// memory is how much memory this machine has, in bytes; 0 when that is not known.
func memory() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return int64(n)
}
