package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/fault"
)

// The lock of run.lock is held for as long as a local environment lives, which
// is longer than it answers: before its socket is there and while it still stops
// its replicas. It is a lock of the process, so that others can ask who has it
// without taking it.

func (a *app) runLock() string { return filepath.Join(a.localFiles().StateDir, "run.lock") }

func wholeFile(kind int16) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: io.SeekStart}
}

// holdRun makes this process the one that runs the local environment, until
// release is called or it dies.
func (a *app) holdRun() (release func(), err error) {
	dir := a.localFiles().StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errFolder(dir, err)
	}
	f, err := os.OpenFile(a.runLock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errFolder(dir, err)
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, wholeFile(unix.F_WRLCK))
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EAGAIN):
		f.Close()
		pid, _ := a.holder()
		return nil, fault.New(fault.Conflict, "local.already_running", "the local environment already runs in %s (process %d)", dir, pid).
			WithHint("`cortex local stop` stops it; another CORTEX_CLI_CONFIG_DIR is another environment")
	case err != nil:
		f.Close()
		return nil, errFolder(dir, err)
	}
	return func() { f.Close() }, nil
}

// holder returns the process that runs the local environment, if any does.
func (a *app) holder() (pid int, held bool) {
	f, err := os.Open(a.runLock())
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
func (a *app) awaitHolder(ctx context.Context) (answers bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	told := false
	for wait := (backoff{}); ; {
		if _, ok, err := a.running(ctx); err != nil || ok {
			return ok, err
		}
		pid, held := a.holder()
		if !held {
			return false, nil
		}
		if wait.total > lastWait && !told {
			told = true
			a.note("waiting for the one before (process %d) to end", pid)
		}
		if err := wait.next(ctx); err != nil {
			return false, fault.New(fault.Unavailable, "local.still_stopping", "the local environment before (process %d) has not ended", pid).
				WithHint("`cortex local stop --force` ends it at once")
		}
	}
}
