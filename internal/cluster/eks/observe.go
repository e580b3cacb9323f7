package eks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	asgtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// stacks are the stacks of a cluster by their parts, as they are.
func (a *Account) stacks(ctx context.Context, name string) (map[string]cfn.Stack, error) {
	all := map[string]cfn.Stack{}
	pages := cloudformation.NewDescribeStacksPaginator(a.cfn, &cloudformation.DescribeStacksInput{})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing the stacks of "+a.Region, err)
		}
		for _, s := range page.Stacks {
			part, named := a.names(name).Part(deref(s.StackName))
			if named && s.StackStatus != cfn.StackStatusDeleteComplete && tagOf(s.Tags, cluster.TagClusterName) == name {
				all[part] = s
			}
		}
	}
	return all, nil
}

// sight is what was read of a cluster by calls each of which answers for all of its stacks,
// or for all of its groups of nodes.
type sight struct {
	stacks  map[string]cfn.Stack                   // by part
	scaling map[string][]asgtypes.AutoScalingGroup // by node group
	chart   string                                 // the digest of what was put on the cluster last
	release string                                 // the version of Cortex that did; empty: any will do
	tables  map[string]string                      // the route table of each subnet of a network of the user's own
}

// groups are the names of the groups of nodes: those that have a scaling group, and those
// that have a stack only.
func (s *sight) groups() []string {
	names := map[string]bool{}
	for name := range s.scaling {
		names[name] = true
	}
	for part := range s.stacks {
		if name, isNodes := strings.CutPrefix(part, cluster.NodesPart("")); isNodes {
			names[name] = true
		}
	}
	return sorted(names)
}

func (a *Account) sight(ctx context.Context, name string) (*sight, error) {
	s := &sight{}
	return s, together(
		func() (err error) { s.stacks, err = a.stacks(ctx, name); return err },
		func() (err error) { s.scaling, err = a.scaling(ctx, name); return err },
	)
}

// noted adds what only a note says of the chart.
func (s *sight) noted(n *Note) { s.chart, s.release = n.Chart, n.Release }

// State is what there is of a cluster, in the terms of its plan: what is as the plan has
// it, has the plan's digest.
func (a *Account) State(ctx context.Context, plan *cluster.Plan) (cluster.State, error) {
	var seen *sight
	var note *Note
	err := together(
		func() (err error) { seen, err = a.sight(ctx, plan.ClusterName); return err },
		func() (err error) { note, err = a.Note(ctx, plan.ClusterName); return err },
	)
	if err != nil {
		return nil, err
	}
	if note != nil {
		seen.noted(note)
	}
	return a.stateOf(ctx, plan, seen)
}

// stateOf is State, of what was seen already.
func (a *Account) stateOf(ctx context.Context, plan *cluster.Plan, seen *sight) (cluster.State, error) {
	o := &observer{Account: a, plan: plan, seen: seen, wanted: plan.State(), state: cluster.State{}, attached: map[string]map[string]bool{}}
	var first, tasks []func() error
	for i := range plan.Steps {
		tasks = append(tasks, func() error { return o.step(ctx, &plan.Steps[i]) })
		if role := plan.Steps[i].Do.Role; role != nil {
			first = append(first, func() error {
				has, err := a.attached(ctx, role.Name)
				o.mu.Lock()
				defer o.mu.Unlock()
				o.attached[role.Name] = has
				return err
			})
		}
	}
	// What roles have says too that the policies are there: two steps look at it.
	if err := together(first...); err != nil {
		return nil, err
	}
	if err := together(tasks...); err != nil {
		return nil, err
	}
	for part := range seen.stacks {
		if id := cluster.IDStack + part; o.wanted[id] == (cluster.Made{}) {
			o.state[id] = surplus
		}
	}
	return o.state, o.surplusRoles(ctx)
}

// surplus is what is there and in no plan.
var surplus = cluster.Made{Digest: "surplus"}

// surplusRoles looks for the roles of parts that the cluster has no more.
func (o *observer) surplusRoles(ctx context.Context) error {
	if len(o.seen.stacks) == 0 { // nor was anything made
		return nil
	}
	for id, name := range o.names(o.plan.ClusterName).Roles() {
		if o.wanted[id] != (cluster.Made{}) {
			continue
		}
		// Each look is a call. That of mixed nodes goes after what lets it in; what a run leaves
		// that is killed between the two, down finds.
		if _, lets := o.seen.stacks["access"]; id == cluster.IDRole+"mixed" && !lets {
			continue
		}
		r, err := o.role(ctx, name)
		if err != nil {
			return err
		}
		if r != nil && roleTag(r) == o.plan.ClusterName {
			o.state[id] = surplus
		}
	}
	return nil
}

// observer compares what there is with a plan.
type observer struct {
	*Account
	seen     *sight
	plan     *cluster.Plan
	wanted   cluster.State
	attached map[string]map[string]bool // the policies of each role, by its name; nil of one that there is not

	mu    sync.Mutex
	state cluster.State
}

// differs is the digest of what is there and is not as it should be.
const differs = "differs"

// step looks at one step.
func (o *observer) step(ctx context.Context, s *cluster.Step) error {
	there, same, err := o.look(ctx, s)
	if err != nil || !there {
		return err
	}
	made := o.wanted[s.ID]
	if !same {
		made.Digest = differs
	}
	if group, isNodes := strings.CutPrefix(s.ID, cluster.IDStack+cluster.NodesPart("")); isNodes {
		for _, g := range o.seen.scaling[group] {
			made.Min, made.Max = strconv.Itoa(int(aws.ToInt32(g.MinSize))), strconv.Itoa(int(aws.ToInt32(g.MaxSize)))
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state[s.ID] = made
	return nil
}

// look says whether what a step makes is there, and as it should be. Of the chart, which is
// not in AWS, the note tells; the environment is not looked at.
func (o *observer) look(ctx context.Context, s *cluster.Step) (there, same bool, err error) {
	owner := o.plan.ClusterName
	switch do := s.Do; {
	case do.LogGroup != nil:
		tags, err := o.logGroupTags(ctx, do.LogGroup.Name)
		return tags != nil, tags[cluster.TagClusterName] == owner, err
	case do.Bucket != nil:
		b, err := o.bucket(ctx, do.Bucket.Name)
		return b.there, b.tags[cluster.TagClusterName] == owner, err
	case do.Policy != nil:
		there, err := o.policyIs(ctx, do.Policy.ARN)
		return there, there, err
	case do.Role != nil:
		return o.roleIs(ctx, do.Role)
	case do.Stack != nil:
		return o.stackIs(ctx, strings.TrimPrefix(s.ID, cluster.IDStack), do.Stack, s.Soft)
	case do.Attach != nil:
		there, same = o.attachedIs(do.Attach)
		return there, same, nil
	}
	_, controlled := o.seen.stacks["cluster"]
	if s.Do.Chart != nil {
		known := o.seen.release == "" || o.seen.release == o.kube.Version()
		return controlled && o.seen.chart != "", known && o.seen.chart == o.wanted[s.ID].Digest, nil
	}
	return controlled, true, nil
}

// policyIs reports whether there is a policy: one that a role has cannot be gone.
func (o *observer) policyIs(ctx context.Context, arn string) (bool, error) {
	for _, s := range o.plan.Steps {
		if s.Do.Role == nil || !slices.Contains(s.Do.Role.Attach, arn) {
			continue
		}
		if o.attached[s.Do.Role.Name][arn] {
			return true, nil
		}
	}
	return o.policyThere(ctx, arn)
}

// roleIs compares what a role may do. Whose it is, is asked by whoever changes it.
func (o *observer) roleIs(ctx context.Context, want *cluster.Role) (there, same bool, err error) {
	has := o.attached[want.Name]
	if has == nil {
		return false, false, nil
	}
	for _, arn := range want.Attach {
		if !has[arn] {
			return true, false, nil
		}
	}
	for name, document := range want.Inline {
		if same, err := o.inlineIs(ctx, want.Name, name, document); err != nil || !same {
			return true, false, err
		}
	}
	if want.Profile {
		if in, _, err := o.profile(ctx, want.Name); err != nil || in != want.Name {
			return true, false, err
		}
	}
	return true, len(has) == len(want.Attach), nil
}

func (o *observer) stackIs(ctx context.Context, part string, want *cluster.Stack, soft bool) (there, same bool, err error) {
	s, there := o.seen.stacks[part]
	if !there {
		return false, false, nil
	}
	if group, isNodes := strings.CutPrefix(part, cluster.NodesPart("")); isNodes && cluster.IsMixed(group) && !rolled(o.seen.scaling[group]) {
		return true, false, nil
	}
	params := map[string]string{}
	for name, from := range want.Params {
		if from.Stack == "" {
			params[name] = from.Literal
			continue
		}
		source := o.seen.stacks[from.Stack]
		params[name] = from.Before + outputsOf(&source)[from.Output]
	}
	if err := o.asMoved(ctx, o.plan.ClusterName, &s, params); err != nil {
		return true, false, err
	}
	_, well := settled(s.StackStatus)
	// What the cluster does without, and could not be made, is not missing.
	well = well || s.StackStatus == cfn.StackStatusUpdateRollbackComplete || soft && s.StackStatus == cfn.StackStatusRollbackComplete
	return true, well && sameStack(&s, want, params), nil
}

func (o *observer) attachedIs(want *cluster.Attach) (there, same bool) {
	groups := o.seen.scaling[want.NodeGroup]
	for i := range groups {
		tags := scalingTags(&groups[i])
		for key, value := range want.Tags {
			if tags[key] != value {
				return true, false
			}
		}
		for _, process := range want.Suspend {
			if !slices.ContainsFunc(groups[i].SuspendedProcesses, func(p asgtypes.SuspendedProcess) bool { return deref(p.ProcessName) == process }) {
				return true, false
			}
		}
		if want.TargetGroups == nil {
			continue
		}
		services := o.seen.stacks[want.TargetGroups.Stack]
		for _, arn := range listed(outputsOf(&services)[want.TargetGroups.Output]) {
			if !slices.Contains(groups[i].TargetGroupARNs, arn) {
				return true, false
			}
		}
	}
	return len(groups) > 0, true
}

// pinned are facts with which a plan of a cluster that is there stays what it is: the
// versions and the zones are those that it was made with. Only an upgrade changes them.
func pinned(f *cluster.Facts, n *Note) *cluster.Facts {
	p := *f
	if n.Kubernetes.Version != "" {
		p.Versions = []cluster.KubernetesVersion{n.Kubernetes}
		// Images of types that are new to the cluster have releases of today.
		for _, v := range f.Versions {
			if v.Version != n.Kubernetes.Version {
				continue
			}
			known := p.Versions[0]
			known.Releases, known.Images = merged(v.Releases, n.Kubernetes.Releases), merged(v.Images, n.Kubernetes.Images)
			known.Status, known.Until = v.Status, v.Until
			p.Versions[0] = known
		}
	}
	return &p
}

// merged are both, the second before the first.
func merged(first, second map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, first)
	maps.Copy(all, second)
	return all
}

// Pin returns configuration and facts with which a plan of a cluster that is there stays
// what it is. Where there is none yet they are what they were.
func (a *Account) Pin(ctx context.Context, c *cluster.Config, f *cluster.Facts) (*cluster.Config, *cluster.Facts, error) {
	network, err := a.describe(ctx, a.names(c.ClusterName).Stack("network"))
	if err != nil {
		return nil, nil, err
	}
	control, err := a.describe(ctx, a.names(c.ClusterName).Stack("cluster"))
	if err != nil || network == nil && control == nil {
		return c, f, err
	}
	n, err := a.Note(ctx, c.ClusterName)
	if err != nil || n == nil || n.Config == nil {
		return c, f, err
	}
	if v := c.KubernetesVersion; v != "" && n.Kubernetes.Version != "" && v != n.Kubernetes.Version {
		return nil, nil, fault.New(fault.Conflict, CodeOtherFile, "cluster %s was brought to Kubernetes %s, and the file says kubernetes_version: %s", c.ClusterName, n.Kubernetes.Version, v).
			WithHint("write kubernetes_version: %q; `cortex cluster upgrade` is what changes it", n.Kubernetes.Version)
	}
	same, pinnedFacts := pin(c, f, n)
	return same, pinnedFacts, nil
}

// pin holds a configuration and facts to what a cluster was made with.
func pin(c *cluster.Config, f *cluster.Facts, n *Note) (*cluster.Config, *cluster.Facts) {
	same := *c
	if len(same.AvailabilityZones) == 0 && !same.OwnNetwork() {
		same.AvailabilityZones = n.Zones
	}
	return &same, pinned(f, n)
}

// IsThere says what of a cluster is there, and what was asked for last.
func (a *Account) IsThere(ctx context.Context, name string) (bool, error) {
	s, err := a.describe(ctx, a.names(name).Stack("cluster"))
	if err != nil {
		return false, fmt.Errorf("looking for cluster %s: %w", name, err)
	}
	return s != nil && s.StackStatus != cfn.StackStatusDeleteInProgress, nil
}
