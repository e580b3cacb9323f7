// Command cortex is the command line of the product; on one machine it also hosts
// the whole of it. It only names the implementations: what it does is in cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/internal/cli"
)

var version = "dev" // set by the linker in releases

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(cli.Run(ctx, os.Args[1:], streams, os.Getenv, cli.Hooks{Version: version, RunLocal: runLocal}))
}
