package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// What the node is on this machine. The folders are short because the path of a
// socket may have 107 bytes at most, and outside the checkout because removing the
// checkout must never meet a mount. Programs and volumes are not below /run, which
// many machines mount noexec.
const (
	nodeName   = "cortex"
	runDir     = "/run/cortex-kube"     // sockets, and the mounts of containerd
	dataDir    = "/var/lib/cortex-kube" // images, volumes, the records of etcd
	bridge     = "cxkube0"
	bridgeAddr = "10.197.0.1" // the address of the node
	podRange   = "10.197.0.0/16"
	svcRange   = "10.96.0.0/16"
	apiAddr    = "10.96.0.1"  // the Service kubernetes, the first of the range
	dnsAddr    = "10.96.0.10" // the Service kube-dns
	cgroup     = "cortex-kube"
	marker     = "CORTEX_KUBE_NODE" // in the environment of every program of the node: its name
	socket     = runDir + "/containerd.sock"
	pauseImage = "cortex.dev/pause:1"
	firstPort  = 21440
)

// node is where everything of the one node is.
type node struct {
	root     string // this checkout
	bin      string // bin/kube of this checkout: programs, logs, certificates, kubeconfig
	programs string // the programs of the node
	prebuilt bool   // programs were built by someone else
	port     int    // the first of eleven
	cni      string // where the plugins are; found by require
	runc     string
	out      io.Writer
	started  time.Time
	eks      *eksCluster // nil: it stands for none
}

// The ports, in their order from the first one.
const (
	portAPI = iota
	portEtcd
	portEtcdPeer
	portKubelet
	portKubeletHealth
	portControllers
	portScheduler
	portProxyHealth
	portProxyMetrics
	portDNS
	portAuthenticator
	ports
)

func newNode(out io.Writer, getenv func(string) string) (*node, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	n := &node{root: root, bin: filepath.Join(root, "bin", "kube"), port: firstPort, out: out, started: time.Now(), eks: rememberedEKS()}
	n.programs = filepath.Join(n.bin, "programs")
	if dir := getenv("CORTEX_KUBE_PROGRAMS"); dir != "" {
		if n.programs, err = filepath.Abs(dir); err != nil {
			return nil, fmt.Errorf("finding CORTEX_KUBE_PROGRAMS: %w", err)
		}
		n.prebuilt = true
	}
	if text := getenv("CORTEX_KUBE_PORT"); text != "" {
		n.port, err = strconv.Atoi(text)
		if err != nil || n.port < 1024 || n.port+ports > 65536 {
			return nil, fmt.Errorf("CORTEX_KUBE_PORT is %q: it must be a port from 1024 to %d, the first of %d that are free", text, 65536-ports, ports)
		}
	}
	return n, nil
}

// findRoot is the nearest folder upwards with tools/node, the checkout.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the checkout: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "tools", "node")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("this is not a checkout of Cortex: there is no tools/node here or above")
		}
		dir = parent
	}
}

func (n *node) path(elem ...string) string {
	return filepath.Join(append([]string{n.bin}, elem...)...)
}

func (n *node) program(name string) string { return filepath.Join(n.programs, name) }

func (n *node) local(port int) string { return fmt.Sprintf("127.0.0.1:%d", n.port+port) }

func (n *node) kubeconfig() string { return n.path("kubeconfig") }

func (n *node) server() string { return fmt.Sprintf("https://%s:%d", bridgeAddr, n.port+portAPI) }

// step does one thing and prints what came of it and how long it took.
func (n *node) step(name string, do func() (string, error)) error {
	began := time.Now()
	said, err := do()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(n.out, "%-17s %-46s %6.1f s\n", name, said, time.Since(began).Seconds())
	return nil
}

// command runs a program and returns what it printed. An error has the text that
// the program gave as its reason.
func command(ctx context.Context, name string, args ...string) (string, error) {
	return commandWith(ctx, nil, name, args...)
}

func commandWith(ctx context.Context, stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // programs that this file names
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
