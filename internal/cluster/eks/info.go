package eks

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"cortex.dev/cortex/internal/cluster"
)

// Info says what there is of a cluster, and how it differs from what was asked for last.
func (a *Account) Info(ctx context.Context, name string) (*cluster.Status, error) {
	stacks, err := a.stacks(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(stacks) == 0 {
		return nil, a.noCluster(ctx, name)
	}
	seen := &sight{stacks: stacks}
	var control *ekstypes.Cluster
	var note *Note
	err = together(
		func() (err error) { seen.scaling, err = a.scaling(ctx, name); return err },
		func() (err error) { control, err = a.control(ctx, name); return err },
		func() (err error) { note, err = a.Note(ctx, name); return err },
	)
	if err == nil {
		err = a.admitted(ctx, control)
	}
	if err != nil {
		return nil, err
	}
	if note == nil {
		note = &Note{}
	}
	seen.chart = note.Chart
	ours := a.kube.Version()
	s := &cluster.Status{ClusterName: name, Region: a.Region, Account: a.ID, State: "missing"}
	for _, part := range sorted(stacks) {
		stack := stacks[part]
		s.Stacks = append(s.Stacks, cluster.StackState{Part: part, Name: deref(stack.StackName), State: string(stack.StackStatus)})
	}
	var facts *cluster.Facts
	if note.Config != nil {
		if facts, err = a.factsSince(ctx, note, control, seen); err != nil {
			return nil, err
		}
	}
	plan, state, err := a.infoPlan(ctx, s, note, facts, seen)
	if err == nil {
		err = together(
			func() error { return a.infoControl(ctx, s, control, facts) },
			func() error { return a.infoGroups(ctx, s, seen, plan, state) },
			func() error { return a.infoNetwork(ctx, s, seen, note.Config, facts) },
		)
	}
	if plan != nil {
		nodes := map[string]int64{}
		for _, g := range s.Groups {
			nodes[g.Name] = int64(g.Nodes)
		}
		cost := plan.Cost.With(nodes)
		s.Cost = &cost
	}
	s.Authority, s.Config = note.Authority, note.Config
	services := stacks["services"]
	out := outputsOf(&services)
	if host := out["OperatorHost"]; host != "" {
		s.Operator = "https://" + host
	}
	if host := out["ApisHost"]; host != "" {
		s.APIs = "http://" + host
	}
	s.Notes = append(s.Notes, versionsOf(s)...)
	if note.Release != "" && note.Release != ours {
		s.Notes = append(s.Notes, fmt.Sprintf("Cortex on it is of version %s, and this program of %s: `cortex cluster upgrade` brings it there", note.Release, ours))
	}
	if note.UpgradingFrom != "" {
		s.Notes = append(s.Notes, fmt.Sprintf("the upgrade from Kubernetes %s to %s has not come to its end: `cortex cluster upgrade` goes on with it", note.UpgradingFrom, note.Kubernetes.Version))
	}
	if h := note.Holder; h != nil && time.Now().Before(h.Until) {
		s.Holder = fmt.Sprintf("%s on %s since %s", h.Caller, h.Machine, h.Since.Format(time.RFC3339))
	}
	return s, err
}

// factsSince are the facts of the plan by which a cluster was made. Versions of add-ons and
// images, zones, and what instance types are like are those that are noted, and the policies
// that it was made with are taken to be there: what has become of them shows in what there
// is.
func (a *Account) factsSince(ctx context.Context, n *Note, control *ekstypes.Cluster, seen *sight) (*cluster.Facts, error) {
	c := n.Config
	if n.Kubernetes.Version == "" {
		return a.facts(ctx, c, false)
	}
	f := a.noFacts()
	f.Policies = c.Policies()
	var mu sync.Mutex // of f, which several fill
	fill := func(set func()) { mu.Lock(); defer mu.Unlock(); set() }
	tasks := []func() error{
		func() error { return a.versions(ctx, fill, f) },
		func() error { return a.spotPrices(ctx, c, fill, f) },
		func() error { return a.certificate(ctx, c, fill, f) },
		func() (err error) {
			if c.OwnNetwork() && control != nil && control.ResourcesVpcConfig != nil {
				seen.tables, err = a.subnetsOf(ctx, []string{deref(control.ResourcesVpcConfig.VpcId)}, fill, f)
				return err
			}
			seen.tables, err = a.subnets(ctx, c, fill, f)
			return err
		},
	}
	for _, name := range n.Zones {
		f.Zones = append(f.Zones, cluster.Zone{Name: name})
	}
	if len(f.Zones) == 0 {
		tasks = append(tasks, func() error { return a.zones(ctx, fill, f) })
	}
	if slices.ContainsFunc(c.AllTypes(), func(name string) bool { _, known := n.Types[name]; return !known }) {
		tasks = append(tasks, func() error { return a.instanceTypes(ctx, c, fill, f) })
	} else {
		f.InstanceTypes = n.Types
	}
	return f, together(tasks...)
}

func (a *Account) infoControl(ctx context.Context, s *cluster.Status, c *ekstypes.Cluster, f *cluster.Facts) error {
	if c == nil {
		return nil
	}
	s.State, s.Kubernetes = string(c.Status), deref(c.Version)
	until, err := a.untilIn(ctx, f, s.Kubernetes)
	if err != nil {
		return err
	}
	if !until.IsZero() {
		s.Until = until.UTC().Format(time.DateOnly)
		days := int(time.Until(until).Hours() / 24)
		s.DaysLeft = &days
	}
	if c.AccessConfig != nil && c.AccessConfig.AuthenticationMode != ekstypes.AuthenticationModeApiAndConfigMap {
		s.Notes = append(s.Notes, "the authentication mode is "+string(c.AccessConfig.AuthenticationMode)+": somebody has changed it from API_AND_CONFIG_MAP")
	}
	return nil
}

// untilIn is when the standard support of a version ends; zero where AWS does not say.
func (a *Account) untilIn(ctx context.Context, f *cluster.Facts, version string) (time.Time, error) {
	if f != nil {
		for _, v := range f.Versions {
			if at, err := time.Parse(time.DateOnly, v.Until); err == nil && v.Version == version {
				return at, nil
			}
		}
	}
	return a.endOfSupport(ctx, version)
}

// infoGroups says how the groups of nodes are. EKS answers for one of them at a time: it is
// asked only about those that are not as the plan has them, or have fewer nodes than they
// are to have. plan may be nil, when nobody knows how they should be.
func (a *Account) infoGroups(ctx context.Context, s *cluster.Status, seen *sight, plan *cluster.Plan, state cluster.State) error {
	names := seen.groups()
	groups := make([]cluster.GroupState, len(names))
	var tasks []func() error
	for i, name := range names {
		groups[i] = seen.group(plan, state, name)
		if groups[i].State != "" {
			continue
		}
		tasks = append(tasks, func() error {
			g, err := a.nodegroup(ctx, s.ClusterName, name)
			if err == nil && g != nil {
				nodes := groups[i].Nodes
				groups[i] = groupState(g)
				groups[i].Nodes = nodes
			}
			return err
		})
	}
	err := together(tasks...)
	// A stack whose group could not be made has none.
	s.Groups = slices.DeleteFunc(groups, func(g cluster.GroupState) bool { return g.State == "" })
	return err
}

// group is a group of nodes as its stack and its scaling group show it. Without a State it
// is one that EKS has to be asked about.
func (s *sight) group(plan *cluster.Plan, state cluster.State, name string) cluster.GroupState {
	scaling := s.scaling[name]
	g := cluster.GroupState{Name: name, Nodes: inService(scaling)}
	if plan == nil || len(scaling) == 0 {
		return g
	}
	id := cluster.IDStack + cluster.NodesPart(name)
	i := slices.IndexFunc(plan.Groups, func(want cluster.Group) bool { return want.Name == name })
	if i < 0 || state[id].Digest != plan.State()[id].Digest {
		return g
	}
	for _, of := range scaling {
		g.Desired, g.Min, g.Max = g.Desired+int64(aws.ToInt32(of.DesiredCapacity)), g.Min+int64(aws.ToInt32(of.MinSize)), g.Max+int64(aws.ToInt32(of.MaxSize))
	}
	if int64(g.Nodes) < g.Desired {
		return g
	}
	g.State, g.Version = string(ekstypes.NodegroupStatusActive), plan.Kubernetes
	g.Types, g.Spot = plan.Groups[i].Types, plan.Groups[i].Spot
	return g
}

func groupState(g *ekstypes.Nodegroup) cluster.GroupState {
	s := cluster.GroupState{
		Name: deref(g.NodegroupName), State: string(g.Status), Types: g.InstanceTypes, Spot: g.CapacityType == ekstypes.CapacityTypesSpot, Version: deref(g.Version),
	}
	if c := g.ScalingConfig; c != nil {
		s.Desired, s.Min, s.Max = int64(aws.ToInt32(c.DesiredSize)), int64(aws.ToInt32(c.MinSize)), int64(aws.ToInt32(c.MaxSize))
	}
	if g.Health != nil {
		for _, issue := range g.Health.Issues {
			s.Issues = append(s.Issues, bounded(string(issue.Code)+": "+deref(issue.Message)))
		}
	}
	return s
}

// infoNetwork says what is needed to reach the cluster from another VPC.
func (a *Account) infoNetwork(ctx context.Context, s *cluster.Status, seen *sight, c *cluster.Config, f *cluster.Facts) error {
	network := seen.stacks["network"]
	out := outputsOf(&network)
	s.Network.VPC, s.Network.Tables = out["Vpc"], listed(out["RouteTables"])
	for _, key := range []string{"PublicSubnets", "PrivateSubnets"} {
		s.Network.Subnets = append(s.Network.Subnets, listed(out[key])...)
	}
	if c != nil {
		if c.OperatorLoadBalancerScheme == cluster.Internal {
			s.Network.Internal = append(s.Network.Internal, "operator")
		}
		if c.APILoadBalancerScheme == cluster.Internal {
			s.Network.Internal = append(s.Network.Internal, "apis")
		}
		if c.OwnNetwork() {
			for _, subnet := range c.Subnets {
				s.Network.Subnets = append(s.Network.Subnets, subnet.SubnetID)
			}
		}
	}
	if len(s.Network.Subnets) == 0 {
		return nil
	}
	if c != nil && !c.OwnNetwork() {
		s.Network.CIDR = c.Range()
		return nil
	}
	if s.Network.VPC == "" && f != nil {
		for _, subnet := range f.Subnets {
			if subnet.ID == s.Network.Subnets[0] {
				s.Network.VPC, s.Network.CIDR = subnet.VPC, subnet.VPCCIDR
			}
		}
		tables := map[string]bool{}
		for _, subnet := range s.Network.Subnets {
			if table := seen.tables[subnet]; table != "" {
				tables[table] = true
			}
		}
		s.Network.Tables = sorted(tables)
		return nil
	}
	vpcs, err := a.ec2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{s.Network.VPC}})
	if err != nil {
		return asFault("reading the VPC of the cluster", err)
	}
	for _, v := range vpcs.Vpcs {
		s.Network.CIDR = deref(v.CidrBlock)
	}
	return nil
}

// infoPlan compares what there is with what was asked for last. There is no plan where that
// is not known, or cannot be made any more.
func (a *Account) infoPlan(ctx context.Context, s *cluster.Status, n *Note, facts *cluster.Facts, seen *sight) (*cluster.Plan, cluster.State, error) {
	if n.Config == nil {
		s.Notes = append(s.Notes, "what was asked for is not known: the bucket of the cluster has no note of it")
		return nil, nil, nil
	}
	c, f := pin(n.Config, facts, n)
	plan, broken := cluster.Build(c, f)
	if len(broken) > 0 {
		s.Notes = append(s.Notes, "the cluster could not be made like this any more: "+inWords(broken))
		return nil, nil, nil
	}
	state, err := a.stateOf(ctx, plan, seen)
	if err != nil {
		return nil, nil, err
	}
	s.Drift = cluster.Diff(state, plan)
	return plan, state, nil
}
