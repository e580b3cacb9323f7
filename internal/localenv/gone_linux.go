package localenv

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// gone reports whether the process has ended; one that nobody has waited for
// counts as ended.
func gone(pid int) bool {
	if err := unix.Kill(pid, 0); err == unix.ESRCH {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return os.IsNotExist(err)
	}
	// The state follows the name, which is in parentheses and may contain some.
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && i+2 < len(stat) && (stat[i+2] == 'Z' || stat[i+2] == 'X')
}
