// Package localenv finds, starts and stops the local environment: the daemon in the
// background that belongs to one configuration folder of one user.
//
// It promises that of several callers at once one starts it, that a process of
// another user is never taken for it, and that a daemon which dies while it starts
// is reported with what it said itself.
//
// It must not know commands or output, and not what the daemon does.
package localenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/auth/local"
	"cortex.dev/cortex/internal/backoff"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/filelock"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

const (
	dialTimeout  = 5 * time.Second
	startTimeout = 2 * time.Minute
	maxLogBytes  = 8 << 20 // of daemon.log, before the file is put aside
	maxErrorText = 4 << 10 // of what a daemon that died said
)

// Daemon is the local environment of one configuration folder, running or not.
type Daemon struct {
	configDir string
	note      func(format string, args ...any)
}

// New returns the daemon of configDir, an absolute path, and looks at nothing yet.
// Through note it tells a user who waits what for.
func New(configDir string, note func(format string, args ...any)) *Daemon {
	return &Daemon{configDir: configDir, note: note}
}

// Files returns where the daemon keeps what it has.
func (d *Daemon) Files() Files { return Paths(d.configDir) }

// Peer returns the process that listens on the management socket, or false
// when none does. A process of another user is an error: it is not ours to trust.
func (d *Daemon) Peer(ctx context.Context) (local.Peer, bool, error) {
	path := d.Files().Socket
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return local.Peer{}, false, nil
	case err != nil:
		return local.Peer{}, false, fault.New(fault.Disconnected, "cli.failed_to_connect_operator", "reaching the local environment: %w", err).
			WithHint("make sure that %s is yours", filepath.Dir(path))
	}
	defer conn.Close()
	p, err := local.PeerOf(conn)
	if err != nil {
		return local.Peer{}, false, err
	}
	if uid := os.Getuid(); !local.Trusts(uid, p.UID) && uid != 0 {
		return local.Peer{}, false, fault.New(fault.Forbidden, "cli.foreign_socket", "%s is served by another user (id %d)", path, p.UID).
			WithHint("remove it, or set CORTEX_CLI_CONFIG_DIR to a folder of your own")
	}
	return p, true, nil
}

// Client returns a client of the running local environment.
func (d *Daemon) Client() (workload.Service, error) {
	return httpapi.NewClient(httpapi.ClientConfig{Socket: d.Files().Socket})
}

// Info asks the running local environment who it is.
func (d *Daemon) Info(ctx context.Context) (workload.Info, error) {
	client, err := d.Client()
	if err != nil {
		return workload.Info{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return client.Info(ctx)
}

// Running returns what the local environment says of itself, or false when there
// is none. One that ends while it is asked counts as none.
func (d *Daemon) Running(ctx context.Context) (workload.Info, bool, error) {
	for wait := (backoff.Backoff{}); ; {
		_, ok, err := d.Peer(ctx)
		if err != nil || !ok {
			return workload.Info{}, false, err
		}
		info, err := d.Info(ctx)
		if !fault.Is(err, fault.Disconnected) {
			return info, err == nil, err
		}
		// Either it is ending, and then it will be gone, or it does not answer.
		if wait.Total > dialTimeout {
			return workload.Info{}, false, err
		}
		if err := wait.Next(ctx); err != nil {
			return workload.Info{}, false, err
		}
	}
}

// Start makes sure that the local environment runs, in the background, and reports
// whether it had to start it: as this program with the words `local run` and flags.
// Several callers at once start one.
func (d *Daemon) Start(ctx context.Context, flags ...string) (info workload.Info, started bool, err error) {
	if info, ok, err := d.Running(ctx); err != nil || ok {
		return info, false, err
	}
	unlock, err := d.lockStart(ctx)
	if err != nil {
		return info, false, err
	}
	defer unlock()
	if ok, err := d.awaitHolder(ctx); err != nil {
		return info, false, err
	} else if ok {
		info, _, err := d.Running(ctx)
		return info, false, err
	}
	info, err = d.spawn(ctx, flags)
	return info, err == nil, err
}

// lockStart keeps other command lines from starting or stopping the local
// environment at the same time.
func (d *Daemon) lockStart(ctx context.Context) (unlock func(), err error) {
	dir := d.Files().StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errFolder(dir, err)
	}
	unlock, err = filelock.Lock(ctx, filepath.Join(dir, "start.lock"), os.O_RDWR|os.O_CREATE)
	if err != nil && ctx.Err() == nil {
		return nil, errFolder(dir, err)
	}
	return unlock, err
}

func errFolder(dir string, err error) error {
	return fault.New(fault.Unavailable, "local.cannot_use_state", "using the state folder %s: %w", dir, err).
		WithHint("make it readable and writable for you, or set CORTEX_CLI_CONFIG_DIR to another folder")
}

// spawn runs `cortex local run` in a session of its own and waits until it
// answers; when it dies instead, what it said last is the error.
func (d *Daemon) spawn(ctx context.Context, flags []string) (workload.Info, error) {
	files := d.Files()
	exe, err := os.Executable()
	if err != nil {
		return workload.Info{}, fmt.Errorf("finding this program: %w", err)
	}
	log, err := openLog(files.Log)
	if err != nil {
		return workload.Info{}, errFolder(files.StateDir, err)
	}
	defer log.Close()
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return workload.Info{}, errFolder(files.StateDir, err)
	}
	cmd := exec.Command(exe, append([]string{"local", "run"}, flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = files.StateDir
	cmd.Env = append(os.Environ(), "CORTEX_CLI_CONFIG_DIR="+d.configDir, "NO_COLOR=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return workload.Info{}, fmt.Errorf("starting the local environment: %w", err)
	}
	pid := cmd.Process.Pid
	_ = cmd.Process.Release() // waited for below, or left to outlive this program
	return d.awaitAnswer(ctx, pid, func() string { return lastError(log, before) })
}

// awaitAnswer waits until the local environment answers.
func (d *Daemon) awaitAnswer(ctx context.Context, pid int, said func() string) (workload.Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout,
		fault.New(fault.Unavailable, "local.start_failed", "the local environment does not answer after %s", startTimeout).
			WithHint("see %s; `cortex local stop --force` ends it", d.Files().Log))
	defer cancel()
	wait, died := backoff.Backoff{}, false
	for {
		if _, ok, err := d.Peer(ctx); err == nil && ok {
			info, err := d.Info(ctx)
			if err == nil {
				return info, nil
			}
		}
		if died {
			return workload.Info{}, startFault(said(), d.Files().Log)
		}
		var status unix.WaitStatus
		// Once dead, one more look: another one that was started elsewhere may be
		// the reason, and it answers.
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		died = got == pid || errors.Is(err, unix.ECHILD)
		if err := wait.Next(ctx); err != nil {
			return workload.Info{}, context.Cause(ctx)
		}
	}
}

// startFault is the error of a daemon that died, made of what it said.
func startFault(said, logFile string) error {
	message, hint, _ := strings.Cut(said, "\nhint: ")
	message = strings.TrimSpace(strings.TrimPrefix(message, "error: "))
	if message == "" {
		message = "it ended without a word"
	}
	f := fault.New(fault.Unavailable, "local.start_failed", "the local environment did not start: %s", message)
	if hint = strings.TrimSpace(hint); hint != "" {
		return f.WithHint("%s", hint)
	}
	return f.WithHint("see %s", logFile)
}

// openLog opens the log of the daemon, putting a long one aside.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
}

// lastError returns what was written to the log after offset, from the last line
// that begins with "error: " on, or all of it when there is none.
func lastError(log io.ReaderAt, offset int64) string {
	data, _ := io.ReadAll(io.NewSectionReader(log, offset, 1<<20))
	if i := bytes.LastIndex(append([]byte("\n"), data...), []byte("\nerror: ")); i >= 0 {
		data = data[i:]
	}
	if len(data) > maxErrorText {
		data = data[len(data)-maxErrorText:]
	}
	return strings.TrimSpace(string(data))
}

// Stop asks the local environment to stop and waits until it has; waiting is told again
// and again for how long. It reports false when there was none.
func (d *Daemon) Stop(ctx context.Context, timeout time.Duration, force bool, waiting func(time.Duration)) (bool, error) {
	if _, err := os.Stat(d.Files().StateDir); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	unlock, err := d.lockStart(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	p, ok, err := d.Peer(ctx)
	if err != nil {
		return false, err
	}
	if pid, held := d.Holder(); !ok && held && pid > 0 { // it no longer answers, or not yet
		p, ok = local.Peer{PID: pid}, true
	}
	if !ok {
		return false, nil
	}
	signal := unix.SIGTERM
	if force {
		signal = unix.SIGKILL
	}
	if err := unix.Kill(p.PID, signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return false, fmt.Errorf("stopping process %d: %w", p.PID, err)
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for wait := (backoff.Backoff{}); !gone(p.PID); {
		waiting(wait.Total)
		if err := wait.Next(limited); err != nil {
			if ctx.Err() != nil {
				return true, ctx.Err()
			}
			return true, fault.New(fault.Unavailable, "local.stop_timeout", "the local environment (process %d) has not stopped after %s", p.PID, timeout).
				WithHint("it may be waiting for requests or for replicas; wait, or `cortex local stop --force`")
		}
	}
	return true, nil
}
