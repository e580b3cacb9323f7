package eks

import (
	"context"
	"strings"

	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// noted is what a cluster that is there was made from.
func (a *Account) noted(ctx context.Context, name string) (*Note, error) {
	if there, err := a.IsThere(ctx, name); err != nil || !there {
		if err == nil {
			err = a.noCluster(ctx, name)
		}
		return nil, err
	}
	n, err := a.Note(ctx, name)
	if err != nil {
		return nil, err
	}
	if n == nil || n.Config == nil {
		return nil, fault.New(fault.Conflict, CodeNotWhole, "what cluster %s was made from is not known: its bucket has no note of it", name).
			WithHint("`cortex cluster up FILE` with the file that it was made from writes it again")
	}
	return n, nil
}

// standing is which versions the parts of a cluster have; nil while it has no control plane.
// nodes are how many there are in each group.
func (a *Account) standing(ctx context.Context, name string, n *Note, seen *sight) (s *cluster.Standing, nodes map[string]int64, err error) {
	c, err := a.control(ctx, name)
	if err != nil || c == nil {
		return nil, nil, err
	}
	groups, err := a.groups(ctx, name, seen)
	if err != nil {
		return nil, nil, err
	}
	s = &cluster.Standing{Control: deref(c.Version), Groups: map[string]string{}, Asked: n.Kubernetes.Version, From: n.UpgradingFrom}
	nodes = map[string]int64{}
	for group, g := range groups {
		s.Groups[group], nodes[group] = deref(g.Version), int64(inService(seen.scaling[group]))
	}
	return s, nodes, nil
}

// Upgrade says what bringing a cluster to a version of Kubernetes comes to, or why it
// cannot be; without a version it is brought to the one after its own.
func (a *Account) Upgrade(ctx context.Context, name, to string) (*cluster.Upgrade, error) {
	n, err := a.noted(ctx, name)
	if err != nil {
		return nil, err
	}
	seen, err := a.sight(ctx, name)
	if err != nil {
		return nil, err
	}
	seen.noted(n)
	s, nodes, err := a.standing(ctx, name, n, seen)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fault.New(fault.Conflict, CodeNotWhole, "cluster %s has no control plane", name).WithHint("`cortex cluster up FILE` makes it whole")
	}
	var offered cluster.Facts
	if err := a.versions(ctx, func(set func()) { set() }, &offered); err != nil {
		return nil, err
	}
	target, err := s.Target(to, offered.Versions)
	if err != nil {
		return nil, err
	}
	wanted := *n.Config
	wanted.KubernetesVersion = target
	today, err := a.facts(ctx, &wanted, false)
	if err != nil {
		return nil, err
	}
	c, facts := pin(&wanted, today, n)
	if !s.Going() { // then it is held to the images that it has begun with, too
		facts = today
	}
	plan, broken := cluster.Build(c, facts)
	if len(broken) > 0 {
		return nil, fault.New(fault.Conflict, cluster.CodeUpgradeBlocked, "cluster %s could not be made with Kubernetes %s: %s", name, target, inWords(broken)).
			WithHint("change its file, and bring the cluster to it with `cortex cluster configure`")
	}
	state, err := a.stateOf(ctx, plan, seen)
	if err != nil {
		return nil, err
	}
	u := &cluster.Upgrade{Facts: facts, Plan: plan.Rolling(), From: s.Control, To: target, Changes: cluster.Diff(state, plan)}
	if s.Going() {
		u.From = s.From
	}
	// What the file says of the version is noted as it will have to say it.
	noted := *n.Config
	if noted.KubernetesVersion != "" {
		noted.KubernetesVersion = target
	}
	u.Config = &noted
	u.Estimate(nodes)
	if len(u.Changes) == 0 && !s.Going() {
		return u, nil
	}
	return u, a.mayUpgrade(ctx, name, s, u)
}

// mayUpgrade returns what would stop an upgrade half way: what EKS has found that does not
// go with the version, and budgets that let no pod go.
func (a *Account) mayUpgrade(ctx context.Context, name string, s *cluster.Standing, u *cluster.Upgrade) error {
	var bad []string
	if u.To != s.Control {
		found, err := a.insights(ctx, name, u.To)
		if err != nil {
			return err
		}
		for _, i := range found {
			text := bounded(deref(i.Name) + ": " + deref(i.InsightStatus.Reason))
			if i.InsightStatus.Status == ekstypes.InsightStatusValueError {
				bad = append(bad, text)
			} else {
				u.Warnings = append(u.Warnings, text)
			}
		}
	}
	if unknown, err := a.LookForImages(ctx, u.Plan); err != nil {
		return err
	} else if unknown != "" {
		u.Warnings = append(u.Warnings, "images: "+unknown)
	}
	at, err := a.place(ctx, name)
	if err != nil {
		return err
	}
	budgets, err := a.kube.Holding(ctx, at)
	if err != nil {
		return err
	}
	for _, b := range budgets {
		bad = append(bad, "PodDisruptionBudget "+b+" lets no pod go: nodes could not be emptied")
	}
	if len(bad) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, cluster.CodeUpgradeBlocked, "cluster %s cannot be brought to Kubernetes %s:\n  %s", name, u.To, strings.Join(bad, "\n  ")).
		WithHint("nothing was changed; put this right, then run the same command again. EKS looks again within a day")
}

// insights are what EKS has found about a cluster that may not go with a version.
func (a *Account) insights(ctx context.Context, name, version string) (all []ekstypes.InsightSummary, err error) {
	pages := eks.NewListInsightsPaginator(a.eks, &eks.ListInsightsInput{ClusterName: &name, Filter: &ekstypes.InsightsFilter{
		Categories: []ekstypes.Category{ekstypes.CategoryUpgradeReadiness}, KubernetesVersions: []string{version},
		Statuses: []ekstypes.InsightStatusValue{ekstypes.InsightStatusValueError, ekstypes.InsightStatusValueWarning},
	}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("reading what EKS has found about cluster "+name, err)
		}
		for _, i := range page.Insights {
			if i.InsightStatus != nil {
				all = append(all, i)
			}
		}
	}
	return all, nil
}

// inWords are rules that are broken, in one line.
func inWords(broken []workload.Violation) string {
	var lines []string
	for _, b := range broken {
		lines = append(lines, b.Path+": "+b.Message)
	}
	return strings.Join(lines, "; ")
}

// CarryOut brings a cluster to what an upgrade comes to. What it was stopped at is gone on
// with by the next Upgrade.
func (a *Account) CarryOut(ctx context.Context, u *cluster.Upgrade, o cluster.Run) error {
	return a.make(ctx, u.Plan, o, func(n *Note) {
		n.record(u.Config, u.Facts, u.Plan)
		n.UpgradingFrom = u.From
	})
}

// refuseUnfinished refuses to change a cluster whose parts have several versions.
func (a *Account) refuseUnfinished(ctx context.Context, name string, n *Note) error {
	c, err := a.control(ctx, name)
	if err != nil || c == nil || n == nil {
		return err
	}
	s := cluster.Standing{Control: deref(c.Version), Asked: n.Kubernetes.Version, From: n.UpgradingFrom}
	switch {
	case s.Asked == "": // nothing was asked for yet
		return nil
	case s.Going():
		return fault.New(fault.Conflict, cluster.CodeNotFinished, "the upgrade of cluster %s from Kubernetes %s to %s has not come to its end", name, s.From, s.Asked).
			WithHint("`cortex cluster upgrade` goes on with it")
	case s.Control != s.Asked:
		return fault.New(fault.Conflict, cluster.CodeNotFinished, "AWS has brought the control plane of cluster %s to Kubernetes %s; its nodes and add-ons are of %s", name, s.Control, s.Asked).
			WithHint("`cortex cluster upgrade` brings them there too")
	}
	return nil
}

// asMoved has the stack of a control plane count as wanted when the control plane is: AWS
// moves one on by itself when the support of its version ends, and tells no stack. The next
// update of the stack names the version after.
func (a *Account) asMoved(ctx context.Context, name string, s *cfn.Stack, params map[string]string) error {
	want, has := params[cluster.VersionParameter], ""
	for _, p := range s.Parameters {
		if deref(p.ParameterKey) == cluster.VersionParameter {
			has = deref(p.ParameterValue)
		}
	}
	if want == "" || has == "" || want == has {
		return nil
	}
	c, err := a.control(ctx, name)
	if err == nil && c != nil && deref(c.Version) == want {
		params[cluster.VersionParameter] = has
	}
	return err
}

// versionsOf says which nodes of a cluster have another version than its control plane.
func versionsOf(s *cluster.Status) (notes []string) {
	var behind []string
	for _, g := range s.Groups {
		if g.Version != "" && s.Kubernetes != "" && g.Version != s.Kubernetes {
			behind = append(behind, g.Name+" ("+g.Version+")")
		}
	}
	if len(behind) > 0 {
		notes = append(notes, "nodes of another Kubernetes than the control plane: "+strings.Join(behind, ", ")+"; `cortex cluster upgrade` brings them there")
	}
	return notes
}

// addon is the version and the state of an add-on; empty when there is none.
func (a *Account) addon(ctx context.Context, clusterName, name string) (version string, state *ekstypes.Addon, err error) {
	out, err := a.eks.DescribeAddon(ctx, &eks.DescribeAddonInput{ClusterName: &clusterName, AddonName: &name})
	if is(err, "ResourceNotFoundException") {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, asFault("reading the add-on "+name, err)
	}
	return deref(out.Addon.AddonVersion), out.Addon, nil
}
