package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/environments"
)

func (a *app) clusterDownCommand() *cobra.Command {
	var yes, keep, verify bool
	var out output
	cmd := &cobra.Command{
		Use:   "down",
		Short: "take a cluster on AWS away, and look whether anything is left",
		Long: "Take a cluster away with everything that was made for it, and then look for anything that is\n" +
			"left, by names and tags. What is not provably the cluster's is never touched, only named. The\n" +
			"exit code is 1 when something is left. Whatever stops it, the same command goes on.",
		Example: "  cortex cluster down --name iris --region us-west-2\n" +
			"  cortex cluster down --config cluster.yaml --keep-aws-resources\n" +
			"  cortex cluster down --name iris --region us-west-2 --verify",
		Args: exactly(),
	}
	a.aboutCluster(cmd, &yes, func(ctx context.Context, cloud Cloud, t clusterTarget, _ []string) error {
		if verify {
			found, err := cloud.Verify(ctx, t.name, keep)
			if err != nil {
				return err
			}
			return a.sayVerified(out, found)
		}
		return a.clusterDown(ctx, cloud, t, keep, yes, out)
	})
	cmd.Flags().BoolVar(&keep, "keep-aws-resources", false, "keep the bucket and the log group")
	cmd.Flags().BoolVar(&verify, "verify", false, "only look whether anything is left")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) clusterDown(ctx context.Context, cloud Cloud, t clusterTarget, keep, yes bool, out output) error {
	changes, err := cloud.Removal(ctx, t.name, keep)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		a.note("there is nothing of a cluster %s in %s; looking for what may be left", t.name, t.region)
	}
	if len(changes) > 0 && !yes {
		a.note("to be taken away, in this order:")
		for _, c := range changes {
			a.note("  %s", c.ID)
		}
		if err := a.agreed(ctx, "take cluster %s in %s away, with everything that is deployed on it?", t.name, t.region); err != nil {
			return err
		}
	}
	done, err := a.alone(ctx, t.name, t.region)
	if err != nil {
		return err
	}
	defer done()
	work := a.newWork(nil)
	found, err := cloud.Down(ctx, t.name, keep, work.run())
	again := fmt.Sprintf("cortex cluster down --name %s --region %s", t.name, t.region)
	if err := work.ended(err, again); err != nil {
		return err
	}
	if err := a.dropEnvironments(ctx, t); err != nil {
		return err
	}
	a.forget(t.name, t.region)
	return a.sayVerified(out, found)
}

// dropEnvironments removes the environments that lead to a cluster which is gone, whatever
// they are called. Another cluster of the same name has another operator.
func (a *app) dropEnvironments(ctx context.Context, t clusterTarget) error {
	k, err := readKnown(a.knownPath(t.name, t.region))
	if err != nil || k.Operator == "" {
		return nil //nolint:nilerr // this machine has made none
	}
	return a.environments.Change(ctx, func(c *environments.Config) error {
		for _, e := range c.All() {
			if e.OperatorEndpoint != k.Operator {
				continue
			}
			if _, err := c.Remove(e.Name); err != nil {
				return err
			}
		}
		return nil
	})
}

// sayVerified says what is left, kind by kind.
func (a *app) sayVerified(out output, found []cluster.Verified) error {
	left, unknown := 0, 0
	var cost cluster.USD
	for _, v := range found {
		left += len(v.Left)
		if v.Unknown != "" {
			unknown++
		}
		for _, l := range v.Left {
			if l.Each != nil {
				cost += *l.Each
			}
		}
	}
	if out != pretty {
		if err := a.print(out, found); err != nil {
			return err
		}
		return reportedIf(left+unknown > 0)
	}
	for _, v := range found {
		switch {
		case v.Unknown != "":
			a.say("%s %s  %s", a.paint.yellow("?"), pad(v.What, 22), v.Unknown)
		case len(v.Left) == 0:
			a.say("%s %s  none", a.paint.green("✓"), pad(v.What, 22))
		}
		for _, l := range v.Left {
			price := ""
			if l.Each != nil {
				price = "  " + l.Each.String() + " an hour"
			}
			a.say("%s %s  %s %s%s", a.paint.red("✗"), pad(l.What, 22), l.Name, l.Note, price)
		}
	}
	switch {
	case left > 0:
		a.note("\n%s left, for %s an hour and what has no price here", count(left, "thing"), cost)
	case unknown > 0:
		a.note("\n%s could not be looked for", count(unknown, "kind of thing"))
	default:
		a.note("\nnothing is left")
	}
	return reportedIf(left+unknown > 0)
}

func sortedWords(list []string) []string { return slices.Sorted(slices.Values(list)) }
