package eks

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	asgtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"cortex.dev/cortex/internal/cluster"
)

// nodegroup reads a group of nodes; nil when there is none.
func (a *Account) nodegroup(ctx context.Context, clusterName, name string) (*ekstypes.Nodegroup, error) {
	if cluster.IsMixed(name) {
		all, err := a.scaling(ctx, clusterName)
		return mixedGroup(name, all[name]), err
	}
	out, err := a.eks.DescribeNodegroup(ctx, &eks.DescribeNodegroupInput{ClusterName: &clusterName, NodegroupName: &name})
	if is(err, "ResourceNotFoundException") {
		return nil, nil
	}
	if err != nil {
		return nil, asFault("reading node group "+name, err)
	}
	return out.Nodegroup, nil
}

// groups are the node groups of a cluster, by their names. EKS answers for one at a time:
// each is asked about once, all at the same time.
func (a *Account) groups(ctx context.Context, clusterName string, seen *sight) (map[string]*ekstypes.Nodegroup, error) {
	names := seen.groups()
	found := make([]*ekstypes.Nodegroup, len(names))
	var tasks []func() error
	for i, name := range names {
		if cluster.IsMixed(name) {
			found[i] = mixedGroup(name, seen.scaling[name])
			continue
		}
		tasks = append(tasks, func() (err error) { found[i], err = a.nodegroup(ctx, clusterName, name); return err })
	}
	if err := together(tasks...); err != nil {
		return nil, err
	}
	all := map[string]*ekstypes.Nodegroup{}
	for i, name := range names {
		if found[i] != nil { // a stack whose group could not be made has none
			all[name] = found[i]
		}
	}
	return all, nil
}

// scalingGroups are the names of the Auto Scaling groups of a node group.
func scalingGroups(g *ekstypes.Nodegroup) (names []string) {
	if g == nil || g.Resources == nil {
		return nil
	}
	for _, s := range g.Resources.AutoScalingGroups {
		names = append(names, deref(s.Name))
	}
	return names
}

// attach gives an Auto Scaling group what node groups and stacks have no property for. Each
// call may be made again.
func (a *Account) attach(ctx context.Context, group string, targets []string, want *cluster.Attach) error {
	tags := want.Tags
	if len(want.Suspend) > 0 {
		if _, err := a.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: &group, ScalingProcesses: want.Suspend}); err != nil {
			return asFault("suspending processes of scaling group "+group, err)
		}
	}
	if len(tags) > 0 {
		var all []asgtypes.Tag
		for _, key := range sorted(tags) {
			all = append(all, asgtypes.Tag{
				ResourceId: &group, ResourceType: aws.String("auto-scaling-group"), Key: aws.String(key), Value: aws.String(tags[key]), PropagateAtLaunch: aws.Bool(false),
			})
		}
		if _, err := a.asg.CreateOrUpdateTags(ctx, &autoscaling.CreateOrUpdateTagsInput{Tags: all}); err != nil {
			return asFault("tagging scaling group "+group, err)
		}
	}
	if len(targets) == 0 {
		return nil
	}
	_, err := a.asg.AttachLoadBalancerTargetGroups(ctx, &autoscaling.AttachLoadBalancerTargetGroupsInput{AutoScalingGroupName: &group, TargetGroupARNs: targets})
	return asFault("letting load balancers reach scaling group "+group, err)
}

// scaling are the Auto Scaling groups of a cluster by their node groups, all of them at once:
// how many instances there are, what tags the groups have and which load balancers reach
// them is in the same answer.
func (a *Account) scaling(ctx context.Context, clusterName string) (map[string][]asgtypes.AutoScalingGroup, error) {
	all := map[string][]asgtypes.AutoScalingGroup{}
	// By the value alone, which finds both EKS's groups and our own: filters are joined by and.
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(a.asg, &autoscaling.DescribeAutoScalingGroupsInput{
		Filters: []asgtypes.Filter{{Name: aws.String("tag-value"), Values: []string{clusterName}}}, MaxRecords: aws.Int32(mostScalingGroups),
	})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("reading the scaling groups of cluster "+clusterName, err)
		}
		for _, g := range page.AutoScalingGroups {
			tags := scalingTags(&g)
			switch name := tags[cluster.TagGroup]; {
			case tags[tagScalingCluster] == clusterName:
				name = tags[tagScalingGroup]
				all[name] = append(all[name], g)
			case tags[cluster.TagClusterName] == clusterName && cluster.IsMixed(name):
				all[name] = append(all[name], g)
			}
		}
	}
	return all, nil
}

// Tags that EKS gives the scaling groups of its node groups, and how many groups AWS tells
// at once at most.
const (
	tagScalingCluster, tagScalingGroup = "eks:cluster-name", "eks:nodegroup-name"
	mostScalingGroups                  = 100
)

// scalingTags are the tags of a scaling group.
func scalingTags(g *asgtypes.AutoScalingGroup) map[string]string {
	has := map[string]string{}
	for _, t := range g.Tags {
		has[deref(t.Key)] = deref(t.Value)
	}
	return has
}

// inService counts the instances of scaling groups that are in service.
func inService(groups []asgtypes.AutoScalingGroup) (nodes int) {
	for _, g := range groups {
		for _, i := range g.Instances {
			if i.LifecycleState == asgtypes.LifecycleStateInService {
				nodes++
			}
		}
	}
	return nodes
}

// scaleAttempts are how often a group is tried that EKS is doing something to.
const scaleAttempts = 20

// scale sets how many nodes a group may have, without its stack: a stack that says it sets
// how many there are now too. How many there are now is kept within the new bounds.
func (a *Account) scale(ctx context.Context, clusterName, name string, least, most int32) error {
	g, err := a.nodegroup(ctx, clusterName, name)
	if err != nil || g == nil || g.ScalingConfig == nil {
		return err
	}
	if cluster.IsMixed(name) {
		for _, group := range scalingGroups(g) {
			_, err := a.asg.UpdateAutoScalingGroup(ctx, &autoscaling.UpdateAutoScalingGroupInput{AutoScalingGroupName: &group, MinSize: &least, MaxSize: &most})
			if err != nil {
				return asFault("scaling group "+group, err)
			}
		}
		return nil
	}
	desired := min(max(aws.ToInt32(g.ScalingConfig.DesiredSize), least), most)
	for range scaleAttempts {
		_, err = a.eks.UpdateNodegroupConfig(ctx, &eks.UpdateNodegroupConfigInput{
			ClusterName: &clusterName, NodegroupName: &name,
			ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: &least, MaxSize: &most, DesiredSize: &desired},
		})
		if !is(err, "ResourceInUseException") {
			break
		}
		// EKS does one thing to a group at a time.
		if err := pause(ctx, longestLook); err != nil {
			return err
		}
	}
	return asFault("scaling node group "+name, err)
}

// listed are the values that an output of a stack joins.
func listed(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}
