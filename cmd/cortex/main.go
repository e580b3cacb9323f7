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
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/solo"
)

var version = "dev" // set by the linker in releases

func main() {
	process.KeepInherited()
	if process.ReaperMain(os.Args[1:]) {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(cli.Run(ctx, os.Args[1:], streams, os.Getenv, cli.Hooks{Version: version, RunLocal: runLocal, Serve: serve, Verify: solo.Verify, Delegate: delegate}))
}

func runLocal(ctx context.Context, cfg hostconfig.Local) error {
	return solo.Run(ctx, solo.Config{Local: cfg, Version: version, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
}

func serve(ctx context.Context, cfg hostconfig.Server, ready func(hostconfig.ServerInfo)) error {
	cfg.AuditOut = os.Stdout
	return solo.Serve(ctx, solo.ServerConfig{Server: cfg, Version: version, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Ready: ready})
}
