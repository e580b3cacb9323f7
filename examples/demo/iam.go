package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const stsBin = "bin/sts"

// person is somebody with AWS credentials and a home of their own.
type person struct {
	*demo
	name string
	home string
	keys map[string]string // AWS_… of their environment
}

// iamDemo is the showing of the team's server.
type iamDemo struct {
	*demo
	home                string
	sts                 string // URL of the simulator
	endpoint, ca        string // of the server
	policy              string // file
	python              string
	alice, bob, mallory *person
	background          []*exec.Cmd
}

const (
	account      = "111122223333"
	otherAccount = "444455556666"
)

// showIAM plays everything on this machine, without AWS and without a network: the
// security token service is a simulator that verifies signatures as AWS does.
func showIAM(ctx context.Context, out io.Writer, home string) (err error) {
	d := &iamDemo{demo: newDemo(out, os.Environ()), home: home, policy: filepath.Join(home, "policy.cedar")}
	defer func() { err = errors.Join(err, d.stop(), os.RemoveAll(home)) }()
	begun := time.Now()
	for _, scene := range []func(context.Context) error{
		d.buildIAM, d.startIAM, d.aliceDeploys, d.bobCalls, d.malloryIsRefused, d.proofsAreRefused, d.bobReadsOnly, d.showAudit,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.title(fmt.Sprintf("That was all, in %d seconds. Nothing is left running.", int(time.Since(begun).Seconds())))
	d.say("\n  docs/server.md     a server for your team        docs/auth.md     identities and policies\n" +
		"  docs/security.md   what is promised, and by which test each promise is kept")
	return nil
}

func (d *iamDemo) buildIAM(ctx context.Context) error {
	d.title("Build the command line, the example's server, and a simulator of AWS STS that verifies SigV4")
	for _, args := range [][]string{
		{"build", "-o", cortexBin, "./cmd/cortex"},
		{"build", "-o", stsBin, "./e2e/sts"},
		{"build", "-o", "examples/iris/bin/", "./examples/iris/server"},
	} {
		if err := d.show(ctx, "go", args...); err != nil {
			return err
		}
	}
	python, err := d.output(ctx, "scripts/iam-python")
	d.python = strings.TrimSpace(python)
	return err
}

// identities are who exists in the AWS of the simulator.
func (d *iamDemo) people() ([]map[string]any, error) {
	type who struct{ name, key, arn, id, account, token string }
	var all []map[string]any
	for _, w := range []who{
		{"alice", "AKIAALICEALICEEXAMPL", "arn:aws:iam::" + account + ":user/alice", "AIDAALICEALICEEXAMPLE", account, ""},
		{"bob", "ASIABOBBOBBOBEXAMPLE", "arn:aws:sts::" + account + ":assumed-role/DataScience/bob", "AROADATASCIENCEEXAMPL:bob", account, "demo-session-token-of-bob"},
		{"mallory", "AKIAMALLORYMALLORYEX", "arn:aws:iam::" + otherAccount + ":user/mallory", "AIDAMALLORYEXAMPLEEXA", otherAccount, ""},
	} {
		secret := "demo/secret+of+" + w.name + "/EXAMPLEKEY"
		p := &person{name: w.name, home: filepath.Join(d.home, w.name), keys: map[string]string{
			"AWS_ACCESS_KEY_ID": w.key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": w.token,
		}}
		if err := os.Mkdir(p.home, 0o700); err != nil {
			return nil, err
		}
		p.demo = newDemo(d.out, p.environment())
		switch w.name {
		case "alice":
			d.alice = p
		case "bob":
			d.bob = p
		default:
			d.mallory = p
		}
		all = append(all, map[string]any{
			"access_key_id": w.key, "secret_access_key": secret, "session_token": w.token,
			"arn": w.arn, "user_id": w.id, "account": w.account,
		})
	}
	return all, nil
}

// environment is this one with the person's own home and keys.
func (p *person) environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if name != "HOME" && !strings.HasPrefix(name, "AWS_") && !strings.HasPrefix(name, "CORTEX_") {
			env = append(env, kv)
		}
	}
	for name, value := range p.keys {
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	client, _ := filepath.Abs("python")
	return append(env, "HOME="+p.home, "PYTHONPATH="+client, "PYTHONDONTWRITEBYTECODE=1")
}

func (d *iamDemo) startIAM(ctx context.Context) error {
	d.title("Start the simulator, and a server for the account " + account)
	people, err := d.people()
	if err != nil {
		return err
	}
	file := filepath.Join(d.home, "identities.json")
	data, err := json.Marshal(map[string]any{"identities": people})
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err == nil {
		err = os.WriteFile(d.policy, []byte(everybody), 0o600)
	}
	if err != nil {
		return err
	}
	if d.sts, err = d.start(ctx, "listening on ", stsBin, "-region", "us-west-2", "-identities", file); err != nil {
		return err
	}
	if d.endpoint, err = d.serve(ctx, "team", "--policy", d.policy); err != nil {
		return err
	}
	d.ca = filepath.Join(d.home, "team", "tls", "ca.pem")
	return nil
}

// serve starts a server and returns its endpoint.
func (d *iamDemo) serve(ctx context.Context, name string, flags ...string) (string, error) {
	return d.start(ctx, "operator endpoint:", cortexBin, append([]string{"server", "--cluster-name", name, "--account-id", account,
		"--region", "us-west-2", "--sts-endpoint", d.sts, "--listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0",
		"--metrics-listen", "", "--state-dir", filepath.Join(d.home, name)}, flags...)...)
}

// start runs a command in the background, shows what it says until a line with the
// wanted words, and returns what follows them.
func (d *iamDemo) start(ctx context.Context, words, name string, args ...string) (string, error) {
	d.typed(name, append(shorten(args, d.home), "&")...)
	cmd := exec.Command(name, args...)
	cmd.Env = append((&person{home: d.home}).environment(), "CORTEX_CLI_CONFIG_DIR="+d.home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	read, write, err := os.Pipe()
	if err != nil {
		return "", err
	}
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		return "", err
	}
	write.Close()
	d.background = append(d.background, cmd)
	found := make(chan string, 1)
	var said bytes.Buffer // read once found is closed
	go func() {
		defer close(found)
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			fmt.Fprintln(&said, lines.Text())
			if _, rest, ok := strings.Cut(lines.Text(), words); ok {
				found <- strings.TrimSpace(rest)
			}
		}
	}()
	select {
	case value, ok := <-found:
		if !ok {
			return "", fmt.Errorf("%s ended before it was ready:\n%s", name, &said)
		}
		d.say("  %s %s", words, value)
		return value, nil
	case <-time.After(30 * time.Second):
		return "", fmt.Errorf("%s was not ready within half a minute", name)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// stop ends what runs in the background, the last first.
func (d *iamDemo) stop() error {
	var errs []error
	for i := len(d.background) - 1; i >= 0; i-- {
		cmd := d.background[i]
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			errs = append(errs, fmt.Errorf("%s did not end and was killed", cmd.Path))
		}
	}
	d.background = nil
	return errors.Join(errs...)
}

// shorten makes the paths of the demo readable.
func shorten(args []string, home string) []string {
	short := make([]string, len(args))
	for i, a := range args {
		if short[i] = strings.ReplaceAll(a, home, "~"); a == "" {
			short[i] = "''"
		}
	}
	return short
}

// refused runs a command that has to fail, with these words in what it says.
func (d *demo) refused(ctx context.Context, words, name string, args ...string) error {
	d.typed(name, args...)
	out, err := d.command(ctx, name, args...).CombinedOutput()
	_, _ = d.out.Write(out)
	if failed := (&exec.ExitError{}); !errors.As(err, &failed) {
		return fmt.Errorf("%s %s was not refused: %w", name, strings.Join(args, " "), err)
	}
	if !strings.Contains(string(out), words) {
		return fmt.Errorf("%s %s was refused for another reason than %q", name, strings.Join(args, " "), words)
	}
	return nil
}
