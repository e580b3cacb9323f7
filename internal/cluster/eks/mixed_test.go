package eks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	asgtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
)

const mixedName = "cx-wx-cheap"

// mixes gives a cluster a mixed group.
func mixes(c *cluster.Config) {
	g := cluster.NewNodeGroup()
	g.Name, g.InstanceType, g.Spot, g.MinInstances, g.MaxInstances = "cheap", "m5.large", true, 4, 8
	price := 0.07
	g.SpotConfig = &cluster.SpotConfig{InstanceDistribution: []string{"m5a.large"}, OnDemandBase: 1, OnDemandPercentage: 34, MaxPrice: &price}
	c.NodeGroups = append(c.NodeGroups, g)
}

// scalingOf is the scaling group of the mixed group.
func (w *world) scalingOf(ctx context.Context, a *Account) string {
	w.t.Helper()
	all, err := a.scaling(ctx, "iris")
	if err != nil || len(all[mixedName]) != 1 {
		w.t.Fatalf("scaling groups %v, %v; want one of %s", all, err, mixedName)
	}
	return deref(all[mixedName][0].AutoScalingGroupName)
}

// A cluster with a mixed group comes, is what was asked for, and goes, with the published
// minimum policy.
func TestMixedLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mixes)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			w.tell()
			t.Fatalf("up: %v", err)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// One, and a third of the other three rounded up, are on demand.
		if all, spot := w.aws.Spot(w.scalingOf(ctx, a)); all != 4 || spot != 1 {
			t.Errorf("%d instances, %d of them spot; want 4 and 1", all, spot)
		}
		s, err := a.Info(ctx, "iris")
		if err != nil {
			t.Fatalf("info: %v", err)
		}
		if len(s.Drift) > 0 || len(s.Groups) != 3 {
			t.Errorf("Info = %+v, want three groups, and no drift", s)
		}
		for _, g := range s.Groups {
			if g.Name == mixedName && (g.State != "ACTIVE" || !g.Spot || g.Nodes != 4 || g.Desired != 4 || g.Min != 4 || g.Max != 8 || len(g.Types) != 2) {
				t.Errorf("the group is %+v", g)
			}
		}
		drift, err := a.StackDrift(ctx, "iris")
		if err != nil || len(drift) > 0 {
			t.Errorf("StackDrift = %+v, %v", drift, err)
		}
		checks, err := a.Health(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range checks {
			if !c.OK {
				t.Errorf("Health says %+v", c)
			}
		}
		if _, drains := w.kube.applied[len(w.kube.applied)-1].Values["drainer"]; !drains {
			t.Error("nothing drains nodes that are taken back")
		}
		found, err := w.down(ctx)
		if err != nil {
			w.tell()
			t.Fatalf("down: %v", err)
		}
		if l := append(left(found), w.aws.Left()...); len(l) > 0 {
			t.Errorf("left: %q", l)
		}
		for _, c := range w.aws.Calls() {
			if !c.Implied && (strings.Contains(c.Result, "AccessDenied") || strings.Contains(c.Result, "Unauthorized")) {
				t.Errorf("refused: %+v", c)
			}
		}
	})
}

// How many nodes a mixed group may have is changed without its stack; how it mixes by its
// stack, which neither sets how many nodes there are nor replaces any. One that is not wanted
// any more is emptied, and goes with who its nodes were.
func TestConfigureMixed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		changes, err := w.configure(ctx, mixes)
		if err != nil {
			w.tell()
			t.Fatalf("adding the group: %v", err)
		}
		ids := map[string]bool{}
		for _, c := range changes {
			ids[string(c.Action)+" "+c.ID] = true
		}
		for _, id := range []string{"create role/mixed", "create stack/access", "create stack/nodes-" + mixedName, "create attach/" + mixedName} {
			if !ids[id] {
				t.Errorf("the changes %v lack %s", changes, id)
			}
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		scaling := w.scalingOf(ctx, a)
		before := w.aws.Made()["instance"]
		changes, err = w.configure(ctx, func(c *cluster.Config) { c.NodeGroups[1].MinInstances, c.NodeGroups[1].MaxInstances = 2, 6 })
		if err != nil || len(changes) != 1 || changes[0].Action != cluster.Scale || changes[0].ID != "stack/nodes-"+mixedName {
			t.Errorf("scaling: %v, %v; want one change of its numbers", changes, err)
		}
		settle(t)
		if all, _ := w.aws.Spot(scaling); all != 4 {
			t.Errorf("%d nodes after scaling to 2 to 6, want the 4 that there were", all)
		}
		changes, err = w.configure(ctx, func(c *cluster.Config) {
			s := *c.NodeGroups[1].SpotConfig
			s.OnDemandPercentage, s.MaxPrice = 0, floating(0.05)
			c.NodeGroups[1].SpotConfig, c.NodeGroups[1].MaxInstances = &s, 7
		})
		if err != nil || len(changes) != 2 {
			w.tell()
			t.Fatalf("another percentage: %v, %v; want an update of its stack, and its numbers", changes, err)
		}
		settle(t)
		all, _ := w.aws.Spot(scaling)
		if made := w.aws.Made()["instance"]; all != 4 || made != before || len(w.kube.drained) > 0 {
			t.Errorf("%d nodes, %d were started, %v were drained; want the 4 that there were", all, made-before, w.kube.drained)
		}
		s, err := a.Info(ctx, "iris")
		if err != nil || len(s.Drift) > 0 {
			t.Errorf("Info = %+v, %v; want no drift", s, err)
		}
		if _, err := w.configure(ctx, func(c *cluster.Config) { c.NodeGroups[1].InstanceType = "m5.xlarge" }); err == nil || !strings.Contains(err.Error(), "max_price") {
			t.Errorf("another type: %v, want a refusal that says what may change", err)
		}
		if _, err := w.configure(ctx, func(c *cluster.Config) { c.NodeGroups = c.NodeGroups[:1] }); err != nil {
			w.tell()
			t.Fatalf("removing the group: %v", err)
		}
		if len(w.kube.drained) != 4 {
			t.Errorf("%v were drained, want all 4", w.kube.drained)
		}
		for _, l := range w.aws.Left() {
			if strings.Contains(l, "mixed") || strings.Contains(l, "cx-wx") || strings.Contains(l, "cortex-access") {
				t.Errorf("left: %s", l)
			}
		}
		if found, err := w.down(ctx); err != nil || len(append(left(found), w.aws.Left()...)) > 0 {
			t.Errorf("down: %v, left %v %v", err, left(found), w.aws.Left())
		}
	})
}

func floating(v float64) *float64 { return &v }

// An upgrade replaces the nodes of a mixed group a few at a time, each emptied before it ends;
// one whose nodes do not let go is gone on with.
func TestUpgradeMixed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *cluster.Config) { c.KubernetesVersion = "1.35"; mixes(c) })
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		before := w.aws.Joined("iris")
		w.kube.stuck = fmt.Errorf("a budget lets no pod go")
		if err := w.upgrade(ctx, "1.36"); err == nil || !strings.Contains(err.Error(), "a budget lets no pod go") {
			t.Fatalf("upgrade = %v, want the budget", err)
		}
		if len(w.kube.drained) != 1 || len(w.aws.Joined("iris")) != 4 {
			t.Errorf("%v were drained, %v are nodes; want one of four tried, and all there", w.kube.drained, w.aws.Joined("iris"))
		}
		w.kube.stuck, w.kube.drained = nil, nil
		if err := w.upgrade(ctx, ""); err != nil {
			w.tell()
			t.Fatalf("upgrade: %v", err)
		}
		if len(w.kube.drained) != 4 {
			t.Errorf("%v were drained, want the four %v", w.kube.drained, before)
		}
		for _, id := range w.aws.Joined("iris") {
			if strings.Contains(strings.Join(before, " "), id) {
				t.Errorf("%s was not replaced", id)
			}
		}
		if v := w.versions(ctx)[mixedName]; !strings.HasPrefix(v, "1.36") {
			t.Errorf("the group has Kubernetes %s, want 1.36", v)
		}
		u, err := a.Upgrade(ctx, "iris", "")
		if err != nil || len(u.Changes) > 0 {
			t.Errorf("Upgrade = %+v, %v; want nothing left to do", u, err)
		}
	})
}

// A run that makes, or takes away, a cluster with a mixed group and is killed after any change
// of its is gone on with by the next, which makes nothing twice.
func TestMixedKilledAnywhere(t *testing.T) {
	t.Parallel()
	var up, down int
	var made map[string]int
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mixes)
		var err error
		if up, err = w.through(0, w.upBy); err != nil {
			t.Fatal(err)
		}
		made = maps.Clone(w.aws.Made())
		if down, err = w.through(0, w.downBy); err != nil {
			t.Fatal(err)
		}
	})
	every(t, up+down, func(t *testing.T, at int) {
		w := newWorld(t, mixes)
		ctx := t.Context()
		if at <= up {
			if _, err := w.through(at, w.upBy); err == nil {
				t.Fatalf("a run that dies after change %d came to its end", at)
			}
		}
		if err := w.up(ctx); err != nil {
			w.tell()
			t.Fatalf("killed after change %d, then: %v", at, err)
		}
		if got := w.aws.Made(); !maps.Equal(got, made) {
			t.Errorf("killed after change %d, there were made %v; want %v", at, got, made)
		}
		if at > up {
			if _, err := w.through(at-up, w.downBy); err == nil {
				t.Fatalf("a removal that dies after change %d came to its end", at-up)
			}
		}
		found, err := w.down(ctx)
		if l := append(left(found), w.aws.Left()...); err != nil || len(l) > 0 {
			w.tell()
			t.Errorf("killed after change %d, down: %v, left %q", at, err, l)
		}
	})
}

// Nodes that never join are told of, with what their scaling group has run into.
func TestMixedNodesThatDoNotJoin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mixes)
		ctx := t.Context()
		w.kube.deaf = true
		if err := w.up(ctx); err == nil || !strings.Contains(err.Error(), "0 of 4 nodes have joined") {
			t.Fatalf("up = %v, want that no node has joined", err)
		}
		w.kube.deaf = false
		if err := w.up(ctx); err != nil {
			t.Errorf("up again: %v", err)
		}
		w.kube.deaf = true
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		checks, err := a.Health(ctx, "iris")
		if err != nil || !slices.ContainsFunc(checks, func(c cluster.Check) bool {
			return c.Name == "node_groups" && !c.OK && strings.Contains(c.Text, "0 of 4 machines are ready as nodes")
		}) {
			t.Errorf("Health = %+v, %v; want that the machines are no nodes", checks, err)
		}
	})
}

// An instance profile that is somebody else's stays.
func TestForeignProfile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mixes)
		ctx := t.Context()
		root, err := Open(ctx, w.aws.Config(w.aws.Root()), w.kube)
		if err != nil {
			t.Fatal(err)
		}
		name, other := cluster.NamesOf("iris", account, region).Role("mixed"), "theirs"
		trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
		if _, err := root.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &other, AssumeRolePolicyDocument: &trust}); err != nil {
			t.Fatal(err)
		}
		if _, err := root.iam.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &name}); err != nil {
			t.Fatal(err)
		}
		if _, err := root.iam.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &name, RoleName: &other}); err != nil {
			t.Fatal(err)
		}
		if err := w.up(ctx); err == nil || !strings.Contains(err.Error(), "with the role theirs") {
			t.Errorf("up = %v, want that the profile is not the cluster's", err)
		}
		if _, err := w.down(ctx); err != nil {
			t.Errorf("down: %v", err)
		}
		if role, there, err := root.profile(ctx, name); err != nil || !there || role != other {
			t.Errorf("the profile: %q, %v, %v; want it untouched", role, there, err)
		}
	})
}

// Machines are replaced a few at a time, and none while others are still to join.
func TestRoll(t *testing.T) {
	t.Parallel()
	machine := func(id, version string, state asgtypes.LifecycleState) asgtypes.Instance {
		return asgtypes.Instance{InstanceId: &id, LifecycleState: state, LaunchTemplate: &asgtypes.LaunchTemplateSpecification{Version: &version}}
	}
	const in, pending, going = asgtypes.LifecycleStateInService, asgtypes.LifecycleStatePending, asgtypes.LifecycleStateTerminatingWait
	for name, tt := range map[string]struct {
		desired  int32
		machines []asgtypes.Instance
		batch    string
		done     bool
	}{
		"empty":            {0, nil, "", true},
		"all new":          {2, []asgtypes.Instance{machine("a", "2", in), machine("b", "2", in)}, "", true},
		"one not a node":   {2, []asgtypes.Instance{machine("a", "2", in), machine("x", "2", in)}, "", false},
		"one to come":      {2, []asgtypes.Instance{machine("a", "2", in), machine("b", "2", pending)}, "", false},
		"one old of one":   {1, []asgtypes.Instance{machine("a", "1", in)}, "a", false},
		"six old":          {6, []asgtypes.Instance{machine("f", "1", in), machine("e", "1", in), machine("d", "1", in), machine("c", "1", in), machine("b", "1", in), machine("a", "1", in)}, "a", false},
		"seven old":        {7, []asgtypes.Instance{machine("g", "1", in), machine("f", "1", in), machine("e", "1", in), machine("d", "1", in), machine("c", "1", in), machine("b", "1", in), machine("a", "1", in)}, "a b", false},
		"one being ended":  {2, []asgtypes.Instance{machine("a", "1", in), machine("b", "1", going)}, "", false},
		"more than wanted": {1, []asgtypes.Instance{machine("a", "2", in), machine("b", "1", in)}, "b", false},
	} {
		wanted := "2"
		g := asgtypes.AutoScalingGroup{DesiredCapacity: &tt.desired, Instances: tt.machines, MixedInstancesPolicy: &asgtypes.MixedInstancesPolicy{
			LaunchTemplate: &asgtypes.LaunchTemplate{LaunchTemplateSpecification: &asgtypes.LaunchTemplateSpecification{Version: &wanted}},
		}}
		r := rollOf(&g, map[string]bool{"a": true, "b": true, "c": true})
		if got := strings.Join(r.batch(), " "); got != tt.batch || r.done() != tt.done {
			t.Errorf("%s: %+v, batch %q, done %v; want %q, %v", name, r, got, r.done(), tt.batch, tt.done)
		}
	}
}

// Mixed groups have a role and a profile of their own to look at, and info costs no more than it
// may all the same.
func TestInfoOfMixedIsFrugal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mixes)
		w.aws = awstest.New(awstest.Options{Account: account, Region: region, PageSize: 100})
		w.kube.aws, w.key = w.aws, w.aws.Root()
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		settle(t)
		before := w.calls()
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.Info(ctx, "iris")
		if n := w.calls() - before; err != nil || len(s.Drift) > 0 || n > maxInfoCalls {
			t.Errorf("Info = %+v, %v, by %d calls; want no drift, by at most %d", s, err, n, maxInfoCalls)
		}
	})
}
