// Package proc looks at the processes of this machine: what they use and what they
// run.
//
// It promises to change nothing but what Join says. It must not know the product.
package proc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Process is one process at one moment.
type Process struct {
	Parent   int
	Resident int64 // bytes
	CPU      time.Duration
	Command  string // with its arguments
}

// Runs reports whether it runs a program, by its path.
func (p Process) Runs(program string) bool {
	command, _, _ := strings.Cut(p.Command, " ")
	return command == program
}

// Table returns all processes, from /proc where there is one.
func Table() (map[int]Process, error) {
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		return procTable()
	}
	return psTable()
}

func procTable() (map[int]Process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]Process{}
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if p, err := Of(pid); err == nil { // it may have ended meanwhile
			all[pid] = p
		}
	}
	return all, nil
}

// Of looks at one process, by /proc.
func Of(pid int) (Process, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	data, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return Process{}, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	// The second field is the name in parentheses and may hold anything.
	line := string(data)
	fields := strings.Fields(line[strings.LastIndex(line, ")")+1:])
	if len(fields) < 22 {
		return Process{}, fmt.Errorf("looking at process %d: its stat is %q", pid, line)
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(fields[i-3], 10, 64); return n } // as numbered in proc(5)
	command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	return Process{
		Parent:   int(number(4)),
		CPU:      time.Duration(number(14)+number(15)) * time.Second / ticksPerSecond,
		Resident: number(24) * int64(os.Getpagesize()),
		Command:  strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " "),
	}, nil
}

// Peak is the most that a process ever had resident, in bytes, by /proc.
func Peak(pid int) (int64, error) { return inStatus(pid, "VmHWM:") }

// Private is what a process has resident that no file has, in bytes, by /proc: what the
// system cannot take back without ending it.
func Private(pid int) (int64, error) { return inStatus(pid, "RssAnon:") }

// ForgetPeak has Peak begin anew.
func ForgetPeak(pid int) error {
	if err := os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "clear_refs"), []byte("5"), 0); err != nil {
		return fmt.Errorf("forgetting the peak of process %d: %w", pid, err)
	}
	return nil
}

// inStatus is an amount of memory that the status of a process has.
func inStatus(pid int, name string) (int64, error) {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, fmt.Errorf("looking at process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == name {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("looking at process %d: its status has no %s", pid, name)
}

// InGroup returns the processes in whose control groups one has a name, or the name
// of its folder, with mark in it: those of a pod, by its unique id.
func InGroup(mark string) (map[int]Process, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	found := map[int]Process{}
	for _, file := range files {
		groups, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(groups), mark) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		if p, err := Of(pid); err == nil {
			found[pid] = p
		}
	}
	return found, nil
}

// Join puts a process into the control groups of another, as /sys/fs/cgroup has
// them. It takes root.
func Join(pid, other int) error {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(other), "cgroup"))
	if err != nil {
		return fmt.Errorf("finding the control groups of process %d: %w", other, err)
	}
	const top = "/sys/fs/cgroup"
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		// A controller of version 1 has a folder of its name; named ones carry name=.
		root := filepath.Join(top, strings.TrimPrefix(fields[1], "name="))
		if fields[1] == "" && root == top { // version 2, alone or beside version 1
			if _, err := os.Stat(filepath.Join(top, "cgroup.controllers")); err != nil {
				root = filepath.Join(top, "unified")
			}
		}
		if _, err := os.Stat(root); err != nil {
			continue // known to the kernel and not mounted
		}
		if err := os.WriteFile(filepath.Join(root, fields[2], "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("putting process %d into the control groups of %d: %w", pid, other, err)
		}
	}
	return nil
}

// ticksPerSecond is USER_HZ, which Linux fixed at 100 for programs.
const ticksPerSecond = 100

func psTable() (map[int]Process, error) {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=,rss=,time=,command=").Output()
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	all := map[int]Process{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		pid, _ := strconv.Atoi(fields[0])
		parent, _ := strconv.Atoi(fields[1])
		kib, _ := strconv.ParseInt(fields[2], 10, 64)
		all[pid] = Process{Parent: parent, Resident: kib << 10, CPU: psTime(fields[3]), Command: strings.Join(fields[4:], " ")}
	}
	return all, nil
}

// psTime reads 1:02.03 or 1:02:03.
func psTime(text string) time.Duration {
	seconds := 0.0
	for part := range strings.SplitSeq(text, ":") {
		v, _ := strconv.ParseFloat(part, 64)
		seconds = seconds*60 + v
	}
	return time.Duration(seconds * float64(time.Second))
}
