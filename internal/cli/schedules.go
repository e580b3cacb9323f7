package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func (a *app) schedulesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schedules",
		Short:   "see and change what APIs do again and again, by a clock",
		Long:    "See and change what APIs do again and again, by a clock: the schedules of their file.",
		Example: "  cortex schedules list",
	}
	cmd.AddCommand(a.schedulesListCommand(), a.scheduleRunCommand(),
		a.scheduleChange("pause", "have nothing of a schedule begin until it is resumed", "paused", workload.Service.PauseSchedule),
		a.scheduleChange("resume", "end the pause of a schedule; what was due in between is not begun", "resumed", workload.Service.ResumeSchedule),
		a.scheduleBackfillCommand())
	return cmd
}

func (a *app) schedulesListCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use: "list [API_NAME]", Short: "list schedules, when they are due next and what became of their latest runs",
		Example:           "  cortex schedules list\n  cortex schedules list transcribe -o json",
		Args:              between(0, "API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				if args, err = scheduled(cmd.Context(), t); err != nil {
					return err
				}
			}
			all := []workload.ScheduleStatus{}
			for _, api := range args {
				list, err := t.Schedules(cmd.Context(), api)
				if err != nil {
					return err
				}
				all = append(all, list...)
			}
			if out != pretty {
				return a.print(out, all)
			}
			if len(all) == 0 {
				a.say("no schedules")
				return nil
			}
			scheduleTable(all, time.Now()).write(a.streams.Out, a.paint)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

// scheduled returns the APIs that can have schedules.
func scheduled(ctx context.Context, t workload.Service) (names []string, _ error) {
	list, err := t.List(ctx)
	for _, api := range list {
		if m := api.Metadata; m != nil && workload.Has(m.Kind, "schedules") {
			names = append(names, m.Name)
		}
	}
	return names, err
}

func scheduleTable(list []workload.ScheduleStatus, now time.Time) table {
	t := table{headers: []string{"api", "schedule", "when", "state", "next", "last run", "reason"}}
	for _, s := range list {
		next, last := "-", "-"
		if len(s.Next) > 0 {
			next = "in " + s.Next[0].Sub(now).Round(time.Second).String()
		}
		if len(s.Runs) > 0 {
			last = fmt.Sprintf("%s, %s ago", s.Runs[0].State, now.Sub(s.Runs[0].BeganAt).Round(time.Second))
		}
		t.rows = append(t.rows, []string{s.API, s.Name, s.When, s.State, next, last, orElse(s.Reason, "-")})
	}
	return t
}

func (a *app) scheduleRunCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use: "run API_NAME SCHEDULE", Short: "begin a run of a schedule at once, whatever else is under way",
		Example:           "  cortex schedules run transcribe nightly",
		Args:              exactly("API_NAME", "SCHEDULE"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			run, err := t.RunSchedule(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, run)
			}
			a.say("%s", run.ID)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

// scheduleChange is a command that changes a schedule and prints what it does then.
func (a *app) scheduleChange(word, short, done string, change func(workload.Service, context.Context, string, string) (workload.ScheduleStatus, error)) *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use: word + " API_NAME SCHEDULE", Short: short,
		Example:           "  cortex schedules " + word + " transcribe nightly",
		Args:              exactly("API_NAME", "SCHEDULE"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			status, err := change(t, cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, status)
			}
			a.say("%s: %s", done, args[1])
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) scheduleBackfillCommand() *cobra.Command {
	var env, from, to string
	var out output
	var r workload.BackfillRequest
	cmd := &cobra.Command{
		Use: "backfill API_NAME SCHEDULE", Short: "begin the runs of a schedule that were due in a time that has passed",
		Long: "Begin the runs of a schedule that were due from one moment to before another, in their\n" +
			"order and whether or not they were begun then. It goes on by itself: cortex schedules\n" +
			"list -o json says how far it is.",
		Example:           "  cortex schedules backfill transcribe nightly --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z --parallel 4",
		Args:              exactly("API_NAME", "SCHEDULE"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			for _, x := range []struct {
				flag, text string
				into       *time.Time
			}{{"from", from, &r.From}, {"to", to, &r.To}} {
				if *x.into, err = time.Parse(time.RFC3339, x.text); err != nil {
					return fault.New(fault.Usage, "cli.bad_flag", "--%s is %q, and has to be a time such as 2026-01-05T08:00:00Z", x.flag, x.text)
				}
			}
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			status, err := t.BackfillSchedule(cmd.Context(), args[0], args[1], r)
			if err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, status)
			}
			a.say("begun; %s says how far it is", strings.Join([]string{"cortex schedules list", args[0], "-o json"}, " "))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "the first moment, such as 2026-01-01T00:00:00Z")
	f.StringVar(&to, "to", "", "the moment before which it ends")
	f.IntVar(&r.Parallel, "parallel", 1, "runs that are under way at once")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.MarkFlagRequired("to")
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}
