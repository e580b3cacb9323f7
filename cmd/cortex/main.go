// Command cortex is the command line of the product; on one machine it also hosts
// the whole of it. It only names the implementations: what it does is in cli and solo.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/internal/cli"
	"cortex.dev/cortex/internal/engine/process"
	"cortex.dev/cortex/internal/solo"
)

var version = "dev" // set by the linker in releases

func main() {
	if process.ReaperMain(os.Args[1:]) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(cli.Run(ctx, os.Args[1:], streams, os.Getenv, cli.Hooks{Version: version, RunLocal: runLocal}))
}

func runLocal(ctx context.Context, cfg cli.LocalConfig) error {
	return solo.Run(ctx, solo.Config{
		StateDir: cfg.StateDir, Socket: cfg.Socket, APIAddress: cfg.APIAddress, Tick: cfg.Tick,
		Env: cfg.Env, Version: cfg.Version, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}
