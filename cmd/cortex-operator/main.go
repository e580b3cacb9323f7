// Command cortex-operator is the control plane of Cortex on Kubernetes: it deploys and
// scales what the custom resources say, and serves the management API. What it
// does is in internal/kube/operatord. As `cortex-operator drainer` it is the program of
// internal/kube/drainerd instead, which has no image of its own.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/internal/kube/drainerd"
	"cortex.dev/cortex/internal/kube/operatord"
	"cortex.dev/cortex/internal/kube/program"
)

var version = "dev" // set by the linker in releases

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if args := os.Args[1:]; len(args) > 0 && args[0] == drainerd.Name {
		os.Exit(drainerd.Main(ctx, args[1:], program.Streams{Out: os.Stdout, Err: os.Stderr}, version))
	}
	os.Exit(operatord.Main(ctx, os.Args[1:], program.Streams{Out: os.Stdout, Err: os.Stderr}, os.Getenv, version))
}
