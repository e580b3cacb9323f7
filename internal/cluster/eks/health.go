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
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"cortex.dev/cortex/internal/cluster"
)

// Health says how a cluster is doing: what AWS says of it, then what is said within it.
func (a *Account) Health(ctx context.Context, name string) ([]cluster.Check, error) {
	var seen *sight
	var control *ekstypes.Cluster
	err := together(
		func() (err error) { seen, err = a.sight(ctx, name); return err },
		func() (err error) { control, err = a.control(ctx, name); return err },
	)
	if err != nil {
		return nil, err
	}
	// cortex 0.42 gave its control planes the same tag, and has other stacks.
	if control == nil || control.Tags[cluster.TagClusterName] != name || len(seen.stacks) == 0 {
		return nil, a.noCluster(ctx, name)
	}
	d := &doctor{Account: a, name: name, control: control, seen: seen}
	if d.groups, err = a.groups(ctx, name, seen); err != nil {
		return nil, err
	}
	at, err := a.placeOf(control)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(sorted(d.groups), cluster.IsMixed) {
		// An API server that does not answer is told of below.
		if d.joined, err = a.kube.Nodes(ctx, at); err != nil {
			d.joined = nil
		}
	}
	services := seen.stacks["services"]
	checks := []cluster.Check{d.controlPlane(), {}, {}, {}, {}, d.stacks()}
	err = together(
		func() (err error) { checks[1], err = d.support(ctx); return err },
		func() (err error) { checks[2], err = d.addons(ctx); return err },
		func() (err error) { checks[3], err = d.nodeGroups(ctx); return err },
		func() (err error) {
			checks[4], err = d.balancers(ctx, listed(outputsOf(&services)["TargetGroups"]))
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	inside, err := a.kube.Health(ctx, at)
	if err != nil {
		// What AWS says is worth telling all the same.
		return append(checks, cluster.Check{Name: "kubernetes", Text: textOf(err), Do: "`cortex cluster token` says whether you may ask its API server"}), ctx.Err()
	}
	return append(checks, inside...), nil
}

// doctor looks at one cluster.
type doctor struct {
	*Account
	name    string
	control *ekstypes.Cluster
	seen    *sight
	groups  map[string]*ekstypes.Nodegroup
	joined  map[string]bool // the machines of mixed groups that are nodes, and whether each is ready; nil: nobody says
}

// stacks says which stacks are not whole.
func (d *doctor) stacks() cluster.Check {
	var bad []string
	for _, part := range sorted(d.seen.stacks) {
		s := d.seen.stacks[part]
		if _, well := settled(s.StackStatus); !well && part != "endpoints" {
			bad = append(bad, deref(s.StackName)+" is in the state "+words(s.StackStatus))
		}
	}
	return judged("stacks", bad, fmt.Sprintf("all %d are whole", len(d.seen.stacks)), "`cortex cluster up FILE` puts them right")
}

// judged is a check that is in order unless something is bad.
func judged(name string, bad []string, well, do string) cluster.Check {
	if len(bad) == 0 {
		return cluster.Check{Name: name, OK: true, Text: well}
	}
	return cluster.Check{Name: name, Text: strings.Join(bad, "; "), Do: do}
}

func (d *doctor) controlPlane() cluster.Check {
	var bad []string
	if s := d.control.Status; s != ekstypes.ClusterStatusActive && s != ekstypes.ClusterStatusUpdating {
		bad = append(bad, "it is "+words(s))
	}
	if h := d.control.Health; h != nil {
		for _, i := range h.Issues {
			bad = append(bad, bounded(string(i.Code)+": "+deref(i.Message)))
		}
	}
	return judged("control_plane", bad, "Kubernetes "+deref(d.control.Version)+", "+words(d.control.Status), "EKS says what it lacks; what was removed by hand has to come back")
}

// soon is how many days before the end of its support a version is worth a word.
const soon = 30

// support says how long AWS supports the version, and whether all parts have it.
func (d *doctor) support(ctx context.Context) (cluster.Check, error) {
	version := deref(d.control.Version)
	until, err := d.endOfSupport(ctx, version)
	if err != nil {
		return cluster.Check{}, err
	}
	well := "AWS supports Kubernetes " + version
	var bad []string
	if !until.IsZero() {
		days := int(time.Until(until).Hours() / 24)
		well = fmt.Sprintf("%s for %d days, until %s", well, days, until.UTC().Format(time.DateOnly))
		switch {
		case days < 0:
			bad = append(bad, "AWS supports Kubernetes "+version+" no more, and brings the control plane to the next")
		case days < soon:
			bad = append(bad, fmt.Sprintf("AWS supports Kubernetes %s for %d days only, and then brings the control plane to the next", version, days))
		}
	}
	for _, name := range sorted(d.groups) {
		if is := deref(d.groups[name].Version); is != version {
			bad = append(bad, "the nodes of "+name+" have "+is)
		}
	}
	return judged("kubernetes_version", bad, well, "`cortex cluster upgrade`"), nil
}

// endOfSupport is when the standard support of a version ends; zero where AWS does not say.
func (a *Account) endOfSupport(ctx context.Context, version string) (time.Time, error) {
	out, err := a.eks.DescribeClusterVersions(ctx, &eks.DescribeClusterVersionsInput{ClusterVersions: []string{version}})
	if err != nil {
		return time.Time{}, asFault("reading how long Kubernetes "+version+" is supported", err)
	}
	for _, v := range out.ClusterVersions {
		if deref(v.ClusterVersion) == version && v.EndOfStandardSupportDate != nil {
			return *v.EndOfStandardSupportDate, nil
		}
	}
	return time.Time{}, nil
}

func (d *doctor) addons(ctx context.Context) (cluster.Check, error) {
	names := cluster.Addons()
	bad, well := make([][]string, len(names)), make([]string, len(names))
	var tasks []func() error
	for i, name := range names {
		tasks = append(tasks, func() error {
			version, state, err := d.addon(ctx, d.name, name)
			if err != nil {
				return err
			}
			well[i], bad[i] = name+" "+version, ailments(name, state)
			return nil
		})
	}
	err := together(tasks...)
	return judged("add_ons", slices.Concat(bad...), strings.Join(well, ", "), "`cortex cluster up FILE` makes what is missing; the pods in the namespace kube-system say the rest"), err
}

// ailments are what is wrong with an add-on; nil is none.
func ailments(name string, a *ekstypes.Addon) (bad []string) {
	if a == nil {
		return []string{name + " is missing"}
	}
	if a.Status != ekstypes.AddonStatusActive && a.Status != ekstypes.AddonStatusUpdating {
		bad = append(bad, name+" is "+words(a.Status))
	}
	if a.Health != nil {
		for _, i := range a.Health.Issues {
			bad = append(bad, bounded(name+": "+string(i.Code)+": "+deref(i.Message)))
		}
	}
	return bad
}

// nodeGroups says what EKS and the scaling groups behind node groups have run into.
func (d *doctor) nodeGroups(ctx context.Context) (cluster.Check, error) {
	var bad []string
	nodes := 0
	for _, name := range sorted(d.groups) {
		g := d.groups[name]
		s := groupState(g)
		if g.Status != ekstypes.NodegroupStatusActive && g.Status != ekstypes.NodegroupStatusUpdating && g.Status != ekstypes.NodegroupStatusCreating {
			bad = append(bad, name+" is "+words(g.Status))
		}
		for _, issue := range s.Issues {
			bad = append(bad, name+": "+issue)
		}
		n := inService(d.seen.scaling[name])
		nodes += n
		if cluster.IsMixed(name) && d.joined != nil { // of the others EKS says so
			ready := 0
			for _, group := range d.seen.scaling[name] {
				is := rollOf(&group, d.joined)
				ready += is.ready + len(is.old)
			}
			if ready < n {
				bad = append(bad, fmt.Sprintf("%s: %d of %d machines are ready as nodes", name, ready, n))
			}
		}
		if int64(n) >= s.Desired {
			continue
		}
		why, err := d.lastFailure(ctx, g)
		if err != nil {
			return cluster.Check{}, err
		}
		if why != "" {
			bad = append(bad, fmt.Sprintf("%s has %d of %d nodes: %s", name, n, s.Desired, why))
		}
	}
	do := "`cortex cluster info` shows the groups"
	for _, text := range bad {
		if e := explain(text); e != "" {
			do = e
			break
		}
	}
	return judged("node_groups", bad, fmt.Sprintf("%d nodes in %d groups", nodes, len(d.groups)), do), nil
}

// lastFailure is why the last instance of a node group did not start, if that failed.
func (d *doctor) lastFailure(ctx context.Context, g *ekstypes.Nodegroup) (string, error) {
	for _, group := range scalingGroups(g) {
		out, err := d.asg.DescribeScalingActivities(ctx, &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: &group, MaxRecords: aws.Int32(10)})
		if err != nil {
			return "", asFault("reading what scaling group "+group+" did", err)
		}
		if len(out.Activities) == 0 { // the newest comes first
			continue
		}
		if last := out.Activities[0]; last.StatusCode == asgtypes.ScalingActivityStatusCodeFailed || last.StatusCode == asgtypes.ScalingActivityStatusCodeCancelled {
			return bounded(deref(last.StatusMessage)), nil
		}
	}
	return "", nil
}

// balancers says whether the load balancers reach nodes.
func (d *doctor) balancers(ctx context.Context, groups []string) (cluster.Check, error) {
	const name, do = "load_balancer_targets", "`cortex cluster up FILE` attaches what was detached; otherwise see the nodes of " + cluster.SystemGroup
	if len(groups) == 0 {
		return cluster.Check{Name: name, Text: "there are no load balancers", Do: do}, nil
	}
	var bad, well []string
	for i, what := range []string{"operator", "apis"} {
		if i >= len(groups) {
			break
		}
		healthy, all, why, err := d.targets(ctx, groups[i])
		if err != nil {
			return cluster.Check{}, err
		}
		if healthy == 0 {
			bad = append(bad, fmt.Sprintf("that of the %s reaches none of %d nodes: %s", what, all, why))
		}
		well = append(well, fmt.Sprintf("%s: %d of %d nodes", what, healthy, all))
	}
	return judged(name, bad, strings.Join(well, ", "), do), nil
}
