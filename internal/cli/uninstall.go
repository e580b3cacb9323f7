package cli

import (
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/fault"
)

func (a *app) uninstallCommand() *cobra.Command {
	var f clusterFlags
	var keep, yes bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "remove cortex from a Kubernetes cluster",
		Long: "Remove Cortex from a cluster: first what was deployed with it, whose requests under way are\n" +
			"answered, then Cortex itself.\n\n" +
			"With --keep-apis everything that was deployed stays and goes on running, though nothing leads\n" +
			"requests to it: a later `cortex install` takes it over again.",
		Example: "  cortex uninstall\n" +
			"  cortex uninstall --keep-apis --yes",
		Args: exactly(),
		RunE: a.clusterWork(func(cmd *cobra.Command, hooks *ClusterHooks) error {
			if timeout <= 0 {
				return fault.New(fault.Usage, "cli.wrong_flag", "--timeout must be positive")
			}
			cfg := f.config(a)
			cfg.Timeout = timeout
			place, err := a.place(hooks, cfg)
			if err != nil {
				return err
			}
			if yes {
				a.note("%s, namespace %s", place, cfg.Namespace)
			} else {
				what := "cortex and everything that was deployed with it"
				if keep {
					what = "cortex (what was deployed with it stays)"
				}
				ok, err := a.confirm(cmd.Context(), "remove %s from namespace %s of %s?", what, f.namespace, place)
				if err != nil {
					return err
				}
				if !ok {
					return fault.New(fault.Conflict, "cli.not_confirmed", "nothing was removed")
				}
			}
			cfg.Progress = a.progress()
			if err := hooks.Uninstall(cmd.Context(), cfg, keep); err != nil {
				return err
			}
			a.say("\nremoved cortex from namespace %s", f.namespace)
			return nil
		}),
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&keep, "keep-apis", false, "leave what was deployed, and the keys of the installation")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait for the end of what was deployed")
	return cmd
}
