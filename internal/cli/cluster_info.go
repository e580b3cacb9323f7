package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

func (a *app) clusterInfoCommand() *cobra.Command {
	var yes, drift, debug, printConfig bool
	var environment string
	var out output
	cmd := &cobra.Command{
		Use:   "info",
		Short: "say what there is of a cluster on AWS, what it costs, and what differs from its file",
		Long: "Say what there is of a cluster: its endpoints, its versions, its nodes, what it costs an hour\n" +
			"with the nodes that there are now, what it takes to reach it from another VPC, and what differs\n" +
			"from what was asked for last. Nothing is changed.\n\n" +
			"With --drift AWS compares each stack with what there is, property by property, and aws-auth is\n" +
			"read. With --configure-env this machine gets to know the operator, as after `cortex cluster up`.\n\n" +
			"With --print-config the answer is the cluster file that was asked for last, with its defaults.\n" +
			"With --debug everything that is known is written into cortex-debug-TIME.tgz of this folder: what\n" +
			"AWS says, the checks of `cortex cluster health`, and of each API its state, events and last logs.",
		Example: "  cortex cluster info --name iris --region us-west-2\n" +
			"  cortex cluster info --config cluster.yaml -o json\n" +
			"  cortex cluster info --name iris --region us-west-2 --configure-env iris\n" +
			"  cortex cluster info --name iris --region us-west-2 --print-config > cluster.yaml",
		Args: exactly(),
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			return errors.Join(exclusive(cmd, "print-config", "debug"), exclusive(cmd, "debug", "output"), exclusive(cmd, "print-config", "drift"))
		},
	}
	a.aboutCluster(cmd, &yes, func(ctx context.Context, cloud Cloud, t clusterTarget, _ []string) error {
		s, err := cloud.Info(ctx, t.name)
		if err != nil {
			return err
		}
		switch {
		case printConfig:
			return a.printConfig(s, out)
		case debug:
			return a.debugCluster(ctx, cloud, s, time.Now())
		case drift:
			a.note("AWS compares the stacks with what there is")
			if s.StackDrift, err = cloud.StackDrift(ctx, t.name); err != nil {
				return err
			}
		}
		if environment != "" {
			if err := a.configureFrom(ctx, s, environment); err != nil {
				return err
			}
		}
		if out != pretty {
			return a.print(out, s)
		}
		a.sayCluster(s)
		if drift {
			a.sayDrift(s.StackDrift)
		}
		return nil
	})
	cmd.Flags().BoolVar(&drift, "drift", false, "have AWS compare each stack with what there is; takes a minute")
	cmd.Flags().StringVarP(&environment, "configure-env", "e", "", "name of an environment to configure with the cluster's operator")
	cmd.Flags().BoolVar(&printConfig, "print-config", false, "print the cluster file that was asked for last, with its defaults")
	cmd.Flags().BoolVarP(&debug, "debug", "d", false, "write what is known about the cluster into a file, for whoever looks for what is wrong")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	addOutputFlag(cmd, &out)
	return cmd
}

// printConfig prints the cluster file that was asked for last.
func (a *app) printConfig(s *cluster.Status, out output) error {
	if out == pretty {
		out = yamlOut
	}
	text, err := configText(s, out)
	if err != nil {
		return err
	}
	_, err = a.streams.Out.Write(text)
	return err
}

// configText is the cluster file of a cluster.
func configText(s *cluster.Status, out output) ([]byte, error) {
	if s.Config == nil {
		return nil, fault.New(fault.Conflict, codeNotWhole, "what cluster %s was made from is not known: its bucket has no note of it", s.ClusterName).
			WithHint("`cortex cluster up FILE` with the file that it was made from writes it again")
	}
	if out == yamlOut {
		return jsonToYAML(s.Config.File())
	}
	var text bytes.Buffer
	if err := json.Indent(&text, s.Config.File(), "", "  "); err != nil {
		return nil, err
	}
	return append(text.Bytes(), '\n'), nil
}

// configureFrom makes an environment of what is known of a cluster.
func (a *app) configureFrom(ctx context.Context, s *cluster.Status, name string) error {
	if s.Operator == "" || s.Authority == "" {
		return errNotWhole(s.ClusterName)
	}
	work := a.newWork(nil)
	work.environment, work.of = name, clusterTarget{name: s.ClusterName, region: s.Region}
	if err := work.configure(ctx, name, s.Operator, s.Authority); err != nil {
		return err
	}
	a.note("the environment %s leads to it", name)
	return nil
}

// sayDrift says what AWS has found to be other than its stacks have it.
func (a *app) sayDrift(all []cluster.Drift) {
	if len(all) == 0 {
		a.say("\nAWS finds nothing that was changed past the stacks")
		return
	}
	a.say("\nchanged by somebody, past the stacks:")
	t := table{headers: []string{"where", "what", "property", "is", "should be"}}
	for _, d := range all {
		t.rows = append(t.rows, []string{d.Where, d.What, d.Property, d.Is, d.Should})
	}
	t.write(a.streams.Out, a.paint)
}

func (a *app) sayCluster(s *cluster.Status) {
	a.say("cluster %s in %s of account %s: %s, Kubernetes %s", s.ClusterName, s.Region, s.Account, strings.ToLower(s.State), either(s.Kubernetes, "?"))
	row := func(name, value string) {
		if value != "" {
			a.say("  %s %s", a.paint.dim(pad(name, 18)), value)
		}
	}
	row("operator endpoint", s.Operator)
	row("apis", s.APIs)
	if s.DaysLeft != nil {
		row("support", fmt.Sprintf("AWS supports Kubernetes %s for %s, until %s", s.Kubernetes, count(*s.DaysLeft, "day"), s.Until))
	}
	row("being changed by", s.Holder)
	row("vpc", strings.TrimSuffix(s.Network.VPC+", "+s.Network.CIDR, ", "))
	if len(s.Network.Internal) > 0 {
		a.sayPeering(s)
	}
	nodes := table{headers: []string{"nodes", "state", "there are", "wanted", "number", "market", "instance types"}}
	for _, g := range s.Groups {
		market := "on demand"
		if g.Spot {
			market = "spot"
		}
		nodes.rows = append(nodes.rows, []string{
			g.Name, strings.ToLower(g.State), fmt.Sprint(g.Nodes), fmt.Sprint(g.Desired), fmt.Sprintf("%d to %d", g.Min, g.Max), market, strings.Join(g.Types, ", "),
		})
	}
	a.sayTable(nodes)
	stacks := table{headers: []string{"stack", "state"}}
	for _, stack := range s.Stacks {
		stacks.rows = append(stacks.rows, []string{stack.Name, strings.ToLower(strings.ReplaceAll(stack.State, "_", " "))})
	}
	a.sayTable(stacks)
	if s.Cost != nil {
		a.say("\n%s an hour now, about $%.0f a month (prices of %s, in %s); `-o json` has the lines", s.Cost.Hourly, float64(s.Cost.Monthly)/1e9, s.Cost.PricesOf, s.Cost.PricesIn)
	}
	for _, g := range s.Groups {
		for _, issue := range g.Issues {
			a.say("%s: %s", g.Name, issue)
		}
	}
	for _, n := range s.Notes {
		a.say("%s", n)
	}
	a.sayChanges(s.Drift, "differs from what was asked for: `"+puttingRight(s.Drift)+" FILE` puts it right")
}

// puttingRight is the command that makes changes: what is too much goes by another than what
// is missing.
func puttingRight(changes []cluster.Change) string {
	if slices.ContainsFunc(changes, func(c cluster.Change) bool { return c.Action == cluster.Remove }) {
		return "cortex cluster configure"
	}
	return "cortex cluster up"
}

// sayChanges prints changes below a line.
func (a *app) sayChanges(changes []cluster.Change, line string) {
	if len(changes) == 0 {
		return
	}
	a.say("\n%s", line)
	t := table{headers: []string{"to do", "what", ""}}
	for _, c := range changes {
		t.rows = append(t.rows, []string{string(c.Action), c.ID, c.Why})
	}
	t.write(a.streams.Out, a.paint)
}

func (a *app) clusterConfigureCommand() *cobra.Command {
	var keys keyFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "configure CLUSTER_FILE",
		Short: "bring a cluster on AWS to another cluster file",
		Long: "Bring a cluster that is there to what its file says now. Node groups can be added, removed and\n" +
			"given other numbers and priorities; the certificate and the white lists can change, and logs and\n" +
			"metrics of CloudWatch can be switched on and off. What cannot is refused, before anything is\n" +
			"changed. How many nodes there are now stays as it is.",
		Example:           "  cortex cluster configure cluster.yaml",
		Args:              exactly("CLUSTER_FILE"),
		ValidArgsFunction: completeFiles(1),
	}
	cmd.RunE = a.cloudWork(func(cmd *cobra.Command, args []string) error {
		return a.clusterConfigure(cmd.Context(), args[0], &keys, yes)
	})
	keys.add(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	return cmd
}

func (a *app) clusterConfigure(ctx context.Context, file string, keys *keyFlags, yes bool) error {
	parsed, err := readCluster(file)
	if err != nil {
		return err
	}
	c := parsed.Config
	if broken := c.Validate(); len(broken) > 0 {
		return parsed.Fault(broken)
	}
	a.warn(parsed.Warnings)
	cloud, err := a.cloud(ctx, keys, c.ClusterName, c.Region, yes)
	if err != nil {
		return err
	}
	change, broken, err := cloud.Configure(ctx, c)
	if err != nil {
		return err
	}
	if len(broken) > 0 {
		return parsed.Fault(broken)
	}
	if len(change.Changes) == 0 {
		a.say("cluster %s is what %s says", c.ClusterName, file)
		return nil
	}
	a.sayChanges(change.Changes, "to be changed:")
	if slices.ContainsFunc(change.Changes, func(c cluster.Change) bool { return c.ID == cluster.IDChart }) {
		if err := a.lookForImages(ctx, cloud, change.Plan); err != nil {
			return err
		}
	}
	for _, q := range change.Short {
		a.say("%s %s: needs %d more, and %s; %s", a.paint.yellow("!"), q.Name, q.Need, quotaRoom(q), q.Ask())
	}
	a.say("%s an hour then, at least", change.Plan.Cost.Hourly)
	if !yes {
		if err := a.agreed(ctx, "change cluster %s in %s?", c.ClusterName, c.Region); err != nil {
			return err
		}
	}
	done, err := a.alone(ctx, c.ClusterName, c.Region)
	if err != nil {
		return err
	}
	defer done()
	work := a.newWork(change.Plan)
	if err := work.ended(cloud.Apply(ctx, change, work.run()), "cortex cluster configure "+file); err != nil {
		return err
	}
	a.say("\ncluster %s is what %s says", c.ClusterName, file)
	return nil
}
