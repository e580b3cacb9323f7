package local

import "golang.org/x/sys/unix"

func peerOf(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{UID: -1}, err
	}
	return Peer{PID: int(cred.Pid), UID: int(cred.Uid)}, nil
}
