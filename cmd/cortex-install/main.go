// Command cortex-install is cortex with what it takes to work on Kubernetes
// clusters. Nobody types it: cortex hands its commands for clusters over to the one
// beside it, because the libraries for them would slow down every other command.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/internal/cli"
	"cortex.dev/cortex/internal/install"
)

var version = "dev" // set by the linker in releases

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(cli.Run(ctx, os.Args[1:], streams, os.Getenv, cli.Hooks{Version: version, Cluster: &cli.ClusterHooks{
		Install: change(install.Install), Upgrade: change(install.Upgrade),
		Uninstall: func(ctx context.Context, c cli.ClusterConfig, keep bool) error {
			return install.Uninstall(ctx, config(c), keep)
		},
		Health: health, Render: render, Where: where, Cloud: cloud,
	}}))
}

func config(c cli.ClusterConfig) install.Config {
	return install.Config{
		Kubeconfigs: c.Kubeconfigs, Context: c.Context, Namespace: c.Namespace, Values: c.Values,
		Version: c.Version, Images: c.Images, Wait: c.Wait, Timeout: c.Timeout,
		Progress: func(s install.Step) { c.Progress(cli.ClusterStep(s)) },
	}
}

// full is config with the values of files and assignments too.
func full(c cli.ClusterConfig) (install.Config, error) {
	cfg := config(c)
	values, err := install.Values(c.ValueFiles, c.Assignments)
	if err != nil {
		return cfg, err
	}
	cfg.Values = install.Merge(values, c.Values)
	return cfg, nil
}

func change(do func(context.Context, install.Config) (install.Info, error)) func(context.Context, cli.ClusterConfig) (cli.ClusterInfo, error) {
	return func(ctx context.Context, c cli.ClusterConfig) (cli.ClusterInfo, error) {
		cfg, err := full(c)
		if err != nil {
			return cli.ClusterInfo{}, err
		}
		info, err := do(ctx, cfg)
		return cli.ClusterInfo(info), err
	}
}

func where(c cli.ClusterConfig) (cli.ClusterPlace, error) {
	place, err := install.Where(config(c))
	return cli.ClusterPlace(place), err
}

func render(c cli.ClusterConfig) (string, error) {
	cfg, err := full(c)
	if err != nil {
		return "", err
	}
	return install.Render(cfg)
}

func health(ctx context.Context, c cli.ClusterConfig) ([]cli.ClusterCheck, error) {
	checks, err := install.Health(ctx, config(c))
	var told []cli.ClusterCheck
	for _, check := range checks {
		told = append(told, cli.ClusterCheck(check))
	}
	return told, err
}
