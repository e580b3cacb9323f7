// Command kube measures the product on the Kubernetes of `make kube-up`, through the
// commands and addresses that users have, and prints the same table as bench.
//
// It promises to take away what it deployed and made, the simulated nodes included,
// also when it is interrupted, and to touch no API that is not its own. It exits as
// bench does.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/bench/dataplane"
	"cortex.dev/cortex/bench/report"
	"cortex.dev/cortex/bench/row"
)

func measurements(c *cluster, s size) []report.Measurement {
	of := func(measure func(context.Context, *cluster) ([]row.Row, error), rows ...string) report.Measurement {
		return report.Measurement{Rows: rows, Measure: func(ctx context.Context) ([]row.Row, error) { return measure(ctx, c) }}
	}
	all := []report.Measurement{
		of(hops, dataplane.WhatTwoHops, whatIdleMemory, whatLoadMemory),
		of(fromZero, whatZero),
		of(deploys, whatDeploy),
		of(firstRequests, whatFirst),
	}
	for _, change := range changings() {
		all = append(all, of(func(ctx context.Context, c *cluster) ([]row.Row, error) { return underLoad(ctx, c, change) }, change.what))
	}
	return append(all, of(func(ctx context.Context, c *cluster) ([]row.Row, error) { return many(ctx, c, s) }, s.names()...))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s := size{}
	o, ok := report.Parse("bench-kube", args, stderr, func(flags *flag.FlagSet) {
		flags.IntVar(&s.nodes, "nodes", 500, "simulated nodes")
		flags.IntVar(&s.apis, "apis", 1000, "APIs whose replicas run on them")
		flags.IntVar(&s.replicas, "replicas", 5, "replicas of each of these APIs")
	})
	if !ok {
		return report.ExitUsage
	}
	if err := s.check(); err != nil {
		fmt.Fprintf(stderr, "bench-kube: %v\n", err)
		return report.ExitUsage
	}
	c, err := openCluster(ctx, o)
	if err != nil {
		fmt.Fprintf(stderr, "bench-kube: %v\n", err)
		return report.ExitFailed
	}
	code := o.Run(ctx, measurements(c, s), stdout)
	if err := c.close(); err != nil {
		fmt.Fprintf(stderr, "bench-kube: cleaning up: %v\n", err)
		return report.ExitFailed
	}
	return code
}
