package eks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
	"cortex.dev/cortex/internal/fault"
)

// old is a world in which a cluster of an older Kubernetes is wanted, of two groups.
func old(t *testing.T) *world {
	t.Helper()
	return newWorld(t, func(c *cluster.Config) {
		c.KubernetesVersion = "1.35"
		c.NodeGroups = append(c.NodeGroups, group("big", 2, 4))
	})
}

// upgradeBy is a whole run of `cluster upgrade`.
func (w *world) upgradeBy(to string) func(context.Context, *Account) error {
	return func(ctx context.Context, a *Account) error {
		u, err := a.Upgrade(ctx, w.config.ClusterName, to)
		if err != nil {
			return err
		}
		return a.CarryOut(ctx, u, w.run())
	}
}

func (w *world) upgrade(ctx context.Context, to string) error {
	a, err := w.open(ctx)
	if err != nil {
		return err
	}
	return w.upgradeBy(to)(ctx, a)
}

// versions are those of everything that has one, as AWS says.
func (w *world) versions(ctx context.Context) map[string]string {
	w.t.Helper()
	a, err := w.open(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := a.control(ctx, "iris")
	if err != nil || c == nil {
		w.t.Fatalf("control = %v, %v", c, err)
	}
	all := map[string]string{"control plane": deref(c.Version)}
	seen, err := a.sight(ctx, "iris")
	if err != nil {
		w.t.Fatal(err)
	}
	groups, err := a.groups(ctx, "iris", seen)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, g := range groups {
		all[name] = deref(g.Version) + ", image " + deref(g.ReleaseVersion)
	}
	for _, name := range cluster.Addons() {
		version, _, err := a.addon(ctx, "iris", name)
		if err != nil {
			w.t.Fatal(err)
		}
		all[name] = version
	}
	return all
}

// A cluster is brought to the next Kubernetes in place: the control plane, add-ons, and the
// nodes of one group after the other; its addresses and how many nodes there are stay.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := old(t)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		before, err := a.Info(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		made := maps.Clone(w.aws.Made())
		u, err := a.Upgrade(ctx, "iris", "")
		if err != nil {
			t.Fatal(err)
		}
		var changes []string
		for _, c := range u.Changes {
			changes = append(changes, string(c.Action)+" "+c.ID)
		}
		want := "[update stack/cluster update stack/addons update stack/nodes-cx-operator update stack/services update stack/nodes-cx-wd-cpu update stack/nodes-cx-wd-big]"
		if fmt.Sprint(changes) != want || u.From != "1.35" || u.To != "1.36" || u.Minutes < 30 || u.ExtraNodes == 0 {
			t.Errorf("Upgrade = %v from %s to %s in %d minutes with %d nodes more, want %s", changes, u.From, u.To, u.Minutes, u.ExtraNodes, want)
		}
		w.events = nil
		if err := a.CarryOut(ctx, u, w.run()); err != nil {
			w.tell()
			t.Fatal(err)
		}
		var order []string
		for _, e := range w.events {
			if e.State == cluster.Done && slices.Contains(changes, "update "+e.Step) {
				order = append(order, "update "+e.Step)
			}
		}
		if !slices.Equal(order, changes) {
			t.Errorf("done in the order %v, want %v", order, changes)
		}
		for what, version := range w.versions(ctx) {
			if !strings.HasPrefix(version, "1.36") && (what == "control plane" || strings.HasPrefix(what, "cx-")) || what == "kube-proxy" && !strings.HasPrefix(version, "v1.36") {
				t.Errorf("%s has %s", what, version)
			}
		}
		after, err := a.Info(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		if after.Operator != before.Operator || after.APIs != before.APIs || len(after.Drift) > 0 || len(after.Notes) > 0 {
			t.Errorf("after: %+v; before: %+v", after, before)
		}
		if now := lasting(w.aws.Made()); !maps.Equal(now, lasting(made)) {
			t.Errorf("made %v, want %v", now, lasting(made))
		}
		// The file has to say the new version now.
		if err := w.up(ctx); fault.Code(err) != CodeOtherFile {
			t.Errorf("up with the old file = %v, want %s", err, CodeOtherFile)
		}
		w.config.KubernetesVersion = "1.36"
		if err := w.up(ctx); err != nil {
			t.Errorf("up with the new file = %v", err)
		}
		// Newest images of the same version.
		if u, err := a.Upgrade(ctx, "iris", ""); err != nil || len(u.Changes) > 0 || u.To != "1.36" {
			t.Errorf("Upgrade = %+v, %v; want nothing to do", u, err)
		}
		w.aws.NewImages("20260901")
		if err := w.upgrade(ctx, ""); err != nil {
			t.Fatal(err)
		}
		for what, version := range w.versions(ctx) {
			if strings.HasPrefix(what, "cx-") && version != "1.36, image 1.36.1-20260901" {
				t.Errorf("%s has %s, want the new image", what, version)
			}
		}
		if found, err := w.down(ctx); err != nil || len(left(found)) > 0 || len(w.aws.Left()) > 0 {
			t.Errorf("down = %q, %v", left(found), err)
		}
	})
}

// lasting is what was made, without what only changes what there is.
func lasting(made map[string]int) map[string]int {
	all := maps.Clone(made)
	delete(all, "update")
	delete(all, "change-set")
	return all
}

// An upgrade that is killed after any change of its is gone on with by the next, to the same
// end; images that are published meanwhile do not have a group replaced twice.
func TestKilledAnywhereWhileUpgrading(t *testing.T) {
	t.Parallel()
	total := 0
	var wanted map[string]string
	synctest.Test(t, func(t *testing.T) {
		w := old(t)
		if err := w.up(t.Context()); err != nil {
			t.Fatal(err)
		}
		var err error
		if total, err = w.through(0, w.upgradeBy("")); err != nil {
			t.Fatal(err)
		}
		wanted = w.versions(t.Context())
	})
	every(t, total, func(t *testing.T, at int) {
		w := old(t)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		made := maps.Clone(w.aws.Made())
		if changes, err := w.through(at, w.upgradeBy("")); err == nil || changes < at {
			t.Fatalf("an upgrade that dies after change %d made %d: %v", at, changes, err)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n, err := a.Note(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		w.aws.NewImages("20260901")
		if err := w.upgrade(ctx, ""); err != nil {
			w.tell()
			t.Fatalf("killed after change %d, then: %v", at, err)
		}
		want := maps.Clone(wanted)
		if n.UpgradingFrom == "" { // before it was noted, or after it had come to its end
			for what, version := range want {
				want[what] = strings.Replace(version, "20260714", "20260901", 1)
			}
		}
		if got := w.versions(ctx); !maps.Equal(got, want) {
			t.Errorf("killed after change %d: %v, want %v", at, got, want)
		}
		if now := lasting(w.aws.Made()); !maps.Equal(now, lasting(made)) {
			t.Errorf("killed after change %d: made %v, want %v", at, now, lasting(made))
		}
	})
}

// What would stop an upgrade half way is told before it begins.
func TestUpgradeRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := old(t)
		ctx := t.Context()
		if err := w.upgrade(ctx, ""); fault.Code(err) != CodeNoCluster {
			t.Errorf("upgrade of no cluster = %v, want %s", err, CodeNoCluster)
		}
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		before := w.aws.Made()["update"]
		refused := func(to, code, words string) {
			t.Helper()
			if err := w.upgrade(ctx, to); fault.Code(err) != code || !strings.Contains(err.Error()+fault.From(err).Hint, words) {
				t.Errorf("upgrade to %q = %v (%s), want %s with %q", to, err, fault.From(err).Hint, code, words)
			}
		}
		refused("1.37", cluster.CodeNotTestedWithIt, "newest that this release of Cortex was tested with")
		refused("1.34", cluster.CodeNoWayBack, "takes no cluster back")
		w.kube.holding = []string{"shop/db"}
		refused("", cluster.CodeUpgradeBlocked, "PodDisruptionBudget shop/db lets no pod go")
		w.kube.holding = nil
		w.aws.Insight("Deprecated APIs removed", "ERROR", "flowschemas v1beta3 is in use", "1.36")
		refused("", cluster.CodeUpgradeBlocked, "flowschemas v1beta3 is in use")
		// Newest images of the same version are no upgrade that an insight is about.
		if err := w.upgrade(ctx, "1.35"); err != nil {
			t.Errorf("upgrade to its own version = %v", err)
		}
		if n := w.aws.Made()["update"]; n != before {
			t.Errorf("%d updates were begun", n-before)
		}
	})
}

// While an upgrade has not come to its end nothing else is changed, but everything can be
// taken away.
func TestUnfinishedUpgrade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := old(t)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		w.aws.Fail(awstest.Fault{Type: "AWS::EKS::Nodegroup", After: 1, Code: "PodEvictionFailure", Message: "Reached max retries while trying to evict pods from nodes. PodEvictionFailure"})
		err := w.upgrade(ctx, "")
		if err == nil || !strings.Contains(fault.From(err).Hint, "PodDisruptionBudgets") {
			t.Fatalf("upgrade with pods that do not go = %v, %s", err, fault.From(err).Hint)
		}
		w.aws.Heal()
		if _, err := w.configure(ctx, func(c *cluster.Config) { c.NodeGroups[0].MaxInstances = 9 }); fault.Code(err) != cluster.CodeNotFinished {
			t.Errorf("configure = %v, want %s", err, cluster.CodeNotFinished)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.Info(ctx, "iris")
		if err != nil || !strings.Contains(strings.Join(s.Notes, "\n"), "the upgrade from Kubernetes 1.35 to 1.36 has not come to its end") || !strings.Contains(strings.Join(s.Notes, "\n"), "cx-wd-cpu (1.35)") {
			t.Errorf("Info = %+v, %v", s, err)
		}
		if found, err := w.down(ctx); err != nil || len(left(found)) > 0 || len(w.aws.Left()) > 0 {
			t.Errorf("down = %q, %v", left(found), err)
		}
	})
}

// AWS moves a control plane on by itself when the support of its version ends; the rest is
// brought there by `cluster upgrade`, and the next upgrade is one as any other.
func TestControlPlaneMovedByAWS(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := old(t)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		w.aws.MoveControlPlane("iris", "1.36")
		if err := w.up(ctx); fault.Code(err) != cluster.CodeNotFinished || !strings.Contains(fault.From(err).Hint, "cortex cluster upgrade") {
			t.Errorf("up = %v, want %s", err, cluster.CodeNotFinished)
		}
		if err := w.upgrade(ctx, ""); err != nil {
			w.tell()
			t.Fatal(err)
		}
		for what, version := range w.versions(ctx) {
			if strings.HasPrefix(what, "cx-") && !strings.HasPrefix(version, "1.36") {
				t.Errorf("%s has %s", what, version)
			}
		}
		w.config.KubernetesVersion = "1.36"
		if err := w.up(ctx); err != nil {
			t.Errorf("up = %v", err)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := a.Info(ctx, "iris"); err != nil || len(s.Drift) > 0 || len(s.Notes) > 0 {
			t.Errorf("Info = %+v, %v; want no drift", s, err)
		}
	})
}

// A newer release of Cortex is told, and put on by an upgrade that changes nothing else.
func TestUpgradeOfCortexAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a := made(t)
		ctx := t.Context()
		if u, err := a.Upgrade(ctx, "iris", ""); err != nil || len(u.Changes) > 0 {
			t.Fatalf("Upgrade of what is new = %+v, %v; want no changes", u, err)
		}
		w.kube.version = "1.1.0"
		s, err := a.Info(ctx, "iris")
		if err != nil || len(s.Drift) > 0 || len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "is of version 1.0.0, and this program of 1.1.0") {
			t.Errorf("Info = %+v, %v; want a word about the version and no drift", s, err)
		}
		u, err := a.Upgrade(ctx, "iris", "")
		if err != nil || len(u.Changes) != 1 || u.Changes[0].ID != cluster.IDChart {
			t.Fatalf("Upgrade = %+v, %v; want Cortex alone", u, err)
		}
		if err := a.CarryOut(ctx, u, w.run()); err != nil {
			t.Fatal(err)
		}
		if s, err = a.Info(ctx, "iris"); err != nil || len(s.Notes)+len(s.Drift) > 0 || len(w.kube.applied) != 2 {
			t.Errorf("Info after that = %+v, %v; Cortex was put on %d times, want twice", s, err, len(w.kube.applied))
		}
	})
}
