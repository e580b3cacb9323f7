package eks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// run is a plan while it is carried out.
type run struct {
	*Account
	plan    *cluster.Plan
	options cluster.Run
	ledger  *ledger

	mu      sync.Mutex // of what follows, and of options.Events
	outputs map[string]map[string]string
	applied Applied
}

// Up makes everything of a plan that is not there as it should be. What fails is told
// together with whatever does not depend on it done. A cluster that is there stays what it
// was made as: Configure changes it.
func (a *Account) Up(ctx context.Context, config *cluster.Config, facts *cluster.Facts, plan *cluster.Plan, o cluster.Run) error {
	if err := a.refuseOld(ctx, plan.ClusterName); err != nil {
		return err
	}
	if there, err := a.IsThere(ctx, plan.ClusterName); err != nil {
		return err
	} else if there {
		n, err := a.Note(ctx, plan.ClusterName)
		if err != nil {
			return err
		}
		if n != nil && n.Config != nil && !sameConfig(n.Config, config) {
			return fault.New(fault.Conflict, CodeOtherFile, "cluster %s is there, and was made from a file that says something else", plan.ClusterName).
				WithHint("`cortex cluster configure` with this file changes it")
		}
		if err := a.refuseUnfinished(ctx, plan.ClusterName, n); err != nil {
			return err
		}
	}
	return a.make(ctx, plan, o, func(n *Note) { n.record(config, facts, plan) })
}

// sameConfig reports whether two cluster files mean the same.
func sameConfig(a, b *cluster.Config) bool {
	text, err := json.Marshal(a)
	return err == nil && sameJSON(text, b)
}

// make carries out a plan, after record has noted what was asked for.
func (a *Account) make(ctx context.Context, plan *cluster.Plan, o cluster.Run, record func(*Note)) error {
	r := &run{Account: a, plan: plan, options: o, outputs: map[string]map[string]string{}}
	// The bucket first: it holds the note that somebody is at work.
	bucket := r.step("bucket")
	if err := r.one(ctx, bucket); err != nil {
		return err
	}
	lease, err := a.hold(ctx, plan.ClusterName, o.Machine)
	if err != nil {
		return err
	}
	r.ledger = lease
	held, stop := lease.keep(ctx)
	err = lease.note(held, func(n *Note) {
		record(n)
		if n.Chart != plan.State()[cluster.IDChart].Digest || n.Release != a.kube.Version() {
			n.Chart, n.Release = "", ""
		}
	})
	if err == nil {
		err = r.all(held, map[string]bool{bucket.ID: true})
	}
	if err == nil {
		err = lease.note(held, func(n *Note) { n.UpgradingFrom = "" })
	}
	return errors.Join(err, stop(false))
}

// refuseOld refuses a name under which cortex 0.42 or eksctl has made a cluster.
func (a *Account) refuseOld(ctx context.Context, name string) error {
	old, err := a.describe(ctx, a.names(name).OldStack())
	if err != nil || old == nil {
		return err
	}
	return fault.New(fault.Conflict, CodeOldCluster, "cluster %s in %s was made by cortex 0.42 or by eksctl: stack %s is there", name, a.Region, deref(old.StackName)).
		WithHint("`eksctl delete cluster --name %s --region %s` takes it away; to keep it while you move, give the new cluster another name", name, a.Region)
}

func (r *run) step(id string) *cluster.Step {
	for i := range r.plan.Steps {
		if r.plan.Steps[i].ID == id {
			return &r.plan.Steps[i]
		}
	}
	return nil
}

// outcome is how a step has ended.
type outcome struct {
	id  string
	err error
}

// all carries out every step that is not done, each as soon as those that it needs are.
// After a failure what does not depend on it goes on.
func (r *run) all(ctx context.Context, done map[string]bool) error {
	done = maps.Clone(done)
	ended := make(chan outcome)
	begun, running := map[string]bool{}, 0
	failures := map[string]error{}
	for {
		for i := range r.plan.Steps {
			s := &r.plan.Steps[i]
			if !begun[s.ID] && !done[s.ID] && ready(s, done) && ctx.Err() == nil {
				begun[s.ID] = true
				running++
				go func() { ended <- outcome{s.ID, r.one(ctx, s)} }()
			}
		}
		if running == 0 {
			break
		}
		o := <-ended
		running--
		if o.err != nil {
			failures[o.id] = o.err
			continue
		}
		done[o.id] = true
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	var errs []error
	for _, s := range r.plan.Steps {
		errs = append(errs, failures[s.ID])
	}
	return oneFault(errs...)
}

func ready(s *cluster.Step, done map[string]bool) bool {
	for _, id := range s.Needs {
		if !done[id] {
			return false
		}
	}
	return true
}

// one carries out a step, and tells of it.
func (r *run) one(ctx context.Context, s *cluster.Step) error {
	began := time.Now()
	r.tell(cluster.Event{Step: s.ID, State: cluster.Begun, Text: s.Why})
	err := r.do(ctx, s)
	took := time.Since(began)
	switch {
	case err == nil:
		r.tell(cluster.Event{Step: s.ID, State: cluster.Done, Took: took})
	case ctx.Err() != nil:
		return err // it goes on in AWS, which is no end
	case s.Soft:
		r.tell(cluster.Event{Step: s.ID, State: cluster.Warned, Text: fault.From(err).Message, Took: took})
		return nil
	default:
		r.tell(cluster.Event{Step: s.ID, State: cluster.Failed, Text: fault.From(err).Message, Took: took})
	}
	return err
}

func (r *run) tell(e cluster.Event) {
	if r.options.Events == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = time.Now()
	r.options.Events(e)
}

// saying returns what tells how far a step is, each state once.
func (r *run) saying(id string) func(format string, args ...any) {
	last := ""
	return func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text != last {
			last = text
			r.tell(cluster.Event{Step: id, State: cluster.Going, Text: text})
		}
	}
}

// do carries out what a step says.
func (r *run) do(ctx context.Context, s *cluster.Step) error {
	switch do := s.Do; {
	case do.LogGroup != nil:
		return r.ensureLogGroup(ctx, do.LogGroup)
	case do.Bucket != nil:
		return r.ensureBucket(ctx, do.Bucket)
	case do.Policy != nil:
		return r.ensurePolicy(ctx, do.Policy, r.plan.ClusterName)
	case do.Role != nil:
		return r.ensureRole(ctx, do.Role)
	case do.Stack != nil:
		return r.ensureStack(ctx, s.ID, do.Stack, s.Soft)
	case do.Attach != nil:
		return r.ensureAttached(ctx, do.Attach)
	case do.Chart != nil:
		return r.ensureChart(ctx, s.ID, do.Chart)
	}
	return r.ensureEnvironment(ctx, s.ID, s.Do.Environment)
}

func (r *run) ensureStack(ctx context.Context, id string, want *cluster.Stack, soft bool) error {
	params := map[string]string{}
	for name, from := range want.Params {
		value, err := r.value(from)
		if err != nil {
			return err
		}
		params[name] = value
	}
	if params[cluster.VersionParameter] != "" {
		if is, err := r.describe(ctx, want.Name); err != nil {
			return err
		} else if is != nil {
			if err := r.asMoved(ctx, r.plan.ClusterName, is, params); err != nil {
				return err
			}
		}
	}
	s := &stack{Account: r.Account, want: want, params: params, soft: soft, say: r.saying(id)}
	outputs, err := s.ensure(ctx)
	if err != nil {
		return err
	}
	part := strings.TrimPrefix(id, cluster.IDStack)
	r.mu.Lock()
	r.outputs[part] = outputs
	r.mu.Unlock()
	if group, isNodes := strings.CutPrefix(part, cluster.NodesPart("")); isNodes {
		if err := r.ensureScale(ctx, group, want); err != nil || !cluster.IsMixed(group) {
			return err
		}
		return r.ensureNodes(ctx, id, group)
	}
	return nil
}

// ensureScale brings the numbers of a node group to what its stack was made with.
func (r *run) ensureScale(ctx context.Context, group string, want *cluster.Stack) error {
	least, err := strconv.ParseInt(want.Params["Min"].Literal, 10, 32)
	if err != nil {
		return err
	}
	most, err := strconv.ParseInt(want.Params["Max"].Literal, 10, 32)
	if err != nil {
		return err
	}
	g, err := r.nodegroup(ctx, r.plan.ClusterName, group)
	if err != nil || g == nil || g.ScalingConfig == nil {
		return err
	}
	if int64(*g.ScalingConfig.MinSize) == least && int64(*g.ScalingConfig.MaxSize) == most {
		return nil
	}
	return r.scale(ctx, r.plan.ClusterName, group, int32(least), int32(most))
}

// value is what a source comes to, once the stack that it is from is there.
func (r *run) value(from cluster.Source) (string, error) {
	if from.Stack == "" {
		return from.Literal, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v, known := r.outputs[from.Stack][from.Output]
	if !known {
		return "", fault.New(fault.Unexpected, CodeFailed, "stack %s has no output %s", from.Stack, from.Output)
	}
	return from.Before + v, nil
}

func (r *run) ensureAttached(ctx context.Context, want *cluster.Attach) error {
	g, err := r.nodegroup(ctx, r.plan.ClusterName, want.NodeGroup)
	if err != nil {
		return err
	}
	groups := scalingGroups(g)
	if len(groups) == 0 {
		return fault.New(fault.Unavailable, CodeFailed, "node group %s has no scaling group", want.NodeGroup).WithHint("run the same command again")
	}
	var targets []string
	if want.TargetGroups != nil {
		text, err := r.value(*want.TargetGroups)
		if err != nil {
			return err
		}
		targets = listed(text)
	}
	for _, group := range groups {
		if err := r.attach(ctx, group, targets, want); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) ensureChart(ctx context.Context, id string, want *cluster.Chart) error {
	at, err := r.place(ctx, r.plan.ClusterName)
	if err != nil {
		return err
	}
	chart := *want
	if chart.Values, err = want.Filled(r.value); err != nil {
		return err
	}
	chart.From = nil
	say := r.saying(id)
	applied, err := r.kube.Apply(ctx, at, &chart, func(text string) { say("%s", text) })
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.applied = applied
	r.mu.Unlock()
	return r.ledger.note(ctx, func(n *Note) { n.Chart, n.Release = r.plan.State()[id].Digest, r.kube.Version() })
}

// LookForImages asks the registries for every image that a plan starts, so that no cluster is
// made whose programs no node could start. unknown says why it could not be asked, which
// stands in nobody's way: nodes may reach more than this machine.
func (a *Account) LookForImages(ctx context.Context, plan *cluster.Plan) (unknown string, err error) {
	for i := range plan.Steps {
		chart := plan.Steps[i].Do.Chart
		if chart == nil {
			continue
		}
		missing, why, err := a.kube.Missing(ctx, Place{Cluster: plan.ClusterName, Region: a.Region}, chart, plan.Kubernetes)
		if err != nil {
			return "", err
		}
		if len(missing) > 0 {
			return "", fault.New(fault.Conflict, CodeNoImage, "these images do not exist; nothing was made:\n  %s", strings.Join(missing, "\n  ")).
				WithHint("`make images REGISTRY=… PUSH=1` makes and pushes those of cortex; image_operator, image_gateway, image_proxy and the like in the cluster file name others")
		}
		unknown = why
	}
	return unknown, nil
}

func (r *run) ensureEnvironment(ctx context.Context, id string, want *cluster.Environment) error {
	endpoint, err := r.value(want.Operator)
	if err != nil {
		return err
	}
	if err := r.awaitTargets(ctx, r.saying(id)); err != nil {
		return err
	}
	apis, err := r.value(cluster.Source{Before: "http://", Stack: "services", Output: "ApisHost"})
	if err != nil {
		return err
	}
	if err := r.ledger.note(ctx, func(n *Note) { n.Operator, n.APIs, n.Authority = endpoint, apis, r.applied.Authority }); err != nil {
		return err
	}
	return r.options.Environment(ctx, want.Name, endpoint, r.applied.Authority)
}
