package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/bench/row"
)

const (
	whatMemory = "idle daemon with 10 workloads: resident memory"
	whatCPU    = "idle daemon with 10 workloads: CPU"
)

// idles looks at a daemon that has nothing to do: all its processes but the
// users' own servers.
func idles(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	var text strings.Builder
	for i := range 10 {
		text.WriteString(plainSpec(fmt.Sprintf("idle-%d", i), p.server, 1, "1"))
	}
	if err := h.deploy(ctx, text.String()); err != nil {
		return nil, err
	}
	rest := time.Duration(p.times(10, 3)) * time.Second
	over := time.Duration(p.times(30, 5)) * time.Second
	if err := wait(ctx, rest); err != nil {
		return nil, err
	}
	before, err := processes(h.daemon.Process.Pid, p.server)
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, over); err != nil {
		return nil, err
	}
	after, err := processes(h.daemon.Process.Pid, p.server)
	if err != nil {
		return nil, err
	}
	share := 100 * float64(after.cpu-before.cpu) / float64(over)
	resident := max(before.resident, after.resident)
	mb := float64(resident) / 1e6
	note := fmt.Sprintf("%d process(es) of the product beside 10 of the user's", after.count)
	return []row.Row{
		{What: whatMemory, Ours: fmt.Sprintf("%.1f MB", mb), Ratio: fmt.Sprintf("%.2f × of target", mb/80), Target: "≤ 80 MB", Met: mb <= 80, Note: note},
		{What: whatCPU, Ours: fmt.Sprintf("%.2f %% of a core", share), Ratio: fmt.Sprintf("%.2f × of target", share), Target: "< 1 % of a core", Met: share < 1,
			Note: fmt.Sprintf("over %s", over)},
	}, nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// usage is what a family of processes uses.
type usage struct {
	count    int
	resident int64 // bytes
	cpu      time.Duration
}

// processes sums up pid and its descendants, without those that run the user's server.
func processes(pid int, server string) (usage, error) {
	all, err := table()
	if err != nil {
		return usage{}, err
	}
	var u usage
	family := []int{pid}
	for i := 0; i < len(family); i++ {
		for child, p := range all {
			if p.parent == family[i] && !slices.Contains(family, child) {
				family = append(family, child)
			}
		}
		p, ok := all[family[i]]
		if !ok {
			return usage{}, fmt.Errorf("process %d is gone", family[i])
		}
		if !p.runs(server) {
			u.count++
			u.resident += p.resident
			u.cpu += p.cpu
		}
	}
	return u, nil
}

// process is one line of ps.
type process struct {
	parent   int
	resident int64
	cpu      time.Duration
	command  string
}

func (p process) runs(program string) bool {
	command, _, _ := strings.Cut(p.command, " ")
	return command == program
}

// table returns all processes, from /proc where there is one.
func table() (map[int]process, error) {
	if _, err := os.Stat("/proc/self/stat"); err == nil {
		return procTable()
	}
	return psTable()
}

func procTable() (map[int]process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, path := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		line := string(data)
		fields := strings.Fields(line[strings.LastIndex(line, ")")+1:])
		if len(fields) < 22 {
			continue
		}
		number := func(i int) int64 { n, _ := strconv.ParseInt(fields[i-3], 10, 64); return n } // as numbered in proc(5)
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		all[pid] = process{
			parent:   int(number(4)),
			cpu:      time.Duration(number(14)+number(15)) * time.Second / ticksPerSecond,
			resident: number(24) * int64(os.Getpagesize()),
			command:  strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " "),
		}
	}
	return all, nil
}

// ticksPerSecond is USER_HZ, which Linux fixed at 100 for programs.
const ticksPerSecond = 100

func psTable() (map[int]process, error) {
	out, err := exec.Command("ps", "-axo", "pid=,ppid=,rss=,time=,command=").Output()
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	all := map[int]process{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		pid, _ := strconv.Atoi(fields[0])
		parent, _ := strconv.Atoi(fields[1])
		kib, _ := strconv.ParseInt(fields[2], 10, 64)
		all[pid] = process{parent: parent, resident: kib << 10, cpu: psTime(fields[3]), command: strings.Join(fields[4:], " ")}
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
