package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// How long each part of the node may take; a warm start takes some seconds in all.
const startPatience = 2 * time.Minute

// up starts the node. What does not come up is taken down again, also when the
// start is interrupted; a node that runs is left alone.
func up(ctx context.Context, n *node) error {
	if err := requireRoot(n, "up"); err != nil {
		return err
	}
	runs := running()
	if len(runs) > 0 && n.eks != nil {
		return fmt.Errorf("the node that runs is cluster %s of make demo-aws, and goes with it: make kube-down ends it now", n.eks.Cluster)
	}
	if len(runs) == len(n.parts()) && n.client(ctx) == nil {
		fmt.Fprintf(n.out, "the node runs already; its kubeconfig is %s\n", n.relative(filepath.Join(owner(), "bin", "kube", "kubeconfig")))
		return nil
	}
	n.eks = nil // what another node was has gone with it
	return n.start(ctx)
}

// start starts a node where none runs.
func (n *node) start(ctx context.Context) error {
	if err := n.step("system", func() (string, error) { return n.requirePrograms(ctx) }); err != nil {
		return err
	}
	if somethingLeft(ctx) {
		if err := n.step("clean up", func() (string, error) { return "what another start left", n.remove(ctx) }); err != nil {
			return err
		}
	}
	if err := n.requireRoom(ctx); err != nil {
		return err
	}
	// Last, because it may take minutes.
	if err := build(ctx, n); err != nil {
		return err
	}
	if n.eks != nil {
		if err := buildAuthenticator(ctx, n); err != nil {
			return err
		}
	}
	if err := n.bringUp(ctx); err != nil {
		// The node must go although the caller is leaving.
		if cleanup := n.remove(context.WithoutCancel(ctx)); cleanup != nil {
			err = fmt.Errorf("%w; then cleaning up: %w", err, cleanup)
		}
		return fmt.Errorf("%w (the logs stay in %s)", err, n.relative(n.path("log")))
	}
	fmt.Fprintf(n.out, "\nthe node is ready after %.1f s\n\n  export KUBECONFIG=%s\n  %s get pods -A\n",
		time.Since(n.started).Seconds(), n.kubeconfig(), n.relative(n.program("kubectl")))
	return nil
}

func (n *node) bringUp(ctx context.Context) error {
	if err := n.claim(); err != nil {
		return err
	}
	s := &starter{node: n, died: make(chan error, len(n.parts()))}
	type step struct {
		name string
		do   func() (string, error)
	}
	steps := []step{
		{"network", func() (string, error) { return n.makeNetwork(ctx) }},
		{"certificates", n.makePKI},
		{"records", func() (string, error) { return "etcd", s.start("etcd") }},
		{"containers", func() (string, error) { return s.startContainerd(ctx) }},
		{"API server", func() (string, error) { return s.startServer(ctx) }},
		{"controllers", func() (string, error) {
			return "controller manager, scheduler, proxy, DNS", s.start("kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns")
		}},
		{"node", func() (string, error) { return s.startNode(ctx) }},
	}
	if n.eks != nil {
		server := slices.IndexFunc(steps, func(s step) bool { return s.name == "API server" })
		steps = slices.Insert(steps, server, step{"authenticator", func() (string, error) { return s.startAuthenticator(ctx) }})
	}
	for _, step := range steps {
		err := n.step(step.name, step.do)
		if ctx.Err() != nil {
			return ctx.Err() // and not what the interrupt did to some program
		}
		if err != nil {
			return err
		}
	}
	return n.publish()
}

// before is what the machine was like, to be put back.
type before struct {
	Boot    string            `json:"boot"`
	Sysctls map[string]string `json:"sysctls"`
	Made    []string          `json:"made"` // folders that were not there
}

// The settings of the kernel that the kubelet, the proxy and the plugins change.
var sysctls = []string{
	"kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	"vm/overcommit_memory", "vm/panic_on_oom",
	"net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables",
}

// The kubelet has its place for the sockets of devices here, wherever its root is.
const kubeletFolder = "/var/lib/kubelet"

// Folders outside the node's own that its programs make.
var sharedFolders = []string{"/var/log/containers", kubeletFolder, "/var/lib/cni", "/run/containerd", "/etc/cni", "/usr/libexec/kubernetes"}

// claim takes the machine: from here on there is something to remove.
func (n *node) claim() error {
	for _, dir := range []string{dataDir, runDir, n.path("log")} {
		if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // pods of other users go through
			return fmt.Errorf("making the folders of the node: %w", err)
		}
	}
	was := before{Boot: bootID(), Sysctls: map[string]string{}}
	for _, name := range sysctls {
		if value, err := os.ReadFile(filepath.Join("/proc/sys", name)); err == nil {
			was.Sysctls[name] = string(value)
		}
	}
	for _, dir := range sharedFolders {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			was.Made = append(was.Made, dir)
		}
	}
	text, err := json.Marshal(was)
	if err != nil {
		return fmt.Errorf("remembering the machine: %w", err)
	}
	files := map[string][]byte{"before.json": text, "owner": []byte(n.root)}
	if n.eks != nil {
		cluster, err := json.Marshal(n.eks)
		if err != nil {
			return fmt.Errorf("remembering the cluster: %w", err)
		}
		files[filepath.Base(eksFile())] = cluster
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dataDir, name), content, 0o600); err != nil {
			return fmt.Errorf("remembering the machine: %w", err)
		}
	}
	return nil
}

func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return string(id)
}

// owner is the checkout that started the node.
func owner() string {
	root, _ := os.ReadFile(filepath.Join(dataDir, "owner"))
	return string(root)
}

// makeNetwork makes the bridge of the pods, whose address is the node's, and lets
// its packets through whatever firewall the machine has.
func (n *node) makeNetwork(ctx context.Context) (string, error) {
	// Built into most kernels; where it is neither, the proxy makes do (see proxyConfig).
	_, _ = command(ctx, "modprobe", "br_netfilter")
	// The route to the Services is for this machine: without a default route, the
	// kernel refuses a packet before the proxy can translate its address.
	commands := [][]string{
		{"ip", "link", "add", bridge, "type", "bridge"},
		{"ip", "addr", "add", bridgeAddr + "/16", "dev", bridge},
		{"ip", "link", "set", bridge, "up"},
		{"ip", "route", "add", svcRange, "dev", bridge},
	}
	for _, chain := range [][]string{{"INPUT", "-i"}, {"FORWARD", "-i"}, {"FORWARD", "-o"}} {
		commands = append(commands, []string{"iptables", "-w", "-I", chain[0], chain[1], bridge, "-m", "comment", "--comment", cgroup, "-j", "ACCEPT"})
	}
	for _, c := range commands {
		if _, err := command(ctx, c[0], c[1:]...); err != nil {
			return "", err
		}
	}
	for name, value := range map[string]string{"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"} {
		err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o600)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("setting %s: %w", name, err)
		}
	}
	if n.eks != nil {
		if err := hideHealth(ctx); err != nil {
			return "", err
		}
	}
	if err := makeCgroup(); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, pods %s, services %s", bridge, podRange, svcRange), nil
}

// publish writes what tests look for, last: where it is, the node is ready.
func (n *node) publish() error {
	text, err := json.Marshal(map[string]string{"containerd": socket, "ctr": n.program("ctr")})
	if err != nil {
		return fmt.Errorf("writing the description of the node: %w", err)
	}
	if err := os.WriteFile(n.path("node.json"), text, 0o600); err != nil {
		return fmt.Errorf("writing the description of the node: %w", err)
	}
	if err := n.writeKubeconfig(n.kubeconfig(), "admin"); err != nil {
		return err
	}
	return n.giveBack()
}

// giveBack makes what root wrote into the checkout the user's who called sudo.
func (n *node) giveBack() error {
	uid, uidErr := strconv.Atoi(os.Getenv("SUDO_UID"))
	gid, gidErr := strconv.Atoi(os.Getenv("SUDO_GID"))
	if uidErr != nil || gidErr != nil {
		return nil //nolint:nilerr // nobody called sudo
	}
	// The folder is the user's: through this root no link leads out of it.
	root, err := os.OpenRoot(filepath.Dir(n.bin))
	if err != nil {
		return fmt.Errorf("giving bin/kube to the user: %w", err)
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || (path != "." && path != "kube" && !strings.HasPrefix(path, "kube/")) {
			return err
		}
		return root.Lchown(path, uid, gid)
	})
	if err != nil {
		return fmt.Errorf("giving bin/kube to the user: %w", err)
	}
	return nil
}

// client says whether the API server answers its administrator.
func (n *node) client(ctx context.Context) error {
	client, err := n.clientset()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err //nolint:wrapcheck // the caller says what it wanted
}

func (n *node) clientset() (*kubernetes.Clientset, error) {
	path := n.pki("admin.kubeconfig")
	if _, err := os.Stat(path); err != nil {
		if err := n.writeKubeconfig(path, "admin"); err != nil {
			return nil, err
		}
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return client, nil
}
