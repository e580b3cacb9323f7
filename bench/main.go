// Command bench measures the product as a user has it, the built binary with its
// own configuration folder and ports, and prints one table: what, ours, theirs,
// ratio, target, and whether the target was met.
//
// It promises that nothing it started lives on and that nothing of the user's is
// touched. It exits with 0 when everything could be measured, whatever the
// result; with 1 when something could not; with 2 for a wrong command line.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"cortex.dev/cortex/bench/dataplane"
	"cortex.dev/cortex/bench/report"
	"cortex.dev/cortex/bench/row"
)

func measurements(p *place) []report.Measurement {
	of := func(measure func(context.Context, *place) ([]row.Row, error), rows ...string) report.Measurement {
		return report.Measurement{Rows: rows, Measure: func(ctx context.Context) ([]row.Row, error) { return measure(ctx, p) }}
	}
	return []report.Measurement{
		of(func(ctx context.Context, p *place) ([]row.Row, error) {
			return dataplane.Rows(ctx, dataplane.Options{Quick: p.Quick, Log: p.Log})
		}, dataplane.Names()...),
		of(func(ctx context.Context, p *place) ([]row.Row, error) {
			return dataplane.HTTP2Rows(ctx, dataplane.Options{Quick: p.Quick, Log: p.Log})
		}, dataplane.HTTP2Names()...),
		of(func(ctx context.Context, p *place) ([]row.Row, error) {
			return dataplane.BodyRows(ctx, dataplane.Options{Quick: p.Quick, Log: p.Log})
		}, dataplane.BodyNames()...),
		of(func(ctx context.Context, p *place) ([]row.Row, error) {
			return dataplane.OverloadRows(ctx, dataplane.Options{Quick: p.Quick, Log: p.Log})
		}, dataplane.OverloadNames()...),
		of(fromZero, whatZero),
		of(burstAtZero, whatBurst, whatOverflow),
		of(deploys, whatDeploy),
		of(validates, whatValidate),
		of(plans, whatPlan),
		of(clusters, whatUpCalls, whatUpTime, whatInfoCalls),
		of(ups, whatInfoTime, whatUpMemory),
		of(idles, whatMemory, whatCPU),
		of(provenRequests, whatProven),
		of(theOldWay, whatOldWay),
		of(manyIdentities, whatSTSCalls),
		of(floods, whatFlood, whatFloodMemory, whatFloodSTS),
		of(warmGets, whatWarmGet),
		of(submits, whatSubmit, whatSubmits, whatTogether),
		of(begins, whatBegins, whatBeginsLate),
		of(ends, whatItems, whatItemCPU),
		of(queued, whatQueued),
		of(large, whatLarge),
		of(polls, whatPolls, whatLongPoll),
		of(crowds, whatCrowdAccept, whatCrowdRate),
		of(fair, whatFair),
		of(cancels, whatCancel, whatCancelRuns),
		of(lost, whatLost),
		of(changes, whatUpdate, whatRefresh, whatRollback, whatScaleIn),
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, ok := report.Parse("bench", args, stderr, nil)
	if !ok {
		return report.ExitUsage
	}
	p, err := newPlace(ctx, o)
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return report.ExitFailed
	}
	defer p.close()
	return o.Run(ctx, measurements(p), stdout)
}
