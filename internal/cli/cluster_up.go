package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/environments"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/trust"
)

func (a *app) clusterUpCommand() *cobra.Command {
	var keys keyFlags
	var environment string
	var yes bool
	cmd := &cobra.Command{
		Use:   "up CLUSTER_FILE",
		Short: "make a cluster in your AWS account, or go on making it",
		Long: "Make the cluster of a file in your AWS account. First everything is looked at, and shown with\n" +
			"its price; nothing is made before you say yes. It takes about 20 minutes. Whatever stops it,\n" +
			"the same command goes on where it stopped, from any machine: what there is, is asked of AWS.\n\n" +
			"Credentials are those of --aws-key and --aws-secret, then those that the cluster was worked on\n" +
			"with before, then those that the aws command line would take.",
		Example: "  cortex cluster up cluster.yaml\n" +
			"  cortex cluster up cluster.yaml --yes --configure-env staging",
		Args:              exactly("CLUSTER_FILE"),
		ValidArgsFunction: completeFiles(1),
	}
	cmd.RunE = a.cloudWork(func(cmd *cobra.Command, args []string) error {
		return a.clusterUp(cmd.Context(), args[0], &keys, environment, yes)
	})
	keys.add(cmd)
	cmd.Flags().StringVarP(&environment, "configure-env", "e", "", "name of the environment to configure (default: the name of the cluster)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "skip prompts")
	return cmd
}

func (a *app) clusterUp(ctx context.Context, file string, keys *keyFlags, environment string, yes bool) error {
	parsed, err := readCluster(file)
	if err != nil {
		return err
	}
	c := parsed.Config
	if broken := append(c.Validate(), c.Creation()...); len(broken) > 0 {
		return parsed.Fault(broken)
	}
	a.warn(parsed.Warnings)
	cloud, err := a.cloud(ctx, keys, c.ClusterName, c.Region, yes)
	if err != nil {
		return err
	}
	a.note("reading what there is in %s", c.Region)
	facts, err := cloud.Facts(ctx, c)
	if err != nil {
		return err
	}
	pinned, facts, err := cloud.Pin(ctx, c, facts)
	if err != nil {
		return err
	}
	plan, broken := cluster.Build(pinned, facts)
	if len(broken) > 0 {
		return parsed.Fault(broken)
	}
	state, err := cloud.State(ctx, plan)
	if err != nil {
		return err
	}
	if len(state) == 0 {
		if err := quotaFault(plan); err != nil {
			a.sayPlan(plan)
			return err
		}
	}
	a.sayPlan(plan)
	if err := a.lookForImages(ctx, cloud, plan); err != nil {
		return err
	}
	if n := len(state); n > 0 {
		a.say("\n%d of %d are there already", n, len(plan.Steps))
	}
	if !yes {
		if err := a.agreed(ctx, "make cluster %s in %s, for %s an hour?", plan.ClusterName, plan.Region, plan.Cost.Hourly); err != nil {
			return err
		}
	}
	done, err := a.alone(ctx, c.ClusterName, c.Region)
	if err != nil {
		return err
	}
	defer done()
	if err := a.remember(c.ClusterName, c.Region, ""); err != nil {
		return err
	}
	work := a.newWork(plan)
	work.environment = either(environment, c.ClusterName)
	if err := work.ended(cloud.Up(ctx, c, facts, plan, work.run()), "cortex cluster up "+file); err != nil {
		return err
	}
	return a.sayUp(ctx, cloud, plan, c, work.environment)
}

// lookForImages refuses a plan that starts an image which no registry has.
func (a *app) lookForImages(ctx context.Context, cloud Cloud, plan *cluster.Plan) error {
	unknown, err := cloud.LookForImages(ctx, plan)
	if err == nil && unknown != "" {
		a.note("images: %s", unknown)
	}
	return err
}

// agreed asks, and makes a refusal an error.
func (a *app) agreed(ctx context.Context, format string, args ...any) error {
	ok, err := a.confirm(ctx, format, args...)
	if err == nil && !ok {
		err = fault.New(fault.Conflict, "cli.not_confirmed", "nothing was changed")
	}
	return err
}

// sayUp says how the cluster is reached.
func (a *app) sayUp(ctx context.Context, cloud Cloud, plan *cluster.Plan, c *cluster.Config, environment string) error {
	s, err := cloud.Info(ctx, plan.ClusterName)
	if err != nil {
		return err
	}
	a.say("\ncluster %s is there", plan.ClusterName)
	row := func(name, value string) { a.say("  %s %s", a.paint.dim(pad(name, 18)), value) }
	row("operator endpoint", s.Operator)
	row("apis", s.APIs)
	row("environment", environment)
	if c.OperatorLoadBalancerScheme == cluster.Internal || c.APILoadBalancerScheme == cluster.Internal {
		a.sayPeering(s)
	}
	a.say("\n`cortex deploy --env %s` deploys to it; `cortex cluster info --name %s --region %s` says how it is", environment, plan.ClusterName, plan.Region)
	return nil
}

// sayPeering says what is needed to reach load balancers that only the network reaches.
func (a *app) sayPeering(s *cluster.Status) {
	a.say("\n%s: only the network of the cluster reaches it. From another VPC it takes a VPC peering connection, with", strings.Join(s.Network.Internal, " and "))
	row := func(name, value string) { a.say("  %s %s", a.paint.dim(pad(name, 18)), value) }
	row("vpc", s.Network.VPC+", "+s.Network.CIDR)
	row("subnets", strings.Join(s.Network.Subnets, ", "))
	row("route tables", strings.Join(s.Network.Tables, ", "))
}

// work follows a cluster that is being made, changed or taken away.
type work struct {
	a           *app
	plan        *cluster.Plan // nil when one is taken away
	of          clusterTarget
	environment string
	began       time.Time
	running     map[string]time.Time // since when it last said something
}

func (a *app) newWork(plan *cluster.Plan) *work {
	w := &work{a: a, plan: plan, began: time.Now(), running: map[string]time.Time{}}
	if plan != nil {
		w.of = clusterTarget{name: plan.ClusterName, region: plan.Region}
	}
	return w
}

func (w *work) run() cluster.Run {
	return cluster.Run{Events: w.event, Machine: machine(), Environment: w.configure}
}

// quietFor is how long something that goes on is not told of again.
const quietFor = 30 * time.Second

// event draws one line for each thing that ends, and one now and then for what goes on.
func (w *work) event(e cluster.Event) {
	paint := newPainter(w.a.streams.Err, w.a.getenv)
	line := func(mark, text string) {
		w.a.note("%s %s %s %s", paint.dim(fmt.Sprintf("%6s", clock(e.At.Sub(w.began)))), mark, pad(e.Step, 26), text)
	}
	switch e.State {
	case cluster.Begun:
		w.running[e.Step] = e.At
	case cluster.Going:
		if last, known := w.running[e.Step]; known && e.At.Sub(last) < quietFor {
			return
		}
		w.running[e.Step] = e.At
		line(" ", paint.dim(e.Text))
	case cluster.Done:
		delete(w.running, e.Step)
		line(paint.green("✓"), paint.dim(clock(e.Took)))
	case cluster.Warned:
		delete(w.running, e.Step)
		line(paint.yellow("!"), e.Text)
	case cluster.Failed:
		delete(w.running, e.Step)
		line(paint.red("✗"), e.Text)
	}
}

// clock is a span as minutes and seconds.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// ended says, when the user has lost patience, what goes on without them.
func (w *work) ended(err error, again string) error {
	if err == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	var going []string
	for id := range w.running {
		if strings.HasPrefix(id, cluster.IDStack) {
			going = append(going, strings.TrimPrefix(id, cluster.IDStack))
		}
	}
	switch {
	case len(going) > 0:
		w.a.note("\nstopped here; AWS goes on with %s", strings.Join(sortedWords(going), ", "))
	default:
		w.a.note("\nstopped here; nothing goes on in AWS")
	}
	if w.plan != nil {
		w.a.note("what is made costs up to %s an hour as long as it is there", w.plan.Cost.Hourly)
		w.a.note("`%s` goes on where it stopped; `cortex cluster down --name %s --region %s` takes it away", again, w.plan.ClusterName, w.plan.Region)
	} else {
		w.a.note("what is still there goes on costing; `%s` goes on where it stopped", again)
	}
	return err
}

// configure makes the environment of a cluster, which trusts its own authority. Where none was
// named, those that lead to the cluster get to know what has changed, and none is made.
func (w *work) configure(ctx context.Context, _, endpoint, authority string) error {
	e := environments.Environment{Name: w.environment, OperatorEndpoint: endpoint}
	if authority != "" {
		e.Anchor = trust.Anchor{CAData: base64.StdEncoding.EncodeToString([]byte(authority))}
	}
	if w.environment == "" {
		return w.a.environments.Change(ctx, func(c *environments.Config) error {
			for _, old := range c.All() {
				if old.OperatorEndpoint == endpoint {
					e.Name, e.ClusterID = old.Name, old.ClusterID
					c.Put(e)
				}
			}
			return nil
		})
	}
	if err := e.Check(); err != nil {
		return err
	}
	if err := w.a.remember(w.of.name, w.of.region, endpoint); err != nil {
		return err
	}
	return w.a.environments.Change(ctx, func(c *environments.Config) error {
		if old := c.Find(e.Name); old != nil && old.OperatorEndpoint == endpoint {
			e.ClusterID = old.ClusterID
		}
		c.Put(e)
		return nil
	})
}
