// Command demo shows the product on this machine in under a minute: it starts a
// local environment of its own, deploys the iris model, asks it about flowers,
// lets it scale, updates it under load without losing a request, goes back, and
// takes everything away again. It types the commands that a user would type.
//
//	make demo
//	make demo-iam      the same machine for a team: AWS identities, a policy, an audit; see iam.go
//	make demo-jobs     items, batches, a task and a schedule, and the daemon killed among them; see jobs.go
//	make demo-access   who may call an API, and how much: keys, limits, usage, a certificate; see access.go
//	make demo-kube     on the Kubernetes that make kube-up started; see kube.go
//	make demo-aws      a cluster in a simulated AWS account, with a Kubernetes of its own; see aws.go
//
// It promises to leave nothing running, however it ends, and never to touch the
// environment of the user who runs it. It exits 1 when anything is not as told.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	cortexBin = "bin/cortex"
	loadBin   = "examples/iris/bin/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Fprintln(os.Stderr, "\nInterrupted. Nothing is left running.")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "\nThe demo failed:", err)
		os.Exit(1)
	}
}

// demo is one showing.
type demo struct {
	out  io.Writer
	env  []string // of every program it runs
	url  string   // of the iris API, once it is deployed
	bold bool

	updated string // file of the better model
}

func run(ctx context.Context, args []string, out io.Writer) (err error) {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	home, err := os.MkdirTemp("", "cortex-demo-")
	if err != nil {
		return err
	}
	if len(args) == 1 {
		switch args[0] {
		case "iam":
			return showIAM(ctx, out, home)
		case "access":
			return showAccess(ctx, out, home)
		case "jobs":
			return showJobs(ctx, out, home)
		case "kube":
			return showKube(ctx, out, home)
		case "aws":
			return showAWS(ctx, out, home)
		}
	}
	d := newDemo(out, append(os.Environ(), "CORTEX_CLI_CONFIG_DIR="+home))
	// On every way out, with a context of its own: the one above may be over.
	defer func() { err = errors.Join(err, d.leaveNothing(home)) }()
	begun := time.Now()
	for _, scene := range []func(context.Context) error{d.build, d.start, d.deploy, d.ask, d.underLoad, d.lookInside, d.cleanUp} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.farewell(time.Since(begun))
	return nil
}

func newDemo(out io.Writer, env []string) *demo {
	return &demo{out: out, env: env, updated: "examples/iris/cortex-v2.yaml", bold: isTerminal(out) && os.Getenv("NO_COLOR") == ""}
}

// moduleRoot finds the folder of go.mod, so that the demo runs from any folder
// of the project.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it inside the project: there is no go.mod in this folder or above it")
		}
		dir = filepath.Dir(dir)
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// leaveNothing stops the environment, whatever state it is in, and removes its
// folder.
func (d *demo) leaveNothing(home string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := os.Stat(cortexBin); err == nil {
		if _, err := d.output(ctx, cortexBin, "local", "stop", "--timeout", "20s"); err != nil {
			if _, err := d.output(ctx, cortexBin, "local", "stop", "--force"); err != nil {
				return fmt.Errorf("the local environment in %s could not be stopped: %w", home, err)
			}
		}
	}
	return os.RemoveAll(home)
}

func (d *demo) title(text string) {
	if d.bold {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	fmt.Fprintf(d.out, "\n%s\n", text)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// typed prints a command as the user would type it.
func (d *demo) typed(name string, args ...string) {
	if name == cortexBin {
		name = "cortex"
	}
	line := "$ " + strings.Join(append([]string{name}, args...), " ")
	if d.bold {
		line = "\x1b[36m" + line + "\x1b[0m"
	}
	fmt.Fprintln(d.out, line)
}

// show types a command, runs it and shows what it says.
func (d *demo) show(ctx context.Context, name string, args ...string) error {
	d.typed(name, args...)
	cmd := d.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = d.out, d.out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// output runs a command unseen and returns what it says.
func (d *demo) output(ctx context.Context, name string, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := d.command(ctx, name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// command returns a command that is interrupted when ctx ends, and killed only
// when that does not help. It is in a process group of its own: Ctrl-C reaches
// the demo alone, which then ends things in order.
func (d *demo) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = d.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
