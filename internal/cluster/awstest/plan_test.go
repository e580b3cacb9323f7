package awstest_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
	"cortex.dev/cortex/internal/manifest"
)

// A plan of a cluster, carried out by the shortest program that can: what the simulator
// has to be able to do, apart from the program that it is there to judge.

const privateCluster = `
cluster_name: iris
region: us-west-2
subnet_visibility: private
nat_gateway: single
operator_load_balancer_scheme: internal
node_groups:
- {name: cpu, instance_type: m5.large, min_instances: 1, max_instances: 3}
- {name: gpu, instance_type: g5.xlarge, min_instances: 0, max_instances: 2, spot: true}
`

func planned(t *testing.T, text string) *cluster.Plan {
	t.Helper()
	file, err := manifest.ParseCluster("cluster.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("..", "testdata", "facts", file.Config.Region+".json")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f, err := cluster.ParseFacts(name, data)
	if err != nil {
		t.Fatal(err)
	}
	p, broken := cluster.Build(file.Config, f)
	if len(broken) > 0 {
		t.Fatalf("the plan breaks rules: %+v", broken)
	}
	return p
}

// runner carries out a plan.
type runner struct {
	t       *testing.T
	ctx     context.Context
	cfg     aws.Config
	cfn     *cloudformation.Client
	iam     *iam.Client
	ids     map[string]string            // of stacks, by part
	outputs map[string]map[string]string // by part
}

func newRunner(t *testing.T, a *awstest.Account, k awstest.Key) *runner {
	cfg := a.Config(k)
	return &runner{t: t, ctx: t.Context(), cfg: cfg, cfn: cloudformation.NewFromConfig(cfg), iam: iam.NewFromConfig(cfg), ids: map[string]string{}, outputs: map[string]map[string]string{}}
}

func text(t *testing.T, v any) *string {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return aws.String(string(b))
}

// objects makes policy and roles.
func (r *runner) objects(p *cluster.Plan) {
	r.t.Helper()
	for _, s := range p.Steps {
		if policy := s.Do.Policy; policy != nil {
			if _, err := r.iam.CreatePolicy(r.ctx, &iam.CreatePolicyInput{PolicyName: &policy.Name, PolicyDocument: text(r.t, policy.Document)}); err != nil {
				r.t.Fatal(err)
			}
		}
		if role := s.Do.Role; role != nil {
			r.role(role)
		}
	}
	pass(10 * time.Second) // until everybody knows
}

func (r *runner) role(role *cluster.Role) {
	r.t.Helper()
	if _, err := r.iam.CreateRole(r.ctx, &iam.CreateRoleInput{RoleName: &role.Name, AssumeRolePolicyDocument: text(r.t, role.Trust)}); err != nil {
		r.t.Fatal(err)
	}
	for _, arn := range role.Attach {
		if _, err := r.iam.AttachRolePolicy(r.ctx, &iam.AttachRolePolicyInput{RoleName: &role.Name, PolicyArn: &arn}); err != nil {
			r.t.Fatal(err)
		}
	}
	for name, doc := range role.Inline {
		if _, err := r.iam.PutRolePolicy(r.ctx, &iam.PutRolePolicyInput{RoleName: &role.Name, PolicyName: &name, PolicyDocument: text(r.t, doc)}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *runner) params(s *cluster.Stack) (list []cfntypes.Parameter) {
	for name, source := range s.Params {
		value := source.Literal
		if source.Stack != "" {
			value = source.Before + r.outputs[source.Stack][source.Output]
		}
		list = append(list, cfntypes.Parameter{ParameterKey: &name, ParameterValue: &value})
	}
	return list
}

// stack makes a stack, and returns the state in which it ends.
func (r *runner) stack(s *cluster.Stack) cfntypes.Stack {
	r.t.Helper()
	in := &cloudformation.CreateStackInput{
		StackName: &s.Name, TemplateBody: aws.String(string(s.Template)), Parameters: r.params(s), DisableRollback: aws.Bool(!s.Rollback), ClientRequestToken: aws.String("up"),
	}
	for k, v := range s.Tags {
		in.Tags = append(in.Tags, cfntypes.Tag{Key: &k, Value: &v})
	}
	out, err := r.cfn.CreateStack(r.ctx, in)
	if err != nil {
		r.t.Fatalf("%s: %v", s.Name, err)
	}
	return r.wait(*out.StackId)
}

func (r *runner) wait(id string) cfntypes.Stack {
	r.t.Helper()
	for range 1000 {
		out, err := r.cfn.DescribeStacks(r.ctx, &cloudformation.DescribeStacksInput{StackName: &id})
		if err != nil {
			r.t.Fatal(err)
		}
		if s := out.Stacks[0]; !strings.HasSuffix(string(s.StackStatus), "_IN_PROGRESS") || s.StackStatus == cfntypes.StackStatusReviewInProgress {
			return s
		}
		pass(10 * time.Second)
	}
	r.t.Fatalf("%s never ends", id)
	return cfntypes.Stack{}
}

// up carries out everything that is AWS's.
func (r *runner) up(p *cluster.Plan) {
	r.t.Helper()
	r.objects(p)
	for _, step := range p.Steps {
		if s := step.Do.Stack; s != nil {
			r.made(strings.TrimPrefix(step.ID, "stack/"), s)
		}
		if a := step.Do.Attach; a != nil {
			r.attach(p, a)
		}
	}
}

func (r *runner) made(part string, s *cluster.Stack) {
	r.t.Helper()
	got := r.stack(s)
	if got.StackStatus != cfntypes.StackStatusCreateComplete {
		r.t.Fatalf("%s is %s, want CREATE_COMPLETE:\n%s", s.Name, got.StackStatus, strings.Join(r.events(*got.StackId), "\n"))
	}
	r.keep(part, got)
}

func (r *runner) keep(part string, s cfntypes.Stack) {
	r.ids[part] = *s.StackId
	r.outputs[part] = map[string]string{}
	for _, o := range s.Outputs {
		r.outputs[part][*o.OutputKey] = *o.OutputValue
	}
}

// events are what has happened to a stack, oldest first.
func (r *runner) events(id string) (list []string) {
	r.t.Helper()
	pages := cloudformation.NewDescribeStackEventsPaginator(r.cfn, &cloudformation.DescribeStackEventsInput{StackName: &id})
	for pages.HasMorePages() {
		page, err := pages.NextPage(r.ctx)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range page.StackEvents {
			list = append(list, strings.TrimSpace(*e.LogicalResourceId+" "+string(e.ResourceStatus)+" "+aws.ToString(e.ResourceStatusReason)))
		}
	}
	slices.Reverse(list)
	return list
}

func (r *runner) attach(p *cluster.Plan, a *cluster.Attach) {
	r.t.Helper()
	client := autoscaling.NewFromConfig(r.cfg)
	pages := autoscaling.NewDescribeAutoScalingGroupsPaginator(client, &autoscaling.DescribeAutoScalingGroupsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(r.ctx)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, g := range page.AutoScalingGroups {
			if !strings.HasPrefix(*g.AutoScalingGroupName, "eks-"+a.NodeGroup+"-") || a.TargetGroups == nil {
				continue
			}
			arns := strings.Split(r.outputs[a.TargetGroups.Stack][a.TargetGroups.Output], ",")
			if _, err := client.AttachLoadBalancerTargetGroups(r.ctx, &autoscaling.AttachLoadBalancerTargetGroupsInput{AutoScalingGroupName: g.AutoScalingGroupName, TargetGroupARNs: arns}); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// down deletes everything in the reverse order, and returns what it could not.
func (r *runner) down(p *cluster.Plan) (failed []cfntypes.Stack) {
	r.t.Helper()
	for _, step := range slices.Backward(p.Steps) {
		if s := step.Do.Stack; s != nil {
			if got := r.delete(r.ids[strings.TrimPrefix(step.ID, "stack/")]); got.StackStatus != cfntypes.StackStatusDeleteComplete {
				failed = append(failed, got)
			}
		}
	}
	for _, step := range slices.Backward(p.Steps) {
		if role := step.Do.Role; role != nil {
			r.dropRole(role)
		}
	}
	for _, step := range p.Steps {
		if policy := step.Do.Policy; policy != nil {
			if _, err := r.iam.DeletePolicy(r.ctx, &iam.DeletePolicyInput{PolicyArn: &policy.ARN}); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	return failed
}

func (r *runner) delete(id string) cfntypes.Stack {
	r.t.Helper()
	if _, err := r.cfn.DeleteStack(r.ctx, &cloudformation.DeleteStackInput{StackName: &id}); err != nil {
		r.t.Fatal(err)
	}
	return r.wait(id)
}

func (r *runner) dropRole(role *cluster.Role) {
	r.t.Helper()
	for _, arn := range role.Attach {
		if _, err := r.iam.DetachRolePolicy(r.ctx, &iam.DetachRolePolicyInput{RoleName: &role.Name, PolicyArn: &arn}); err != nil {
			r.t.Fatal(err)
		}
	}
	for name := range role.Inline {
		if _, err := r.iam.DeleteRolePolicy(r.ctx, &iam.DeleteRolePolicyInput{RoleName: &role.Name, PolicyName: &name}); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := r.iam.DeleteRole(r.ctx, &iam.DeleteRoleInput{RoleName: &role.Name}); err != nil {
		r.t.Fatal(err)
	}
}
