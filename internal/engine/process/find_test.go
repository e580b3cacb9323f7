package process

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/engine/local"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func TestFindExecutable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"app/server", "bin/tool", "tools/local"} {
		write(t, filepath.Join(dir, name), "#!/bin/sh\n", 0o755)
	}
	write(t, filepath.Join(dir, "app/data"), "", 0o644)
	write(t, filepath.Join(dir, "app/windows"), "#!/bin/sh\r\necho\r\n", 0o755)
	write(t, filepath.Join(dir, "bin/data"), "", 0o644)
	path := filepath.Join(dir, "nowhere") + "::" + filepath.Join(dir, "bin") + ":../tools"
	app := filepath.Join(dir, "app")
	for _, tt := range []struct{ name, want, code, fix string }{
		{name: "./server", want: "app/server"},
		{name: "../bin/tool", want: "bin/tool"},
		{name: filepath.Join(dir, "bin/tool"), want: "bin/tool"},
		{name: "tool", want: "bin/tool"},
		{name: "local", want: "tools/local"},
		{name: "server", code: "missing_executable", fix: "./server"},
		{name: "nothing", code: "missing_executable", fix: "install nothing"},
		{name: "./nothing", code: "missing_executable", fix: "build ./nothing first"},
		{name: "python3 srv.py x", code: "missing_executable", fix: `command: ["python3", "srv.py", "x"]`},
		{name: "./serve --fast", code: "missing_executable", fix: `command: ["./serve", "--fast"]`},
		{name: "./windows", code: "not_executable", fix: `sed -i 's/\r$//' ./windows`},
		{name: "./data", code: "not_executable", fix: "chmod +x"},
		{name: "data", code: "not_executable", fix: "chmod +x"},
		{name: "..", code: "not_executable"},
		{name: "../app", code: "not_executable"},
		{name: "", code: "missing_executable"},
	} {
		got, err := findExecutable(tt.name, app, path)
		if tt.code == "" {
			if err != nil || got != filepath.Join(dir, tt.want) {
				t.Errorf("findExecutable(%q) = %q, %v, want %s", tt.name, got, err, tt.want)
			}
			continue
		}
		var se *local.StartError
		if !errors.As(err, &se) || se.Reason.Code != tt.code || !se.Final || !strings.Contains(se.Reason.Fix, tt.fix) {
			t.Errorf("findExecutable(%q) = %q, %+v, want %s with %q", tt.name, got, err, tt.code, tt.fix)
		}
	}
}

// start starts a container in a runtime of its own.
func start(t *testing.T, spec local.ContainerSpec) (*Runtime, local.Container, error) {
	t.Helper()
	r, err := New(Config{StateDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if spec.Directory == "" {
		spec.Directory = t.TempDir()
	}
	if spec.Stdout == nil {
		spec.Stdout = io.Discard
	}
	if spec.Stderr == nil {
		spec.Stderr = io.Discard
	}
	c, err := r.Start(t.Context(), spec)
	return r, c, err
}

func TestWhatTheSystemRefusesIsExplained(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "noshebang"), "echo hello\n", 0o755)
	write(t, filepath.Join(dir, "badshebang"), "#!/never/there\n", 0o755)
	write(t, filepath.Join(dir, "file"), "", 0o644)
	for _, tt := range []struct {
		name, dir, code, says string
		command               []string
	}{
		{name: "no interpreter line", dir: dir, command: []string{"./noshebang"}, code: "not_executable", says: "not a program of this machine"},
		{name: "interpreter missing", dir: dir, command: []string{"./badshebang"}, code: "missing_executable", says: "the interpreter in its first line does not"},
		{name: "folder gone", dir: filepath.Join(dir, "gone"), command: []string{"true"}, code: "bad_working_directory", says: "no such file"},
		{name: "folder a file", dir: filepath.Join(dir, "file"), command: []string{"true"}, code: "bad_working_directory", says: "not a folder"},
		{name: "no command", dir: dir, code: "missing_executable", says: "no command"},
	} {
		_, _, err := start(t, local.ContainerSpec{Name: "main", Directory: tt.dir, Command: tt.command, Env: map[string]string{}})
		var se *local.StartError
		if !errors.As(err, &se) || se.Reason.Code != tt.code || !strings.Contains(se.Reason.Message, tt.says) || !se.Final {
			t.Errorf("%s: Start = %v, want %s with %q", tt.name, err, tt.code, tt.says)
		}
	}
}

func TestOnlyListedVariablesArePassed(t *testing.T) {
	got := environ(map[string]string{"A": "1", "LANG": "mine"}, "the-mark")
	allowed := map[string]bool{"A": true, markName: true}
	for _, name := range Passed() {
		allowed[name] = true
	}
	for _, e := range got {
		name, _, _ := strings.Cut(e, "=")
		if !allowed[name] {
			t.Errorf("%s is passed on, want only what is listed", name)
		}
	}
	if lookup(got, "A") != "1" || lookup(got, "LANG") != "mine" || lookup(got, markName) != "the-mark" || lookup(got, "PATH") != os.Getenv("PATH") {
		t.Errorf("environ = %q, want the container's variables to win, and PATH", got)
	}
}
