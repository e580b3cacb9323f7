package eks

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
	"cortex.dev/cortex/internal/fault"
)

// victim is something that a stack makes.
type victim struct{ step, resource string }

// victims are things that stacks of a plan make, in an order that is always the same: one of
// each kind, or all of them where every case is wanted. The cluster does without the endpoint.
func victims(t *testing.T, p *cluster.Plan) (all []victim) {
	t.Helper()
	seen := map[string]bool{}
	for _, s := range p.Steps {
		if s.Do.Stack == nil || s.Soft {
			continue
		}
		var template struct {
			Resources map[string]struct{ Type string }
		}
		if err := json.Unmarshal(s.Do.Stack.Template, &template); err != nil {
			t.Fatal(err)
		}
		for _, name := range sorted(template.Resources) {
			if kind := template.Resources[name].Type; exhaustive() || !seen[kind] {
				seen[kind] = true
				all = append(all, victim{s.ID, name})
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("stacks make %d kinds of things only: %v", len(seen), seen)
	}
	return all
}

// planned is the plan of a world.
func planned(t *testing.T, change func(*cluster.Config)) (plan *cluster.Plan) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, change)
		a, err := w.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, plan, err = w.plan(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	})
	return plan
}

// Whatever resource cannot be made at first, the run says which and why, and the next one
// makes it.
func TestAnyResourceFailsOnce(t *testing.T) {
	t.Parallel()
	private := func(c *cluster.Config) { c.SubnetVisibility = cluster.Private }
	for _, v := range victims(t, planned(t, private)) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, private)
			w.aws.Fail(awstest.Fault{Resource: v.resource, Times: 1, Code: "InternalFailure", Message: "the machine room is on fire"})
			err := w.up(t.Context())
			if err == nil || !strings.Contains(err.Error(), "the machine room is on fire") || fault.From(err).Hint == "" {
				t.Fatalf("%+v fails: %v, want its reason and what to do", v, err)
			}
			if err := w.up(t.Context()); err != nil {
				w.tell()
				t.Fatalf("%+v failed once, then: %v", v, err)
			}
			w.takenAway(fmt.Sprintf("%+v failed once", v))
		})
	}
}

// What is made by direct calls fails as well: once, and always. Each run says why and what to
// do, and what was made goes away.
func TestAnyCallFails(t *testing.T) {
	t.Parallel()
	for _, f := range []awstest.Fault{
		{Service: "iam", Action: "CreateRole"}, {Service: "iam", Action: "PutRolePolicy"}, {Service: "iam", Action: "AttachRolePolicy"}, {Service: "iam", Action: "CreatePolicy"},
		{Service: "s3", Action: "CreateBucket"}, {Service: "s3", Action: "PutBucketTagging"}, {Service: "s3", Action: "PutBucketEncryption"},
		{Service: "s3", Action: "PutPublicAccessBlock"}, {Service: "s3", Action: "PutBucketLifecycleConfiguration"}, {Service: "s3", Action: "PutObject"},
		{Service: "logs", Action: "CreateLogGroup"}, {Service: "cloudformation", Action: "CreateStack"},
		{Service: "autoscaling", Action: "CreateOrUpdateTags"}, {Service: "autoscaling", Action: "AttachLoadBalancerTargetGroups"},
	} {
		for _, times := range []int{1, 0} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				ctx := t.Context()
				f.Times, f.Code, f.Message = times, "NotToday", "the machine room is on fire"
				w.aws.Fail(f)
				for range 2 - times {
					err := w.up(ctx)
					if err == nil || !strings.Contains(err.Error(), f.Message) || fault.From(err).Hint == "" {
						t.Fatalf("%s fails: %v, want its reason and what to do", f.Action, err)
					}
				}
				if times == 1 {
					if err := w.up(ctx); err != nil {
						w.tell()
						t.Fatalf("%s failed once, then: %v", f.Action, err)
					}
				}
				w.aws.Heal()
				w.takenAway(fmt.Sprintf("%s failed %d times", f.Action, times))
			})
		}
	}
}

// A group without capacity takes nothing else with it.
func TestOneGroupWithoutCapacity(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.aws.Fail(awstest.Fault{Type: "AWS::EKS::Nodegroup", After: 1, Code: "AsgInstanceLaunchFailures", Message: "Could not launch On-Demand Instances. InsufficientInstanceCapacity"})
		err := w.up(t.Context())
		if err == nil || !strings.Contains(fault.From(err).Hint, "EC2 has no such machines now") {
			t.Fatalf("up = %v, hint %q", err, fault.From(err).Hint)
		}
		if len(w.kube.applied) != 1 || len(w.env) != 1 {
			t.Errorf("the cluster is not there: %d charts, environments %q", len(w.kube.applied), w.env)
		}
		w.aws.Heal()
		if err := w.up(t.Context()); err != nil {
			t.Fatalf("up again: %v", err)
		}
	})
}

// Faults of single calls, of which a run is to take no notice.
func TestFaultsThatPass(t *testing.T) {
	t.Parallel()
	var made map[string]int
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		if err := w.up(t.Context()); err != nil {
			t.Fatal(err)
		}
		made = maps.Clone(w.aws.Made())
	})
	for name, f := range map[string]awstest.Fault{
		"throttled":                        {Throttle: true, After: 40, Times: 5},
		"throttled by CloudFormation":      {Service: "cloudformation", Throttle: true, Times: 5},
		"throttled by IAM":                 {Service: "iam", Throttle: true, After: 3, Times: 5},
		"broken":                           {Broken: true, After: 60, Times: 3},
		"the answer of a stack lost":       {Service: "cloudformation", Action: "CreateStack", Lost: true, Times: 1},
		"the answer of a later stack lost": {Service: "cloudformation", Action: "CreateStack", Lost: true, After: 3, Times: 1},
		"the answer of a role lost":        {Service: "iam", Action: "CreateRole", Lost: true, Times: 2},
		"the answer of the policy lost":    {Service: "iam", Action: "CreatePolicy", Lost: true, Times: 1},
		"the answer of the log group lost": {Service: "logs", Action: "CreateLogGroup", Lost: true, Times: 1},
		"the answer of the bucket lost":    {Service: "s3", Action: "CreateBucket", Lost: true, Times: 1},
		"the answer of a note lost":        {Service: "s3", Action: "PutObject", Lost: true, Times: 1},
		"the answer of an attachment lost": {Service: "autoscaling", Lost: true, Times: 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			w.aws.Fail(f)
			if err := w.up(t.Context()); err != nil {
				w.tell()
				t.Errorf("%s: up = %v", name, err)
				return
			}
			if got := w.aws.Made(); !maps.Equal(got, made) {
				t.Errorf("%s: made %v, want %v", name, got, made)
			}
			w.aws.Heal()
			w.aws.Fail(f)
			if _, err := w.down(t.Context()); err != nil {
				t.Errorf("%s: down = %v", name, err)
			}
			if l := w.aws.Left(); len(l) > 0 {
				t.Errorf("%s: left %q", name, l)
			}
		})
	}
}

// Credentials that expire in the middle lose nothing.
func TestExpiredCredentials(t *testing.T) {
	t.Parallel()
	for _, after := range []int{0, 30, 90, 150, 250} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			w.aws.Fail(awstest.Fault{Expired: true, After: after, Times: 1})
			err := w.up(t.Context())
			if f := fault.From(err); f == nil || f.Code != CodeExpired || !strings.Contains(f.Hint, "nothing is lost") {
				t.Fatalf("expired after %d calls: %v", after, err)
			}
			w.aws.Heal()
			w.key = w.aws.AddUser("alicia", minimum(t, "iris"))
			if err := w.up(t.Context()); err != nil {
				t.Errorf("expired after %d calls, then: %v", after, err)
			}
		})
	}
}

// Of two who work on a cluster at once the second is told of the first, and takes over
// when that one is dead.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ended := make(chan error, 1)
		go func() { ended <- w.up(t.Context()) }()
		time.Sleep(time.Minute)
		other := &world{t: t, aws: w.aws, key: w.aws.AddUser("bob", minimum(t, "iris")), kube: w.kube, config: w.config}
		second := func() error {
			a, err := other.open(t.Context())
			if err != nil {
				return err
			}
			facts, plan, err := other.plan(t.Context(), a)
			if err != nil {
				return err
			}
			r := other.run()
			r.Machine = "desktop"
			return a.Up(t.Context(), other.config, facts, plan, r)
		}
		if err := second(); fault.Code(err) != CodeBusy || !strings.Contains(err.Error(), "user/alice on laptop since") {
			t.Errorf("the second = %v, want to be told of the first", err)
		}
		a, err := other.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := other.run()
		r.Machine = "desktop"
		if _, err := a.Down(t.Context(), "iris", false, r); fault.Code(err) != CodeBusy {
			t.Errorf("taking away what another makes = %v, want to be told of that", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the first = %v", err)
		}
		if err := second(); err != nil {
			t.Errorf("the second, after the first has ended = %v", err)
		}
	})
}

// A run that was killed elsewhere is taken over when its lease has ended.
func TestLeaseOfTheDead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		if _, err := w.through(20, w.upBy); err == nil {
			t.Fatal("it did not die")
		}
		a, err := w.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.hold(t.Context(), "iris", "desktop"); fault.Code(err) != CodeBusy {
			t.Errorf("hold = %v, want that somebody else has it", err)
		}
		time.Sleep(leaseLife + time.Second)
		if _, err := a.hold(t.Context(), "iris", "desktop"); err != nil {
			t.Errorf("hold after the lease has ended = %v", err)
		}
	})
}

// longestChain is how long AWS itself takes for the longest chain of what a plan makes: of
// each stack, from its first event to its last.
func (w *world) longestChain(ctx context.Context, a *Account, plan *cluster.Plan) (longest time.Duration) {
	w.t.Helper()
	until := map[string]time.Duration{} // by step; each comes after those that it needs
	for _, s := range plan.Steps {
		var own, before time.Duration
		if s.Do.Stack != nil {
			pages := cloudformation.NewDescribeStackEventsPaginator(a.cfn, &cloudformation.DescribeStackEventsInput{StackName: &s.Do.Stack.Name})
			var first, last time.Time
			for pages.HasMorePages() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					w.t.Fatal(err)
				}
				for _, e := range page.StackEvents {
					if last.IsZero() {
						last = *e.Timestamp
					}
					first = *e.Timestamp
				}
			}
			own = last.Sub(first)
		}
		for _, id := range s.Needs {
			before = max(before, until[id])
		}
		until[s.ID] = before + own
		longest = max(longest, until[s.ID])
	}
	return longest
}

// calls are how many calls the program itself has made.
func (w *world) calls() (n int) {
	for _, c := range w.aws.Calls() {
		if !c.Implied {
			n++
		}
	}
	return n
}

// The price of it all, in calls and in time, where AWS shows as much at once as it does.
func TestFrugal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *cluster.Config) {
			c.SubnetVisibility = cluster.Private
			spot := group("cheap", 1, 2)
			spot.Spot = true
			c.NodeGroups = append(c.NodeGroups, group("big", 1, 3), group("many", 2, 3), spot)
		})
		w.aws = awstest.New(awstest.Options{Account: account, Region: region, PageSize: 100})
		w.key = w.aws.AddUser("alice", minimum(t, "iris"))
		ctx := t.Context()
		began := time.Now()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		took, calls, things := time.Since(began), w.calls(), 0
		for _, n := range w.aws.Made() {
			things += n
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, plan, err := w.plan(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		chain := w.longestChain(ctx, a, plan)
		before := w.calls()
		if a, err = w.open(ctx); err != nil { // as each command does
			t.Fatal(err)
		}
		if _, err := a.Info(ctx, "iris"); err != nil {
			t.Fatal(err)
		}
		info := w.calls() - before
		by := map[string]int{}
		for _, c := range w.aws.Calls()[len(w.aws.Calls())-info:] {
			by[c.Service+":"+c.Action]++
		}
		t.Logf("info: %v", by)
		t.Logf("up: %d things, %d calls, %s, of which AWS takes %s; info: %d calls", things, calls, took, chain, info)
		if calls > 12*things {
			t.Errorf("%d calls for %d things, want at most 12 for each", calls, things)
		}
		if took > chain*115/100 {
			t.Errorf("it took %s, and AWS %s for the longest chain of it: want at most 1.15 times that", took, chain)
		}
		if info > maxInfoCalls {
			t.Errorf("info takes %d calls, want at most %d", info, maxInfoCalls)
		}
	})
}

// maxInfoCalls is what `cluster info` may cost, however many groups of nodes there are that
// are as they should be.
const maxInfoCalls = 25
