// Command cortex-gateway is the front door of Cortex on Kubernetes: it takes the requests
// for deployed APIs to their replicas. What it
// does is in internal/kube/gatewayd.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/internal/kube/gatewayd"
	"cortex.dev/cortex/internal/kube/program"
)

var version = "dev" // set by the linker in releases

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(gatewayd.Main(ctx, os.Args[1:], program.Streams{Out: os.Stdout, Err: os.Stderr}, os.Getenv, version))
}
