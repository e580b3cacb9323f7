package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const (
	awsBin  = "bin/aws"
	nodeBin = "bin/kube-node"
	// The address of the Kubernetes, which is reached as it is; everything else that has a
	// name is reached through the proxy.
	nodeAddress = "10.197.0.1"
	awsRegion   = "us-west-2"
)

// awsDemo is the showing of clusters on AWS: a simulated account, with a real Kubernetes
// behind it.
type awsDemo struct {
	*iamDemo
	world struct {
		URL, Proxy, Authority string
		Keys                  map[string]struct{ AccessKeyID, Secret string }
	}
	carol  *person
	events *os.File // what the account and the node say
}

func showAWS(ctx context.Context, out io.Writer, home string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("a node of Kubernetes is root's: run `sudo make demo-aws`")
	}
	d := &awsDemo{iamDemo: &iamDemo{demo: newDemo(out, os.Environ()), home: home}}
	defer func() { err = errors.Join(err, d.leave(err != nil)) }()
	begun := time.Now()
	for _, scene := range []func(context.Context) error{
		d.buildAWS, d.openAccount, d.plan, d.up, d.lookInside, d.bobDeploys, d.info, d.addSpot,
		d.carolComesAndGoes, func(ctx context.Context) error { return d.down(ctx, "iris") },
		d.interrupted, func(ctx context.Context) error { return d.down(ctx, "tulip") }, d.nothingLeft,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.title(fmt.Sprintf("That was all, in %d seconds. Nothing is left running.", int(time.Since(begun).Seconds())))
	d.say("\n  docs/aws.md   clusters in your own account, and what of this has never seen AWS")
	return nil
}

// leave ends everything; what was said behind the scenes is shown when something failed.
func (d *awsDemo) leave(failed bool) error {
	err := d.stop()
	if d.events != nil {
		if text, read := os.ReadFile(d.events.Name()); failed && read == nil {
			d.say("\nwhat the account and the node have said:\n%s", text[max(0, len(text)-4096):])
		}
		err = errors.Join(err, d.events.Close())
	}
	return errors.Join(err, os.RemoveAll(d.home))
}

func (d *awsDemo) buildAWS(ctx context.Context) error {
	d.title("Build the command line, a simulated AWS, and what is needed for a real Kubernetes")
	for _, args := range [][]string{
		{"build", "-o", "bin/", "./cmd/cortex", "./cmd/cortex-install"},
		{"build", "-o", awsBin, "./e2e/aws"},
		{"build", "-o", nodeBin, "./scripts/kube"},
	} {
		if err := d.show(ctx, "go", args...); err != nil {
			return err
		}
	}
	return d.show(ctx, nodeBin, "eks")
}

// openAccount starts the account, with three people in it.
func (d *awsDemo) openAccount(ctx context.Context) error {
	d.title("An AWS account: its services verify signatures, evaluate policies, and take their time")
	d.say("(A minute of theirs takes two seconds here. Programs find them by their own names, through a proxy,\n" +
		"and behind the cluster that they make there is a real Kubernetes on this machine.)")
	var policies []string
	for _, name := range []string{"iris", "tulip"} {
		text, err := os.ReadFile("internal/cluster/minimum-policy.json")
		if err != nil {
			return err
		}
		filled := strings.NewReplacer("$CORTEX_ACCOUNT_ID", account, "$CORTEX_REGION", awsRegion, "$CORTEX_CLUSTER_NAME", name).Replace(string(text))
		file := filepath.Join(d.home, name+"-policy.json")
		if err := os.WriteFile(file, []byte(filled), 0o600); err != nil {
			return err
		}
		policies = append(policies, file)
	}
	if err := d.startAccount(ctx, "-proxy", "127.0.0.1:0", "-dir", d.home, "-node", nodeBin, "-speed", "30",
		"-user", "alice="+strings.Join(policies, ","), "-user", "bob", "-user", "carol="+policies[0]); err != nil {
		return err
	}
	for name, who := range map[string]**person{"alice": &d.alice, "bob": &d.bob, "carol": &d.carol} {
		key := d.world.Keys[name]
		p := &person{name: name, home: filepath.Join(d.home, name), keys: map[string]string{
			"AWS_ACCESS_KEY_ID": key.AccessKeyID, "AWS_SECRET_ACCESS_KEY": key.Secret,
		}}
		if err := os.MkdirAll(p.home, 0o700); err != nil {
			return err
		}
		p.demo = newDemo(d.out, append(p.environment(), "AWS_EC2_METADATA_DISABLED=true", "SSL_CERT_FILE="+d.world.Authority,
			"HTTPS_PROXY="+d.world.Proxy, "HTTP_PROXY="+d.world.Proxy, "NO_PROXY="+nodeAddress))
		*who = p
	}
	d.say("  alice has the published minimum policy for the clusters iris and tulip, and nothing more")
	d.say("  bob has no permission at all")
	d.say("  carol has the published policy for iris too, but has not been granted access")
	return nil
}

// startAccount starts the account, and reads where it is and whom it knows.
func (d *awsDemo) startAccount(ctx context.Context, args ...string) error {
	cmd := exec.Command(awsBin, args...)
	cmd.Env = os.Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if d.events, err = os.Create(filepath.Join(d.home, "account.log")); err != nil {
		return err
	}
	cmd.Stderr = d.events
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		return errors.Join(err, write.Close())
	}
	write.Close()
	d.background = append(d.background, cmd)
	stop := context.AfterFunc(ctx, func() { _ = read.Close() })
	defer stop()
	line, err := bufio.NewReader(read).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the account ended before it was ready: %w", err)
	}
	return json.Unmarshal(line, &d.world)
}

const clusterYAML = `cluster_name: %s
region: ` + awsRegion + `
iam_policy_arns: ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"]
# The images are on the nodes here, under these names.
image_operator: cortex.dev/operator:aws
image_gateway: cortex.dev/gateway:aws
image_proxy: cortex.dev/sidecar:aws
image_cluster_autoscaler: cortex.dev/cluster-autoscaler:aws
node_groups:
  - name: cpu
    instance_type: m5.large
    min_instances: 1
    max_instances: 4
`

const spotGroup = `  - name: spot
    instance_type: m5.large
    min_instances: 0
    max_instances: 6
    priority: 10
    spot: true
    spot_config:
      instance_distribution: [m5a.large]
`

// write writes a file for the people of the demo, and shows it.
func (d *awsDemo) write(name, text string) (string, error) {
	file := filepath.Join(d.home, name)
	d.say("%s:", name)
	for line := range strings.Lines(text) {
		d.say("  %s", strings.TrimRight(line, "\n"))
	}
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// run types a command of a person, with the demo's own folder left out.
func (d *awsDemo) run(ctx context.Context, p *person, args ...string) error {
	p.typed(cortexBin, shorten(args, d.home)...)
	cmd := p.command(ctx, cortexBin, args...)
	cmd.Stdout, cmd.Stderr = d.out, d.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cortex %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// said is what a command of a person says, which is shown too.
func (d *awsDemo) said(ctx context.Context, p *person, name string, args ...string) (string, error) {
	p.typed(name, shorten(args, d.home)...)
	out, err := p.command(ctx, name, args...).CombinedOutput()
	_, _ = d.out.Write(out)
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), err
}

// holds is an error unless a text has each of some words.
func holds(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("%q is not said", w)
		}
	}
	return nil
}

// authorityOf is the authority that an environment of a person trusts.
func authorityOf(p *person) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(p.home, ".cortex", "cli.yaml"))
	if err != nil {
		return nil, err
	}
	found := regexp.MustCompile(`operator_ca_data: *"?([A-Za-z0-9+/=]+)`).FindSubmatch(text)
	if found == nil {
		return nil, errors.New("the environment trusts no authority")
	}
	return base64.StdEncoding.DecodeString(string(found[1]))
}

// ask asks the account what no program could ask AWS.
func (d *awsDemo) ask(ctx context.Context, path string, into any) error {
	out, err := d.command(ctx, "curl", "-s", "--fail", "--noproxy", "*", d.world.URL+path).Output()
	if err != nil {
		return fmt.Errorf("asking the account: %w", err)
	}
	return json.NewDecoder(bytes.NewReader(out)).Decode(into)
}
