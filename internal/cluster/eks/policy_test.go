package eks

import (
	"encoding/json"
	"testing"
	"testing/synctest"

	"cortex.dev/cortex/internal/cluster"
)

// The policy that `cortex cluster policy` prints is enough for everything that the commands
// do, and AWS takes it.
func TestCallerPolicyIsEnough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *cluster.Config) {
			c.SubnetVisibility, c.CloudWatchLogs = cluster.Private, true
			spot := group("thrifty", 0, 2)
			spot.Spot = true
			c.NodeGroups = append(c.NodeGroups, spot)
			mixes(c)
		})
		text, err := json.Marshal(cluster.NamesOf("iris", account, region).CallerPolicy())
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > cluster.MaxPolicyLength {
			t.Errorf("the policy has %d characters, AWS takes %d", len(text), cluster.MaxPolicyLength)
		}
		w.key = w.aws.AddUser("alice", string(text))
		w.aws.AddUser("carol")
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			w.tell()
			t.Fatalf("up: %v", err)
		}
		settle(t)
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Info(ctx, "iris"); err != nil {
			t.Errorf("info: %v", err)
		}
		if _, err := a.Health(ctx, "iris"); err != nil {
			t.Errorf("health: %v", err)
		}
		if _, err := a.Grant(ctx, "iris", carol); err != nil {
			t.Errorf("grant: %v", err)
		}
		settle(t)
		if _, err := a.Revoke(ctx, "iris", carol); err != nil {
			t.Errorf("revoke: %v", err)
		}
		if _, err := w.configure(ctx, func(c *cluster.Config) {
			c.NodeGroups[0].MaxInstances, c.NodeGroups = 8, c.NodeGroups[:1]
			c.APICIDRs, c.CloudWatchLogs = []string{"203.0.113.0/24"}, false
		}); err != nil {
			t.Errorf("configure: %v", err)
		}
		if found, err := w.down(ctx); err != nil || len(left(found)) > 0 || len(w.aws.Left()) > 0 {
			t.Errorf("down = %q, %v; left %q", left(found), err, w.aws.Left())
		}
	})
}
