package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestFaultsNeedTheNameOfAPart(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"stop", "kill", "start", "slow"} {
		var stderr bytes.Buffer
		getenv := func(string) string { return "" }
		if code := run(t.Context(), []string{verb}, &bytes.Buffer{}, &stderr, getenv); code != exitUsage {
			t.Errorf("run(%s) = %d, %q, want %d and the usage", verb, code, stderr.String(), exitUsage)
		}
		stderr.Reset()
		code := run(t.Context(), []string{verb, "nothing"}, &bytes.Buffer{}, &stderr, getenv)
		want := `"nothing" is no part of the node: etcd, containerd`
		if os.Geteuid() != 0 {
			want = "are root's"
		}
		if code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("run(%s nothing) = %d, %q, want %d and %q", verb, code, stderr.String(), exitFailed, want)
		}
	}
}

// TestDownAfterFaults takes a node down whose parts were stopped, killed, and left in
// the middle of being slow, while a container goes on. Down itself looks whether
// anything is left. The node is one apart, beside that of the machine.
func TestDownAfterFaults(t *testing.T) {
	program := os.Getenv("CORTEX_TEST_FAULTS")
	if program == "" || os.Geteuid() != 0 {
		t.Skip("this starts a node and puts it into trouble, as root: sudo make faults runs it")
	}
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	const script = `set -eu
kube=$1
kubectl=$CORTEX_KUBE_PROGRAMS/kubectl
"$kube" up
"$kubectl" --kubeconfig bin/kube/kubeconfig run sleeper --image cortex.dev/pause:1 --image-pull-policy Never
"$kubectl" --kubeconfig bin/kube/kubeconfig wait pod/sleeper --for condition=Ready --timeout 60s
"$kube" stop kubelet
"$kube" kill containerd
"$kube" kill kube-apiserver
"$kube" slow etcd &
sleep 2
kill -KILL $!
if "$kube" status; then echo "the node is said to be whole" >&2; exit 1; fi
"$kube" down
if "$kube" status; then echo "there is still a node" >&2; exit 1; fi
`
	programs := filepath.Join(root, "bin", "kube", "programs")
	if dir := os.Getenv("CORTEX_KUBE_PROGRAMS"); dir != "" {
		programs = dir
	}
	// Apart, the node has a bin/kube of its own, in which the programs are not.
	here := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", `mount --bind "$1" "$2" && shift 2 && exec "$@"`, "sh", //nolint:gosec // of this checkout
		programs, here, filepath.Join(root, "scripts", "kube", "alone"), "sh", "-c", script, "sh", program)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CORTEX_KUBE_PROGRAMS="+here)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("a node that is in trouble: %v\n%s", err, out)
	}
	for _, want := range []string{"kubelet, process", "works one fifth of the time", "processes", "the node is gone"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output has no %q:\n%s", want, out)
		}
	}
}
