package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// hierarchies are the roots of the machine's control groups: one with version 2,
// one for each controller with version 1.
func hierarchies() []string {
	const top = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(top, "cgroup.controllers")); err == nil {
		return []string{top}
	}
	entries, err := os.ReadDir(top)
	if err != nil {
		return nil
	}
	var roots []string
	for _, entry := range entries {
		// No link from one controller to another, and no folder that a program made
		// there because it took this for version 2.
		if root := filepath.Join(top, entry.Name()); entry.IsDir() && device(root) != device(top) {
			roots = append(roots, root)
		}
	}
	return roots
}

// device is the file system that a folder is of.
func device(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(stat.Dev) //nolint:unconvert,gosec // its type differs between systems
}

// makeCgroup makes the group that holds every pod of the node.
func makeCgroup() error {
	for _, root := range hierarchies() {
		dir := filepath.Join(root, cgroup)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("making the control group of the pods: %w", err)
		}
		// Version 2 hands controllers down one by one; what the machine does not have
		// is refused, and not needed then.
		for _, controller := range []string{"cpu", "cpuset", "memory", "pids", "io", "hugetlb"} {
			for _, group := range []string{root, dir} {
				file := filepath.Join(group, "cgroup.subtree_control")
				if _, err := os.Stat(file); err == nil {
					_ = os.WriteFile(file, []byte("+"+controller), 0o600)
				}
			}
		}
		// A set of processors starts empty with version 1, and nothing can run in it.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value, err := os.ReadFile(filepath.Join(root, name)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, name), value, 0o600)
			}
		}
	}
	return nil
}

// cgroups are the control groups of the node, the innermost first.
func cgroups() []string {
	var found []string
	for _, root := range hierarchies() {
		_ = filepath.WalkDir(filepath.Join(root, cgroup), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				found = append(found, path)
			}
			return nil
		})
	}
	slices.Reverse(found)
	return found
}

// mounts are the mount points of the node, the last one first.
func mounts() []string {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	return mountsBelow(string(text), runDir, dataDir)
}

// mountsBelow are the mount points in a mountinfo that lie in one of the folders,
// the last one first.
func mountsBelow(mountinfo string, dirs ...string) []string {
	var found []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		if slices.ContainsFunc(dirs, func(dir string) bool { return point == dir || strings.HasPrefix(point, dir+"/") }) {
			found = append(found, point)
		}
	}
	slices.Reverse(found)
	return found
}

// links are the network devices of the node on this side: the cables of the pods,
// then the bridge.
func links() []string {
	if _, err := os.Stat(filepath.Join("/sys/class/net", bridge)); err != nil {
		return nil
	}
	entries, _ := os.ReadDir(filepath.Join("/sys/class/net", bridge, "brif"))
	var found []string
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return append(found, bridge)
}

// undoRules is the input of `iptables-restore --noflush` that removes the rules and
// chains of the node from what iptables-save printed; empty when there are none.
func undoRules(saved string) string {
	var script strings.Builder
	var table string
	var rules, flush, remove []string
	for line := range strings.Lines(saved) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table, rules, flush, remove = line, nil, nil, nil
		case strings.HasPrefix(line, ":KUBE-"):
			chain := strings.Fields(line)[0][1:]
			flush, remove = append(flush, "-F "+chain), append(remove, "-X "+chain)
		case strings.HasPrefix(line, "-A ") && !strings.HasPrefix(line, "-A KUBE-") && ourRule(line):
			rules = append(rules, "-D "+strings.TrimPrefix(line, "-A "))
		case line == "COMMIT" && len(rules)+len(flush) > 0:
			for _, part := range [][]string{{table}, rules, flush, remove, {"COMMIT"}} {
				for _, text := range part {
					script.WriteString(text + "\n")
				}
			}
		}
	}
	return script.String()
}

func ourRule(rule string) bool {
	return strings.Contains(rule, "-j KUBE-") || strings.Contains(rule, "--comment "+cgroup+" ") || strings.Contains(rule, `--comment "`+cgroup+`" `)
}

// firewalls are the pairs of programs that print a firewall and change it.
var firewalls = [][2]string{{"iptables-save", "iptables-restore"}, {"ip6tables-save", "ip6tables-restore"}}

// undoFirewall is, for the program that changes it, what removes the node's rules
// from each firewall that has some.
func undoFirewall(ctx context.Context) map[string]string {
	undo := map[string]string{}
	for _, programs := range firewalls {
		saved, err := command(ctx, programs[0])
		if script := undoRules(saved); err == nil && script != "" {
			undo[programs[1]] = script
		}
	}
	return undo
}
