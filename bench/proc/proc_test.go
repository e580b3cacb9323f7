package proc

import (
	"os"
	"testing"
	"time"
)

func TestPSTime(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"0:01.50": 1500 * time.Millisecond, "1:02:03": 3723 * time.Second} {
		if got := psTime(text); got != want {
			t.Errorf("psTime(%q) = %v, want %v", text, got, want)
		}
	}
}

func TestOfAndPeakSeeThisProcess(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc on this system")
	}
	p, err := Of(os.Getpid())
	if err != nil || p.Parent != os.Getppid() || !p.Runs(os.Args[0]) {
		t.Errorf("Of(this process) = %+v, %v, want the child of %d that runs %s", p, err, os.Getppid(), os.Args[0])
	}
	peak, err := Peak(os.Getpid())
	if err != nil || peak < 1<<20 {
		t.Errorf("Peak(this process) = %d, %v, want megabytes", peak, err)
	}
	if _, err := Of(0); err == nil {
		t.Error("Of(0) succeeded, and there is no such process")
	}
}

func TestJoinOfItsOwnGroups(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root may move processes between control groups")
	}
	if _, err := os.Stat("/proc/self/cgroup"); err != nil {
		t.Skip("this system has no control groups")
	}
	if err := Join(os.Getpid(), os.Getpid()); err != nil {
		t.Errorf("Join(this process, itself) = %v, want nothing to happen", err)
	}
	if err := Join(os.Getpid(), 0); err == nil {
		t.Error("Join(this process, none) succeeded")
	}
}
