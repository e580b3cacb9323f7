// Command cortex-ledger is a server that keeps the items of AsyncAPIs on Kubernetes. What
// it does is in internal/kube/ledgerd.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/internal/kube/ledgerd"
	"cortex.dev/cortex/internal/kube/program"
)

var version = "dev" // set by the linker in releases

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(ledgerd.Main(ctx, os.Args[1:], program.Streams{Out: os.Stdout, Err: os.Stderr}, os.Getenv, version))
}
