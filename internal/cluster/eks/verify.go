package eks

import (
	"context"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// search looks for one kind of thing that a cluster may have left.
type search struct {
	what string
	look func(ctx context.Context) ([]cluster.Left, error)
}

// Verify looks for everything that a cluster of a name could have left, by names and tags
// and not by what anybody has noted. With keep, what `down --keep-aws-resources` keeps is
// not looked for.
func (a *Account) Verify(ctx context.Context, name string, keep bool) ([]cluster.Verified, error) {
	searches := a.searches(name, keep)
	found := make([]cluster.Verified, len(searches))
	var wg sync.WaitGroup
	for i, s := range searches {
		wg.Go(func() {
			left, err := s.look(ctx)
			found[i] = cluster.Verified{What: s.what, Left: left}
			if err != nil {
				found[i].Unknown = fault.From(err).Message
			}
		})
	}
	wg.Wait()
	return found, ctx.Err()
}

// searches are all of them, in the order in which people read them.
func (a *Account) searches(name string, keep bool) []search {
	names := a.names(name)
	all := []search{
		{"stacks", func(ctx context.Context) ([]cluster.Left, error) { return a.leftStacks(ctx, name) }},
		{"control plane", func(ctx context.Context) ([]cluster.Left, error) { return a.leftControl(ctx, name) }},
		{"scaling groups", func(ctx context.Context) ([]cluster.Left, error) { return a.leftScaling(ctx, name) }},
		{"instances", func(ctx context.Context) ([]cluster.Left, error) { return a.leftInstances(ctx, name) }},
		{"launch templates", func(ctx context.Context) ([]cluster.Left, error) { return a.leftTemplates(ctx, name) }},
		{"load balancers", func(ctx context.Context) ([]cluster.Left, error) { return a.leftBalancers(ctx, name) }},
		{"NAT gateways", func(ctx context.Context) ([]cluster.Left, error) { return a.leftNAT(ctx, name) }},
		{"elastic IP addresses", func(ctx context.Context) ([]cluster.Left, error) { return a.leftAddresses(ctx, name) }},
		{"VPCs", func(ctx context.Context) ([]cluster.Left, error) { return a.leftVPCs(ctx, name) }},
		{"network interfaces", func(ctx context.Context) ([]cluster.Left, error) { return a.leftInterfaces(ctx, name) }},
		{"security groups", func(ctx context.Context) ([]cluster.Left, error) { return a.leftGroups(ctx, name) }},
		{"volumes", func(ctx context.Context) ([]cluster.Left, error) { return a.leftVolumes(ctx, name) }},
		{"roles", func(ctx context.Context) ([]cluster.Left, error) { return a.leftRoles(ctx, name) }},
		{"policy", func(ctx context.Context) ([]cluster.Left, error) {
			there, err := a.policyThere(ctx, names.PolicyARN())
			return one(there, "policy", names.Policy()), err
		}},
		{"queues", func(ctx context.Context) ([]cluster.Left, error) {
			urls, err := a.queues(ctx, name)
			return list("queue", urls), err
		}},
	}
	if keep {
		return all
	}
	return append(all,
		search{"log group", func(ctx context.Context) ([]cluster.Left, error) {
			tags, err := a.logGroupTags(ctx, names.LogGroup())
			return one(tags[cluster.TagClusterName] == name, "log group", names.LogGroup()), err
		}},
		search{"bucket", func(ctx context.Context) ([]cluster.Left, error) {
			b, err := a.bucket(ctx, names.Bucket())
			if err != nil {
				return nil, err
			}
			ours, err := a.ourBucket(ctx, b, names.Bucket(), name)
			return one(ours, "bucket", names.Bucket()), err
		}},
	)
}

func one(there bool, what, name string) []cluster.Left {
	if !there {
		return nil
	}
	return []cluster.Left{{What: what, Name: name}}
}

func list(what string, names []string) (all []cluster.Left) {
	for _, n := range names {
		all = append(all, cluster.Left{What: what, Name: n})
	}
	return all
}

func (a *Account) leftStacks(ctx context.Context, name string) (all []cluster.Left, err error) {
	stacks, err := a.stacks(ctx, name)
	for _, part := range sorted(stacks) {
		s := stacks[part]
		all = append(all, cluster.Left{What: "stack", Name: deref(s.StackName), Note: words(s.StackStatus)})
	}
	return all, err
}

func (a *Account) leftControl(ctx context.Context, name string) ([]cluster.Left, error) {
	c, err := a.control(ctx, name)
	if err != nil || c == nil || c.Tags[cluster.TagClusterName] != name {
		return nil, err
	}
	return []cluster.Left{{What: "control plane", Name: name, Note: words(c.Status), Each: cluster.Price(cluster.PricedControlPlane)}}, nil
}

func (a *Account) leftScaling(ctx context.Context, name string) (all []cluster.Left, err error) {
	groups, err := a.scaling(ctx, name)
	for _, of := range sorted(groups) {
		for _, g := range groups[of] {
			all = append(all, cluster.Left{What: "scaling group", Name: deref(g.AutoScalingGroupName), Note: fmt.Sprintf("%d instances", len(g.Instances))})
		}
	}
	return all, err
}

// tagged is the filter of what has the tag of a cluster.
func tagged(name string) ec2types.Filter { return filter("tag:"+cluster.TagClusterName, name) }

func (a *Account) leftInstances(ctx context.Context, name string) (all []cluster.Left, err error) {
	pages := ec2.NewDescribeInstancesPaginator(a.ec2, &ec2.DescribeInstancesInput{
		Filters: []ec2types.Filter{tagged(name), filter("instance-state-name", "pending", "running", "stopping", "stopped")},
	})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing instances", err)
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				all = append(all, cluster.Left{What: "instance", Name: deref(i.InstanceId), Note: string(i.InstanceType), Each: cluster.Price(string(i.InstanceType))})
			}
		}
	}
	return all, nil
}

func (a *Account) leftTemplates(ctx context.Context, name string) (all []cluster.Left, err error) {
	pages := ec2.NewDescribeLaunchTemplatesPaginator(a.ec2, &ec2.DescribeLaunchTemplatesInput{Filters: []ec2types.Filter{tagged(name)}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing launch templates", err)
		}
		for _, t := range page.LaunchTemplates {
			all = append(all, cluster.Left{What: "launch template", Name: deref(t.LaunchTemplateId)})
		}
	}
	return all, nil
}

func (a *Account) leftBalancers(ctx context.Context, name string) (all []cluster.Left, err error) {
	arns, err := a.balancersLeft(ctx, name)
	for _, arn := range arns {
		all = append(all, cluster.Left{What: "load balancer", Name: arn, Each: cluster.Price(cluster.PricedBalancer)})
	}
	return all, err
}

func (a *Account) leftNAT(ctx context.Context, name string) (all []cluster.Left, err error) {
	pages := ec2.NewDescribeNatGatewaysPaginator(a.ec2, &ec2.DescribeNatGatewaysInput{Filter: []ec2types.Filter{tagged(name), filter("state", "pending", "available", "deleting")}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing NAT gateways", err)
		}
		for _, g := range page.NatGateways {
			all = append(all, cluster.Left{What: "NAT gateway", Name: deref(g.NatGatewayId), Note: string(g.State), Each: cluster.Price(cluster.PricedNAT)})
		}
	}
	return all, nil
}

func (a *Account) leftAddresses(ctx context.Context, name string) (all []cluster.Left, err error) {
	out, err := a.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{Filters: []ec2types.Filter{tagged(name)}})
	if err != nil {
		return nil, asFault("listing elastic IP addresses", err)
	}
	for _, e := range out.Addresses {
		all = append(all, cluster.Left{What: "elastic IP address", Name: deref(e.AllocationId), Note: deref(e.PublicIp), Each: cluster.Price(cluster.PricedAddress)})
	}
	return all, nil
}

func (a *Account) leftVPCs(ctx context.Context, name string) (all []cluster.Left, err error) {
	pages := ec2.NewDescribeVpcsPaginator(a.ec2, &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{tagged(name)}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing VPCs", err)
		}
		for _, v := range page.Vpcs {
			all = append(all, cluster.Left{What: "VPC", Name: deref(v.VpcId), Note: deref(v.CidrBlock)})
			peerings, err := a.peerings(ctx, deref(v.VpcId))
			if err != nil {
				return nil, err
			}
			all = append(all, peerings...)
		}
	}
	return all, nil
}

func (a *Account) leftInterfaces(ctx context.Context, name string) (all []cluster.Left, err error) {
	pages := ec2.NewDescribeNetworkInterfacesPaginator(a.ec2, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{filter("tag:"+tagInterfaceOf, name)}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing network interfaces", err)
		}
		for _, i := range page.NetworkInterfaces {
			all = append(all, cluster.Left{What: "network interface", Name: deref(i.NetworkInterfaceId), Note: bounded(deref(i.Description))})
		}
	}
	return all, nil
}

func (a *Account) leftGroups(ctx context.Context, name string) (all []cluster.Left, err error) {
	for _, by := range []ec2types.Filter{tagged(name), filter("tag-key", tagOwnedBy+name)} {
		pages := ec2.NewDescribeSecurityGroupsPaginator(a.ec2, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{by}})
		for n := 0; pages.HasMorePages() && n < maxPages; n++ {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, asFault("listing security groups", err)
			}
			for _, g := range page.SecurityGroups {
				all = append(all, cluster.Left{What: "security group", Name: deref(g.GroupId), Note: deref(g.GroupName)})
			}
		}
	}
	return all, nil
}

// leftVolumes are those of nodes, and those that Kubernetes has made for claims: these
// hold data of the user's, and are only told of.
func (a *Account) leftVolumes(ctx context.Context, name string) (all []cluster.Left, err error) {
	for _, by := range []ec2types.Filter{tagged(name), filter("tag-key", tagOwnedBy+name)} {
		pages := ec2.NewDescribeVolumesPaginator(a.ec2, &ec2.DescribeVolumesInput{Filters: []ec2types.Filter{by}})
		for n := 0; pages.HasMorePages() && n < maxPages; n++ {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, asFault("listing volumes", err)
			}
			for _, v := range page.Volumes {
				all = append(all, cluster.Left{What: "volume", Name: deref(v.VolumeId), Note: fmt.Sprintf("%d GB, %s", aws.ToInt32(v.Size), v.State)})
			}
		}
	}
	return all, nil
}

func (a *Account) leftRoles(ctx context.Context, name string) (all []cluster.Left, err error) {
	roles := a.names(name).Roles()
	for _, id := range sorted(roles) {
		r, err := a.role(ctx, roles[id])
		if err != nil {
			return nil, err
		}
		if r != nil && roleTag(r) == name {
			all = append(all, cluster.Left{What: "role", Name: roles[id]})
		}
	}
	return all, nil
}
