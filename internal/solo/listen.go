package solo

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"cortex.dev/cortex/internal/fault"
)

// listenAPI opens the address on which APIs are served.
func listenAPI(address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return ln, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fault.New(fault.Conflict, "local.port_in_use", "%s, where APIs are served, is in use by another program: %w", address, err).
			WithHint("stop that program, or choose another port with `cortex env configure local --api-port PORT` (0 takes any free one)")
	default:
		return nil, fault.New(fault.Unavailable, "local.cannot_listen", "listening on %s, where APIs are served: %w", address, err).
			WithHint("choose an address of this machine")
	}
}

// listenManagement opens the Unix socket of the management API, mode 0600. The
// caller holds the lock of the state folder, so a socket that is already there
// belongs to a dead process.
func listenManagement(path string, log *slog.Logger) (net.Listener, error) {
	refuse := func(err error) error {
		return fault.New(fault.Unavailable, "local.cannot_listen", "opening the management socket %s: %w", path, err).
			WithHint("make sure that the folder exists and is yours")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, refuse(err)
	}
	if err := private(filepath.Dir(path)); err != nil {
		return nil, refuse(err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, refuse(err)
	}
	// The mode is set by the mask at creation: a chmod afterwards would leave a
	// moment in which others can connect.
	old := syscall.Umask(0o177)
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, refuse(err)
	}
	return &ownersOnly{Listener: ln, log: log}, nil
}

// private refuses a folder that belongs to somebody else, who could replace the
// socket in it.
func private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New(dir + " is not a folder")
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Getuid() && os.Getuid() != 0 {
		return errors.New(dir + " belongs to another user")
	}
	if info.Mode().Perm()&0o022 != 0 {
		return errors.New(dir + " can be written by other users")
	}
	return nil
}

// ownersOnly accepts connections of this process's own user and of root only.
// The socket's mode says the same; this holds where modes of sockets are ignored.
type ownersOnly struct {
	net.Listener
	log *slog.Logger
}

func (l *ownersOnly) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(conn)
		if err == nil && mayManage(uid, os.Getuid()) {
			return conn, nil
		}
		l.log.Warn("refused a connection to the management socket", "uid", uid, "err", err)
		conn.Close()
	}
}

// mayManage reports whether a process of user peer may manage the daemon of user own.
func mayManage(peer, own int) bool { return peer == own || peer == 0 }

func onSocket(conn net.Conn, ask func(fd int) (int, error)) (int, error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return -1, errors.New("not a Unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, err
	}
	uid, asked := -1, error(nil)
	if err := raw.Control(func(fd uintptr) { uid, asked = ask(int(fd)) }); err != nil {
		return -1, err
	}
	return uid, asked
}
