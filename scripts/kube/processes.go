package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A process of the node. The table of processes is the one record of what runs:
// files with numbers of processes lie as soon as one was killed or a machine
// started again.
type process struct {
	pid  int
	part string // of the node, or empty: a container's, or what a part started
}

// processes are all of the node, wherever it was started: those that carry its mark
// in their environment, and those in its control groups.
func processes() []process {
	var found []process
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		groups, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		if isAlone(string(groups)) {
			continue
		}
		if state, _ := os.ReadFile(filepath.Join(dir, "stat")); ended(state) {
			continue
		}
		if name, ok := marked(environ); ok {
			// What a part starts inherits its mark; only the part has the part's name.
			if program, _ := os.ReadFile(filepath.Join(dir, "comm")); !isProgram(name, string(program)) {
				name = ""
			}
			found = append(found, process{pid: pid, part: name})
		} else if inGroup(string(groups)) {
			found = append(found, process{pid: pid})
		}
	}
	return found
}

// marked is the part that the mark in an environment names.
func marked(environ []byte) (string, bool) {
	for entry := range bytes.SplitSeq(environ, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(marker+"=")); ok {
			return string(value), true
		}
	}
	return "", false
}

// isProgram says whether a process's short name, which the kernel cuts at 15 bytes,
// is that of a part.
func isProgram(part, comm string) bool {
	return strings.TrimSpace(comm) == part[:min(len(part), 15)]
}

// inGroup says whether a process, by its /proc/PID/cgroup, is of a pod of the node.
func inGroup(groups string) bool {
	for line := range strings.Lines(groups) {
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 {
			if slices.Contains(strings.Split(fields[2], "/"), cgroup) {
				return true
			}
		}
	}
	return false
}

// isAlone says whether a process, by its /proc/PID/cgroup, is of a node that
// scripts/kube/alone keeps apart: from outside its processes are seen too. Inside,
// the group that alone made is the root, and has no name.
func isAlone(groups string) bool {
	return strings.Contains(groups, ":/alone-")
}

// ended says whether a process, by its /proc/PID/stat, only waits to be buried.
func ended(stat []byte) bool {
	// The name before the state is in parentheses and may have some in it.
	end := bytes.LastIndex(stat, []byte(") "))
	if end < 0 {
		return false
	}
	state := stat[end+2:]
	return bytes.HasPrefix(state, []byte("Z")) || bytes.HasPrefix(state, []byte("X"))
}

// running are the parts that run, by their names.
func running() map[string]int {
	parts := map[string]int{}
	for _, p := range processes() {
		if p.part != "" {
			parts[p.part] = p.pid
		}
	}
	return parts
}
