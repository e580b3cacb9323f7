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
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"cortex.dev/cortex/bench/dataplane"
	"cortex.dev/cortex/bench/row"
)

// A measurement yields one or more rows of the table.
type measurement struct {
	rows    []string // their names, for -run and for what could not be measured
	measure func(context.Context, *place) ([]row.Row, error)
}

func measurements() []measurement {
	return []measurement{
		{dataplane.Names(), func(ctx context.Context, p *place) ([]row.Row, error) {
			return dataplane.Rows(ctx, dataplane.Options{Quick: p.quick, Log: p.log})
		}},
		{[]string{whatZero}, fromZero},
		{[]string{whatBurst, whatOverflow}, burstAtZero},
		{[]string{whatDeploy}, deploys},
		{[]string{whatValidate}, validates},
		{[]string{whatMemory, whatCPU}, idles},
		{[]string{whatProven}, provenRequests},
		{[]string{whatOldWay}, theOldWay},
		{[]string{whatSTSCalls}, manyIdentities},
		{[]string{whatFlood, whatFloodMemory, whatFloodSTS}, floods},
		{[]string{whatWarmGet}, warmGets},
		{[]string{whatUpdate, whatRefresh, whatRollback, whatScaleIn}, changes},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	asJSON := flags.Bool("json", false, "print the rows as JSON")
	only := flags.String("run", "", "measure only rows whose name matches this regular expression")
	quick := flags.Bool("quick", false, "fewer repetitions: a look, not a measurement")
	verbose := flags.Bool("v", false, "say what the commands print and what single runs came to")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	match, err := regexp.Compile(*only)
	if err != nil || flags.NArg() > 0 {
		fmt.Fprintf(stderr, "bench: -run takes a regular expression, and there are no other arguments (%v)\n", err)
		return 2
	}
	p, err := newPlace(ctx, *quick, logger(stderr, *verbose))
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	defer p.close()
	rows, failed := measureAll(ctx, p, match, stderr)
	if *asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(rows)
	} else {
		err = writeTable(stdout, rows)
	}
	if err != nil || failed {
		return 1
	}
	return 0
}

func logger(w io.Writer, verbose bool) func(string, ...any) {
	if !verbose {
		return func(string, ...any) {}
	}
	return func(format string, args ...any) { fmt.Fprintf(w, "bench: "+format+"\n", args...) }
}

// measureAll runs every measurement of which a row is asked for; one that fails
// leaves rows that say so.
func measureAll(ctx context.Context, p *place, match *regexp.Regexp, stderr io.Writer) (rows []row.Row, failed bool) {
	rows = []row.Row{}
	for _, m := range measurements() {
		wanted := false
		for _, name := range m.rows {
			wanted = wanted || match.MatchString(name)
		}
		if !wanted {
			continue
		}
		fmt.Fprintf(stderr, "bench: measuring %s …\n", m.rows[0])
		p.wanted = match
		measured, err := m.measure(ctx, p)
		for _, r := range measured {
			if match.MatchString(r.What) {
				rows = append(rows, r)
			}
		}
		if err != nil {
			failed = true
			fmt.Fprintf(stderr, "bench: %s: %v\n", m.rows[0], err)
			rows = append(rows, row.Row{What: m.rows[0], Note: "could not be measured: " + firstLine(err.Error())})
		}
		if ctx.Err() != nil {
			return rows, true
		}
	}
	return rows, failed
}
