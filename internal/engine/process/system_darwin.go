package process

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// marking starts something; the mark in its environment is the only one here.
func marking(_ string, start func() error) error { return start() }

// killFirst does nothing: this system has no order in which it ends processes.
func killFirst(int) {}

func executable() (string, error) { return os.Executable() }

// await waits for cmd and then cleans up.
func await(cmd *exec.Cmd, cleanup func()) {
	_ = cmd.Wait() // its error says what ProcessState says
	cleanup()
}

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// patience bounds how long processes are waited for that were sent SIGKILL.
const patience = 5 * time.Second

// endAll ends every process whose mark begins with mark, waits until there are
// none, and returns how many there were. Programs that the system protects hide
// their environment; for them there is the ledger.
func endAll(mark string, _ int) int {
	seen := map[int]bool{}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		found := marked(mark, 0)
		for _, pid := range found {
			seen[pid] = true
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(found) == 0 || time.Now().After(deadline) {
			return len(seen)
		}
	}
}

func marked(mark string, _ int) []int {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.uid", os.Getuid())
	if err != nil {
		return nil
	}
	var pids []int
	want := []byte("\x00" + markName + "=" + mark)
	for _, p := range all {
		pid := int(p.Proc.P_pid)
		if pid == os.Getpid() || p.Proc.P_stat == zombie {
			continue
		}
		if raw, err := unix.SysctlRaw("kern.procargs2", pid); err == nil && bytes.Contains(raw, want) {
			pids = append(pids, pid)
		}
	}
	return pids
}

const zombie = 5 // SZOMB

func listening(string, int) []string { return nil }

func usage(string, int) (int64, time.Duration, bool) { return 0, 0, false }

func oomKills() uint64 { return 0 }

func oomKilled(int, uint64) bool { return false }

// ledger is a folder with one file for every process group that was started,
// named by its number and holding when the system says that it began, so that a
// number which was used again is not taken for the process.
type ledger struct{ dir string }

func (l ledger) remember(pid int) {
	if err := os.MkdirAll(l.dir, 0o700); err == nil {
		_ = os.WriteFile(filepath.Join(l.dir, strconv.Itoa(pid)), []byte(began(pid)), 0o600) // the mark is the other way
	}
}

func (l ledger) forget(pid int) { _ = os.Remove(filepath.Join(l.dir, strconv.Itoa(pid))) }

// end ends every group in the ledger.
func (l ledger) end() {
	files, _ := os.ReadDir(l.dir) // none is no error
	for _, f := range files {
		pid, err := strconv.Atoi(f.Name())
		if err != nil || pid <= 1 {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(l.dir, f.Name()))
		if err == nil && strings.TrimSpace(string(raw)) == began(pid) && began(pid) != "" {
			killGroup(pid)
		}
		l.forget(pid)
	}
}

func began(pid int) string {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return ""
	}
	return strconv.FormatInt(p.Proc.P_starttime.Nano(), 10)
}
