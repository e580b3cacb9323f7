// Command cortex-sidecar is the process beside each replica on Kubernetes. It only
// names its package.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/internal/sidecar"
)

var version = "dev" // set by the linker in releases

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(sidecar.Main(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv, version))
}
