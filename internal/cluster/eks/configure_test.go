package eks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// configure is a whole run of `cluster configure`.
func (w *world) configure(ctx context.Context, change func(*cluster.Config)) ([]cluster.Change, error) {
	a, err := w.open(ctx)
	if err != nil {
		return nil, err
	}
	return w.configureBy(ctx, a, change)
}

func (w *world) configureBy(ctx context.Context, a *Account, change func(*cluster.Config)) ([]cluster.Change, error) {
	c := *w.config
	c.NodeGroups = slices.Clone(c.NodeGroups)
	change(&c)
	c.Default()
	to, broken, err := a.Configure(ctx, &c)
	if err != nil {
		return nil, err
	}
	if len(broken) > 0 {
		return nil, fault.New(fault.Invalid, broken[0].Code, "%s: %s", broken[0].Path, broken[0].Message)
	}
	if err := a.Apply(ctx, to, w.run()); err != nil {
		return to.Changes, err
	}
	w.config = &c
	return to.Changes, nil
}

// settle lets what AWS is at come to its end.
func settle(t *testing.T) {
	t.Helper()
	if err := pause(t.Context(), 10*time.Minute); err != nil {
		t.Fatal(err)
	}
}

func group(name string, least, most int64) cluster.NodeGroup {
	g := cluster.NewNodeGroup()
	g.Name, g.InstanceType, g.MinInstances, g.MaxInstances = name, "m5.large", least, most
	return g
}

// What may change about a cluster changes as little as it can, and how many nodes there
// are is never reset.
func TestConfigure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// The autoscaler has added nodes.
		if _, err := a.eks.UpdateNodegroupConfig(ctx, &eks.UpdateNodegroupConfigInput{
			ClusterName: aws.String("iris"), NodegroupName: aws.String("cx-wd-cpu"), ScalingConfig: &ekstypes.NodegroupScalingConfig{DesiredSize: aws.Int32(4)},
		}); err != nil {
			t.Fatal(err)
		}
		settle(t)
		for _, tt := range []struct {
			name    string
			change  func(*cluster.Config)
			want    string // what changes
			numbers string // of cx-wd-cpu: least, wanted, most
		}{
			{"nothing", func(*cluster.Config) {}, "[]", "1 4 5"},
			{"more at most", func(c *cluster.Config) { c.NodeGroups[0].MaxInstances = 9 }, "[scale stack/nodes-cx-wd-cpu]", "1 4 9"},
			{"fewer at most than there are", func(c *cluster.Config) { c.NodeGroups[0].MaxInstances = 3 }, "[scale stack/nodes-cx-wd-cpu]", "1 3 3"},
			{"a second group", func(c *cluster.Config) { c.NodeGroups = append(c.NodeGroups, group("big", 0, 2)) }, "[create stack/nodes-cx-wd-big create attach/cx-wd-big update chart]", "1 3 3"},
			{"the white list", func(c *cluster.Config) { c.APICIDRs = []string{"203.0.113.0/24"} }, "[update stack/services]", "1 3 3"},
			// What is not in AWS is changed too.
			{"a priority", func(c *cluster.Config) { c.NodeGroups[0].Priority = 7 }, "[update chart]", "1 3 3"},
			{"logs", func(c *cluster.Config) { c.CloudWatchLogs = true }, "[create role/logs update stack/addons update chart]", "1 3 3"},
			{"metrics, from an image of theirs", func(c *cluster.Config) {
				c.CloudWatchMetrics, c.Images = true, map[string]string{"otel_collector": "registry.example.com/collector:1"}
			}, "[update chart]", "1 3 3"},
			{"no logs", func(c *cluster.Config) { c.CloudWatchLogs = false }, "[update chart]", "1 3 3"},
			{"no metrics", func(c *cluster.Config) { c.CloudWatchMetrics, c.Images = false, nil }, "[update stack/addons update chart remove role/logs]", "1 3 3"},
			{"without the second group", func(c *cluster.Config) { c.NodeGroups = c.NodeGroups[:1] }, "[update chart remove stack/nodes-cx-wd-big]", "1 3 3"},
		} {
			changes, err := w.configure(ctx, tt.change)
			if err != nil {
				w.tell()
				t.Fatalf("%s: %v", tt.name, err)
			}
			var got []string
			for _, c := range changes {
				got = append(got, string(c.Action)+" "+c.ID)
			}
			if fmt.Sprint(got) != tt.want {
				t.Errorf("%s: changes %v, want %s", tt.name, got, tt.want)
			}
			settle(t)
			g, err := a.nodegroup(ctx, "iris", "cx-wd-cpu")
			if err != nil {
				t.Fatal(err)
			}
			s := g.ScalingConfig
			if numbers := fmt.Sprint(*s.MinSize, *s.DesiredSize, *s.MaxSize); numbers != tt.numbers {
				t.Errorf("%s: the group has %s nodes at least, now and at most; want %s", tt.name, numbers, tt.numbers)
			}
			r, err := a.role(ctx, a.names("iris").Role("logs"))
			if err != nil {
				t.Fatal(err)
			}
			values := w.kube.applied[len(w.kube.applied)-1].Values
			if c := w.config; (r != nil) != (c.CloudWatchLogs || c.CloudWatchMetrics) || (values["logs"] != nil) != c.CloudWatchLogs || (values["metrics"] != nil) != c.CloudWatchMetrics {
				t.Errorf("%s: the role of logs is %v, and the chart has %v", tt.name, r, values)
			}
		}
		if n := w.aws.Made()["cluster"] + w.aws.Made()["vpc"] + w.aws.Made()["load-balancer"]; n != 4 {
			t.Errorf("made %v, want nothing of it twice", w.aws.Made())
		}
		if found, err := w.down(ctx); err != nil || len(left(found)) > 0 {
			t.Errorf("down = %q, %v", left(found), err)
		}
	})
}

// What cannot change is refused before anything is done.
func TestConfigureRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx := t.Context()
		if _, err := w.configure(ctx, func(*cluster.Config) {}); fault.Code(err) != CodeNoCluster {
			t.Errorf("configure without a cluster = %v, want %s", err, CodeNoCluster)
		}
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			change func(*cluster.Config)
			code   string
		}{
			"visibility":   {func(c *cluster.Config) { c.SubnetVisibility, c.NATGateway = cluster.Private, cluster.NATSingle }, cluster.CodeCannotChange},
			"operator":     {func(c *cluster.Config) { c.OperatorLoadBalancerScheme = cluster.Internal }, cluster.CodeCannotChange},
			"tags":         {func(c *cluster.Config) { c.Tags = map[string]string{"a": "b"} }, cluster.CodeCannotChange},
			"another type": {func(c *cluster.Config) { c.NodeGroups[0].InstanceType = "c5.large" }, cluster.CodeOnlyScaled},
		} {
			before := len(w.events)
			c := *w.config
			c.NodeGroups = slices.Clone(c.NodeGroups)
			tt.change(&c)
			other := &world{t: t, aws: w.aws, key: w.key, kube: w.kube, config: &c}
			if err := other.up(ctx); fault.Code(err) != CodeOtherFile {
				t.Errorf("%s: up with another file = %v, want %s", name, err, CodeOtherFile)
			}
			if _, err := w.configure(ctx, tt.change); fault.Code(err) != tt.code {
				t.Errorf("%s: %v, want %s", name, err, tt.code)
			}
			if len(w.events) != before {
				t.Errorf("%s: something was begun", name)
			}
		}
	})
}

// What somebody has changed by hand is told, and put right by `up`.
func TestDrift(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		drift := func() string {
			s, err := a.Info(ctx, "iris")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range s.Drift {
				got = append(got, string(c.Action)+" "+c.ID)
			}
			return strings.Join(got, ", ")
		}
		if got := drift(); got != "" {
			t.Errorf("drift after up: %s", got)
		}
		if err := a.removeRole(ctx, a.names("iris").Role("gateway"), "iris"); err != nil {
			t.Fatal(err)
		}
		if err := a.scale(ctx, "iris", "cx-wd-cpu", 2, 7); err != nil {
			t.Fatal(err)
		}
		settle(t)
		if got, want := drift(), "create role/gateway, scale stack/nodes-cx-wd-cpu"; got != want {
			t.Errorf("drift = %s, want %s", got, want)
		}
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		settle(t)
		if got := drift(); got != "" {
			t.Errorf("drift after another up: %s", got)
		}
	})
}

// A configuration that is killed after any change of its is gone on with by the next, to the
// same end: nothing is made twice, and what is too much is gone.
func TestKilledAnywhereWhileConfiguring(t *testing.T) {
	t.Parallel()
	begun := func(t *testing.T) *world {
		w := newWorld(t, func(c *cluster.Config) {
			c.CloudWatchMetrics = true
			c.NodeGroups = append(c.NodeGroups, group("gone", 1, 2))
		})
		if err := w.up(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w
	}
	change := func(c *cluster.Config) {
		c.CloudWatchMetrics, c.APICIDRs = false, []string{"203.0.113.0/24"}
		c.NodeGroups = []cluster.NodeGroup{c.NodeGroups[0], group("new", 1, 2)}
		c.NodeGroups[0].MaxInstances, c.NodeGroups[0].Priority = 9, 3
	}
	by := func(w *world) func(context.Context, *Account) error {
		return func(ctx context.Context, a *Account) error { _, err := w.configureBy(ctx, a, change); return err }
	}
	total := 0
	var made map[string]int
	var there []string
	synctest.Test(t, func(t *testing.T) {
		w := begun(t)
		var err error
		if total, err = w.through(0, by(w)); err != nil {
			t.Fatal(err)
		}
		settle(t)
		made, there = lasting(w.aws.Made()), kinds(w.aws.Left())
	})
	every(t, total, func(t *testing.T, at int) {
		w := begun(t)
		ctx := t.Context()
		if changes, err := w.through(at, by(w)); err == nil || changes < at {
			t.Fatalf("a configuration that dies after change %d made %d: %v", at, changes, err)
		}
		if _, err := w.configure(ctx, change); err != nil {
			w.tell()
			t.Fatalf("killed after change %d, then: %v", at, err)
		}
		settle(t)
		if got := lasting(w.aws.Made()); !maps.Equal(got, made) {
			t.Errorf("killed after change %d, there were made %v; want %v", at, got, made)
		}
		if got := kinds(w.aws.Left()); !slices.Equal(got, there) {
			t.Errorf("killed after change %d, there are %v; want %v", at, got, there)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := a.Info(ctx, "iris"); err != nil || len(s.Drift) > 0 {
			t.Errorf("killed after change %d, then differ %+v, %v", at, s.Drift, err)
		}
	})
}

// kinds are the first words of what there is, sorted: ids differ from run to run.
func kinds(left []string) (all []string) {
	for _, l := range left {
		kind, _, _ := strings.Cut(l, " ")
		all = append(all, kind)
	}
	slices.Sort(all)
	return all
}
