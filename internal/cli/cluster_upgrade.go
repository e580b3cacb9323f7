package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/cluster"
)

func (a *app) clusterUpgradeCommand() *cobra.Command {
	var to string
	var yes bool
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "bring a cluster on AWS to the next Kubernetes, and to this version of cortex",
		Long: "Bring a cluster to the Kubernetes after its own, in place: the control plane, the add-ons, then the\n" +
			"nodes of one group after the other, and Cortex itself as `cortex upgrade` does. Its addresses stay,\n" +
			"and what is deployed goes on serving as far as it has replicas elsewhere. EKS takes one version at\n" +
			"a time, and none back. Where there is no newer one, and with --to and its own version, it gets the\n" +
			"newest images and add-ons of that.\n\n" +
			"What would stop it half way is looked for first. Whatever stops it, the same command goes on.",
		Example: "  cortex cluster upgrade --name iris --region us-west-2\n" +
			"  cortex cluster upgrade --config cluster.yaml --to 1.36",
		Args: exactly(),
	}
	a.aboutCluster(cmd, &yes, func(ctx context.Context, cloud Cloud, t clusterTarget, _ []string) error {
		return a.clusterUpgrade(ctx, cloud, t, to, yes)
	})
	cmd.Flags().StringVar(&to, "to", "", "version of Kubernetes, such as 1.36 (default: the one after its own)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	return cmd
}

func (a *app) clusterUpgrade(ctx context.Context, cloud Cloud, t clusterTarget, to string, yes bool) error {
	a.note("reading what there is in %s", t.region)
	u, err := cloud.Upgrade(ctx, t.name, to)
	if err != nil {
		return err
	}
	if len(u.Changes) == 0 {
		a.say("cluster %s has Kubernetes %s, with its newest images and add-ons", t.name, u.To)
		return nil
	}
	a.sayUpgrade(u)
	if !yes {
		if err := a.agreed(ctx, "upgrade cluster %s in %s?", t.name, t.region); err != nil {
			return err
		}
	}
	done, err := a.alone(ctx, t.name, t.region)
	if err != nil {
		return err
	}
	defer done()
	work := a.newWork(u.Plan)
	again := fmt.Sprintf("cortex cluster upgrade --name %s --region %s --to %s", t.name, t.region, u.To)
	if err := work.ended(cloud.CarryOut(ctx, u, work.run()), again); err != nil {
		return err
	}
	a.say("\ncluster %s has Kubernetes %s", t.name, u.To)
	if u.Config.KubernetesVersion != "" && u.From != u.To {
		a.say("write kubernetes_version: %q in its file: `up` and `configure` refuse the old one", u.To)
	}
	return nil
}

func (a *app) sayUpgrade(u *cluster.Upgrade) {
	a.sayChanges(u.Changes, u.Say()+":")
	for _, w := range u.Warnings {
		a.say("%s %s", a.paint.yellow("!"), w)
	}
	a.say("\nabout %d minutes", u.Minutes)
	if u.ExtraNodes > 0 {
		a.say("nodes are replaced group by group, with up to %d more of one group meanwhile, for up to %s an hour more", u.ExtraNodes, u.ExtraCost)
	}
	if u.From != u.To {
		a.say("EKS takes no cluster back to an older Kubernetes")
	}
}
