package codesnapshot

import (
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
)

// tree writes files by their paths; a value that begins with -> is a link.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		full := filepath.Join(dir, path)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if target, ok := strings.CutPrefix(files[path], "->"); ok {
			err = errors.Join(err, os.Symlink(target, full))
		} else {
			err = errors.Join(err, os.WriteFile(full, []byte(files[path]), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listing is what tree would have written; links that lead to nothing are shown as links.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			got[rel] = "->" + target
			return err
		}
		text, err := os.ReadFile(path)
		got[rel] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func newStore(t *testing.T, l Limits) *Store {
	t.Helper()
	return Open(filepath.Join(t.TempDir(), "code"), l, nil)
}

// take takes a copy that has to be one.
func take(t *testing.T, s *Store, folder string) (digest string) {
	t.Helper()
	c, err := s.Take(folder)
	if err != nil || c.Digest == "" || c.InPlace != "" {
		t.Fatalf("Take() = %+v, %v, want a copy", c, err)
	}
	return c.Digest
}

func realpath(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTakeCopiesCodeAndLinksTheRest(t *testing.T) {
	t.Parallel()
	parent := realpath(t, t.TempDir())
	dir := filepath.Join(parent, "iris")
	large := strings.Repeat("m", 2000)
	tree(t, dir, map[string]string{
		"server.py":               "print(1)",
		"pkg/deep/x.py":           "x",
		"to_inside":               "->pkg/deep",
		"pkg/to_outside":          "->../../shared/weights",
		"absolute":                "->/etc/hosts",
		"model.bin":               large,
		".cortexignore":           "# not code\ndata\n*.db\n!keep.db\n",
		"data/one.csv":            "1",
		"state.db":                "s",
		"keep.db":                 "k",
		".git/HEAD":               "ref",
		"__pycache__/server.pyc":  "pyc",
		"pkg/__pycache__/x.pyc":   "pyc",
		"venv/pyvenv.cfg":         "home",
		"venv/bin/tool":           "tool",
		"pkg/node_modules/a/a.js": "a",
		".server.py.swp":          "swap",
		"notes~":                  "backup",
	})
	s := newStore(t, Limits{Bytes: 1 << 20, Files: 100, File: 1000})
	digest := take(t, s, dir)
	want := map[string]string{
		"server.py":        "print(1)",
		"pkg/deep/x.py":    "x",
		"to_inside":        "->pkg/deep",
		"pkg/to_outside":   "->" + filepath.Join(parent, "shared/weights"),
		"absolute":         "->/etc/hosts",
		"model.bin":        "->" + filepath.Join(dir, "model.bin"),
		".cortexignore":    "# not code\ndata\n*.db\n!keep.db\n",
		"data":             "->" + filepath.Join(dir, "data"),
		"state.db":         "->" + filepath.Join(dir, "state.db"),
		"keep.db":          "k",
		"venv":             "->" + filepath.Join(dir, "venv"),
		"pkg/node_modules": "->" + filepath.Join(dir, "pkg/node_modules"),
	}
	got := listing(t, Path(s.dir, digest))
	if got["model.bin"] == large {
		want["model.bin"] = large // this disk can clone
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the copy differs (-want +got):\n%s", diff)
	}
}

func TestTheCopyStaysAsItWas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, map[string]string{"server.py": "one", "run.sh": "#!/bin/sh"})
	at := time.Date(2020, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, err := range []error{os.Chmod(filepath.Join(dir, "run.sh"), 0o755), os.Chtimes(filepath.Join(dir, "server.py"), at, at)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := newStore(t, Bounds())
	digest := take(t, s, dir)
	f, err := os.OpenFile(filepath.Join(dir, "server.py"), os.O_WRONLY, 0) // as an editor that saves in place
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("two")
	if err := errors.Join(err, f.Close(), os.Remove(filepath.Join(dir, "run.sh"))); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"server.py": "one", "run.sh": "#!/bin/sh"}, listing(t, Path(s.dir, digest))); diff != "" {
		t.Errorf("the copy differs (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(Path(s.dir, digest), "run.sh")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the copy of a program = %v, %v, want mode 0755", info, err)
	}
	if info, err := os.Stat(filepath.Join(Path(s.dir, digest), "server.py")); err != nil || !info.ModTime().Equal(at) {
		t.Errorf("the copy = %v, %v, want the time of the original", info, err)
	}
	if other := take(t, s, dir); other == digest {
		t.Error("Take() of other content = the same digest")
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Hour)
	for name, tt := range map[string]struct {
		change  func(dir string) error
		changed bool
	}{
		"nothing":      {func(string) error { return nil }, false},
		"touched":      {func(dir string) error { return os.Chtimes(filepath.Join(dir, "server.py"), later, later) }, false},
		"written":      {func(dir string) error { return os.WriteFile(filepath.Join(dir, "server.py"), []byte("two"), 0o644) }, true},
		"a new file":   {func(dir string) error { return os.WriteFile(filepath.Join(dir, "b.py"), nil, 0o644) }, true},
		"removed":      {func(dir string) error { return os.Remove(filepath.Join(dir, "server.py")) }, true},
		"a new folder": {func(dir string) error { return os.Mkdir(filepath.Join(dir, "d"), 0o755) }, true},
		"executable":   {func(dir string) error { return os.Chmod(filepath.Join(dir, "server.py"), 0o755) }, true},
		"another target": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "l")), os.Symlink("x", filepath.Join(dir, "l")))
		}, true},
		"what is ignored": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "data", "2"), nil, 0o644) }, false},
		"a cache": {func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "__pycache__"), 0o755), os.WriteFile(filepath.Join(dir, "__pycache__", "x"), nil, 0o644))
		}, false},
		"a large file": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "model.bin"), []byte(strings.Repeat("n", 2000)), 0o644)
		}, true},
		"all of it":       {os.RemoveAll, false}, // then nobody knows
		"beyond a limit":  {func(dir string) error { return os.WriteFile(filepath.Join(dir, "big"), make([]byte, 900), 0o644) }, true},
		"an ignored file": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "server.log"), nil, 0o644) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			tree(t, dir, map[string]string{
				"server.py": "one", "l": "->server.py", "data/1": "1", ".cortexignore": "data\n*.log", "model.bin": strings.Repeat("m", 2000),
			})
			s := newStore(t, Limits{Bytes: 500, Files: 100, File: 1000})
			digest := take(t, s, dir)
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			if got := s.Changed(dir, digest); got != tt.changed {
				t.Errorf("Changed() = %v, want %v", got, tt.changed)
			}
		})
	}
}

func TestTheSameContentIsKeptOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t, Bounds())
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		tree(t, dir, map[string]string{"server.py": "one"})
	}
	one, two := take(t, s, a), take(t, s, b)
	entries, err := os.ReadDir(s.dir)
	if one != two || err != nil || len(entries) != 2 {
		t.Errorf("two folders with one content = %s and %s, %d entries, %v; want one copy and its record", one, two, len(entries), err)
	}
}

func TestBeyondALimitNothingIsCopied(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limits Limits
		want   string
	}{
		"files": {Limits{Bytes: 4 << 20, Files: 3, File: 1 << 20}, "the folder has more than 3 files"},
		"bytes": {Limits{Bytes: 1 << 20, Files: 100, File: 1 << 20}, "the folder has more than 1 MB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			half := strings.Repeat("x", 600<<10)
			tree(t, dir, map[string]string{"a": half, "b": half, "c": "", "d": ""})
			s := newStore(t, tt.limits)
			c, err := s.Take(dir)
			if err != nil || c.Digest != "" || c.InPlace != tt.want {
				t.Errorf("Take() = %+v, %v, want no copy as %s", c, err, tt.want)
			}
			if entries, _ := os.ReadDir(s.dir); len(entries) > 0 {
				t.Errorf("Take() left %v", entries)
			}
		})
	}
}

func TestAFolderThatIsToBeRunInPlace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, map[string]string{"server.py": "one", IgnoreFile: "*\n"})
	c, err := newStore(t, Bounds()).Take(dir)
	if err != nil || c.Digest != "" || c.InPlace != "nothing in the folder is to be copied" {
		t.Errorf("Take() = %+v, %v, want no copy", c, err)
	}
}

func TestTakeOfWhatIsNoCode(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "cx") // the name of a socket is bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	tree(t, dir, map[string]string{"server.py": "one"})
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tree(t, dir, map[string]string{"state/store/db": "changes all the time"})
	s := Open(filepath.Join(dir, "state", "code"), Bounds(), nil) // below the folder itself
	digest := take(t, s, dir)
	if diff := cmp.Diff(map[string]string{"server.py": "one"}, listing(t, Path(s.dir, digest))); diff != "" {
		t.Errorf("the copy differs (-want +got):\n%s", diff)
	}
	if s.Changed(dir, digest) {
		t.Error("Changed() = true for a folder in which only the copy is new")
	}
}

func TestTakeExplainsWhatItCannotDo(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		folder func(t *testing.T) string
		want   string
	}{
		"no folder": {func(t *testing.T) string { return filepath.Join(t.TempDir(), "gone") }, "no such file"},
		"a bad pattern": {func(t *testing.T) string {
			dir := t.TempDir()
			tree(t, dir, map[string]string{IgnoreFile: "[a-"})
			return dir
		}, IgnoreFile},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newStore(t, Bounds()).Take(tt.folder(t))
			if fault.Code(err) != "resources.code_not_copied" || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Take() = %v, want resources.code_not_copied with %q", err, tt.want)
			}
		})
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	s := newStore(t, Bounds())
	dir := t.TempDir()
	var digests []string
	for _, text := range []string{"one", "two"} {
		tree(t, dir, map[string]string{"server.py": text, "folder/x": "x"})
		digests = append(digests, take(t, s, dir))
	}
	if err := os.Mkdir(filepath.Join(s.dir, unfinished+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	needed := map[string]bool{digests[1]: true}
	s.Collect(needed, time.Hour, now)
	if !s.Has(digests[0]) {
		t.Error("Collect() removed a copy in which replicas may be ending")
	}
	s.Collect(map[string]bool{digests[0]: true, digests[1]: true}, time.Hour, now.Add(30*time.Minute))
	s.Collect(needed, time.Hour, now.Add(61*time.Minute))
	if !s.Has(digests[0]) {
		t.Error("Collect() removed a copy that was needed in between")
	}
	s.Collect(needed, time.Hour, now.Add(122*time.Minute))
	entries, err := os.ReadDir(s.dir)
	if err != nil || len(entries) != 2 || !s.Has(digests[1]) {
		t.Errorf("after Collect() there is %v, %v, want the needed copy and its record", entries, err)
	}
}
