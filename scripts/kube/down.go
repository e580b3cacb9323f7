package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// How long what was killed may take to be gone.
const endPatience = 20 * time.Second

// down ends the node and everything it made, and fails with a list when something
// stays. Without a node it says so and is content.
func down(ctx context.Context, n *node) error {
	if err := requireRoot(n, "down"); err != nil {
		return err
	}
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return fmt.Errorf("setting the path: %w", err)
	}
	if !somethingLeft(ctx) {
		fmt.Fprintln(n.out, "there is no node, and nothing is left of one")
		return nil
	}
	if err := n.remove(ctx); err != nil {
		return err
	}
	fmt.Fprintf(n.out, "the node is gone after %.1f s; its logs stay in %s\n", time.Since(n.started).Seconds(), n.relative(n.path("log")))
	return nil
}

// remove takes the node down in the one order in which each thing can go: who could
// make new things, then what holds mounts, then mounts, then folders.
func (n *node) remove(ctx context.Context) error {
	was, sameBoot := remembered()
	report := func(what string, count int) {
		if count > 0 {
			fmt.Fprintf(n.out, "%-17s %d removed\n", what, count)
		}
	}
	// First, so that no test takes the node for one that is ready.
	for _, root := range []string{n.root, owner()} {
		_ = os.Remove(filepath.Join(root, "bin", "kube", "kubeconfig"))
		_ = os.Remove(filepath.Join(root, "bin", "kube", "node.json"))
	}
	killed, err := killAll(ctx)
	report("processes", killed)
	if err != nil {
		return err
	}
	sockets := shimSockets()
	report("mounts", unmountAll(ctx))
	report("devices", removeLinks(ctx))
	if sameBoot {
		rules, err := removeRules(ctx)
		report("rules", rules)
		if err != nil {
			return err
		}
		putBack(was)
	}
	report("cgroups", removeCgroups(ctx))
	if left := mounts(); len(left) > 0 {
		// Removing the folders now would reach through the mounts.
		return fmt.Errorf("these mounts stay: %s", strings.Join(left, ", "))
	}
	for _, path := range slices.Concat(sockets, cniResults(), kubeletFiles(was)) {
		_ = os.Remove(path)
	}
	removeLogLinks()
	for _, dir := range []string{runDir, dataDir} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing the folders of the node: %w", err)
		}
	}
	for _, dir := range was.Made {
		removeEmpty(dir)
	}
	if left := leftovers(ctx, sameBoot); len(left) > 0 {
		return fmt.Errorf("this is left of the node:\n  %s", strings.Join(left, "\n  "))
	}
	return nil
}

// remembered is what the machine was like before the node, and whether it has been
// on ever since. After a start of the machine its firewall and settings are new,
// and may be somebody else's by now.
func remembered() (before, bool) {
	var was before
	text, err := os.ReadFile(filepath.Join(dataDir, "before.json"))
	if err != nil || json.Unmarshal(text, &was) != nil {
		return before{}, false
	}
	return was, was.Boot == bootID()
}

// killAll ends every process of the node. It kills: there is nothing to save, and
// the grace of many pods would take minutes.
func killAll(ctx context.Context) (int, error) {
	seen := map[int]bool{}
	err := gone(ctx, func() int {
		found := processes()
		for _, p := range found {
			seen[p.pid] = true
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		return len(found)
	})
	if err != nil {
		var left []string
		for _, p := range processes() {
			left = append(left, fmt.Sprint(p.pid))
		}
		return len(seen), fmt.Errorf("these processes do not end: %s", strings.Join(left, ", "))
	}
	return len(seen), nil
}

// gone tries again until nothing is left to try.
func gone(ctx context.Context, try func() int) error { return goneWithin(ctx, endPatience, try) }

func goneWithin(ctx context.Context, patience time.Duration, try func() int) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for try() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return errors.New("time is over")
		case <-tick.C:
		}
	}
	return nil
}

func unmountAll(ctx context.Context) int {
	count := 0
	for _, point := range mounts() {
		_, err := command(ctx, "umount", point)
		if err != nil { // busy, by somebody who looks into it
			_, err = command(ctx, "umount", "-l", point)
		}
		if err == nil {
			count++
		}
	}
	return count
}

func removeLinks(ctx context.Context) int {
	count := 0
	for _, link := range links() {
		// The kernel takes a pod's cable with its namespace, maybe before us.
		if _, err := command(ctx, "ip", "link", "delete", link); err == nil {
			count++
		}
	}
	return count
}

func removeRules(ctx context.Context) (int, error) {
	count := 0
	for program, script := range undoFirewall(ctx) {
		if _, err := commandWith(ctx, []byte(script), program, "--wait", "5", "--noflush"); err != nil {
			return count, fmt.Errorf("removing the rules of the node: %w", err)
		}
		count += strings.Count(script, "\n-D ") + strings.Count(script, "\n-X ")
	}
	return count, nil
}

// putBack gives the kernel the settings that it had.
func putBack(was before) {
	for name, value := range was.Sysctls {
		path := filepath.Join("/proc/sys", name)
		if now, err := os.ReadFile(path); err == nil && string(now) != value {
			_ = os.WriteFile(path, []byte(value), 0o600)
		}
	}
}

func removeCgroups(ctx context.Context) int {
	count := 0
	// A group can go a moment after its last process went.
	_ = gone(ctx, func() int {
		for _, dir := range cgroups() {
			if err := syscall.Rmdir(dir); err == nil {
				count++
			}
		}
		return len(cgroups())
	})
	return count
}

// shimSockets are where the shims listened: not below the node's folders, because
// the place is compiled into containerd.
func shimSockets() []string {
	files, _ := filepath.Glob(filepath.Join(runDir, "containerd", "io.containerd.runtime.v2.task", "*", "*", "bootstrap.json"))
	var sockets []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		var said struct{ Address string }
		if err != nil || json.Unmarshal(text, &said) != nil {
			continue
		}
		if path, ok := strings.CutPrefix(said.Address, "unix://"); ok {
			sockets = append(sockets, path)
		}
	}
	return sockets
}

// cniResults are what the plugins remember of the pods of this node's network. The
// loopback of a pod is remembered under a name without the network.
func cniResults() []string {
	const folder = "/var/lib/cni/results"
	files, _ := filepath.Glob(filepath.Join(folder, bridge+"-*-eth0"))
	for _, file := range files {
		pod := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), bridge+"-"), "-eth0")
		if loopback := filepath.Join(folder, "cni-loopback-"+pod+"-lo"); exists(loopback) {
			files = append(files, loopback)
		}
	}
	return files
}

// kubeletFiles are those that the kubelet writes where it always does. They are the
// node's when it was the first kubelet of the machine.
func kubeletFiles(was before) []string {
	if !slices.Contains(was.Made, kubeletFolder) {
		return nil
	}
	files, _ := filepath.Glob(filepath.Join(kubeletFolder, "device-plugins", "*"))
	return files
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// removeLogLinks removes the names that the kubelet gave the logs of containers.
func removeLogLinks() {
	names, _ := filepath.Glob("/var/log/containers/*.log")
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil && strings.HasPrefix(target, dataDir+"/") {
			_ = os.Remove(name)
		}
	}
}

// removeEmpty removes a folder and the folders in it as far as they hold no file.
func removeEmpty(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if entry.IsDir() {
			removeEmpty(filepath.Join(dir, entry.Name()))
		}
	}
	_ = os.Remove(dir) // refused where something is left
}

// somethingLeft says whether there is a node, or anything of one.
func somethingLeft(ctx context.Context) bool {
	_, sameBoot := remembered()
	return len(leftovers(ctx, sameBoot)) > 0
}

// leftovers is everything of a node that is on this machine, in words. Chains of
// the firewall count only while the node's own memory says that they are its.
func leftovers(ctx context.Context, firewall bool) []string {
	var left []string
	for _, p := range processes() {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.pid))
		left = append(left, fmt.Sprintf("process %d (%s)", p.pid, strings.TrimSpace(string(name))))
	}
	for _, point := range mounts() {
		left = append(left, "mount "+point)
	}
	for _, link := range links() {
		left = append(left, "device "+link)
	}
	for _, group := range cgroups() {
		left = append(left, "control group "+group)
	}
	if firewall {
		for program := range undoFirewall(ctx) {
			left = append(left, "rules that "+program+" removes")
		}
	}
	for _, dir := range []string{runDir, dataDir} {
		if exists(dir) {
			left = append(left, "folder "+dir)
		}
	}
	return append(left, cniResults()...)
}
