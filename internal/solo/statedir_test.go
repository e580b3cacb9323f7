package solo

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
)

func TestTheStateFolderIsOnesOwn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	key := filepath.Join(dir, "tls", "server-key.pem")
	if err := os.MkdirAll(filepath.Dir(key), 0o755); err != nil { //nolint:gosec // that is to be tightened
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("x"), 0o644); err != nil { //nolint:gosec // that is to be tightened
		t.Fatal(err)
	}
	var told bytes.Buffer
	log := slog.New(slog.NewTextHandler(&told, nil))
	if err := makeStateDir(dir, log); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Dir(key): 0o700, key: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v, want %v", path, info.Mode().Perm(), err, want)
		}
		if !strings.Contains(told.String(), "path="+path+" ") {
			t.Errorf("the log does not say that %s was tightened:\n%s", path, told.String())
		}
	}
	told.Reset()
	if err := makeStateDir(dir, log); err != nil || told.Len() > 0 {
		t.Errorf("makeStateDir() again = %v and says %q, want nothing", err, told.String())
	}

	elsewhere := filepath.Join(t.TempDir(), "linked")
	if err := os.Symlink(dir, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := makeStateDir(elsewhere, log); err != nil {
		t.Errorf("makeStateDir() of a link to a folder of ours = %v", err)
	}
	if err := os.Rename(filepath.Dir(key), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "moved"), filepath.Dir(key)); err != nil {
		t.Fatal(err)
	}
	if err := makeStateDir(dir, log); fault.Code(err) != "local.state_dir" || !strings.Contains(err.Error(), "neither a folder nor a file") {
		t.Errorf("makeStateDir() with a link for the keys = %v, want a refusal", err)
	}
}

func TestTheStateFolderOfSomebodyElse(t *testing.T) {
	t.Parallel()
	if os.Getuid() == 0 {
		t.Skip("root may use every folder")
	}
	if err := makeStateDir("/", slog.New(slog.DiscardHandler)); fault.Code(err) != "local.state_dir" || !strings.Contains(err.Error(), "another user") {
		t.Errorf("makeStateDir(/) = %v, want a refusal", err)
	}
}
