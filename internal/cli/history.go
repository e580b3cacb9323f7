package cli

import (
	"fmt"
	"strings"
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
			"  cortex get iris v12        # what one of them looked like\n" +
			"  cortex rollback iris v12   # go back to it",
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

// historyTable shows versions by their numbers; the ids are in the JSON.
func historyTable(versions []workload.APIVersion, now time.Time) table {
	t := table{headers: []string{"version", "deployed", "first live", "cause", "result"}}
	when := func(unix int64) string {
		if unix == 0 {
			return "-"
		}
		at := time.Unix(unix, 0)
		return at.Local().Format(timeFormat) + " (" + since(at, now) + ")"
	}
	numbers := map[string]string{}
	for _, v := range versions {
		numbers[v.APIID] = versionName(v)
	}
	for _, v := range versions {
		name := versionName(v)
		switch {
		case v.Current:
			name += " (current)"
		case v.Serving:
			name += " (serving)"
		}
		cause := v.Cause
		if id, ok := strings.CutPrefix(cause, "rollback to "); ok && numbers[id] != "" {
			cause = "rollback to " + numbers[id]
		}
		result := orElse(string(v.Result), "-")
		if v.Reason != "" {
			result += ": " + v.Reason
		}
		t.rows = append(t.rows, []string{name, when(v.LastUpdated), when(v.FirstLive), cause, result})
	}
	return t
}

// versionName is the number of a version; its id where an earlier Cortex answers, which
// does not count them.
func versionName(v workload.APIVersion) string {
	if v.Number == 0 {
		return v.APIID
	}
	return fmt.Sprintf("v%d", v.Number)
}
