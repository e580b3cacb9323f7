// Command kube runs a real Kubernetes of one node on a Linux machine, from programs
// that it builds itself, for the tests that need one:
//
//	go run ./scripts/kube build     build Kubernetes, etcd, containerd and CoreDNS (once)
//	go run ./scripts/kube up        start the node, as root, and wait until it is ready
//	go run ./scripts/kube images    build the images of this checkout and load them
//	go run ./scripts/kube install   install Cortex on it, or upgrade it to this checkout
//	go run ./scripts/kube status    say what runs
//	go run ./scripts/kube down      end everything, and check that nothing is left
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

const usage = `usage: kube build|up|images|install|status|down

  build    build the programs of a Kubernetes node into bin/kube/programs
  up       start the node and wait until it is ready (root)
  images   build the images of this checkout and load them into the node (root)
  install  install Cortex on it, or upgrade it to this checkout (root)
  status   say which parts of the node run
  down     end the node and remove everything it made (root)

environment:
  CORTEX_KUBE_PROGRAMS   a folder of programs that are built already
  CORTEX_KUBE_PORT       the first of the ten ports of the node (21440)
  CORTEX_KUBE_TAG        the tag of the images (dev)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	commands := map[string]func(context.Context, *node) error{
		"build": build, "up": up, "images": images, "install": install, "status": status, "down": down,
	}
	if len(args) != 1 || commands[args[0]] == nil {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	n, err := newNode(stdout, getenv)
	if err == nil {
		err = commands[args[0]](ctx, n)
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
