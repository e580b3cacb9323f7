package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

const groupRoot = "/sys/fs/cgroup"

// groups are the control groups of one runtime, in which each container has one of its
// own that bounds its memory and weighs its CPU. There are some where this program may
// make them below its own: as root, or in a systemd unit with Delegate=yes. The zero
// value has none.
type groups struct {
	unified bool   // version 2, in which one folder has every controller
	memory  string // folder for the groups of containers; empty: none can be made
	cpu     string // likewise; the same where unified
	own     []home // version 1: where the thread that starts processes belongs
}

// home is the group of this program in one hierarchy of version 1.
type home struct{ groups, own string }

// openGroups finds out what can be bounded here, and removes what an earlier run left.
func openGroups(instance string) groups {
	raw, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return groups{}
	}
	var g groups
	for line := range strings.Lines(string(raw)) {
		// hierarchy:controllers:path
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		if part[1] == "" {
			if base := filepath.Join(groupRoot, part[2]); delegated(base) {
				return groups{unified: true, memory: base, cpu: base}
			}
			continue
		}
		for controller := range strings.SplitSeq(part[1], ",") {
			own := filepath.Join(groupRoot, controller, part[2])
			dir := filepath.Join(own, "cortex-"+instance)
			switch {
			case controller != "memory" && controller != "cpu" || makeGroup(dir) != nil:
			case controller == "memory":
				g.memory, g.own = dir, append(g.own, home{dir, own})
			default:
				g.cpu, g.own = dir, append(g.own, home{dir, own})
				_ = set(dir, "cpu.shares", min(1024*runtime.NumCPU(), 262144)) // of the machine, for all containers together
			}
		}
	}
	return g
}

// delegated makes base, this program's own group of version 2, one in which containers
// can have groups: no process may be in such a group itself, so this one moves aside.
func delegated(base string) bool {
	has, err := os.ReadFile(filepath.Join(base, "cgroup.controllers"))
	if err != nil || !slices.Contains(strings.Fields(string(has)), "memory") {
		return false
	}
	aside := filepath.Join(base, "cortex")
	if makeGroup(aside) != nil || set(aside, "cgroup.procs", os.Getpid()) != nil {
		return false
	}
	if set(base, "cgroup.subtree_control", "+memory +cpu") != nil && set(base, "cgroup.subtree_control", "+memory") != nil {
		_ = set(base, "cgroup.procs", os.Getpid())
		_ = os.Remove(aside)
		return false
	}
	return true
}

func makeGroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	left, _ := filepath.Glob(filepath.Join(dir, "c-*"))
	for _, old := range left {
		_ = os.Remove(old) // one with processes stays
	}
	return nil
}

func set(dir, file string, value any) error {
	return os.WriteFile(filepath.Join(dir, file), fmt.Append(nil, value), 0)
}

// group is that of one container; nil for none.
type group struct {
	g           groups
	memory, cpu string // folders; empty where there is none
}

// add makes the group of a container. What cannot be bounded is not: a container runs
// without bounds rather than not at all.
func (g groups) add(mark string, q *workload.Compute) *group {
	if g.memory == "" && g.cpu == "" || q == nil {
		return nil
	}
	c, name := &group{g: g}, "c-"+mark
	if g.memory != "" {
		if dir := filepath.Join(g.memory, name); os.Mkdir(dir, 0o755) == nil {
			c.memory = dir
		}
	}
	if c.cpu = c.memory; !g.unified && g.cpu != "" {
		c.cpu = ""
		if dir := filepath.Join(g.cpu, name); os.Mkdir(dir, 0o755) == nil {
			c.cpu = dir
		}
	}
	if mem := q.MaxMem(); mem != nil && c.memory != "" {
		if g.unified {
			_ = set(c.memory, "memory.max", mem.Value())
			_ = set(c.memory, "memory.swap.max", 0)
			_ = set(c.memory, "memory.oom.group", 1)
		} else {
			_ = set(c.memory, "memory.limit_in_bytes", mem.Value())
			_ = set(c.memory, "memory.memsw.limit_in_bytes", mem.Value()) // where swap is counted
		}
	}
	if q.CPU != nil && c.cpu != "" {
		shares := min(max(q.CPU.Milli()*1024/1000, 2), 262144)
		if g.unified {
			_ = set(c.cpu, "cpu.weight", 1+(shares-2)*9999/262142)
		} else {
			_ = set(c.cpu, "cpu.shares", shares)
		}
	}
	return c
}

// starting starts cmd, by start, in the group from its first instruction on. Version 1
// moves threads, so the calling one goes there and back; it has to be locked to its
// goroutine.
func (c *group) starting(cmd *exec.Cmd, start func() error) error {
	if c == nil {
		return start()
	}
	if c.g.unified {
		dir, err := os.Open(c.memory)
		if err != nil {
			return start()
		}
		defer func() { _ = dir.Close() }()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
		return start()
	}
	for _, dir := range []string{c.memory, c.cpu} {
		if dir != "" {
			_ = set(dir, "tasks", 0)
		}
	}
	defer func() {
		for _, h := range c.g.own {
			_ = set(h.own, "tasks", 0)
		}
	}()
	return start()
}

// killed reports whether memory ran out in the group.
func (c *group) killed() bool {
	if c == nil || c.memory == "" {
		return false
	}
	file := "memory.oom_control"
	if c.g.unified {
		file = "memory.events"
	}
	raw, _ := os.ReadFile(filepath.Join(c.memory, file))
	for line := range strings.Lines(string(raw)) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(n))
			return n > 0
		}
	}
	return false
}

// remove takes the group away; nothing is in it any more.
func (c *group) remove() {
	if c == nil {
		return
	}
	for _, dir := range []string{c.memory, c.cpu} {
		if dir != "" {
			_ = os.Remove(dir)
		}
	}
}

// close takes the groups of the runtime away.
func (g groups) close() {
	for _, h := range g.own {
		_ = os.Remove(h.groups)
	}
}
