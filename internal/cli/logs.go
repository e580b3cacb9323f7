package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

type logOptions struct {
	env       string
	out       output
	query     workload.LogQuery
	randomPod bool
	raw       bool
	times     bool
}

func (a *app) logsCommand() *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use:     "logs API_NAME [JOB_ID]",
		Aliases: []string{"log"},
		Short:   "print the logs of an api, or of a job",
		Long: "Print what the replicas of an API have written, merged in order of time, each line\n" +
			"with its replica. -o json prints one object per line.",
		Example: "  cortex logs iris\n" +
			"  cortex logs iris --follow --since 5m\n" +
			"  cortex logs iris --previous --tail 50      # of the run before a restart\n" +
			"  cortex logs train 019b4c2f0a1d3c --follow  # until the job has ended",
		Args:              between(1, "API_NAME", "JOB_ID"),
		ValidArgsFunction: a.apiNames(&o.env),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(exclusive(cmd, "random-pod", "replica"), exclusive(cmd, "raw", "timestamps"), exclusive(cmd, "follow", "previous")); err != nil {
				return err
			}
			o.query.Name = args[0]
			if len(args) == 2 {
				o.query.Job = args[1]
			}
			a.verbatim = a.verbatim || o.raw
			return a.logs(cmd.Context(), o)
		},
	}
	a.envFlag(cmd, &o.env)
	f := cmd.Flags()
	f.BoolVarP(&o.query.Follow, "follow", "f", false, "wait for more lines until interrupted")
	f.DurationVar(&o.query.Since, "since", 0, "only lines this young, as in 90s or 2h (default: all that are kept)")
	f.IntVar(&o.query.Tail, "tail", 0, "only the last lines, this many (default: all)")
	f.BoolVarP(&o.query.Previous, "previous", "p", false, "lines of the previous run of each container")
	f.StringVar(&o.query.Replica, "replica", "", "only of the replica with this id, which may be cut short")
	_ = cmd.RegisterFlagCompletionFunc("replica", a.replicaIDs(&o.env))
	f.BoolVar(&o.randomPod, "random-pod", false, "follow one replica, whichever")
	f.BoolVar(&o.times, "timestamps", false, "print when each line was written")
	f.BoolVar(&o.raw, "raw", false, "print the lines as they were written, without their replica, control characters too")
	f.BoolP("yes", "y", false, "skip prompts")
	addOutputFlag(cmd, &o.out)
	return cmd
}

func (a *app) logs(ctx context.Context, o logOptions) error {
	if o.query.Since < 0 || o.query.Tail < 0 {
		return fault.New(fault.Usage, "cli.wrong_flag", "--since and --tail cannot be negative")
	}
	t, err := a.connect(ctx, o.env, o.out, refuse)
	if err != nil {
		return err
	}
	if o.randomPod {
		if o.query.Replica, err = anyReplica(ctx, t, o.query.Name); err != nil {
			return err
		}
		o.query.Follow = true
	}
	if o.out == pretty && t.IsLocal() { // elsewhere it would cost a request
		a.warnOfLogs(ctx, t, o.query.Name)
	}
	err = t.Logs(ctx, o.query, func(l workload.LogLine) error { return a.writeLog(o, l) })
	if err == nil && o.query.Follow && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// warnOfLogs says that lines are missing, which nobody sees by the lines themselves. What
// stands in the way of knowing that stands in the way of the logs too, and is said there.
func (a *app) warnOfLogs(ctx context.Context, t *target, name string) {
	if api, err := t.Get(ctx, name); err == nil && api.Status != nil && api.Status.Warning != "" {
		a.note("%s%s", newPainter(a.streams.Err, a.getenv).yellow("warning: "), api.Status.Warning)
	}
}

// anyReplica returns a replica that receives requests, or else any.
func anyReplica(ctx context.Context, t *target, name string) (string, error) {
	api, err := t.Describe(ctx, name)
	if err != nil {
		return "", err
	}
	if api.Status != nil {
		for _, r := range api.Status.Replicas {
			if r.State == workload.Ready || r.State == workload.ReadyOutOfDate {
				return r.ID, nil
			}
		}
		if len(api.Status.Replicas) > 0 {
			return api.Status.Replicas[0].ID, nil
		}
	}
	return "", fault.New(fault.Conflict, "cli.no_replica", "%s has no replica now", name).
		WithHint("leave --random-pod out to see what earlier replicas wrote")
}

func (a *app) writeLog(o logOptions, l workload.LogLine) error {
	var err error
	switch {
	case o.out != pretty:
		err = a.printLine(o.out, l)
	case o.raw:
		_, err = fmt.Fprintln(a.streams.Out, l.Text)
	default:
		who := l.Replica
		if l.Container != "" {
			who += "/" + l.Container
		}
		if o.times {
			who = l.Time.Local().Format(time.RFC3339) + " " + who
		}
		_, err = fmt.Fprintf(a.streams.Out, "%s %s\n", a.paint.dim(who+" |"), l.Text)
	}
	return err
}

func (a *app) eventsCommand() *cobra.Command {
	var env string
	var out output
	var q workload.EventQuery
	cmd := &cobra.Command{
		Use:   "events [API_NAME]",
		Short: "print what happened to an api, or to all of them",
		Example: "  cortex events\n" +
			"  cortex events iris --follow",
		Args:              between(0, "API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.Since < 0 {
				return fault.New(fault.Usage, "cli.wrong_flag", "--since cannot be negative")
			}
			if len(args) > 0 {
				q.Name = args[0]
			}
			ctx := cmd.Context()
			t, err := a.connect(ctx, env, out, refuse)
			if err != nil {
				return err
			}
			err = t.Events(ctx, q, func(e workload.Event) error { return a.writeEvent(out, e) })
			if err == nil && q.Follow && ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().BoolVarP(&q.Follow, "follow", "f", false, "wait for more events until interrupted")
	cmd.Flags().DurationVar(&q.Since, "since", 0, "only events this young, as in 90s or 2h (default: all that are kept)")
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) writeEvent(out output, e workload.Event) error {
	if out != pretty {
		return a.printLine(out, e)
	}
	reason := pad(e.Reason, 16)
	if e.Type == "warning" {
		reason = a.paint.yellow(reason)
	}
	who := e.API
	if e.Replica != "" && !strings.Contains(e.Message, e.Replica) {
		who += "/" + e.Replica
	}
	_, err := fmt.Fprintf(a.streams.Out, "%s  %s  %s  %s\n", a.paint.dim(e.Time.Local().Format(time.RFC3339)), reason, a.paint.bold(who), e.Message)
	return err
}
