package localenv

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/backoff"
	"cortex.dev/cortex/internal/fault"
)

// The lock of run.lock is held for as long as a local environment lives, which
// is longer than it answers: before its socket is there and while it still stops
// its replicas. It is a lock of the process, so that others can ask who has it
// without taking it.

func (d *Daemon) runLock() string { return filepath.Join(d.Files().StateDir, "run.lock") }

func wholeFile(kind int16) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: io.SeekStart}
}

// Hold makes this process the one that runs the local environment, until
// release is called or it dies.
func (d *Daemon) Hold() (release func(), err error) {
	dir := d.Files().StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errFolder(dir, err)
	}
	f, err := os.OpenFile(d.runLock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errFolder(dir, err)
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, wholeFile(unix.F_WRLCK))
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EAGAIN):
		f.Close()
		pid, _ := d.Holder()
		return nil, fault.New(fault.Conflict, "local.already_running", "the local environment already runs in %s (process %d)", dir, pid).
			WithHint("`cortex local stop` stops it; another CORTEX_CLI_CONFIG_DIR is another environment")
	case err != nil:
		f.Close()
		return nil, errFolder(dir, err)
	}
	return func() { f.Close() }, nil
}

// Holder returns the process that runs the local environment, if any does.
func (d *Daemon) Holder() (pid int, held bool) {
	f, err := os.Open(d.runLock())
	if err != nil {
		return 0, false
	}
	defer f.Close()
	l := wholeFile(unix.F_WRLCK)
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, l); err != nil || l.Type == unix.F_UNLCK {
		return 0, false
	}
	return int(l.Pid), true
}

// awaitHolder waits until the local environment that lives answers, which it
// reports, or has ended.
func (d *Daemon) awaitHolder(ctx context.Context) (answers bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	told := false
	for wait := (backoff.Backoff{}); ; {
		if _, ok, err := d.Running(ctx); err != nil || ok {
			return ok, err
		}
		pid, held := d.Holder()
		if !held {
			return false, nil
		}
		if wait.Total > backoff.Longest && !told {
			told = true
			d.note("waiting for the one before (process %d) to end", pid)
		}
		if err := wait.Next(ctx); err != nil {
			return false, fault.New(fault.Unavailable, "local.still_stopping", "the local environment before (process %d) has not ended", pid).
				WithHint("`cortex local stop --force` ends it at once")
		}
	}
}
