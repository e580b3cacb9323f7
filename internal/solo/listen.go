package solo

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"cortex.dev/cortex/internal/auth/local"
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
	return local.OwnersOnly(ln, log), nil
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
	if err := ours(dir, info); err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return errors.New(dir + " can be written by other users")
	}
	return nil
}
