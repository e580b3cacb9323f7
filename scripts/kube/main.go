// Command kube runs a real Kubernetes of one node on a Linux machine, from programs
// that it builds itself, for the tests that need one:
//
//	go run ./scripts/kube build     build Kubernetes, etcd, containerd and CoreDNS (once)
//	go run ./scripts/kube up        start the node, as root, and wait until it is ready
//	go run ./scripts/kube images    build the images of this checkout and load them
//	go run ./scripts/kube install   install Cortex on it, or upgrade it to this checkout
//	go run ./scripts/kube status    say what runs
//	go run ./scripts/kube down      end everything, and check that nothing is left
//	go run ./scripts/kube eks FILE  start the node as the cluster of EKS that FILE describes,
//	                                with aws-iam-authenticator and the images of this checkout
//	go run ./scripts/kube kwok      build the simulator of nodes of make bench-kube
//
// For trying what happens when a part of the node is in trouble, it ends, starts and
// slows single parts: stop, kill, start and slow.
//
// It promises that nothing listens beyond this machine, that nothing is downloaded
// but Go modules and, where they are missing, packages of the distribution, and
// that `down` leaves no process, mount, network device, firewall rule or control
// group behind, whatever state it finds the node in.
//
// There is one such node on a machine. It must not be used for anything that is to
// last: its data goes with it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `usage: kube build|up|images|install|status|down|kwok
       kube eks [FILE]
       kube stop|kill|start|slow PART

  build    build the programs of a Kubernetes node into bin/kube/programs
  up       start the node and wait until it is ready (root)
  images   build the images of this checkout and load them into the node (root)
  install  install Cortex on it, or upgrade it to this checkout (root)
  status   say which parts of the node run
  down     end the node and remove everything it made (root)
  eks      start the node as the cluster of EKS that FILE describes, for make demo-aws
           (root); without one, build what that takes
  kwok     build KWOK, which simulates nodes and pods, for make bench-kube

faults, for tests (root; PART is a name that status prints):
  stop     end a part in order (SIGTERM); what it had started goes on
  kill     end a part without a word (SIGKILL)
  start    start a part that does not run, and wait until it works
  slow     stop a part and let it go on in turns, for 20 s; then it works again

environment:
  CORTEX_KUBE_PROGRAMS   a folder of programs that are built already
  CORTEX_KUBE_PORT       the first of the eleven ports of the node (21440)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	command := commandOf(args)
	if command == nil {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	n, err := newNode(stdout, getenv)
	if err == nil {
		err = command(ctx, n)
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return exitFailed
	}
	return exitDone
}

// commandOf is what the arguments ask for; nil when they ask for nothing there is.
func commandOf(args []string) func(context.Context, *node) error {
	commands := map[string]func(context.Context, *node) error{
		"build": build, "up": up, "images": images, "install": install, "status": status, "down": down,
		"kwok": kwok, "eks": buildEKS,
	}
	more := map[string]func(context.Context, *node, string) error{
		"eks": eks, "stop": stopPart, "kill": killPart, "start": startPart, "slow": slowPart,
	}
	switch len(args) {
	case 1:
		return commands[args[0]]
	case 2:
		if do := more[args[0]]; do != nil {
			return func(ctx context.Context, n *node) error { return do(ctx, n, args[1]) }
		}
	}
	return nil
}
