package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/workload"
)

func (a *app) describeCommand() *cobra.Command {
	var env string
	var out output
	var watch bool
	cmd := &cobra.Command{
		Use:   "describe API_NAME",
		Short: "describe the replicas of an api, and why any is not ready",
		Example: "  cortex describe iris\n" +
			"  cortex describe iris -o json",
		Args:              exactly("API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.maybeWatch(cmd.Context(), watch, func(ctx context.Context, w io.Writer) error {
				t, err := a.connect(ctx, env, out, refuse)
				if err != nil {
					return err
				}
				api, err := t.Describe(ctx, args[0])
				if err != nil {
					return err
				}
				if out != pretty {
					return a.printTo(w, out, []workload.APIResponse{api})
				}
				a.writeDescription(w, api)
				return nil
			})
		},
	}
	a.envFlag(cmd, &env)
	addWatchFlag(cmd, &watch)
	addOutputFlag(cmd, &out)
	return cmd
}

// countRows are the rows of a description, in the order in which replicas live.
func countRows(c *workload.Counts) [][2]string {
	rows := [][2]string{{"ready", strconv.Itoa(c.Ready)}, {"requested", strconv.Itoa(c.Requested)}}
	for _, r := range []struct {
		name string
		n    int
	}{
		{"ready (out of date)", c.ReadyOutOfDate}, {"pending", c.Pending}, {"creating", c.Creating}, {"not ready", c.NotReady},
		{"terminating", c.Terminating}, {"failed", c.Failed}, {"killed", c.Killed}, {"killed (out of memory)", c.KilledOOM},
		{"error while pulling image", c.ErrImagePull}, {"stalled", c.Stalled}, {"unknown", c.Unknown},
	} {
		if r.n > 0 {
			rows = append(rows, [2]string{r.name, strconv.Itoa(r.n)})
		}
	}
	return rows
}

// replicaTable shows every replica, and what it takes where that is known of any.
func replicaTable(replicas []workload.Replica, now time.Time) table {
	t := table{headers: []string{"replica", "state", "since", "restarts", "address", "in flight", "memory", "cpu time"}}
	for _, r := range replicas {
		row := []string{r.ID, strings.ReplaceAll(string(r.State), "_", " "), since(r.Since, now), strconv.Itoa(r.Restarts), orElse(r.Address, "-")}
		t.rows = append(t.rows, append(row, usageColumns(r.Usage)...))
	}
	if !slices.ContainsFunc(replicas, func(r workload.Replica) bool { return r.Usage != nil }) {
		t = t.without("in flight").without("memory").without("cpu time")
	}
	return t
}

func usageColumns(u *workload.Usage) []string {
	row := []string{"-", "-", "-"}
	if u == nil {
		return row
	}
	if u.InFlight != nil {
		row[0] = strconv.Itoa(*u.InFlight)
	}
	if u.MemoryBytes > 0 {
		row[1] = fmt.Sprintf("%d MiB", (u.MemoryBytes+1<<19)>>20)
		row[2] = fmt.Sprintf("%.1f s", u.CPUSeconds)
	}
	return row
}

func (a *app) writeDescription(w io.Writer, api workload.APIResponse) {
	s := api.Status
	if s == nil {
		fmt.Fprintf(w, "%s has no replicas\n", apiName(&api))
		return
	}
	fmt.Fprintf(w, "%s %s\n\n", a.paint.bold(apiName(&api)+":"), summary(s))
	if s.ReplicaCounts != nil {
		t := table{headers: []string{"replica status", "replica count"}}
		for _, r := range countRows(s.ReplicaCounts) {
			t.rows = append(t.rows, r[:])
		}
		t.write(w, a.paint)
	}
	if len(s.Replicas) > 0 {
		fmt.Fprintln(w)
		replicaTable(s.Replicas, time.Now()).write(w, a.paint)
	}
	if s.Warning != "" {
		fmt.Fprintf(w, "\n%s %s\n", a.paint.yellow("warning:"), s.Warning)
	}
	for _, r := range s.Replicas {
		if r.Reason == nil {
			continue
		}
		fmt.Fprintf(w, "\n%s %s", a.paint.bold("replica "+r.ID+":"), r.State)
		if r.Restarts > 0 {
			fmt.Fprintf(w, ", %s", count(r.Restarts, "restart"))
		}
		fmt.Fprintln(w)
		writeCause(w, a.paint, r.Reason)
	}
}
