package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/workload"
)

// eventually waits until ok holds. Its bound is no assertion of speed.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, deadline := time.NewTicker(5*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never saw %s", what)
		}
	}
}

// output is a buffer that a process writes while a test reads.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) number(after string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, rest, ok := strings.Cut(o.buf.String(), after)
	text, _, whole := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if !ok || !whole || err != nil {
		return 0
	}
	return n
}

func runs(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || !strings.Contains(string(stat), ") Z ")
}

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestExitIsReported(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		script string
		code   int
		signal string
	}{
		{"exit 0", 0, ""},
		{"exit 42", 42, ""},
		{"kill -SEGV $$", 139, "SIGSEGV"},
		{"kill -KILL $$", 137, "SIGKILL"},
	} {
		_, c, err := start(t, local.ContainerSpec{Name: "main", Command: shell(tt.script)})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		if got := c.Exit(); got.Code != tt.code || got.Signal != tt.signal || got.OOM || got.At.IsZero() {
			t.Errorf("%s: Exit() = %+v, want code %d, signal %q", tt.script, got, tt.code, tt.signal)
		}
		if err := errors.Join(c.Terminate(), c.Kill()); err != nil {
			t.Errorf("%s: signals after the end = %v, want nil", tt.script, err)
		}
	}
}

// What a container leaves running ends with it: in its group, in a session of its
// own, and with an environment that says nothing.
func TestNothingOutlivesTheContainer(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"in the group":                                   "sleep 1000 & echo child $!; exit 0",
		"in a session of its own":                        "setsid sleep 1000 & echo child $!; exit 0",
		"without an environment":                         "env -i sleep 1000 & echo child $!; exit 0",
		"in a group of its own without an environment":   "exec bash -c 'set -m; env -i sleep 1000 & echo child $!; exit 0'",
		"in a session of its own without an environment": "setsid env -i sleep 1000 & echo child $!; exit 0",
		"a daemon that went into the background":         "setsid env -i sh -c '(setsid sleep 1000 & echo child $!)'; exit 0",
		"a daemon of a server that runs, killed by us":   "setsid env -i sh -c '(setsid sleep 1000 & echo child $!)'; exec sleep 1000",
		"ignoring signals, killed by us":                 "(trap '' TERM HUP INT; while :; do sleep 1000; done) & echo child $!; wait",
		"own session, killed by us":                      "setsid sh -c \"trap '' TERM; sleep 1000; sleep 1000\" & echo child $!; wait",
		"starting others again and again":                "(while :; do sleep 0.01 & done) & echo child $!; sleep 0.1; exit 0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := &output{}
			_, c, err := start(t, local.ContainerSpec{Name: "main", Command: shell(script), Stdout: out})
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(name, "by us") {
				eventually(t, "the child", func() bool { return out.number("child") != 0 })
				if err := c.Kill(); err != nil {
					t.Error(err)
				}
			}
			<-c.Done()
			eventually(t, "the output", func() bool { return out.number("child") != 0 })
			if child := out.number("child"); runs(child) {
				t.Errorf("process %d outlives its container", child)
			}
			if left := marked(c.(*process).mark, c.(*process).pid); len(left) > 0 {
				t.Errorf("processes %v outlive their container", left)
			}
		})
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, c, err := start(t, local.ContainerSpec{Name: "main", Directory: dir, Command: shell("sleep 1000"), Env: map[string]string{"MODEL": "iris"}})
	if err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, command []string) ([]byte, int, error) {
		out := &local.Output{}
		code, err := c.Exec(ctx, command, nil, workload.ExecStreams{Stdout: out, Stderr: out})
		return out.Bytes(), code, err
	}
	out, code, err := run(t.Context(), shell("pwd; echo $MODEL; exit 3"))
	if real, _ := filepath.EvalSymlinks(dir); err != nil || code != 3 || string(out) != real+"\niris\n" {
		t.Errorf("Exec = %q, %d, %v, want the folder and environment of the container, and 3", out, code, err)
	}
	out, _, err = run(t.Context(), shell("head -c 100000 /dev/zero"))
	if err != nil || len(out) != local.MaxOutput {
		t.Errorf("Exec of a chatty command = %d bytes, %v, want %d", len(out), err, local.MaxOutput)
	}
	if _, _, err := run(t.Context(), []string{"./never-built"}); err == nil {
		t.Error("Exec of a command that does not exist is no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := run(ctx, shell("sleep 1000 & sleep 1000")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Exec past its time = %v, want the error of its context", err)
	}
	if out, code, err := run(t.Context(), shell("(sleep 1000; echo late) & echo soon")); err != nil || code != 0 || string(out) != "soon\n" {
		t.Errorf("Exec that leaves something behind = %q, %d, %v, want its own output, and an end", out, code, err)
	}
	// One that runs ends with the container.
	killed := make(chan error, 1)
	said := &waited{first: make(chan struct{})}
	go func() {
		code, err := c.Exec(context.Background(), shell("echo x; sleep 1000"), nil, workload.ExecStreams{Stdout: said, Stderr: said})
		if err == nil && code != 137 {
			err = fmt.Errorf("code %d, want 137", code)
		}
		killed <- err
	}()
	<-said.first
	if err := c.Kill(); err != nil {
		t.Error(err)
	}
	<-c.Done()
	if err := <-killed; err != nil {
		t.Errorf("Exec when its container ends = %v", err)
	}
	if left := marked(c.(*process).mark, 0); len(left) > 0 {
		t.Errorf("processes %v outlive their container", left)
	}
}

// waited tells when something is written for the first time.
type waited struct {
	first chan struct{}
	once  sync.Once
	local.Output
}

func (w *waited) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.first) })
	return w.Output.Write(p)
}

// slow reads nothing before it is told to.
type slow struct {
	start <-chan struct{}
	n     int
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.start
	s.n += len(p)
	return len(p), nil
}

// What a command has written gets to a caller who reads long after its end.
func TestExecLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, c, err := start(t, local.ContainerSpec{Name: "main", Directory: dir, Command: shell("sleep 1000")})
	if err != nil {
		t.Fatal(err)
	}
	in, to := io.Pipe()
	go func() {
		_, _ = io.WriteString(to, "what was typed")
		_ = to.Close()
	}()
	began := make(chan struct{})
	time.AfterFunc(waitDelay+time.Second, func() { close(began) })
	out := &slow{start: began}
	code, err := c.Exec(t.Context(), shell("cat > typed; head -c 90000 /dev/zero"), nil, workload.ExecStreams{Stdin: in, Stdout: out, Stderr: io.Discard})
	typed, _ := os.ReadFile(filepath.Join(dir, "typed"))
	if err != nil || code != 0 || out.n != 90000 || string(typed) != "what was typed" {
		t.Errorf("Exec = %d, %v, %d bytes, and %q was read, want all of both", code, err, out.n, typed)
	}
}

// Everything was killed at once, the reaper too: the next life ends what is left.
func TestOpenEndsWhatAnEarlierLifeLeft(t *testing.T) {
	t.Parallel()
	first, c, err := start(t, local.ContainerSpec{Name: "main", Command: shell("sleep 1000")})
	if err != nil {
		t.Fatal(err)
	}
	other, o, err := start(t, local.ContainerSpec{Name: "main", Command: shell("sleep 1000")})
	if err != nil {
		t.Fatal(err)
	}
	second, err := New(Config{StateDir: first.cfg.StateDir})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	<-c.Done()
	if got := c.Exit().Signal; got != "SIGKILL" {
		t.Errorf("the process of an earlier life ended by %q, want SIGKILL", got)
	}
	select {
	case <-o.Done():
		t.Errorf("a process of another state folder (%s) was ended too", other.instance)
	default:
	}
	if second.instance != first.instance || second.life == first.life {
		t.Errorf("lives %s.%s and %s.%s, want the same folder and different lives", first.instance, first.life, second.instance, second.life)
	}
}

func TestInstanceOfADamagedFolderIsRenewed(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	first, err := local.Instance(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := local.Instance(dir); err != nil || again != first {
		t.Errorf("Instance = %q, %v, want %q again", again, err, first)
	}
	if err := os.WriteFile(filepath.Join(dir, "instance"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err := local.Instance(dir); err != nil || again == first || len(again) != len(first) {
		t.Errorf("Instance of a damaged file = %q, %v, want a new name", again, err)
	}
}
