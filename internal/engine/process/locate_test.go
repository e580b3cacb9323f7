package process

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/workload"
)

func TestLocate(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("base/python3"), "#!/bin/sh\n", 0o755)
	write(t, at("base/gunicorn"), "#!/bin/sh\n", 0o755)
	write(t, at("venv/bin/activate"), "", 0o644)
	for link, to := range map[string]string{"venv/bin/python3": at("base/python3"), "shell-17": at("venv/bin")} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	path := strings.Join([]string{at("shell-17"), at("gone"), at("venv/bin"), "", "tools", at("base")}, ":")
	pod := &workload.Pod{Containers: []workload.Container{
		{Command: []string{"python3", "server.py"}},
		{Args: []string{"gunicorn"}},
		{Command: []string{"./python3"}},
		{Command: []string{"never-installed"}},
		{Command: []string{"activate"}, Image: "iris:1"},
		{Command: []string{"gunicorn-2"}, Env: map[string]workload.Variable{"PATH": {Value: "/elsewhere"}}},
	}}
	want := &workload.Programs{
		Path:  strings.Join([]string{at("venv/bin"), "tools", at("base")}, ":"),
		Found: map[string]string{"python3": at("venv/bin/python3"), "gunicorn": at("base/gunicorn")},
	}
	if got := Locate(pod, dir, path); !reflect.DeepEqual(got, want) {
		t.Errorf("Locate = %+v, want %+v", got, want)
	}
	for name, path := range map[string]string{
		"nothing there": at("gone"), "not text": at("base") + "\x00", "too long": at("base") + strings.Repeat(":/bin", maxPath),
	} {
		if got := Locate(pod, dir, path); got != nil {
			t.Errorf("%s: Locate = %+v, want nil", name, got)
		}
	}
}
