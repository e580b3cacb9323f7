package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// A module of tools/node and the programs that it pins, by their packages.
type module struct {
	name     string
	tags     string
	packages map[string]string // the program by its package
}

var modules = []module{
	{name: "etcd", packages: map[string]string{"go.etcd.io/etcd/server/v3": "etcd"}},
	{name: "containerd", tags: "no_btrfs,no_devmapper,no_zfs", packages: map[string]string{
		"github.com/containerd/containerd/v2/cmd/containerd":              "containerd",
		"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2": "containerd-shim-runc-v2",
		"github.com/containerd/containerd/v2/cmd/ctr":                     "ctr",
	}},
	{name: "kubernetes", packages: map[string]string{
		"k8s.io/kubernetes/cmd/kube-apiserver":          "kube-apiserver",
		"k8s.io/kubernetes/cmd/kube-controller-manager": "kube-controller-manager",
		"k8s.io/kubernetes/cmd/kube-scheduler":          "kube-scheduler",
		"k8s.io/kubernetes/cmd/kube-proxy":              "kube-proxy",
		"k8s.io/kubernetes/cmd/kubelet":                 "kubelet",
		"k8s.io/kubernetes/cmd/kubectl":                 "kubectl",
	}},
	{name: "coredns", packages: map[string]string{"github.com/coredns/coredns": "coredns"}},
}

// build makes the programs of the node, each module only when its versions or the
// Go that builds it have changed since.
func build(ctx context.Context, n *node) error {
	if n.prebuilt {
		return n.step("programs", n.checkPrebuilt)
	}
	notice := "building the programs of a Kubernetes node: this is done once and takes some minutes, ten to thirty on two cores"
	if _, err := n.buildModules(ctx, modules, notice); err != nil {
		return err
	}
	return n.step("programs", func() (string, error) { return "built, in " + n.relative(n.programs), nil })
}

// buildModules builds those of the modules whose versions, or the Go that builds them,
// have changed since; before the first of them it gives notice. It returns how many
// that were.
func (n *node) buildModules(ctx context.Context, modules []module, notice string) (built int, err error) {
	goTool, err := findGo()
	if err != nil {
		return 0, err
	}
	version, err := command(ctx, goTool, "env", "GOVERSION")
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(n.programs, 0o755); err != nil {
		return 0, fmt.Errorf("making the folder of the programs: %w", err)
	}
	for _, m := range modules {
		stamp, err := n.stamp(m, strings.TrimSpace(version))
		if err != nil {
			return built, err
		}
		if n.built(m, stamp) {
			continue
		}
		if built == 0 {
			fmt.Fprintln(n.out, notice)
		}
		if err := n.step(m.name, func() (string, error) { return n.buildModule(ctx, goTool, m, stamp) }); err != nil {
			return built, err
		}
		built++
	}
	return built, nil
}

func (n *node) checkPrebuilt() (string, error) {
	for _, m := range modules {
		for _, program := range m.packages {
			if _, err := os.Stat(n.program(program)); err != nil {
				return "", fmt.Errorf("CORTEX_KUBE_PROGRAMS names a folder without %s: %w", program, err)
			}
		}
	}
	return "those of " + n.relative(n.programs), nil
}

func (n *node) buildModule(ctx context.Context, goTool string, m module, stamp string) (string, error) {
	flags, err := n.versionFlags(m)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(n.root, "tools", "node", m.name)
	for pkg, program := range m.packages {
		cmd := exec.CommandContext(ctx, goTool, "build", "-C", dir, "-trimpath", "-buildvcs=false", "-tags", m.tags, //nolint:gosec // the packages above
			"-ldflags", "-s -w "+flags, "-o", n.program(program), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=", "GOWORK=off")
		if text, err := cmd.CombinedOutput(); err != nil {
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			return "", fmt.Errorf("building %s: %w\n%s", pkg, err, text)
		}
	}
	if err := os.WriteFile(n.stampFile(m), []byte(stamp), 0o600); err != nil {
		return "", fmt.Errorf("writing the stamp: %w", err)
	}
	return "built", nil
}

var versionLine = regexp.MustCompile(`(?m)^(?:require)?\s*k8s\.io/kubernetes v((\d+)\.(\d+)\.\S+)`)

// versionFlags make Kubernetes tell its version, which clients decide by; without
// them it says v0.0.0.
func (n *node) versionFlags(m module) (string, error) {
	if m.name != "kubernetes" {
		return "", nil
	}
	text, err := os.ReadFile(filepath.Join(n.root, "tools", "node", m.name, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("reading the version of Kubernetes: %w", err)
	}
	match := versionLine.FindSubmatch(text)
	if match == nil {
		return "", errors.New("tools/node/kubernetes/go.mod does not require k8s.io/kubernetes")
	}
	const at = "k8s.io/component-base/version."
	return fmt.Sprintf("-X %sgitVersion=v%s -X %sgitMajor=%s -X %sgitMinor=%s", at, match[1], at, match[2], at, match[3]), nil
}

// stamp changes when the programs of a module have to be built again.
func (n *node) stamp(m module, goVersion string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, goVersion, runtime.GOARCH, m.tags)
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(n.root, "tools", "node", m.name, name))
		if err != nil {
			return "", fmt.Errorf("reading the versions of %s: %w", m.name, err)
		}
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (n *node) stampFile(m module) string { return n.program("." + m.name + ".stamp") }

func (n *node) built(m module, stamp string) bool {
	was, err := os.ReadFile(n.stampFile(m))
	if err != nil || string(was) != stamp {
		return false
	}
	for _, program := range m.packages {
		if _, err := os.Stat(n.program(program)); err != nil {
			return false
		}
	}
	return true
}

// findGo is the Go on the path, or where its installer puts it: sudo gives root a
// path of its own.
func findGo() (string, error) {
	if path, err := exec.LookPath("go"); err == nil {
		return path, nil
	}
	const usual = "/usr/local/go/bin/go"
	if _, err := os.Stat(usual); err == nil {
		return usual, nil
	}
	return "", errors.New("there is no Go on the path: get it from https://go.dev/dl/, or add it to the PATH of root")
}

// relative is the path as seen from the checkout, where that is shorter.
func (n *node) relative(path string) string {
	if rel, err := filepath.Rel(n.root, path); err == nil && !strings.HasPrefix(rel, "..") {
		return rel
	}
	return path
}
