package cli

import (
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/workload"
)

func (a *app) historyCommand() *cobra.Command {
	var env string
	var out output
	cmd := &cobra.Command{
		Use:   "history API_NAME",
		Short: "list the versions of an api, newest first",
		Example: "  cortex history iris\n" +
			"  cortex get iris API_ID        # what one of them looked like\n" +
			"  cortex rollback iris API_ID   # go back to it",
		Args:              exactly("API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			versions, err := t.History(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if out != pretty {
				if versions == nil {
					versions = []workload.APIVersion{}
				}
				return a.print(out, versions)
			}
			historyTable(versions, time.Now()).write(a.streams.Out, a.paint)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	addOutputFlag(cmd, &out)
	return cmd
}

func historyTable(versions []workload.APIVersion, now time.Time) table {
	t := table{headers: []string{"api id", "last deployed", "cause"}}
	for _, v := range versions {
		cause := v.Cause
		if v.Current {
			cause += " (current)"
		}
		at := time.Unix(v.LastUpdated, 0)
		t.rows = append(t.rows, []string{v.APIID, at.Local().Format(timeFormat) + " (" + since(at, now) + ")", cause})
	}
	return t
}
