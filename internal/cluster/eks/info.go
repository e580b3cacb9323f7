package eks

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"cortex.dev/cortex/internal/cluster"
)

// Info says what there is of a cluster, and how it differs from what was asked for last.
func (a *Account) Info(ctx context.Context, name string) (*cluster.Status, error) {
	stacks, err := a.stacks(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(stacks) == 0 {
		if err := a.refuseOld(ctx, name); err != nil {
			return nil, err
		}
		return nil, a.noCluster(name)
	}
	if err := a.admitted(ctx, name); err != nil {
		return nil, err
	}
	s := &cluster.Status{ClusterName: name, Region: a.Region, Account: a.ID, State: "missing"}
	for _, part := range sorted(stacks) {
		stack := stacks[part]
		s.Stacks = append(s.Stacks, cluster.StackState{Part: part, Name: deref(stack.StackName), State: string(stack.StackStatus)})
	}
	note, err := a.Note(ctx, name)
	if err != nil {
		return nil, err
	}
	if note == nil {
		note = &Note{}
	}
	err = together(
		func() error { return a.infoControl(ctx, s) },
		func() error { return a.infoGroups(ctx, s) },
		func() error { return a.infoNetwork(ctx, s, stacks, note.Config) },
	)
	if err == nil {
		err = a.infoPlan(ctx, s, note)
	}
	s.Authority = note.Authority
	services := stacks["services"]
	out := outputsOf(&services)
	if host := out["OperatorHost"]; host != "" {
		s.Operator = "https://" + host
	}
	if host := out["ApisHost"]; host != "" {
		s.APIs = "http://" + host
	}
	s.Notes = append(s.Notes, versionsOf(s)...)
	if note.UpgradingFrom != "" {
		s.Notes = append(s.Notes, fmt.Sprintf("the upgrade from Kubernetes %s to %s has not come to its end: `cortex cluster upgrade` goes on with it", note.UpgradingFrom, note.Kubernetes.Version))
	}
	if h := note.Holder; h != nil && time.Now().Before(h.Until) {
		s.Holder = fmt.Sprintf("%s on %s since %s", h.Caller, h.Machine, h.Since.Format(time.RFC3339))
	}
	return s, err
}

func (a *Account) infoControl(ctx context.Context, s *cluster.Status) error {
	c, err := a.control(ctx, s.ClusterName)
	if err != nil || c == nil {
		return err
	}
	s.State, s.Kubernetes = string(c.Status), deref(c.Version)
	until, err := a.endOfSupport(ctx, s.Kubernetes)
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

func (a *Account) nodegroups(ctx context.Context, name string) (all []string, err error) {
	pages := eks.NewListNodegroupsPaginator(a.eks, &eks.ListNodegroupsInput{ClusterName: &name})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if is(err, "ResourceNotFoundException") {
			return nil, nil
		}
		if err != nil {
			return nil, asFault("listing the node groups of cluster "+name, err)
		}
		all = append(all, page.Nodegroups...)
	}
	slices.Sort(all)
	return all, nil
}

func (a *Account) infoGroups(ctx context.Context, s *cluster.Status) error {
	names, err := a.nodegroups(ctx, s.ClusterName)
	if err != nil {
		return err
	}
	s.Groups = make([]cluster.GroupState, len(names))
	var tasks []func() error
	for i, name := range names {
		tasks = append(tasks, func() error {
			g, err := a.nodegroup(ctx, s.ClusterName, name)
			if err != nil || g == nil {
				return err
			}
			s.Groups[i] = groupState(g)
			s.Groups[i].Nodes, err = a.instancesOf(ctx, g)
			return err
		})
	}
	return together(tasks...)
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

// instancesOf counts the instances of a node group that are in service.
func (a *Account) instancesOf(ctx context.Context, g *ekstypes.Nodegroup) (nodes int, err error) {
	groups := scalingGroups(g)
	if len(groups) == 0 {
		return 0, nil
	}
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(a.asg, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: groups})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, asFault("reading the scaling group of node group "+deref(g.NodegroupName), err)
		}
		for _, group := range page.AutoScalingGroups {
			for _, i := range group.Instances {
				if i.LifecycleState == "InService" {
					nodes++
				}
			}
		}
	}
	return nodes, nil
}

// infoNetwork says what is needed to reach the cluster from another VPC.
func (a *Account) infoNetwork(ctx context.Context, s *cluster.Status, stacks map[string]cfn.Stack, c *cluster.Config) error {
	network := stacks["network"]
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
	if s.Network.VPC == "" {
		subnets, err := a.describeSubnets(ctx, filter("subnet-id", s.Network.Subnets[0]))
		if err != nil || len(subnets) == 0 {
			return err
		}
		s.Network.VPC = deref(subnets[0].VpcId)
		tables, err := a.ec2.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []ec2types.Filter{filter("association.subnet-id", s.Network.Subnets...)}})
		if err != nil {
			return asFault("reading the routes of the subnets", err)
		}
		for _, t := range tables.RouteTables {
			s.Network.Tables = append(s.Network.Tables, deref(t.RouteTableId))
		}
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

// infoPlan compares what there is with what was asked for last, and says what that costs
// with as many nodes as there are now.
func (a *Account) infoPlan(ctx context.Context, s *cluster.Status, n *Note) error {
	if n.Config == nil {
		s.Notes = append(s.Notes, "what was asked for is not known: the bucket of the cluster has no note of it")
		return nil
	}
	facts, err := a.facts(ctx, n.Config, false)
	if err != nil {
		return err
	}
	c, f := pin(n.Config, facts, n)
	plan, broken := cluster.Build(c, f)
	if len(broken) > 0 {
		s.Notes = append(s.Notes, "the cluster could not be made like this any more: "+inWords(broken))
		return nil
	}
	state, err := a.State(ctx, plan)
	if err != nil {
		return err
	}
	s.Drift = cluster.Diff(state, plan)
	nodes := map[string]int64{}
	for _, g := range s.Groups {
		nodes[g.Name] = int64(g.Nodes)
	}
	cost := plan.Cost.With(nodes)
	s.Cost = &cost
	return nil
}
