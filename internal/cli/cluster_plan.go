package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// planFlags say what a plan is made from, and where it goes.
type planFlags struct {
	keys      keyFlags
	yes       bool
	facts     string
	templates string
	out       output
}

func (a *app) clusterPlanCommand() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan CLUSTER_FILE",
		Short: "show what a cluster on AWS would be made of, and what it would cost",
		Long: "Show what the cluster of a file would be made of in an AWS account, in which order, what it\n" +
			"costs an hour and which quotas it needs. Nothing is made. What has to be known of the account is\n" +
			"read from it, or from a file of facts, and then nobody is asked. The exit code is 1 when the\n" +
			"file breaks a rule or a quota is too small.",
		Example: "  cortex cluster plan cluster.yaml\n" +
			"  cortex cluster plan cluster.yaml --facts facts.json --templates templates/",
		Args:              exactly("CLUSTER_FILE"),
		ValidArgsFunction: completeFiles(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.facts != "" {
				return a.clusterPlan(args[0], f, func(*cluster.Config) (*cluster.Facts, error) { return readFacts(f.facts) })
			}
			return a.cloudWork(func(cmd *cobra.Command, args []string) error {
				return a.clusterPlan(args[0], f, func(c *cluster.Config) (*cluster.Facts, error) { return a.askFacts(cmd.Context(), c, f) })
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.facts, "facts", "", "file of what is known of the account, as JSON (default: the account is asked)")
	flags.StringVar(&f.templates, "templates", "", "folder to write the CloudFormation templates to")
	_ = cmd.MarkFlagFilename("facts", "json")
	_ = cmd.MarkFlagDirname("templates")
	f.keys.add(cmd)
	flags.BoolVarP(&f.yes, "yes", "y", false, "skip prompts")
	addOutputFlag(cmd, &f.out)
	return cmd
}

// askFacts reads facts of the account itself.
func (a *app) askFacts(ctx context.Context, c *cluster.Config, f planFlags) (*cluster.Facts, error) {
	cloud, err := a.cloud(ctx, &f.keys, c.ClusterName, c.Region, f.yes)
	if err != nil {
		return nil, err
	}
	return cloud.Facts(ctx, c)
}

func (a *app) clusterPlan(file string, f planFlags, factsOf func(*cluster.Config) (*cluster.Facts, error)) error {
	parsed, err := readCluster(file)
	if err != nil {
		return err
	}
	if broken := parsed.Config.Validate(); len(broken) > 0 {
		return parsed.Fault(append(broken, parsed.Config.Creation()...))
	}
	facts, err := factsOf(parsed.Config)
	if err != nil {
		return err
	}
	plan, broken := cluster.Build(parsed.Config, facts)
	if broken = append(broken, parsed.Config.Creation()...); len(broken) > 0 {
		return parsed.Fault(broken)
	}
	if f.templates != "" {
		if err := writeTemplates(f.templates, plan); err != nil {
			return err
		}
	}
	a.warn(parsed.Warnings)
	if f.out != pretty {
		if err := a.print(f.out, plan); err != nil {
			return err
		}
	} else {
		a.sayPlan(plan)
	}
	return quotaFault(plan)
}

// readFacts reads a file of facts, within its bound whatever the path names.
func readFacts(path string) (*cluster.Facts, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.NotFound, cluster.CodeFactsUnreadable, "--facts: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, cluster.MaxFactsBytes+1))
	if err != nil {
		return nil, fault.New(fault.Invalid, cluster.CodeFactsUnreadable, "--facts: %w", err)
	}
	return cluster.ParseFacts(path, data)
}

// writeTemplates writes each template of a plan to a file of its own, called as its stack.
func writeTemplates(dir string, plan *cluster.Plan) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fault.New(fault.Usage, "cli.wrong_flag", "--templates: %w", err)
	}
	for _, s := range plan.Steps {
		if s.Do.Stack == nil {
			continue
		}
		var text bytes.Buffer
		if err := json.Indent(&text, s.Do.Stack.Template, "", "  "); err != nil {
			return err
		}
		text.WriteByte('\n')
		if err := os.WriteFile(filepath.Join(dir, s.Do.Stack.Name+".json"), text.Bytes(), 0o644); err != nil { //nolint:gosec // nothing in a template is secret
			return fault.New(fault.Usage, "cli.wrong_flag", "--templates: %w", err)
		}
	}
	return nil
}

// quotaFault is the fault of a plan that the account's quotas do not allow, or nil.
func quotaFault(plan *cluster.Plan) error {
	exceeded := plan.Exceeded()
	if len(exceeded) == 0 {
		return nil
	}
	var lines, asks []string
	for _, q := range exceeded {
		lines = append(lines, fmt.Sprintf("%s: needs %d, and %s", q.Name, q.Need, quotaRoom(q)))
		asks = append(asks, q.Ask())
	}
	return fault.New(fault.Conflict, cluster.CodeQuota, "%s too small for this cluster:\n  %s", count(len(exceeded), "quota"), strings.Join(lines, "\n  ")).
		WithHint("%s", strings.Join(asks, "\n      "))
}

// quotaRoom is how much of a quota there is.
func quotaRoom(q cluster.Quota) string {
	switch {
	case q.Limit == nil:
		return "the limit is not known"
	case q.Used == nil:
		return fmt.Sprintf("the limit is %.0f", *q.Limit)
	}
	return fmt.Sprintf("%.0f of %.0f are used", *q.Used, *q.Limit)
}

func (a *app) sayPlan(p *cluster.Plan) {
	a.say("cluster %s in %s of account %s: Kubernetes %s, zones %s", p.ClusterName, p.Region, p.Account, p.Kubernetes, strings.Join(p.Zones, ", "))
	if p.SupportedUntil != "" {
		a.say("AWS supports Kubernetes %s until %s, and then upgrades it", p.Kubernetes, p.SupportedUntil)
	}
	steps := table{headers: []string{"to make, in this order", "name", "for"}}
	for _, s := range p.Steps {
		kind, name := stepWords(s)
		steps.rows = append(steps.rows, []string{kind, name, s.Why})
	}
	a.sayTable(steps)
	nodes := table{headers: []string{"nodes", "number", "market", "instance types"}}
	for _, g := range p.Groups {
		market := "on demand"
		if g.Spot {
			market = "spot"
		}
		nodes.rows = append(nodes.rows, []string{g.Name, fmt.Sprintf("%d to %d", g.Min, g.Max), market, strings.Join(g.Types, ", ")})
	}
	a.sayTable(nodes)
	a.sayCost(p)
	quotas := table{headers: []string{"quota", "needs", "account", ""}}
	for _, q := range p.Quotas {
		need := fmt.Sprint(q.Need)
		if q.Most > 0 {
			need += " to " + fmt.Sprint(q.Most)
		}
		quotas.rows = append(quotas.rows, []string{q.Name, need, quotaRoom(q), q.State})
	}
	a.sayTable(quotas)
}

// sayTable prints a table below an empty line.
func (a *app) sayTable(t table) {
	a.say("")
	t.write(a.streams.Out, a.paint)
}

// stepWords are the kind of a step and what it makes.
func stepWords(s cluster.Step) (kind, name string) {
	switch do := s.Do; {
	case do.LogGroup != nil:
		return "log group", do.LogGroup.Name
	case do.Bucket != nil:
		return "bucket", do.Bucket.Name
	case do.Policy != nil:
		return "policy", do.Policy.Name
	case do.Role != nil:
		return "role", do.Role.Name
	case do.Stack != nil:
		return "stack", do.Stack.Name
	case do.Attach != nil:
		return "scaling group", do.Attach.NodeGroup
	case do.Chart != nil:
		return "chart", do.Chart.Namespace
	}
	return "environment", s.Do.Environment.Name
}

func (a *app) sayCost(p *cluster.Plan) {
	c := p.Cost
	where := "in " + c.PricesIn
	if p.Region != c.PricesIn {
		where = "as in " + c.PricesIn
	}
	costs := table{headers: []string{"costs", "number", "each hour", "each hour in all", ""}}
	for _, l := range c.Lines {
		n := fmt.Sprint(l.Count)
		if l.Most != l.Count {
			n += " to " + fmt.Sprint(l.Most)
		}
		each, sum := "?", "?"
		if l.Each != nil {
			each, sum = l.Each.String(), (*l.Each * cluster.USD(l.Count)).String()
		}
		costs.rows = append(costs.rows, []string{l.What, n, each, sum, l.Note})
	}
	a.sayTable(costs)
	total := fmt.Sprintf("%s an hour, about $%.0f a month", c.Hourly, float64(c.Monthly)/1e9)
	if c.AtMost != c.Hourly {
		total += fmt.Sprintf("; at most %s an hour, when every group is full", c.AtMost)
	}
	a.say("%s (prices of %s, %s)", total, c.PricesOf, where)
	if len(c.Unknown) > 0 {
		a.say("not in it, because no price is known: %s", strings.Join(c.Unknown, ", "))
	}
	a.say("not in it: traffic, logs, requests to S3")
}
