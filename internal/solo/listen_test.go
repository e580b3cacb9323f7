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
		// Dies without removing it: Close would.
		if err := os.Rename(path, path+".moved"); err != nil {
			t.Fatal(err)
		}
		ln.Close()
		if err := os.Rename(path+".moved", path); err != nil {
			t.Fatal(err)
		}
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
