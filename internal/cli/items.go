package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// listedItems is how many items are shown unless more are asked for.
const listedItems = 50

func (a *app) itemsCommand() *cobra.Command {
	var env string
	var out output
	var q workload.ItemQuery
	var labels []string
	cmd := &cobra.Command{
		Use:   "items API_NAME",
		Short: "list what was submitted to an AsyncAPI, newest first",
		Example: "  cortex items transcribe\n" +
			"  cortex items transcribe --state failed --since 24h",
		Args:              exactly("API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if q.Labels, err = itemLabels(labels); err != nil {
				return err
			}
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			q.Name = args[0]
			items, err := t.Items(cmd.Context(), q)
			if err != nil {
				return err
			}
			if out != pretty {
				if items == nil {
					items = []workload.Item{}
				}
				return a.print(out, items)
			}
			if len(items) == 0 {
				a.say("no items")
				return nil
			}
			itemTable(items, time.Now()).write(a.streams.Out, a.paint)
			if len(items) == q.Limit {
				a.note("\nthere may be more: --limit says how many are shown, at most %d", workload.MaxItems)
			}
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	stateFlag(cmd, &q.States, "only items in these states, with commas between them")
	cmd.Flags().StringArrayVar(&labels, "label", nil, "only items with this label, name=value; more than once: with all of them")
	cmd.Flags().DurationVar(&q.Since, "since", 0, "only items that are this young (default: all that are kept)")
	cmd.Flags().IntVar(&q.Limit, "limit", listedItems, "how many to show")
	return cmd
}

// itemLabels reads name=value.
func itemLabels(texts []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, text := range texts {
		name, value, is := strings.Cut(text, "=")
		if !is || !workload.LegalItemLabel(name, value) {
			return nil, fault.New(fault.Usage, "cli.label_invalid", "--label cannot be %q", text).WithHint("a label is name=value: %s", workload.ItemLabelRule)
		}
		labels[name] = value
	}
	return labels, nil
}

func stateFlag(cmd *cobra.Command, into *[]string, usage string) {
	cmd.Flags().StringSliceVar(into, "state", nil, usage+": "+strings.Join(workload.ItemStates(), "|"))
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(workload.ItemStates(), cobra.ShellCompDirectiveNoFileComp))
}

func itemTable(items []workload.Item, now time.Time) table {
	t := table{headers: []string{"item", "state", "accepted", "executions", "reason"}}
	for _, i := range items {
		t.rows = append(t.rows, []string{i.ID, i.State, since(i.AcceptedAt, now), executions(i), orElse(whyItem(i), "-")})
	}
	return t
}

// executions is the number of the latest execution: earlier ones may not be kept.
func executions(i workload.Item) string {
	if len(i.Attempts) == 0 {
		return "0"
	}
	return fmt.Sprint(i.Attempts[len(i.Attempts)-1].N)
}

// whyItem is why an item is not, or not yet, done.
func whyItem(i workload.Item) string {
	switch {
	case i.Reason != nil:
		return i.Reason.Code
	case i.State == "retrying" && len(i.Attempts) > 0 && i.Attempts[len(i.Attempts)-1].Reason != nil:
		return i.Attempts[len(i.Attempts)-1].Reason.Code
	}
	return ""
}

func (a *app) itemCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use:               "item API_NAME ITEM_ID",
		Short:             "say what became of one item of an AsyncAPI",
		Example:           "  cortex item transcribe 06h2peafrw4vzpt2028w4zyzvpezhthzn6eg",
		Args:              exactly("API_NAME", "ITEM_ID"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			item, err := t.Item(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, item)
			}
			a.describeItem(item)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) describeItem(i workload.Item) {
	a.say("%s: %s", i.ID, i.State)
	a.say("accepted %s", i.AcceptedAt.Local().Format(timeFormat))
	if i.NextAttemptAt != nil {
		a.say("due %s", i.NextAttemptAt.Local().Format(timeFormat))
	}
	if i.ExpiresAt != nil {
		a.say("expires %s", i.ExpiresAt.Local().Format(timeFormat))
	}
	if q := i.Queue; q != nil {
		text := fmt.Sprintf("waits behind about %s", count(q.Ahead, "other"))
		if q.Estimate != "" {
			text += ", about " + q.Estimate
		}
		a.say("%s", text)
	}
	if p := i.Progress; p != nil {
		var parts []string
		if p.Percent != nil {
			parts = append(parts, fmt.Sprintf("%g %%", *p.Percent))
		}
		if p.Message != "" {
			parts = append(parts, p.Message)
		}
		a.say("progress: %s", strings.Join(parts, ", "))
	}
	if i.Priority != "" {
		a.say("priority: %s", i.Priority)
	}
	if len(i.Labels) > 0 {
		var labels []string
		for _, name := range slices.Sorted(maps.Keys(i.Labels)) {
			labels = append(labels, name+"="+i.Labels[name])
		}
		a.say("labels: %s", strings.Join(labels, ", "))
	}
	if i.Reason != nil {
		a.say("reason: %s: %s", i.Reason.Code, i.Reason.Message)
	}
	if i.ResultURL != "" {
		a.say("result: %s", i.ResultURL)
	}
	if len(i.Attempts) == 0 {
		return
	}
	t := table{headers: []string{"execution", "began", "took", "outcome", "replica", "reason"}}
	for _, e := range i.Attempts {
		reason := ""
		if e.Reason != nil {
			reason = e.Reason.Message
		}
		t.rows = append(t.rows, []string{
			fmt.Sprint(e.N), e.StartedAt.Local().Format(timeFormat), orElse(e.Duration, "-"), orElse(e.Outcome, "running"), orElse(e.Replica, "-"), orElse(reason, "-"),
		})
	}
	a.say("")
	t.write(a.streams.Out, a.paint)
}

func (a *app) cancelCommand() *cobra.Command {
	return a.changeItems("cancel", "cancel items of an AsyncAPI that have not ended", "  cortex cancel transcribe 06h2peafrw4vzpt2028w4zyzvpezhthzn6eg\n"+
		"  cortex cancel transcribe --state queued", "cancelled", workload.Service.CancelItems)
}

func (a *app) retryCommand() *cobra.Command {
	return a.changeItems("retry", "try items of an AsyncAPI again that failed, were cancelled or have expired, or what is left of a job of a BatchAPI", "  cortex retry classify 019b4c2f0a1d3c --failed\n"+
		"  cortex retry transcribe 06h2peafrw4vzpt2028w4zyzvpezhthzn6eg\n"+
		"  cortex retry transcribe --state failed", "queued again", workload.Service.RetryItems)
}

func (a *app) purgeCommand() *cobra.Command {
	var env string
	var out output
	var endedFor time.Duration
	cmd := &cobra.Command{
		Use:   "purge API_NAME",
		Short: "forget items of an AsyncAPI that have ended, with their payloads and results",
		Example: "  cortex purge transcribe\n" +
			"  cortex purge transcribe --ended-for 24h",
		Args:              exactly("API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			if endedFor < 0 {
				return fault.New(fault.Usage, "cli.wrong_arguments", "--ended-for is %s, and cannot be negative", endedFor)
			}
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			var all workload.ItemsPurged
			for more := true; more; {
				purged, err := t.PurgeItems(cmd.Context(), args[0], workload.ItemPurge{EndedFor: workload.Duration(endedFor)})
				if err != nil {
					return err
				}
				all.Purged += purged.Purged
				more = purged.More
			}
			if out != pretty {
				return a.print(out, all)
			}
			a.say("purged: %s", count(all.Purged, "item"))
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	cmd.Flags().DurationVar(&endedFor, "ended-for", 0, "only those that ended so long ago (default: all that have ended)")
	return cmd
}

// changeItems is a command that changes items, by their ids or by their state.
func (a *app) changeItems(word, short, example, done string, change func(workload.Service, context.Context, string, workload.ItemSelection) (workload.ItemsChanged, error)) *cobra.Command {
	var env string
	var out output
	var states []string
	var onlyFailed bool
	cmd := &cobra.Command{
		Use: word + " API_NAME [ITEM_ID...]", Short: short, Example: example,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return fault.New(fault.Usage, "cli.wrong_arguments", "missing API_NAME")
			case len(args) == 1 && len(states) == 0:
				return fault.New(fault.Usage, "cli.wrong_arguments", "missing ITEM_ID, or --state")
			case len(args) > 1 && len(states) > 0:
				return fault.New(fault.Usage, "cli.wrong_arguments", "items are named, and --state is given: leave one of the two out")
			}
			return nil
		},
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			if word == "retry" && len(args) > 1 {
				if api, err := t.Get(cmd.Context(), args[0]); err == nil && hasJobs(api) {
					return a.retryJobs(cmd.Context(), t, out, args[0], args[1:], onlyFailed)
				}
			}
			if onlyFailed {
				return fault.New(fault.Usage, "cli.wrong_flag", "--failed is for the job of a BatchAPI").WithHint("for items: --state failed")
			}
			all := workload.ItemsChanged{Changed: []string{}}
			for more := true; more; {
				changed, err := change(t, cmd.Context(), args[0], workload.ItemSelection{IDs: args[1:], States: states})
				all.Changed = append(all.Changed, changed.Changed...)
				if err != nil {
					return err
				}
				more = changed.More
			}
			if out != pretty {
				return a.print(out, all)
			}
			a.say("%s: %s", done, count(len(all.Changed), "item"))
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	stateFlag(cmd, &states, "all items in these states, with commas between them")
	if word == "retry" {
		cmd.Flags().BoolVar(&onlyFailed, "failed", false, "of a job: only the batches that failed, not those that it never came to")
	}
	return cmd
}
