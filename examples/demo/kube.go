package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cortex.dev/cortex/internal/kubetest/testcluster"
)

// clusterFile is what make kube-up leaves behind for whoever uses its cluster.
const clusterFile = "bin/kube/cluster.json"

// kubeDemo is the showing on Kubernetes: the same scenes, by people who prove who
// they are.
type kubeDemo struct {
	*demo
	testcluster.Cluster
	home           string
	alice, mallory *person
}

func showKube(ctx context.Context, out io.Writer, home string) (err error) {
	d := &kubeDemo{home: home}
	if d.Cluster, err = testcluster.Read(clusterFile); err != nil {
		return err
	}
	if err := d.people(out); err != nil {
		return err
	}
	// Alice types the commands of every scene.
	d.demo = d.alice.demo
	defer func() { err = errors.Join(err, d.leaveNothingBehind(), os.RemoveAll(home)) }()
	begun := time.Now()
	builder := newDemo(out, os.Environ()) // Alice's home has no Go cache
	for _, scene := range []func(context.Context) error{
		builder.build, d.lookAtCluster, d.connect, d.deployImage, d.ask, d.underLoad, d.itemsOutliveGateways, d.jobsOutliveOperators, d.malloryIsRefused, d.gitOps, d.lookInside, d.takeAway,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.title(fmt.Sprintf("That was all, in %d seconds. The cluster is as it was; make kube-down takes it away.", int(time.Since(begun).Seconds())))
	d.say("\n  docs/kubernetes.md   installing it on a cluster of yours       docs/places.md   what differs from one machine")
	return nil
}

// people reads the keys of those who appear here.
func (d *kubeDemo) people(out io.Writer) error {
	for name, who := range map[string]**person{"alice": &d.alice, "mallory": &d.mallory} {
		keys, err := d.Keys(name)
		if err != nil {
			return err
		}
		p := &person{name: name, home: filepath.Join(d.home, name), keys: keys}
		if err := os.MkdirAll(p.home, 0o700); err != nil {
			return err
		}
		p.demo = newDemo(out, p.environment())
		*who = p
	}
	return nil
}

func (d *kubeDemo) kubectl(ctx context.Context, args ...string) error {
	d.typed("kubectl", args...)
	cmd := d.command(ctx, d.Kubectl, append([]string{"--kubeconfig", d.Kubeconfig}, args...)...)
	cmd.Stdout, cmd.Stderr = d.out, d.out
	return cmd.Run()
}

func (d *kubeDemo) lookAtCluster(ctx context.Context) error {
	d.title("The cluster: a real Kubernetes on this machine, with Cortex in it")
	if err := d.kubectl(ctx, "get", "nodes"); err != nil {
		return err
	}
	return d.kubectl(ctx, "get", "pods", "--namespace", "cortex")
}

func (p *person) connect(ctx context.Context, operator, fingerprint string) error {
	return p.show(ctx, cortexBin, "env", "configure", "kube", "--operator-endpoint", operator, "--fingerprint", fingerprint)
}

func (d *kubeDemo) connect(ctx context.Context) error {
	d.title("Alice is an IAM user of the account. She connects, and proves it.")
	if err := d.alice.connect(ctx, d.Operator, d.Fingerprint); err != nil {
		return err
	}
	return d.show(ctx, cortexBin, "whoami")
}

// file writes an example with its image in the place of its command: Kubernetes
// runs images.
func (d *kubeDemo) file(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join("examples/iris", name))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		if indent, _, ok := strings.Cut(line, "command: [./bin/server]"); ok {
			line = indent + "image: " + d.IrisImage + "\n"
		}
		text.WriteString(line)
	}
	path := filepath.Join(d.home, name)
	return path, os.WriteFile(path, []byte(text.String()), 0o600)
}

func (d *kubeDemo) deployImage(ctx context.Context) error {
	d.title("Deploy a model: the same file, with an image in the place of its command")
	path, err := d.file("cortex.yaml")
	if err != nil {
		return err
	}
	if d.updated, err = d.file("cortex-v2.yaml"); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "deploy", path); err != nil {
		return err
	}
	a, err := d.get(ctx)
	d.url = a.Endpoint
	return err
}

func (d *kubeDemo) malloryIsRefused(ctx context.Context) error {
	d.title("Mallory has an AWS account too, but another one")
	if err := d.mallory.connect(ctx, d.Operator, d.Fingerprint); err != nil {
		return err
	}
	return d.mallory.refused(ctx, "is not of the AWS account", cortexBin, "get")
}

func (d *kubeDemo) gitOps(ctx context.Context) error {
	d.title("What is deployed is a resource of the cluster")
	if err := d.kubectl(ctx, "get", "realtimeapis", "--namespace", "cortex-apis"); err != nil {
		return err
	}
	return d.kubectl(ctx, "get", "pods", "--namespace", "cortex-apis")
}

func (d *kubeDemo) takeAway(ctx context.Context) error {
	d.title("Take it away again")
	for _, name := range append(asynchronous(), "iris") {
		if err := d.show(ctx, cortexBin, "delete", name, "--force"); err != nil {
			return err
		}
	}
	return nil
}

// asynchronous names the APIs whose work is kept.
func asynchronous() []string { return []string{"later", "classify", "train"} }

// leaveNothingBehind deletes what a demo that was cut short has deployed.
func (d *kubeDemo) leaveNothingBehind() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range asynchronous() {
		if _, err := d.endpointOf(ctx, name); err == nil {
			if _, err := d.output(ctx, cortexBin, "delete", name, "--force"); err != nil {
				return err
			}
		}
	}
	if _, err := d.get(ctx); err != nil {
		return nil // not there, or nobody to ask
	}
	_, err := d.output(ctx, cortexBin, "delete", "iris", "--force")
	return err
}
