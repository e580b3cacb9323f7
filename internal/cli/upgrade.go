package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) upgradeCommand() *cobra.Command {
	var f clusterFlags
	var values valueFlags
	var out output
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "bring an installation on a Kubernetes cluster to this version",
		Long: "Bring an installation to the version of this program, and to other values. Values that are not\n" +
			"given stay as they are. What is deployed goes on serving: gateways are replaced one by one, and\n" +
			"pods of APIs are not restarted.",
		Example: "  cortex upgrade\n" +
			"  cortex upgrade --set gateway.replicas=4",
		Args: exactly(),
		RunE: a.clusterWork(func(cmd *cobra.Command, hooks *ClusterHooks) error {
			cfg := f.config(a)
			if err := values.fill(&cfg); err != nil {
				return err
			}
			if values.dryRun {
				return a.sayObjects(hooks, cfg)
			}
			cfg.Progress = a.progress()
			info, err := hooks.Upgrade(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return a.sayInstalled(out, info, "upgraded to")
		}),
	}
	f.add(cmd)
	values.add(cmd)
	addOutputFlag(cmd, &out)
	return cmd
}
