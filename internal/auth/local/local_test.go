package local

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestPeerIsThisProcess(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := OwnersOnly(ln, slog.New(slog.DiscardHandler)).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	want := Peer{PID: os.Getpid(), UID: os.Getuid()}
	for name, conn := range map[string]net.Conn{"server": server, "client": client} {
		if got, err := PeerOf(conn); err != nil || got != want {
			t.Errorf("PeerOf(%s) = %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestPeerOfAnotherKindOfConnection(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if got, err := PeerOf(near); err == nil {
		t.Errorf("PeerOf(pipe) = %+v, want an error", got)
	}
}

func TestTrusts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		own, peer int
		want      bool
	}{{1000, 1000, true}, {1000, 0, true}, {1000, 1001, false}, {1000, -1, false}, {0, 1000, false}} {
		if got := Trusts(tt.own, tt.peer); got != tt.want {
			t.Errorf("Trusts(%d, %d) = %v, want %v", tt.own, tt.peer, got, tt.want)
		}
	}
}
