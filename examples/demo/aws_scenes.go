package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func (d *awsDemo) plan(ctx context.Context) error {
	d.title("Alice plans a cluster: what would be made, what it costs, which quotas it needs")
	file, err := d.write("cluster.yaml", fmt.Sprintf(clusterYAML, "iris"))
	if err != nil {
		return err
	}
	return d.run(ctx, d.alice, "cluster", "plan", file)
}

func (d *awsDemo) up(ctx context.Context) error {
	d.title("She makes it")
	return d.run(ctx, d.alice, "cluster", "up", filepath.Join(d.home, "cluster.yaml"), "--yes")
}

// kubeconfig lets a person ask the cluster's Kubernetes, with tokens of AWS.
const kubeconfig = `apiVersion: v1
kind: Config
current-context: iris
clusters: [{name: iris, cluster: {server: "https://%s:21440", certificate-authority: %s}}]
contexts: [{name: iris, context: {cluster: iris, user: me}}]
users:
  - name: me
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        interactiveMode: Never
        command: %s
        args: [cluster, token, --name, iris, --region, ` + awsRegion + `]
`

func (d *awsDemo) lookInside(ctx context.Context) error {
	d.title("Behind it is a real Kubernetes, whose API server asks aws-iam-authenticator who somebody is")
	cortex, err := filepath.Abs(cortexBin)
	if err != nil {
		return err
	}
	file := filepath.Join(d.alice.home, "kubeconfig")
	if err := os.WriteFile(file, fmt.Appendf(nil, kubeconfig, nodeAddress, "/var/lib/cortex-kube/pki/ca.crt", cortex), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{{"auth", "whoami"}, {"get", "nodes", "--label-columns", "cortex.dev/system,cortex.dev/node-group"}, {"get", "pods", "--all-namespaces"}} {
		d.typed("kubectl", args...)
		cmd := d.alice.command(ctx, "bin/kube/programs/kubectl", append([]string{"--kubeconfig", file}, args...)...)
		cmd.Stdout, cmd.Stderr = d.out, d.out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("kubectl %s: %w", strings.Join(args, " "), err)
		}
	}
	return nil
}

func (d *awsDemo) bobDeploys(ctx context.Context) error {
	d.title("Bob may do nothing at all in AWS. Alice gives him the address and the authority, which are no secret.")
	ca, err := authorityOf(d.alice)
	if err != nil {
		return err
	}
	file := filepath.Join(d.bob.home, "iris.pem")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		return err
	}
	status, err := d.alice.output(ctx, cortexBin, "cluster", "info", "--name", "iris", "--region", awsRegion, "-o", "json")
	if err != nil {
		return err
	}
	found := regexp.MustCompile(`"endpoint_operator": *"(https://[^"]+)"`).FindStringSubmatch(status)
	if found == nil {
		return fmt.Errorf("cluster info does not say where the operator is: %s", status)
	}
	if err := d.refusedBy(ctx, d.bob, "these credentials may not", "cluster", "info", "--name", "iris", "--region", awsRegion); err != nil {
		return err
	}
	kube := &kubeDemo{demo: d.bob.demo, home: d.home}
	kube.IrisImage = "cortex.dev/example-iris:aws"
	deployed, err := kube.file("cortex.yaml")
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"env", "configure", "iris", "--operator-endpoint", found[1], "--ca", file},
		{"whoami"},
		{"deploy", deployed},
	} {
		if err := d.run(ctx, d.bob, args...); err != nil {
			return err
		}
	}
	d.title("A request goes through the load balancer, to a port of the nodes, a gateway and a pod")
	said, err := d.said(ctx, d.bob, cortexBin, "predict", "iris", "examples/iris/flowers.json")
	if err != nil {
		return err
	}
	if err := holds(said, "species"); err != nil {
		return err
	}
	d.bob.url = ""
	api, err := d.bob.get(ctx)
	if err != nil {
		return err
	}
	return holds(api.Endpoint, ".elb."+awsRegion+".amazonaws.com/")
}

// refusedBy runs a command of a person that has to fail, with these words in what it says.
func (d *awsDemo) refusedBy(ctx context.Context, p *person, words string, args ...string) error {
	said, err := d.said(ctx, p, cortexBin, args...)
	if err == nil {
		return fmt.Errorf("cortex %s was not refused", strings.Join(args, " "))
	}
	return holds(said, words)
}

func (d *awsDemo) info(ctx context.Context) error {
	d.title("How is the cluster?")
	said, err := d.said(ctx, d.alice, cortexBin, "cluster", "info", "--name", "iris", "--region", awsRegion)
	if err != nil {
		return err
	}
	return holds(said, "cx-wd-cpu", "an hour now")
}

func (d *awsDemo) addSpot(ctx context.Context) error {
	d.title("Alice adds a group of spot instances, of two types")
	file, err := d.write("cluster.yaml", fmt.Sprintf(clusterYAML, "iris")+spotGroup)
	if err != nil {
		return err
	}
	if err := d.run(ctx, d.alice, "cluster", "configure", file, "--yes"); err != nil {
		return err
	}
	said, err := d.said(ctx, d.alice, cortexBin, "cluster", "info", "--config", file)
	if err != nil {
		return err
	}
	return holds(said, "cx-ws-spot", "m5.large, m5a.large")
}

func (d *awsDemo) carolComesAndGoes(ctx context.Context) error {
	const carol = "arn:aws:iam::" + account + ":user/carol"
	look := []string{"cluster", "info", "--name", "iris", "--region", awsRegion}
	d.title("Carol has every permission in AWS that it takes, and no access to the cluster")
	if err := d.refusedBy(ctx, d.carol, "cortex cluster grant "+carol, look...); err != nil {
		return err
	}
	d.title("Alice grants it")
	if err := d.run(ctx, d.alice, "cluster", "grant", carol, "--name", "iris", "--region", awsRegion); err != nil {
		return err
	}
	if err := d.patient(ctx, d.carol, true, look...); err != nil {
		return err
	}
	d.title("And takes it away again")
	if err := d.run(ctx, d.alice, "cluster", "revoke", carol, "--name", "iris", "--region", awsRegion); err != nil {
		return err
	}
	return d.patient(ctx, d.carol, false, look...)
}

// patience is how long a change of who may do what takes to be known.
const patience = 20 * time.Second

// patient runs a command until it is allowed, or refused, and shows it then.
func (d *awsDemo) patient(ctx context.Context, p *person, allowed bool, args ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it is not as it should be after %s: allowed %v", patience, allowed))
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if _, err := p.output(ctx, cortexBin, args...); (err == nil) == allowed {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if allowed {
		return d.run(ctx, p, args...)
	}
	return d.refusedBy(ctx, p, "has no access to cluster", args...)
}

func (d *awsDemo) down(ctx context.Context, name string) error {
	d.title("Take cluster " + name + " away, and look whether anything is left")
	where := []string{"--name", name, "--region", awsRegion}
	if err := d.run(ctx, d.alice, append([]string{"cluster", "down", "--yes"}, where...)...); err != nil {
		return err
	}
	return d.run(ctx, d.alice, append([]string{"cluster", "down", "--verify"}, where...)...)
}

func (d *awsDemo) interrupted(ctx context.Context) error {
	d.title("A second cluster, and the power goes while it is made")
	file, err := d.write("tulip.yaml", fmt.Sprintf(clusterYAML, "tulip"))
	if err != nil {
		return err
	}
	if err := d.killedUp(ctx, file); err != nil {
		return err
	}
	d.title("The same command goes on where it was")
	if err := d.run(ctx, d.alice, "cluster", "up", file, "--yes"); err != nil {
		return err
	}
	var made map[string]int
	if err := d.ask(ctx, "/_made", &made); err != nil {
		return err
	}
	for kind, want := range map[string]int{"vpc": 2, "cluster": 2, "load-balancer": 4, "nodegroup": 5, "bucket": 2, "policy": 2} {
		if made[kind] != want {
			return fmt.Errorf("for two clusters %d of kind %s were made, want %d", made[kind], kind, want)
		}
	}
	d.say("nothing was made twice: two clusters in all, two VPCs, four load balancers")
	return nil
}

// killedUp kills `cluster up` without a word, in the middle of the control plane.
func (d *awsDemo) killedUp(ctx context.Context, file string) error {
	d.alice.typed(cortexBin, "cluster", "up", "~/"+filepath.Base(file), "--yes")
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := d.alice.command(ctx, cortexBin, "cluster", "up", file, "--yes")
	watch := &untilSaid{out: d.out, words: "stack/network", quiet: true, kill: func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }}
	cmd.Stdout, cmd.Stderr = watch, watch
	if err := cmd.Run(); err == nil || !watch.heard {
		return fmt.Errorf("cluster up was not killed in its middle: %w", err)
	}
	d.say("^ killed here (SIGKILL)")
	return nil
}

// untilSaid passes on the progress that a command tells, and kills it at some words.
type untilSaid struct {
	out   interface{ Write([]byte) (int, error) }
	words string
	quiet bool // until the first step is told
	heard bool
	kill  func()
}

func (u *untilSaid) Write(p []byte) (int, error) {
	text := string(p)
	if strings.Contains(text, "✓") {
		u.quiet = false
	}
	if !u.quiet {
		_, _ = u.out.Write(p)
	}
	if !u.heard && strings.Contains(text, "✓ "+u.words) {
		u.heard = true
		u.kill()
	}
	return len(p), nil
}

func (d *awsDemo) nothingLeft(ctx context.Context) error {
	var left []string
	if err := d.ask(ctx, "/_left", &left); err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("the account has more than it had at first: %q", left)
	}
	d.say("\nand the account says the same: there is nothing in it that was not there at first")
	return nil
}
