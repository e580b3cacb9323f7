package cli

import (
	"context"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/workload"
)

func (a *app) refreshCommand() *cobra.Command {
	var o deployOptions
	cmd := &cobra.Command{
		Use:   "refresh API_NAME",
		Short: "restart all replicas of an api, without downtime",
		Long: "Replace every replica of an API by a new one of the same specification, as an update\n" +
			"does, and wait until the new ones are live: no request is lost. Processes run the code\n" +
			"that is in their folder now.",
		Example: "  cortex refresh iris\n" +
			"  cortex refresh iris --no-wait",
		Args:              exactly("API_NAME"),
		ValidArgsFunction: a.apiNames(&o.env),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.refresh(cmd.Context(), args[0], o) },
	}
	a.envFlag(cmd, &o.env)
	cmd.Flags().BoolVarP(&o.force, "force", "f", false, "override the in-progress api update")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "return as soon as the change is accepted")
	cmd.Flags().DurationVar(&o.timeout, "timeout", defaultDeployTimeout, "how long to wait for the api to be live")
	addOutputFlag(cmd, &o.out)
	return cmd
}

func (a *app) refresh(ctx context.Context, name string, o deployOptions) error {
	t, err := a.connect(ctx, o.env, o.out, refuse)
	if err != nil {
		return err
	}
	m, err := t.Refresh(ctx, name, o.force)
	if err != nil {
		return err
	}
	var outcome error
	if !o.noWait {
		api, err := t.Get(ctx, name)
		if err != nil {
			return err
		}
		results := []workload.DeployResult{{Name: name, API: &api, Action: workload.ActionUpdate, Message: m.Message}}
		outcome = newWaiter(a, t, o).wait(ctx, results)
		if ctx.Err() != nil {
			return outcome
		}
	}
	switch {
	case o.out != pretty:
		if err := a.print(o.out, m); err != nil {
			return err
		}
	case o.noWait:
		a.say("%s", m.Message)
	}
	return outcome
}
