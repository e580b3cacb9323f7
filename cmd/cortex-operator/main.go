// Command cortex-operator is the control plane of Cortex on Kubernetes: it deploys and
// scales what the custom resources say, and serves the management API. What it
// does is in internal/kube/operatord.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/internal/kube/operatord"
	"cortex.dev/cortex/internal/kube/program"
)

var version = "dev" // set by the linker in releases

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(operatord.Main(ctx, os.Args[1:], program.Streams{Out: os.Stdout, Err: os.Stderr}, os.Getenv, version))
}
