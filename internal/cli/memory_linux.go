package cli

import "golang.org/x/sys/unix"

// memory is how much memory this machine has, in bytes; 0 when that is not known.
func memory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit) //nolint:unconvert // not an int64 everywhere
}
