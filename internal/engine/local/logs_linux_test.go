package local

import (
	"io"
	"strings"
	"syscall"
	"testing"

	"cortex.dev/cortex/internal/workload"
)

// TestLogsOnAFullDisk fills a real file system.
func TestLogsOnAFullDisk(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(root, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := newLogStore(root, LogLimits{})
	var reasons []string
	w := s.writer("iris", "a", "main", func(reason, message string) { reasons = append(reasons, reason+": "+message) })
	w.startRun()
	out := w.stream("stdout")
	line := strings.Repeat("x", 999) + "\n"
	for range 100 {
		if n, err := io.WriteString(out, line); n != len(line) || err != nil {
			t.Fatalf("Write = %d, %v, want it to go on", n, err)
		}
	}
	if len(reasons) != 1 || !strings.HasPrefix(reasons[0], "DiskFull: ") || !strings.Contains(reasons[0], "no space left") {
		t.Fatalf("reports are %q, want one of a full disk", reasons)
	}
	if err := syscall.Mount("tmpfs", root, "tmpfs", syscall.MS_REMOUNT, "size=1m"); err != nil { // room again
		t.Fatal(err)
	}
	_, _ = io.WriteString(out, "after\n")
	w.close()
	got := readLogs(t, s, workload.LogQuery{})
	last := got[len(got)-1]
	if last.Text != "after" || !strings.Contains(got[len(got)-2].Text, "could not be kept: no space left on device") {
		t.Errorf("the last lines are %q and %q, want how many were lost and what came after", got[len(got)-2].Text, last.Text)
	}
	for _, l := range got[:len(got)-2] {
		if len(l.Text) != 999 {
			t.Fatalf("a line of %d bytes, want only whole ones", len(l.Text))
		}
	}
}
