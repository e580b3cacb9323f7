package eks

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"cortex.dev/cortex/internal/cluster"
)

// Tags of what Kubernetes makes in AWS for a cluster.
const (
	tagInterfaceOf = "cluster.k8s.amazonaws.com/name" // by the network of pods
	tagOwnedBy     = "kubernetes.io/cluster/"         // with the name of the cluster
	tagBalancerOf  = "elbv2.k8s.aws/cluster"          // by the load balancer controller
	tagOfEKS       = "aws:eks:cluster-name"           // by EKS; nobody else can write such a tag
	tagVolumeOf    = "ebs.csi.aws.com/cluster"        // "true", for any cluster
)

func ec2Tag(tags []ec2types.Tag, key string) string {
	for _, t := range tags {
		if deref(t.Key) == key {
			return deref(t.Value)
		}
	}
	return ""
}

// oursToRemove reports whether a network interface is provably a leftover of the cluster:
// nothing uses it, and the network of the cluster's pods has made it.
func oursToRemove(i *ec2types.NetworkInterface, clusterName string) bool {
	if i.Status != ec2types.NetworkInterfaceStatusAvailable {
		return false
	}
	return ec2Tag(i.TagSet, tagInterfaceOf) == clusterName || strings.HasPrefix(deref(i.Description), "aws-K8S-") && hasTag(i.TagSet, tagOwnedBy+clusterName)
}

func hasTag(tags []ec2types.Tag, key string) bool {
	for _, t := range tags {
		if deref(t.Key) == key {
			return true
		}
	}
	return false
}

// vpcOf is the VPC that a stack has made, or that the cluster is in; "" when there is none.
func (a *Account) vpcOf(ctx context.Context, clusterName string) (string, error) {
	network, err := a.describe(ctx, a.names(clusterName).Stack("network"))
	if err != nil || network == nil {
		return "", err
	}
	all, err := a.resources(ctx, deref(network.StackId))
	if err != nil || len(all["AWS::EC2::VPC"]) == 0 {
		return "", err
	}
	return all["AWS::EC2::VPC"][0], nil
}

// free removes what keeps a stack from being deleted and is provably the cluster's.
func (d *removal) free(ctx context.Context, s *stack) (removed int, err error) {
	if err := d.freeBalancers(ctx); err != nil {
		return 0, err
	}
	vpc, err := d.vpcOf(ctx, d.name)
	if err != nil || vpc == "" {
		return 0, err
	}
	interfaces, err := d.interfaces(ctx, vpc)
	if err != nil {
		return 0, err
	}
	for i := range interfaces {
		if !oursToRemove(&interfaces[i], d.name) {
			continue
		}
		_, err := d.ec2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: interfaces[i].NetworkInterfaceId})
		if err != nil && !is(err, "InvalidNetworkInterfaceID.NotFound", "InvalidNetworkInterface.InUse") {
			return removed, asFault("removing a network interface that the cluster has left", err)
		}
		removed++
	}
	groups, err := d.freeGroups(ctx, vpc)
	return removed + groups, err
}

// freeGroups removes the security group that EKS has made for the control plane, and leaves
// where an interface still has it when the control plane goes.
func (d *removal) freeGroups(ctx context.Context, vpc string) (removed int, err error) {
	out, err := d.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{filter("vpc-id", vpc), filter("tag:"+tagOfEKS, d.name)}})
	if err != nil {
		return 0, asFault("listing the security groups of "+vpc, err)
	}
	if c, err := d.control(ctx, d.name); err != nil || c != nil {
		return 0, err // it is in use, by its owner
	}
	for _, g := range out.SecurityGroups {
		_, err := d.ec2.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: g.GroupId})
		if err != nil && !is(err, "InvalidGroup.NotFound", "DependencyViolation") {
			return removed, asFault("removing a security group that EKS has left", err)
		}
		removed++
	}
	return removed, nil
}

// freeBalancers removes load balancers that Services of the cluster have left.
func (d *removal) freeBalancers(ctx context.Context) error {
	left, err := d.balancersLeft(ctx, d.name)
	if err != nil {
		return err
	}
	for _, arn := range left {
		if _, err := d.elb.DeleteLoadBalancer(ctx, &elasticloadbalancingv2.DeleteLoadBalancerInput{LoadBalancerArn: &arn}); err != nil {
			return asFault("removing a load balancer that the cluster has left", err)
		}
	}
	return nil
}

// balancersLeft are load balancers that controllers in the cluster have made for it.
func (a *Account) balancersLeft(ctx context.Context, clusterName string) (left []string, err error) {
	var arns []string
	pages := elasticloadbalancingv2.NewDescribeLoadBalancersPaginator(a.elb, &elasticloadbalancingv2.DescribeLoadBalancersInput{})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing load balancers", err)
		}
		for _, lb := range page.LoadBalancers {
			arns = append(arns, deref(lb.LoadBalancerArn))
		}
	}
	const atOnce = 20 // that AWS tells the tags of
	for len(arns) > 0 {
		n := min(len(arns), atOnce)
		out, err := a.elb.DescribeTags(ctx, &elasticloadbalancingv2.DescribeTagsInput{ResourceArns: arns[:n]})
		if err != nil {
			return nil, asFault("reading the tags of load balancers", err)
		}
		for _, d := range out.TagDescriptions {
			for _, t := range d.Tags {
				key := deref(t.Key)
				if key == tagOwnedBy+clusterName && deref(t.Value) == "owned" || key == tagBalancerOf && deref(t.Value) == clusterName {
					left = append(left, deref(d.ResourceArn))
					break
				}
			}
		}
		arns = arns[n:]
	}
	return left, nil
}

func (a *Account) interfaces(ctx context.Context, vpc string) (all []ec2types.NetworkInterface, err error) {
	pages := ec2.NewDescribeNetworkInterfacesPaginator(a.ec2, &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{filter("vpc-id", vpc)}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing the network interfaces of "+vpc, err)
		}
		all = append(all, page.NetworkInterfaces...)
	}
	return all, nil
}

// dependents are things in the cluster's VPC that its stacks have not made.
func (d *removal) dependents(ctx context.Context, _ *stack) (all []cluster.Left, err error) {
	vpc, err := d.vpcOf(ctx, d.name)
	if err != nil || vpc == "" {
		return nil, err
	}
	interfaces, err := d.interfaces(ctx, vpc)
	if err != nil {
		return nil, err
	}
	for _, i := range interfaces {
		all = append(all, cluster.Left{What: "network interface", Name: deref(i.NetworkInterfaceId), Note: fmt.Sprintf("(%s, of %s)", bounded(deref(i.Description)), deref(i.OwnerId))})
	}
	peerings, err := d.peerings(ctx, vpc)
	if err != nil {
		return nil, err
	}
	all = append(all, peerings...)
	endpoints, err := d.ec2.DescribeVpcEndpoints(ctx, &ec2.DescribeVpcEndpointsInput{Filters: []ec2types.Filter{filter("vpc-id", vpc)}})
	if err != nil {
		return nil, asFault("listing the endpoints of "+vpc, err)
	}
	for _, e := range endpoints.VpcEndpoints {
		all = append(all, cluster.Left{What: "VPC endpoint", Name: deref(e.VpcEndpointId), Note: deref(e.ServiceName)})
	}
	groups, err := d.foreignGroups(ctx, vpc)
	return append(all, groups...), err
}

func (a *Account) peerings(ctx context.Context, vpc string) (all []cluster.Left, err error) {
	for _, side := range []string{"requester-vpc-info.vpc-id", "accepter-vpc-info.vpc-id"} {
		out, err := a.ec2.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{Filters: []ec2types.Filter{filter(side, vpc), filter("status-code", "active", "pending-acceptance", "provisioning")}})
		if err != nil {
			return nil, asFault("listing the peering connections of "+vpc, err)
		}
		for _, p := range out.VpcPeeringConnections {
			all = append(all, cluster.Left{What: "VPC peering connection", Name: deref(p.VpcPeeringConnectionId)})
		}
	}
	return all, nil
}

// foreignGroups are the security groups of a VPC that no stack has made.
func (a *Account) foreignGroups(ctx context.Context, vpc string) (all []cluster.Left, err error) {
	pages := ec2.NewDescribeSecurityGroupsPaginator(a.ec2, &ec2.DescribeSecurityGroupsInput{Filters: []ec2types.Filter{filter("vpc-id", vpc)}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing the security groups of "+vpc, err)
		}
		for _, g := range page.SecurityGroups {
			if aws.ToString(g.GroupName) != "default" && !hasTag(g.Tags, "aws:cloudformation:stack-id") {
				all = append(all, cluster.Left{What: "security group", Name: deref(g.GroupId), Note: "(" + deref(g.GroupName) + ")"})
			}
		}
	}
	return all, nil
}
