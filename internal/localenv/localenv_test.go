package localenv

import (
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	long := "/home/" + strings.Repeat("x", 80) + "/.cortex"
	for _, tt := range []struct {
		name, config, socket string
	}{
		{"in the state folder", "/home/u/.cortex", "/home/u/.cortex/local/cortex.sock"},
		{"at the limit", "/" + strings.Repeat("x", 81), "/" + strings.Repeat("x", 81) + "/local/cortex.sock"},
		{"past the limit", "/" + strings.Repeat("x", 82), "/tmp/cortex-7/18e71fa6e8a4f3c1.sock"},
		{"far past the limit", long, "/tmp/cortex-7/"},
	} {
		got := PathsIn(tt.config, "/tmp", 7)
		if !strings.HasPrefix(got.Socket, tt.socket[:min(len(tt.socket), len("/tmp/cortex-7/"))]) {
			t.Errorf("%s: socket = %s, want %s", tt.name, got.Socket, tt.socket)
		}
		if len(got.Socket) > maxSocketPath {
			t.Errorf("%s: socket %s has %d bytes", tt.name, got.Socket, len(got.Socket))
		}
		if want := filepath.Join(tt.config, "local"); got.StateDir != want {
			t.Errorf("%s: state = %s, want %s", tt.name, got.StateDir, want)
		}
	}
	if PathsIn(long, "/tmp", 7) == PathsIn(long+"x", "/tmp", 7) {
		t.Error("two configuration folders share a socket")
	}
}

func TestStartFaultTellsWhatTheDaemonSaid(t *testing.T) {
	t.Parallel()
	log := "time=x level=INFO msg=old\nerror: not this\ntime=y\nerror: the disk is full\nsecond line\nhint: make room\n"
	for _, tt := range []struct {
		log           string
		offset        int64
		message, hint string
	}{
		{log, 0, "the local environment did not start: the disk is full\nsecond line", "make room"},
		{"before\nlevel=INFO msg=hello\n", 7, "the local environment did not start: level=INFO msg=hello", "see daemon.log"},
		{"", 0, "the local environment did not start: it ended without a word", "see daemon.log"},
		{strings.Repeat("x", 1<<16), 0, "the local environment did not start: " + strings.Repeat("x", maxErrorText), "see daemon.log"},
	} {
		f := fault.From(startFault(lastError(strings.NewReader(tt.log), tt.offset), "daemon.log"))
		if f.Message != tt.message || f.Hint != tt.hint {
			t.Errorf("startFault(%.40q) = %.200q, %q, want %.200q, %q", tt.log, f.Message, f.Hint, tt.message, tt.hint)
		}
	}
}
