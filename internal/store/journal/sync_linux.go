package journal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncData waits until what was written into a file is on the disk. Its size does not change:
// the rest of what the file system knows of it need not be.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
