package solo

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
)

func TestManagementSocketIsPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "own", "cortex.sock")
	for range 2 { // the second finds the first one's socket, as after a crash
		ln, err := listenManagement(path, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("mode of the socket = %o, want 600", mode)
		}
		ln.(*ownersOnly).Listener.(*net.UnixListener).SetUnlinkOnClose(false)
		ln.Close()
	}
}

func TestManagementRefusesAFolderOthersCanWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := listenManagement(filepath.Join(dir, "cortex.sock"), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "can be written by other users") {
		t.Errorf("listenManagement() = %v, want a refusal", err)
	}
}

func TestPeerIsThisUser(t *testing.T) {
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
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if uid, err := peerUID(server); err != nil || uid != os.Getuid() {
		t.Errorf("peerUID() = %d, %v, want %d", uid, err, os.Getuid())
	}
	for _, tt := range []struct {
		peer, own int
		want      bool
	}{{1000, 1000, true}, {0, 1000, true}, {1001, 1000, false}, {-1, 1000, false}, {1000, 0, false}} {
		if got := mayManage(tt.peer, tt.own); got != tt.want {
			t.Errorf("mayManage(%d, %d) = %v, want %v", tt.peer, tt.own, got, tt.want)
		}
	}
}

func TestAPIPortInUseNamesTheWayOut(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = listenAPI(taken.Addr().String())
	f := fault.From(err)
	if fault.Code(err) != "local.port_in_use" || !strings.Contains(f.Hint, "--api-port") {
		t.Errorf("listenAPI(taken) = %+v", f)
	}
}
