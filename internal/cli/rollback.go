package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/workload"
)

func (a *app) rollbackCommand() *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "rollback API_NAME [VERSION]",
		Short: "deploy an earlier version of an api again",
		Long: "Deploy an earlier version of an API again, as a new version, and wait until it is live.\n\n" +
			"Without one it is the last that was live. A version is a number, such as v12, an id,\n" +
			"or a part of an id that fits no other; `cortex history` lists them.",
		Example: "  cortex rollback iris\n" +
			"  cortex rollback iris v12 --no-wait",
		Args:              between(1, "API_NAME", "VERSION"),
		ValidArgsFunction: a.namesAndVersions(&o.env),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			t, err := a.connect(ctx, o.env, o.out, refuse)
			if err != nil {
				return err
			}
			id := ""
			if len(args) > 1 {
				id = args[1]
			}
			result, err := t.Rollback(ctx, args[0], id)
			if err != nil {
				return err
			}
			results := []workload.DeployResult{result}
			outcome := a.tellRefused(results)
			if !o.noWait {
				err := newWaiter(a, t, o).wait(ctx, results)
				if ctx.Err() != nil {
					return err
				}
				outcome = errors.Join(outcome, err)
			}
			if o.out != pretty {
				if err := a.print(o.out, results[0]); err != nil {
					return err
				}
			} else if o.noWait && result.Error == "" {
				a.say("%s", result.Message)
			}
			return outcome
		},
	}
	a.waitFlags(cmd, &o)
	return cmd
}
