package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/workload"
)

func (a *app) webhooksCommand() *cobra.Command {
	var env string
	var out output
	var again []string
	var q workload.HookQuery
	cmd := &cobra.Command{
		Use:   "webhooks API_NAME",
		Short: "list the webhook messages about items of an AsyncAPI, or have some sent again",
		Example: "  cortex webhooks transcribe --state gave_up\n" +
			"  cortex webhooks transcribe --redeliver 06h2peafrw4vzpt2028w4zyzvpezhthzn6eg.0",
		Args:              exactly("API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			q.Name = args[0]
			if len(again) > 0 {
				changed, err := t.RedeliverWebhooks(cmd.Context(), q.Name, workload.HookSelection{IDs: again})
				if err != nil {
					return err
				}
				if out == pretty {
					a.say("sent again: %s", count(len(changed.Changed), "message"))
					return nil
				}
				q.Limit = workload.MaxItems
			}
			hooks, err := t.Webhooks(cmd.Context(), q)
			if err != nil {
				return err
			}
			if len(again) > 0 {
				hooks = slices.DeleteFunc(hooks, func(h workload.Hook) bool { return !slices.Contains(again, h.ID) })
			}
			if out != pretty {
				if hooks == nil {
					hooks = []workload.Hook{}
				}
				return a.print(out, hooks)
			}
			if len(hooks) == 0 {
				a.say("no webhook messages")
				return nil
			}
			hookTable(hooks, time.Now()).write(a.streams.Out, a.paint)
			if len(hooks) == q.Limit {
				a.note("\nthere may be more: --limit says how many are shown, at most %d", workload.MaxItems)
			}
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	cmd.Flags().StringSliceVar(&q.States, "state", nil, "only messages in these states, with commas between them: pending|delivered|gave_up")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(workload.HookStates(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().IntVar(&q.Limit, "limit", listedItems, "how many to show")
	cmd.Flags().StringSliceVar(&again, "redeliver", nil, "send the messages with these ids again, also delivered ones")
	return cmd
}

func hookTable(hooks []workload.Hook, now time.Time) table {
	t := table{headers: []string{"message", "event", "state", "tries", "last try", "to", "reason"}}
	for _, h := range hooks {
		tried, reason := "-", "-"
		if h.TriedAt != nil {
			tried = since(*h.TriedAt, now)
		}
		if h.Reason != nil {
			reason = h.Reason.Message
		}
		t.rows = append(t.rows, []string{h.ID, h.Event, h.State, fmt.Sprint(h.Tries), tried, h.URL, reason})
	}
	return t
}
