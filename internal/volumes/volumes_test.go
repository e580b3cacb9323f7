package volumes_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/volumes"
	"cortex.dev/cortex/internal/workload"
)

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// realDir is a folder by its real path.
func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestKeptVolumes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "volumes")
	v := volumes.New(volumes.Config{Dir: dir})
	if names, err := v.List(); err != nil || len(names) != 0 {
		t.Errorf("List() = %v, %v before there is one", names, err)
	}
	path, release, err := v.Use("models")
	if err != nil {
		t.Fatal(err)
	}
	again, releaseAgain, err := v.Use("models")
	if err != nil || again != path {
		t.Fatalf("Use() twice = %q, %v, want %q", again, err, path)
	}
	write(t, filepath.Join(path, "deep", "weights"))
	for mode, folder := range map[os.FileMode]string{0o700: dir, 0o777: path} {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", folder, info.Mode().Perm(), mode)
		}
	}
	release()
	release() // counts once
	if err := v.Delete("models"); fault.Code(err) != workload.CodeVolumeInUse {
		t.Errorf("Delete() of one that is in use = %v, want %s", err, workload.CodeVolumeInUse)
	}
	releaseAgain()
	if names, err := v.List(); err != nil || len(names) != 1 || names[0] != "models" {
		t.Errorf("List() = %v, %v, want models", names, err)
	}
	if err := v.Delete("models"); err != nil {
		t.Errorf("Delete() = %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left of a deleted volume", left)
	}
	for _, name := range []string{"models", "", "..", "a/b", "../x", ".deleted-x", "Models"} {
		if err := v.Delete(name); fault.Code(err) != workload.CodeVolumeNotFound {
			t.Errorf("Delete(%q) = %v, want %s", name, err, workload.CodeVolumeNotFound)
		}
		if name != "models" {
			if _, _, err := v.Use(name); err == nil {
				t.Errorf("Use(%q) = nil, want a refusal", name)
			}
		}
	}
}

// What an earlier life began to delete is no volume, and goes.
func TestSweep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, ".deleted-models-ABC", "weights"))
	write(t, filepath.Join(dir, "models", "weights"))
	v := volumes.New(volumes.Config{Dir: dir})
	if err := v.Sweep(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != "models" {
		t.Errorf("Sweep() left %v, want models", left)
	}
	if err := volumes.New(volumes.Config{Dir: filepath.Join(dir, "none")}).Sweep(); err != nil {
		t.Errorf("Sweep() without volumes = %v", err)
	}
}

func TestVolumesAreBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range workload.MaxVolumes {
		if err := os.Mkdir(filepath.Join(dir, "v"+strconv.Itoa(i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	v := volumes.New(volumes.Config{Dir: dir})
	if _, _, err := v.Use("one-more"); fault.Code(err) != workload.CodeTooManyVolumes {
		t.Errorf("Use() of another one = %v, want %s", err, workload.CodeTooManyVolumes)
	}
	if _, _, err := v.Use("v1"); err != nil {
		t.Errorf("Use() of one that there is = %v", err)
	}
}

// What an owner is given of the own machine.
func TestFoldersOfTheOwner(t *testing.T) {
	t.Parallel()
	dir := realDir(t)
	state := filepath.Join(dir, "home", ".cortex", "local")
	write(t, filepath.Join(state, "store", "state.db"))
	write(t, filepath.Join(dir, "project", "weights", "model"))
	write(t, filepath.Join(dir, "data", "model"))
	write(t, filepath.Join(dir, "sockets", "docker.sock"))
	for link, to := range map[string]string{"link": "data", "to-state": "home", "to-dev": "/dev"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	v := volumes.New(volumes.Config{Dir: filepath.Join(state, "volumes"), Private: []string{state, filepath.Join(dir, "sockets", "docker.sock")}})
	base := filepath.Join(dir, "project")
	for _, tt := range []struct{ path, base, want, code string }{
		{path: filepath.Join(dir, "data"), want: "data"},
		{path: "./weights", base: base, want: "project/weights"},
		{path: "../data", base: base, want: "data"},
		{path: ".", base: base, want: "project"},
		{path: filepath.Join(dir, "link"), want: "data"},
		{path: "weights", code: workload.CodeHostFolder}, // beside a file that nobody knows
		{path: filepath.Join(dir, "data", "model"), code: workload.CodeNoHostFolder},
		{path: filepath.Join(dir, "nothing"), code: workload.CodeNoHostFolder},
		{path: state, code: workload.CodeHostFolder},
		{path: filepath.Join(state, "store"), code: workload.CodeHostFolder},
		{path: filepath.Join(dir, "home"), code: workload.CodeHostFolder},
		{path: filepath.Join(dir, "to-state"), code: workload.CodeHostFolder},
		{path: dir, code: workload.CodeHostFolder},
		{path: "/", code: workload.CodeHostFolder},
		{path: filepath.Join(dir, "sockets"), code: workload.CodeHostFolder},
		{path: filepath.Join(dir, "to-dev"), code: workload.CodeHostFolder},
		{path: "/proc/self", code: workload.CodeHostFolder},
	} {
		got, err := v.Folder(tt.path, tt.base)
		want := ""
		if tt.want != "" {
			want = filepath.Join(dir, tt.want)
		}
		if got != want || fault.Code(err) != tt.code {
			t.Errorf("Folder(%s, %s) = %q, %v; want %q, %s", tt.path, tt.base, got, err, want, tt.code)
		}
	}
}

// What callers elsewhere are given: what the owner of the server names, by its own name.
func TestFoldersOfAServer(t *testing.T) {
	t.Parallel()
	dir := realDir(t)
	write(t, filepath.Join(dir, "weights", "llama", "model"))
	write(t, filepath.Join(dir, "weights-of-others", "model"))
	write(t, filepath.Join(dir, "secret", "key"))
	for link, to := range map[string]string{"weights/out": "../secret", "weights/again": "llama", "way-in": "weights", "allowed-link": "secret"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	v := volumes.New(volumes.Config{Allowed: []string{filepath.Join(dir, "weights"), filepath.Join(dir, "allowed-link"), filepath.Join(dir, "missing")}})
	for _, tt := range []struct {
		path string
		ok   bool
	}{
		{"weights", true}, {"weights/llama", true}, {"secret", true}, // by its real path
		{"allowed-link", false}, // a policy about one name is about one folder
		{"weights-of-others", false}, {"weights/out", false}, {"weights/again", false}, {"way-in/llama", false},
		{"weights/../secret/..", false}, {"weights/./llama", false}, {"missing", false}, {"nothing", false}, {".", false},
	} {
		path := dir + "/" + tt.path
		got, err := v.Folder(path, dir)
		if tt.ok && (err != nil || got != path) || !tt.ok && fault.Code(err) != workload.CodeHostFolder {
			t.Errorf("Folder(%s) = %q, %v; want allowed: %t", tt.path, got, err, tt.ok)
		}
	}
	if _, err := v.Folder("weights", dir); fault.Code(err) != workload.CodeHostFolder {
		t.Errorf("Folder of a relative path = %v, want a refusal: the file is elsewhere", err)
	}
	// Whether there is something outside is nobody's business.
	_, there := v.Folder(filepath.Join(dir, "weights-of-others"), "")
	_, not := v.Folder(filepath.Join(dir, "nobody-has-this"), "")
	if text := strings.ReplaceAll(there.Error(), "weights-of-others", "X"); text != strings.ReplaceAll(not.Error(), "nobody-has-this", "X") {
		t.Errorf("a folder that is there: %v; one that is not: %v; want one answer", there, not)
	}
	if _, err := volumes.New(volumes.Config{Allowed: []string{}}).Folder(filepath.Join(dir, "weights"), ""); fault.Code(err) != workload.CodeHostFolder {
		t.Errorf("Folder where none is allowed = %v, want a refusal", err)
	}
}
