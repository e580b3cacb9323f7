package login

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/backoff"
)

var errNoFolder = errors.New("there is no folder for sessions")

// lock waits until this process is the only one that gets the session of key, or
// ctx ends. An error says why sessions cannot be kept; unlock may be called even
// then. Death gives the lock back.
func (l *Login) lock(ctx context.Context, key string) (unlock func(), err error) {
	nothing := func() {}
	if l.dir == "" {
		return nothing, errNoFolder
	}
	if err := privateFolder(l.dir); err != nil {
		return nothing, err
	}
	for wait := (backoff.Backoff{}); ; {
		f, err := tryLock(l.lockFile(key), os.O_CREATE)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case !errors.Is(err, errHeld):
			return nothing, err
		}
		if err := wait.Next(ctx); err != nil {
			return nothing, err
		}
	}
}

// privateFolder makes sure that dir exists and that only its owner can change it.
func privateFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(dir, 0o700)
}

var errHeld = errors.New("another process holds the lock")

// tryLock takes the lock of the file at path or returns errHeld. A lock file may
// be removed by whoever holds it, so that a lock counts only if its file is still
// the one at path.
func tryLock(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|flag, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		err = errHeld
	}
	if err == nil && !isAt(f, path) {
		err = errHeld // of a file that is gone; the next try makes a new one
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func isAt(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, there)
}

// removeLock removes a lock file that nobody holds.
func removeLock(path string) {
	f, err := tryLock(path, 0)
	if err != nil {
		return
	}
	defer f.Close()
	_ = os.Remove(path)
}
