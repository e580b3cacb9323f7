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
	os.Exit(cli.Run(ctx, os.Args[1:], streams, os.Getenv, cli.Hooks{Version: version, RunLocal: runLocal, Serve: serve, Delegate: delegate}))
}

func runLocal(ctx context.Context, cfg cli.LocalConfig) error {
	return solo.Run(ctx, solo.Config{
		StateDir: cfg.StateDir, Socket: cfg.Socket, APIAddress: cfg.APIAddress, Tick: cfg.Tick,
		Env: cfg.Env, Version: cfg.Version, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}

func serve(ctx context.Context, cfg cli.ServerConfig) error {
	return solo.Serve(ctx, solo.ServerConfig{
		StateDir: cfg.StateDir, Listen: cfg.Listen, APIListen: cfg.APIListen, MetricsListen: cfg.MetricsListen,
		OperatorCIDRs: cfg.OperatorCIDRs, APICIDRs: cfg.APICIDRs,
		Account: cfg.Account, Region: cfg.Region, ClusterName: cfg.ClusterName,
		STSEndpoint: cfg.STSEndpoint, STSProxy: cfg.STSProxy, STSPerSecond: cfg.STSPerSecond, SessionTTL: cfg.SessionTTL,
		PolicyFile: cfg.PolicyFile, PlatformRoles: cfg.PlatformRoles, ImagesOnly: cfg.ImagesOnly,
		TLSCert: cfg.TLSCert, TLSKey: cfg.TLSKey, TLSNames: cfg.TLSNames, AuditFile: cfg.AuditFile, AuditOut: os.Stdout,
		Tick: cfg.Tick, TraceEndpoint: cfg.TraceEndpoint, TraceRatio: cfg.TraceRatio, Version: cfg.Version, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Ready: func(info solo.ServerInfo) { cfg.Ready(cli.ServerInfo(info)) },
	})
}
