package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

type simulateOptions struct {
	out     output
	traffic string
	api     string
	width   int
	start   int
	at      string
	options autoscaler.SimulateOptions
}

func (a *app) simulateCommand() *cobra.Command {
	var o simulateOptions
	cmd := &cobra.Command{
		Use:   "simulate [CONFIG_FILE]",
		Short: "show how an api would scale with some traffic",
		Long: "Run the autoscaler's own rules on a virtual clock: traffic from a file, replicas that\n" +
			"start and queue as yours would, and the result as a table and a plot.\n\n" +
			"The traffic is a CSV file with the header time,rps (requests per second),\n" +
			"time,in_flight (clients that each wait for their answer) or time,items (submitted to\n" +
			"an AsyncAPI at that time), and optionally a third column latency. A line holds until\n" +
			"the next one, but for items, which come at once.",
		Example: "  cortex simulate cortex.yaml --traffic monday.csv\n" +
			"  cortex simulate cortex.yaml --api iris --traffic monday.csv --latency 80ms --cold-start 20s",
		Args:              between(0, "CONFIG_FILE"),
		ValidArgsFunction: completeFiles(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := "cortex.yaml"
			if len(args) > 0 {
				file = args[0]
			}
			if o.at != "" {
				at, err := time.Parse(time.RFC3339, o.at)
				if err != nil {
					return fault.New(fault.Usage, "cli.bad_flag", "--at is %q, and has to be a time such as 2026-01-05T08:00:00Z", o.at)
				}
				o.options.Start = at
			}
			o.options.Replicas, o.options.AtZero = max(o.start, 0), o.start == 0
			return a.simulate(file, o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.traffic, "traffic", "t", "", "file with the traffic, or - for the standard input")
	f.StringVar(&o.api, "api", "", "which api of the file (default: the only one that scales)")
	f.DurationVar(&o.options.Latency, "latency", 100*time.Millisecond, "what the server takes for one request")
	f.DurationVar(&o.options.ColdStart, "cold-start", 5*time.Second, "from asking for a replica to its first request")
	f.DurationVar(&o.options.Tick, "tick", autoscaler.DefaultTick, "time between two decisions")
	f.IntVar(&o.start, "replicas", -1, "replicas at the start (default: init_replicas)")
	f.StringVar(&o.at, "at", "", "when the traffic begins, for floors (default: 2024-01-01T00:00:00Z, a Monday)")
	f.IntVar(&o.width, "width", 0, "columns of the plot (default: the width of the terminal)")
	addOutputFlag(cmd, &o.out)
	_ = cmd.MarkFlagRequired("traffic")
	_ = cmd.MarkFlagFilename("traffic", "csv")
	return cmd
}

func (a *app) simulate(file string, o simulateOptions) error {
	data, err := manifest.Read(file)
	if err != nil {
		return err
	}
	parsed, err := manifest.ParseWith(file, data, manifest.Beside(filepath.Dir(file)))
	if err != nil {
		return err
	}
	spec, err := pickSpec(parsed, file, o.api)
	if err != nil {
		return err
	}
	trace, err := a.readTrace(o.traffic)
	if err != nil {
		return err
	}
	result, err := autoscaler.Simulate(spec, trace, o.options)
	if err != nil {
		return err
	}
	if o.out != pretty {
		return a.print(o.out, result)
	}
	if o.width <= 0 {
		o.width, _ = screen(a.streams.Out)
	}
	a.say("%s\n", a.paint.bold(fmt.Sprintf("%s (%s) with the traffic of %s", spec.Name, spec.Kind, trace.Name)))
	if err := result.WriteTable(a.streams.Out); err != nil {
		return err
	}
	a.say("")
	return result.WritePlot(a.streams.Out, o.width)
}

func (a *app) readTrace(file string) (autoscaler.Trace, error) {
	var in io.Reader = a.streams.In
	name := "standard input"
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return autoscaler.Trace{}, fault.New(fault.NotFound, "simulate.unreadable_trace", "reading the traffic: %w", err).
				WithHint("a trace is a CSV file with the header time,rps")
		}
		defer f.Close()
		in, name = f, file
	}
	return autoscaler.ParseTrace(name, in)
}

// pickSpec returns the API of the file that is to be simulated.
func pickSpec(parsed *manifest.File, file, name string) (workload.Spec, error) {
	var scaling []string
	var found workload.Spec
	for _, e := range parsed.Entries {
		if name != "" && e.Spec.Name == name {
			return e.Spec, nil
		}
		if e.Spec.Kind.Scales() {
			scaling = append(scaling, e.Spec.Name)
			found = e.Spec
		}
	}
	switch {
	case name != "":
		return found, fault.New(fault.NotFound, "cli.api_not_in_file", "%s has no API named %s", file, name).
			WithHint("it has: %s", strings.Join(scaling, ", "))
	case len(scaling) == 0:
		return found, fault.New(fault.Invalid, "cli.api_not_in_file", "%s has no API with replicas that follow its load", file)
	case len(scaling) > 1:
		return found, fault.New(fault.Usage, "cli.api_not_in_file", "%s has several APIs", file).
			WithHint("choose one with --api: %s", strings.Join(scaling, ", "))
	}
	return found, nil
}
