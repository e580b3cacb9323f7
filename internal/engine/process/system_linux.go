package process

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cortex.dev/cortex/internal/engine/local"
)

// attributes put a process into a session of its own, and let the kernel end it
// when the thread that starts it ends.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}

// killFirst makes a process, and what it starts, what the kernel ends first when memory
// runs out: a replica, and not the shell, the desktop or this program.
func killFirst(pid int) {
	_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("900"), 0)
}

func executable() (string, error) { return "/proc/self/exe", nil } // even when the file was replaced

// await waits for cmd. Cleanup runs after the process has ended and before it is
// collected: until then its number, which is that of its group and session too,
// cannot become somebody else's.
func await(cmd *exec.Cmd, cleanup func()) {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	cleanup()
	_ = cmd.Wait() // its error says what ProcessState says
}

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

const (
	// patience bounds how long processes are waited for that were sent SIGKILL; one
	// that hangs in the kernel may take for ever.
	patience = 5 * time.Second
	between  = time.Millisecond
)

// endAll ends every process whose mark begins with mark or that is of the given
// session (0: none), waits until there are none, and returns how many there were.
// It looks again and again because a process may start another one in between.
func endAll(mark string, session int) int {
	seen := map[int]bool{}
	of := ownerOf(mark, session)
	for deadline := time.Now().Add(patience); ; time.Sleep(between) {
		found := of.processes()
		for _, pid := range found {
			seen[pid] = true
			// The handle is that of one process, even when the number is used again.
			if p, err := os.FindProcess(pid); err == nil {
				if of.owns(pid) {
					_ = p.Kill()
				}
				_ = p.Release()
			}
		}
		if len(found) == 0 || time.Now().After(deadline) {
			return len(seen)
		}
	}
}

// marked lists processes that run, this one excepted.
func marked(mark string, session int) []int { return ownerOf(mark, session).processes() }

// listening lists where the processes of a container accept connections.
func listening(mark string, leader int) []string {
	inodes := map[uint64]bool{}
	for _, pid := range marked(mark, leader) {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		files, _ := os.ReadDir(dir) // none when it has just ended
		for _, f := range files {
			target, _ := os.Readlink(filepath.Join(dir, f.Name()))
			if n, ok := strings.CutPrefix(target, "socket:["); ok {
				if inode, err := strconv.ParseUint(strings.TrimSuffix(n, "]"), 10, 64); err == nil {
					inodes[inode] = true
				}
			}
		}
	}
	var all []string
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(file)
		if err != nil {
			continue
		}
		for _, l := range local.ParseListeners(f) {
			if inodes[l.Inode] {
				all = append(all, l.Address.String())
			}
		}
		_ = f.Close()
	}
	slices.Sort(all)
	return all
}

// clockTick is the unit in which the kernel tells times of processors to programs, the
// same on every machine of today.
const clockTick = time.Second / 100

// usage is what the processes of a container take. Pages that several share count for each.
func usage(mark string, leader int) (memory int64, cpu time.Duration, ok bool) {
	for _, pid := range marked(mark, leader) {
		raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue // it has just ended
		}
		// The second field is a name, which may hold anything; the last ")" ends it.
		f := strings.Fields(string(raw)[strings.LastIndexByte(string(raw), ')')+1:])
		const user, system, resident = 14 - 3, 15 - 3, 24 - 3 // as proc(5) counts, from the third
		if len(f) <= resident {
			continue
		}
		var values [3]int64
		for i, at := range []int{user, system, resident} {
			values[i], _ = strconv.ParseInt(f[at], 10, 64)
		}
		cpu += time.Duration(values[0]+values[1]) * clockTick
		memory += values[2] * int64(os.Getpagesize())
		ok = true
	}
	return memory, cpu, ok
}

// oomKills counts the processes that this machine has killed for want of memory.
func oomKills() uint64 {
	raw, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

// oomKilled reports whether a process that was ended by SIGKILL ran out of memory:
// the machine has killed for want of memory since, and where the kernel's log can
// be read, it names this process.
func oomKilled(pid int, before uint64) bool {
	if oomKills() == before {
		return false
	}
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return true
	}
	fd := int(f.Fd())
	defer func() { _ = f.Close() }()
	want := "Killed process " + strconv.Itoa(pid) + " "
	record := make([]byte, 8<<10)
	for range 100_000 {
		n, err := unix.Read(fd, record)
		if errors.Is(err, unix.EPIPE) {
			continue // overwritten while we were reading
		}
		if err != nil {
			return false
		}
		if strings.Contains(string(record[:max(n, 0)]), want) {
			return true
		}
	}
	return false
}

// ledger is not needed here: the mark of a process cannot be hidden from us.
type ledger struct{ dir string }

func (ledger) remember(int) {}
func (ledger) forget(int)   {}
func (ledger) end()         {}
