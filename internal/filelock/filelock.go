// Package filelock keeps processes of one machine from doing the same thing at the
// same time.
//
// It promises that the death of a process gives its locks back. The file stays:
// removing one that others wait for would let two of them in.
package filelock

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/backoff"
)

// Lock waits until this process is the only one that holds the lock of the
// file or folder at path, which is opened with flag, or ctx ends.
func Lock(ctx context.Context, path string, flag int) (unlock func(), err error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	wait := backoff.Backoff{}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, err
		}
		if err := wait.Next(ctx); err != nil {
			f.Close()
			return nil, err
		}
	}
}
