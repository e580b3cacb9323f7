// Package report runs measurements and prints what they found as one table: what,
// ours, theirs, ratio, target, and whether the target was met.
//
// It promises that a measurement that fails leaves a row that says so, and that the
// others are still made. It must not know what is measured.
package report

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"cortex.dev/cortex/bench/row"
)

// The exit codes.
const (
	ExitDone   = 0 // everything could be measured, whatever the result
	ExitFailed = 1 // something could not
	ExitUsage  = 2 // the command line is wrong
)

// A Measurement yields one or more rows of the table.
type Measurement struct {
	Rows    []string // their names, for -run and for what could not be measured
	Measure func(context.Context) ([]row.Row, error)
}

// Options are what the command line of a benchmark says.
type Options struct {
	Quick bool // a look, not a measurement

	name    string
	json    bool
	verbose bool
	only    *regexp.Regexp
	stderr  io.Writer
}

// Parse reads the command line of the benchmark of that name. More adds flags of
// its own. When it returns false, stderr has been told why.
func Parse(name string, args []string, stderr io.Writer, more func(*flag.FlagSet)) (Options, bool) {
	o := Options{name: name, stderr: stderr}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.json, "json", false, "print the rows as JSON")
	only := flags.String("run", "", "measure only rows whose name matches this regular expression")
	flags.BoolVar(&o.Quick, "quick", false, "fewer repetitions: a look, not a measurement")
	flags.BoolVar(&o.verbose, "v", false, "say what the commands print and what single runs came to")
	if more != nil {
		more(flags)
	}
	if err := flags.Parse(args); err != nil {
		return o, false
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil || flags.NArg() > 0 {
		fmt.Fprintf(stderr, "%s: -run takes a regular expression, and there are no other arguments (%v)\n", name, err)
		return o, false
	}
	return o, true
}

// Log says something to those who asked for it with -v.
func (o Options) Log(format string, args ...any) {
	if o.verbose {
		fmt.Fprintf(o.stderr, o.name+": "+format+"\n", args...)
	}
}

// Wants reports whether a row is asked for.
func (o Options) Wants(what string) bool { return o.only.MatchString(what) }

// Times is how often something is repeated.
func (o Options) Times(full, quick int) int {
	if o.Quick {
		return quick
	}
	return full
}

// Run makes every measurement of which a row is asked for, prints the table and
// returns the code to exit with.
func (o Options) Run(ctx context.Context, all []Measurement, stdout io.Writer) int {
	rows, failed := o.measure(ctx, all)
	var err error
	if o.json {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(rows)
	} else {
		err = writeTable(stdout, rows)
	}
	if err != nil || failed {
		return ExitFailed
	}
	return ExitDone
}

func (o Options) measure(ctx context.Context, all []Measurement) (rows []row.Row, failed bool) {
	rows = []row.Row{}
	for _, m := range all {
		wanted := false
		for _, name := range m.Rows {
			wanted = wanted || o.Wants(name)
		}
		if !wanted {
			continue
		}
		fmt.Fprintf(o.stderr, "%s: measuring %s …\n", o.name, m.Rows[0])
		measured, err := m.Measure(ctx)
		for _, r := range measured {
			if o.Wants(r.What) {
				rows = append(rows, r)
				// The table comes at the end, which a long run may not see.
				fmt.Fprintf(o.stderr, "%s: %s: %s\n", o.name, r.What, strings.Join(slices.DeleteFunc([]string{r.Ours, r.Theirs, r.Ratio, r.Note}, func(s string) bool { return s == "" }), " | "))
			}
		}
		if err != nil {
			failed = true
			fmt.Fprintf(o.stderr, "%s: %s: %v\n", o.name, m.Rows[0], err)
			rows = append(rows, row.Row{What: m.Rows[0], Note: "could not be measured: " + firstLine(err.Error())})
		}
		if ctx.Err() != nil {
			return rows, true
		}
	}
	return rows, failed
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
