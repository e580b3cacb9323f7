package eks

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// driftPatience is how long CloudFormation is given to look at a stack.
const driftPatience = 10 * time.Minute

// expected are properties that others than stacks change, by design: how many nodes there
// are is the autoscaler's, and AWS moves a control plane on by itself.
var expected = map[string][]string{
	"AWS::EKS::Nodegroup": {"/ScalingConfig"},
	"AWS::EKS::Cluster":   {"/Version"},
	// The tags are those that the autoscaler has to see, beside the stack's.
	"AWS::AutoScaling::AutoScalingGroup": {"/MinSize", "/MaxSize", "/DesiredCapacity", "/Tags"},
}

// StackDrift has CloudFormation compare each stack of a cluster with what there is, and says
// who is mapped to rights in the cluster besides its nodes. What `cluster info` compares by
// itself is not in it.
func (a *Account) StackDrift(ctx context.Context, name string) ([]cluster.Drift, error) {
	stacks, err := a.stacks(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(stacks) == 0 {
		return nil, a.noCluster(ctx, name)
	}
	var mu sync.Mutex
	var all []cluster.Drift
	var tasks []func() error
	for _, part := range sorted(stacks) {
		s := stacks[part]
		if s.StackStatus == cfn.StackStatusRollbackComplete && part == "endpoints" {
			continue // which the cluster does without
		}
		tasks = append(tasks, func() error {
			found, err := a.driftOf(ctx, &s)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, found...)
			return err
		})
	}
	tasks = append(tasks, func() error {
		found, err := a.mappedBeside(ctx, name)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, found...)
		return err
	})
	if err := together(tasks...); err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(x, y cluster.Drift) int {
		return strings.Compare(x.Where+"\n"+x.What+"\n"+x.Property, y.Where+"\n"+y.What+"\n"+y.Property)
	})
	return all, nil
}

// driftOf is how the resources of one stack differ from its template.
func (a *Account) driftOf(ctx context.Context, s *cfn.Stack) ([]cluster.Drift, error) {
	if ended, well := settled(s.StackStatus); !ended || !well && s.StackStatus != cfn.StackStatusUpdateRollbackComplete {
		return []cluster.Drift{{Where: deref(s.StackName), What: "the stack", Is: "not looked at: it is in the state " + words(s.StackStatus)}}, nil
	}
	begun, err := a.cfn.DetectStackDrift(ctx, &cloudformation.DetectStackDriftInput{StackName: s.StackId})
	if err != nil {
		return nil, asFault("having stack "+deref(s.StackName)+" compared", err)
	}
	if err := a.looked(ctx, s, begun.StackDriftDetectionId); err != nil {
		return nil, err
	}
	var all []cluster.Drift
	pages := cloudformation.NewDescribeStackResourceDriftsPaginator(a.cfn, &cloudformation.DescribeStackResourceDriftsInput{
		StackName: s.StackId, StackResourceDriftStatusFilters: []cfn.StackResourceDriftStatus{cfn.StackResourceDriftStatusModified, cfn.StackResourceDriftStatusDeleted},
	})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("reading how stack "+deref(s.StackName)+" differs", err)
		}
		for _, r := range page.StackResourceDrifts {
			what := deref(r.LogicalResourceId) + " (" + deref(r.ResourceType) + ")"
			if r.StackResourceDriftStatus == cfn.StackResourceDriftStatusDeleted {
				all = append(all, cluster.Drift{Where: deref(s.StackName), What: what, Is: "is gone"})
				continue
			}
			for _, p := range r.PropertyDifferences {
				path := deref(p.PropertyPath)
				if slices.ContainsFunc(expected[deref(r.ResourceType)], func(e string) bool { return path == e || strings.HasPrefix(path, e+"/") }) {
					continue
				}
				all = append(all, cluster.Drift{Where: deref(s.StackName), What: what, Property: path, Is: bounded(deref(p.ActualValue)), Should: bounded(deref(p.ExpectedValue))})
			}
		}
	}
	return all, nil
}

// looked waits until CloudFormation has looked at a stack.
func (a *Account) looked(ctx context.Context, s *cfn.Stack, id *string) error {
	for began := time.Now(); ; {
		status, err := a.cfn.DescribeStackDriftDetectionStatus(ctx, &cloudformation.DescribeStackDriftDetectionStatusInput{StackDriftDetectionId: id})
		switch {
		case err != nil:
			return asFault("waiting for stack "+deref(s.StackName)+" to be compared", err)
		case status.DetectionStatus == cfn.StackDriftDetectionStatusDetectionComplete:
			return nil
		case status.DetectionStatus == cfn.StackDriftDetectionStatusDetectionFailed:
			return fault.New(fault.Unavailable, CodeFailed, "CloudFormation could not compare stack %s with what there is: %s", deref(s.StackName), bounded(deref(status.DetectionStatusReason)))
		case time.Since(began) > driftPatience:
			return fault.New(fault.Unavailable, CodeFailed, "CloudFormation has not compared stack %s with what there is in %s", deref(s.StackName), driftPatience).WithHint("run the same command again")
		}
		if err := pause(ctx, shortestLook); err != nil {
			return err
		}
	}
}

// mappedBeside are the lines of aws-auth that are not those of nodes: each is a way into the
// cluster.
func (a *Account) mappedBeside(ctx context.Context, name string) ([]cluster.Drift, error) {
	at, err := a.place(ctx, name)
	if err != nil {
		return nil, err
	}
	mapped, err := a.kube.Mapped(ctx, at)
	if err != nil {
		return []cluster.Drift{{Where: "aws-auth", What: "the ConfigMap", Is: "not looked at: " + textOf(err)}}, nil
	}
	nodes := a.names(name).RoleARN("nodes")
	var all []cluster.Drift
	for _, m := range mapped {
		switch {
		case cluster.IsAccount(m.ARN):
			all = append(all, cluster.Drift{Where: "aws-auth", What: "account " + m.ARN, Is: "all of its users may sign in, by their own names", Should: "take it out of mapAccounts with kubectl"})
		case m.ARN != nodes:
			all = append(all, cluster.Drift{Where: "aws-auth", What: m.ARN, Is: "is in the groups " + strings.Join(m.Groups, ", "), Should: "`cortex cluster revoke` takes it out"})
		}
	}
	return all, nil
}
