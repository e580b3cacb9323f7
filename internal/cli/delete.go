package cli

import (
	"context"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// confirmAbove is the number of live replicas that are deleted without asking.
const confirmAbove = 2

func (a *app) deleteCommand() *cobra.Command {
	var env string
	var out output
	var force, keep bool
	cmd := &cobra.Command{
		Use:   "delete API_NAME [JOB_ID]",
		Short: "delete an api, or stop a job",
		Long: "Delete an API: requests under way are answered, then its replicas are stopped. With the\n" +
			"id of a job, that job is stopped and nothing deleted: what it has done stays.\n\n" +
			"An API with more than two live replicas is deleted after a question, or with --force.",
		Example: "  cortex delete iris\n" +
			"  cortex delete iris --force --keep-cache\n" +
			"  cortex delete train 019b4c2f0a1d3c",
		Args:              between(1, "API_NAME", "JOB_ID"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			if len(args) == 2 {
				m, err := t.StopJob(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				return a.sayMessage(out, m)
			}
			if !force {
				if err := a.confirmDelete(cmd.Context(), t, args[0]); err != nil {
					return err
				}
			}
			m, err := t.Delete(cmd.Context(), args[0], workload.DeleteOptions{KeepCache: keep})
			if err != nil {
				return err
			}
			return a.sayMessage(out, m)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "delete the api without confirmation")
	cmd.Flags().BoolVarP(&keep, "keep-cache", "c", false, "keep the history of the api")
	addOutputFlag(cmd, &out)
	return cmd
}

// sayMessage says what became of a change.
func (a *app) sayMessage(out output, m workload.Message) error {
	if out != pretty {
		return a.print(out, m)
	}
	a.say("%s", m.Message)
	return nil
}

// confirmDelete asks before an API that serves is deleted.
func (a *app) confirmDelete(ctx context.Context, t *target, name string) error {
	api, err := t.Get(ctx, name)
	if err != nil {
		return err
	}
	if api.Status == nil || api.Status.Ready <= confirmAbove {
		return nil
	}
	yes, err := a.confirm(ctx, "are you sure you want to delete %s (which has %d live replicas)?", name, api.Status.Ready)
	if err != nil {
		return err
	}
	if !yes {
		return fault.New(fault.Conflict, "cli.not_confirmed", "%s was not deleted", name)
	}
	return nil
}
