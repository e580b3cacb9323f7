// Package local proves who is at the other end of a Unix socket: the kernel says.
//
// It promises that only this process's own user, and root, get through, whatever
// the mode of the socket is. The environment of one machine needs no other
// identity. It must not know what is spoken over the socket.
package local

import (
	"errors"
	"log/slog"
	"net"
	"os"
)

// Peer is the process at the other end of a connection.
type Peer struct{ PID, UID int }

// PeerOf asks the kernel for the process at the other end.
func PeerOf(conn net.Conn) (Peer, error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{}, errors.New("not a Unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var peer Peer
	var asked error
	if err := raw.Control(func(fd uintptr) { peer, asked = peerOf(int(fd)) }); err != nil {
		return Peer{}, err
	}
	return peer, asked
}

// Trusts reports whether users own and peer may deal with each other: they are the
// same, or one of them is root, who may do everything anyway.
func Trusts(own, peer int) bool { return peer == own || peer == 0 }

// OwnersOnly accepts connections of this process's own user and of root only. The
// socket's mode says the same; this holds where modes of sockets are ignored.
func OwnersOnly(ln net.Listener, log *slog.Logger) net.Listener {
	return &ownersOnly{Listener: ln, log: log}
}

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
		peer, err := PeerOf(conn)
		if err == nil && Trusts(os.Getuid(), peer.UID) {
			return conn, nil
		}
		l.log.Warn("refused a connection to the management socket", "uid", peer.UID, "err", err)
		conn.Close()
	}
}
