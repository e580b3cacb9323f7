package cli

import "golang.org/x/sys/unix"

// peerOf returns the process that listens at the other end of a Unix socket.
func peerOf(fd int) (peer, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return peer{}, err
	}
	pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	if err != nil {
		return peer{}, err
	}
	return peer{pid: pid, uid: int(cred.Uid)}, nil
}

// gone reports whether the process has ended.
func gone(pid int) bool { return unix.Kill(pid, 0) == unix.ESRCH }

// The requests that read and change the settings of a terminal.
const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)
