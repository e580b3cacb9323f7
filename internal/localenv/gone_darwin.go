package localenv

import "golang.org/x/sys/unix"

// gone reports whether the process has ended.
func gone(pid int) bool { return unix.Kill(pid, 0) == unix.ESRCH }
