package eks

import (
	"context"
	"strings"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/workload"
)

// Configure says what would change about a cluster that is there, or why it cannot. Rules
// that the file breaks are returned as they are.
func (a *Account) Configure(ctx context.Context, c *cluster.Config) (*cluster.Reconfiguration, []workload.Violation, error) {
	n, err := a.noted(ctx, c.ClusterName)
	if err == nil {
		err = a.refuseUnfinished(ctx, c.ClusterName, n)
	}
	if err != nil {
		return nil, nil, err
	}
	if broken := cluster.Reconfigure(n.Config, c); len(broken) > 0 {
		return nil, broken, nil
	}
	// Images of types that are new to it are of the version that the cluster has.
	of := *c
	if of.KubernetesVersion == "" {
		of.KubernetesVersion = n.Kubernetes.Version
	}
	facts, err := a.Facts(ctx, &of)
	if err != nil {
		return nil, nil, err
	}
	pinnedConfig, f, err := a.Pin(ctx, c, facts)
	if err != nil {
		return nil, nil, err
	}
	plan, broken := cluster.Build(pinnedConfig, f)
	if len(broken) > 0 {
		return nil, broken, nil
	}
	seen, err := a.sight(ctx, c.ClusterName)
	if err != nil {
		return nil, nil, err
	}
	seen.noted(n)
	state, err := a.stateOf(ctx, plan, seen)
	if err != nil {
		return nil, nil, err
	}
	to := &cluster.Reconfiguration{Plan: plan, Facts: f, Config: c, Changes: cluster.Diff(state, plan)}
	// Without what the groups were like that are to go, nobody knows what is new.
	old, f := pin(n.Config, facts, n)
	if before, broken := cluster.Build(old, f); len(broken) == 0 {
		to.Short = plan.Growth(before)
	}
	return to, nil, nil
}

// Apply makes the changes of a configuration: what is wanted first, then what is too much.
func (a *Account) Apply(ctx context.Context, c *cluster.Reconfiguration, o cluster.Run) error {
	if err := a.make(ctx, c.Plan, o, func(n *Note) { n.record(c.Config, c.Facts, c.Plan) }); err != nil {
		return err
	}
	d := &removal{run: &run{Account: a, options: o}, name: c.Plan.ClusterName}
	var surplus []cluster.Change
	var tasks []func() error
	for _, change := range c.Changes {
		if change.Action != cluster.Remove || !removable(change.ID) {
			continue
		}
		surplus = append(surplus, change)
		if group := strings.TrimPrefix(change.ID, cluster.IDStack+cluster.NodesPart("")); cluster.IsMixed(group) {
			// EKS empties its own; what empties these when they go may be gone with the chart.
			tasks = append(tasks, func() error { d.empty(ctx, group); return nil })
		}
	}
	if err := together(tasks...); err != nil {
		return err
	}
	return d.ranked(ctx, surplus)
}

// removable reports whether something may be too much in a cluster that is there: groups of
// nodes, and the role of a part that the cluster has no more, which no pod has by then, with
// what lets it in.
func removable(id string) bool {
	return strings.HasPrefix(id, cluster.IDStack+cluster.NodesPart("cx-w")) || id == cluster.IDStack+"access" || strings.HasPrefix(id, cluster.IDRole)
}
