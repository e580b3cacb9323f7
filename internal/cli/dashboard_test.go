package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What the browser is started with is for every user of the machine to see: it is the name of
// a file that only this user can read, and that is gone when the link was opened.
func TestTheLinkIsInNoArgument(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	browser, told := filepath.Join(dir, "browser"), filepath.Join(dir, "told")
	script := "#!/bin/sh\nprintf '%s\\n' \"$@\" > " + told + ".new && cat \"$1\" >> " + told + ".new && mv " + told + ".new " + told + "\n"
	if err := os.WriteFile(browser, []byte(script), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	env := map[string]string{"BROWSER": browser}
	a := &app{streams: Streams{Out: &out, Err: &said}, configDir: filepath.Join(dir, "cfg"), getenv: func(name string) string { return env[name] }}
	const link = "http://127.0.0.1:1/?t=secret"
	forget, err := a.openDashboard(t.Context(), link, false)
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for data == nil {
		select {
		case <-deadline:
			t.Fatal("the browser was not started within a minute")
		case <-tick.C:
			data, _ = os.ReadFile(told) // it is not there yet
		}
	}
	file, page, _ := strings.Cut(string(data), "\n")
	if strings.Contains(file, "secret") || !strings.Contains(page, link) {
		t.Errorf("the browser was started with %q, and found %q there", file, page)
	}
	for path, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v, want %v: %v", path, info.Mode().Perm(), want, err)
		}
	}
	if strings.Contains(out.String()+said.String(), "secret") {
		t.Error("the link is on the terminal, too")
	}
	forget()
	if _, err := os.Stat(filepath.Dir(file)); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

// Where there is no browser, or none is wanted, the link is the result of the command.
func TestTheLinkIsPrinted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env    map[string]string
		noOpen bool
	}{
		"--no-open":                   {map[string]string{"BROWSER": "/bin/true"}, true},
		"a browser that is not there": {map[string]string{"BROWSER": "/nowhere/browser"}, false},
	} {
		var out, said bytes.Buffer
		a := &app{streams: Streams{Out: &out, Err: &said}, configDir: t.TempDir(), getenv: func(name string) string { return c.env[name] }}
		if _, err := a.openDashboard(t.Context(), "http://127.0.0.1:1/?t=x", c.noOpen); err != nil {
			t.Fatal(err)
		}
		if out.String() != "http://127.0.0.1:1/?t=x\n" {
			t.Errorf("%s: the output is %q", name, out.String())
		}
		if left, _ := filepath.Glob(filepath.Join(a.configDir, "*")); len(left) != 0 {
			t.Errorf("%s: it left %v", name, left)
		}
	}
}
