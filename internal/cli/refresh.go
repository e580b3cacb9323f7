package cli

import "github.com/spf13/cobra"

func (a *app) refreshCommand() *cobra.Command {
	var env string
	var out output
	var force bool
	cmd := &cobra.Command{
		Use:   "refresh API_NAME",
		Short: "restart all replicas of an api, without downtime",
		Long: "Replace every replica of an API by a new one of the same specification, as an update\n" +
			"does: no request is lost. Processes run the code that is in their folder now.",
		Example:           "  cortex refresh iris",
		Args:              exactly("API_NAME"),
		ValidArgsFunction: a.apiNames(&env),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.connect(cmd.Context(), env, out, refuse)
			if err != nil {
				return err
			}
			m, err := t.Refresh(cmd.Context(), args[0], force)
			if err != nil {
				return err
			}
			if out != pretty {
				return a.print(out, m)
			}
			a.say("%s", m.Message)
			return nil
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().BoolVarP(&force, "force", "f", false, "override the in-progress api update")
	addOutputFlag(cmd, &out)
	return cmd
}
