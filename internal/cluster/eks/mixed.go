package eks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	asgtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// A mixed group is a scaling group that EKS knows nothing of. What EKS does for its own is done
// here: who its nodes are, waiting until they have joined, and replacing them a few at a time.

// ensureProfile makes the instance profile of a role, by which instances take it on. It has no
// tags, because the published minimum policy allows none: that it is the cluster's is said by
// the role in it, and by its name, which is the role's.
func (a *Account) ensureProfile(ctx context.Context, role string) error {
	has, there, err := a.profile(ctx, role)
	if err != nil {
		return err
	}
	if !there {
		if _, err := a.iam.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &role}); err != nil && !is(err, "EntityAlreadyExists") {
			return asFault("making instance profile "+role, err)
		}
	}
	switch has {
	case role:
		return nil
	case "":
		err := spread(ctx, func() error {
			_, err := a.iam.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &role, RoleName: &role})
			return err
		}, noSuchEntity)
		return asFault("giving instance profile "+role+" its role", err)
	}
	return fault.New(fault.Conflict, CodeNotOurs, "instance profile %s is there with the role %s, and is not of this cluster", role, has).
		WithHint("delete it, or give the cluster another name")
}

// profile is the role in an instance profile, and whether there is one.
func (a *Account) profile(ctx context.Context, name string) (role string, there bool, err error) {
	out, err := a.iam.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
	if is(err, noSuchEntity) {
		return "", false, nil
	}
	if err != nil {
		return "", false, asFault("reading instance profile "+name, err)
	}
	if out.InstanceProfile != nil && len(out.InstanceProfile.Roles) > 0 {
		role = deref(out.InstanceProfile.Roles[0].RoleName)
	}
	return role, true, nil
}

// removeProfile takes the instance profile of a role away, where the role is in it or nothing is.
func (a *Account) removeProfile(ctx context.Context, role string) error {
	has, there, err := a.profile(ctx, role)
	if err != nil || !there || has != "" && has != role {
		return err
	}
	if has == role {
		_, err := a.iam.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &role, RoleName: &role})
		if err != nil && !is(err, noSuchEntity) {
			return asFault("taking role "+role+" out of its instance profile", err)
		}
	}
	_, err = a.iam.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: &role})
	if is(err, noSuchEntity) {
		return nil
	}
	return asFault("removing instance profile "+role, err)
}

// mixedGroup is a mixed group in the words of EKS; nil when there is none.
func mixedGroup(name string, scaling []asgtypes.AutoScalingGroup) *ekstypes.Nodegroup {
	if len(scaling) == 0 {
		return nil
	}
	g := &scaling[0]
	of := &ekstypes.Nodegroup{
		NodegroupName: &name, Status: ekstypes.NodegroupStatusActive, CapacityType: ekstypes.CapacityTypesSpot, Version: aws.String(scalingTags(g)[cluster.TagVersion]),
		ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: g.MinSize, MaxSize: g.MaxSize, DesiredSize: g.DesiredCapacity},
		Resources:     &ekstypes.NodegroupResources{AutoScalingGroups: []ekstypes.AutoScalingGroup{{Name: g.AutoScalingGroupName}}},
	}
	if deref(g.Status) != "" { // which AWS says only of one that is being deleted
		of.Status = ekstypes.NodegroupStatusDeleting
	}
	if p := g.MixedInstancesPolicy; p != nil && p.LaunchTemplate != nil {
		for _, o := range p.LaunchTemplate.Overrides {
			of.InstanceTypes = append(of.InstanceTypes, deref(o.InstanceType))
		}
	}
	return of
}

// roll is how far the machines of a mixed group are.
type roll struct {
	desired int
	ready   int      // nodes that start from what the group has now
	old     []string // machines that run, and start from something else
}

// rollOf sorts the machines of a group. nodes are the ids of machines that have joined, and
// whether they are ready.
func rollOf(g *asgtypes.AutoScalingGroup, nodes map[string]bool) (r roll) {
	r.desired = int(aws.ToInt32(g.DesiredCapacity))
	for _, i := range g.Instances {
		switch id := deref(i.InstanceId); {
		case i.LifecycleState != asgtypes.LifecycleStateInService:
		case outdated(g, &i):
			r.old = append(r.old, id)
		case nodes[id]:
			r.ready++
		}
	}
	slices.Sort(r.old)
	return r
}

// outdated reports whether a machine starts from another version of the launch template than
// its group does now.
func outdated(g *asgtypes.AutoScalingGroup, i *asgtypes.Instance) bool {
	p := g.MixedInstancesPolicy
	return p != nil && p.LaunchTemplate != nil && p.LaunchTemplate.LaunchTemplateSpecification != nil && i.LaunchTemplate != nil &&
		deref(i.LaunchTemplate.Version) != deref(p.LaunchTemplate.LaunchTemplateSpecification.Version)
}

// rolled reports whether all machines of groups start from what their groups have now.
func rolled(scaling []asgtypes.AutoScalingGroup) bool {
	for n := range scaling {
		if slices.ContainsFunc(scaling[n].Instances, func(i asgtypes.Instance) bool {
			return i.LifecycleState == asgtypes.LifecycleStateInService && outdated(&scaling[n], &i)
		}) {
			return false
		}
	}
	return true
}

// batch are the machines to be replaced next: none while others are still to join.
func (r roll) batch() []string {
	if len(r.old) == 0 || r.ready+len(r.old) < r.desired {
		return nil
	}
	return r.old[:min(len(r.old), max(1, r.desired*cluster.AtOncePercent/100))]
}

func (r roll) done() bool { return len(r.old) == 0 && r.ready >= r.desired }

// joinPatience is how long machines of a mixed group have to become nodes, as EKS gives its own.
const joinPatience = 20 * time.Minute

// ensureNodes waits until all machines of a mixed group are nodes, and replaces those that
// start from something else than the group does now: a few at a time, emptied first.
func (r *run) ensureNodes(ctx context.Context, id, group string) error {
	at, err := r.place(ctx, r.plan.ClusterName)
	if err != nil {
		return err
	}
	say := r.saying(id)
	var waited time.Duration
	for {
		all, err := r.scaling(ctx, r.plan.ClusterName)
		if err != nil {
			return err
		}
		if len(all[group]) == 0 {
			return fault.New(fault.Unavailable, CodeFailed, "node group %s has no scaling group", group).WithHint("run the same command again")
		}
		g := &all[group][0]
		var nodes map[string]bool
		if aws.ToInt32(g.DesiredCapacity) > 0 {
			if nodes, err = r.kube.Nodes(ctx, at); err != nil {
				return err
			}
		}
		is := rollOf(g, nodes)
		next := is.batch()
		switch {
		case is.done():
			return nil
		case len(next) > 0:
			say("replacing %s: %d of %d nodes are new", strings.Join(next, ", "), is.ready, is.desired)
			if err := r.replace(ctx, at, next, say); err != nil {
				return err
			}
			waited = 0
		case waited > joinPatience:
			return r.notJoined(ctx, group, g, is)
		default:
			say("%d of %d nodes have joined", is.ready+len(is.old), is.desired)
		}
		if err := pause(ctx, longestLook); err != nil {
			return err
		}
		waited += longestLook
	}
}

// replace empties machines and has them terminated: their group starts others.
func (r *run) replace(ctx context.Context, at Place, ids []string, say func(string, ...any)) error {
	if err := r.kube.Drain(ctx, at, ids, func(text string) { say("%s", text) }); err != nil {
		return err
	}
	for _, id := range ids {
		_, err := r.asg.TerminateInstanceInAutoScalingGroup(ctx, &autoscaling.TerminateInstanceInAutoScalingGroupInput{InstanceId: &id, ShouldDecrementDesiredCapacity: aws.Bool(false)})
		if err != nil && !says(err, "No managed instance found") { // it has gone meanwhile
			return asFault("replacing instance "+id, err)
		}
	}
	return nil
}

func (r *run) notJoined(ctx context.Context, group string, g *asgtypes.AutoScalingGroup, is roll) error {
	f := fault.New(fault.Unavailable, CodeFailed, "node group %s: %d of %d nodes have joined in %s", group, is.ready+len(is.old), is.desired, joinPatience)
	why, err := (&doctor{Account: r.Account}).lastFailure(ctx, mixedGroup(group, []asgtypes.AutoScalingGroup{*g}))
	if err != nil || why == "" {
		return f.WithHint("the system log of an instance says why: `aws ec2 get-console-output --latest --instance-id …`; then run the same command again")
	}
	f = fault.New(fault.Unavailable, CodeFailed, "node group %s: %d of %d nodes have joined: %s", group, is.ready+len(is.old), is.desired, why)
	if do := explain(why); do != "" {
		return f.WithHint("%s", do)
	}
	return f.WithHint("run the same command again when the cause is gone: it goes on where it stopped")
}

// empty drains the machines of a mixed group that is to go; what does not let go is no reason
// for it to stay.
func (d *removal) empty(ctx context.Context, group string) {
	id := cluster.IDStack + cluster.NodesPart(group)
	err := func() error {
		all, err := d.scaling(ctx, d.name)
		if err != nil || len(all[group]) == 0 {
			return err
		}
		var ids []string
		for _, i := range all[group][0].Instances {
			ids = append(ids, deref(i.InstanceId))
		}
		if len(ids) == 0 {
			return nil
		}
		at, err := d.place(ctx, d.name)
		if err != nil {
			return err
		}
		say := d.saying(id)
		return d.kube.Drain(ctx, at, ids, func(text string) { say("%s", text) })
	}()
	if err != nil && ctx.Err() == nil {
		d.tell(cluster.Event{Step: id, State: cluster.Going, Text: fmt.Sprintf("its nodes are not empty: %s", fault.From(err).Message)})
	}
}
