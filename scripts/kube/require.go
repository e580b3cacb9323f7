package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// What the machine must have, and the Debian package that brings it.
var systemPrograms = map[string]string{"runc": "runc", "iptables": "iptables", "ip": "iproute2", "mount": "mount"}

var cniFolders = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// requireRoot says whether this machine and this user can run a node at all.
func requireRoot(n *node, command string) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("a node of Kubernetes needs Linux, and this is %s: name another cluster with CORTEX_TEST_KUBECONFIG", runtime.GOOS)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("a node of Kubernetes is root's: run `sudo make kube-%s`", command)
	}
	return nil
}

// requirePrograms finds what the machine must bring, and installs what is missing
// where there is apt-get.
func (n *node) requirePrograms(ctx context.Context) (string, error) {
	// Some shells of root do not look into the folders of root's programs.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return "", fmt.Errorf("setting the path: %w", err)
	}
	missing := n.missing()
	if len(missing) == 0 {
		return "runc, iptables, ip and the CNI plugins are there", nil
	}
	what := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return "", fmt.Errorf("this machine lacks what these Debian packages bring: %s: install their like", what)
	}
	_, err := command(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"}, missing...)...)
	if err != nil {
		return "", fmt.Errorf("installing %s (`apt-get update` may help): %w", what, err)
	}
	if still := n.missing(); len(still) > 0 {
		return "", fmt.Errorf("apt-get installed %s, and what should be in %s is still not found", what, strings.Join(still, " "))
	}
	return "installed " + what, nil
}

// missing are the packages that are not there. It fills in where the plugins and
// runc are.
func (n *node) missing() []string {
	var missing []string
	for program, pkg := range systemPrograms {
		path, err := exec.LookPath(program)
		if err != nil {
			missing = append(missing, pkg)
		}
		if program == "runc" {
			n.runc = path
		}
	}
	has := slices.IndexFunc(cniFolders, func(dir string) bool {
		_, bridgeErr := os.Stat(filepath.Join(dir, "bridge"))
		_, ipamErr := os.Stat(filepath.Join(dir, "host-local"))
		return bridgeErr == nil && ipamErr == nil
	})
	if has < 0 {
		missing = append(missing, "containernetworking-plugins")
	} else {
		n.cni = cniFolders[has]
	}
	slices.Sort(missing)
	return missing
}

// requireRoom says what of the machine is already somebody else's.
func (n *node) requireRoom(ctx context.Context) error {
	rules, err := command(ctx, "iptables-save")
	if err != nil {
		return err
	}
	if strings.Contains(rules, "\n:KUBE-") {
		return errors.New("another Kubernetes runs on this machine, or ran: there are firewall chains named KUBE-*, and two would disturb each other")
	}
	routes, err := command(ctx, "ip", "-4", "route", "show", "table", "all")
	if err != nil {
		return err
	}
	if taken := overlapping(routes, podRange, svcRange); taken != "" {
		return fmt.Errorf("this machine has a route to %s, and the node would use %s and %s", taken, podRange, svcRange)
	}
	for p := range ports {
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", n.port+p))
		if err != nil {
			return fmt.Errorf("the port %d is taken: name the first of %d that are free in CORTEX_KUBE_PORT", n.port+p, ports)
		}
		_ = listener.Close()
	}
	return nil
}

// overlapping is the first destination among the routes, as `ip route` prints them,
// that lies in one of the ranges or contains one. The default route does not count.
func overlapping(routes string, ranges ...string) string {
	for line := range strings.Lines(routes) {
		for _, field := range strings.Fields(line)[:min(2, len(strings.Fields(line)))] {
			dst, err := netip.ParsePrefix(field)
			if err != nil {
				addr, err := netip.ParseAddr(field)
				if err != nil {
					continue
				}
				dst = netip.PrefixFrom(addr, addr.BitLen())
			}
			for _, r := range ranges {
				if dst.Bits() > 0 && netip.MustParsePrefix(r).Overlaps(dst) {
					return field
				}
			}
			break
		}
	}
	return ""
}
