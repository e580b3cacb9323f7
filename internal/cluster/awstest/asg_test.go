package awstest_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
)

const mixedCluster = `
cluster_name: iris
region: us-west-2
node_groups:
- {name: cheap, instance_type: m5.large, min_instances: 3, max_instances: 5, spot: true, spot_config: {on_demand_base_capacity: 1, on_demand_percentage_above_base_capacity: 50}}
`

// Nodes of a scaling group of one's own join where everything about them is right, and what
// could start no instance is refused.
func TestScalingGroupOfOnesOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := awstest.New(awstest.Options{})
		r := newRunner(t, a, a.Root())
		p := planned(t, mixedCluster)
		r.objects(p)
		image := r.image("x86_64/standard")
		var nodes, role = &cluster.Stack{}, ""
		for _, step := range p.Steps {
			switch s := step.Do.Stack; {
			case step.ID == "role/mixed":
				role = step.Do.Role.Name
				r.profile(role)
			case step.ID == "stack/nodes-cx-wx-cheap":
				*nodes = *s
				nodes.Template = regexp.MustCompile(`ami-[0-9a-f]+`).ReplaceAll(s.Template, []byte(image))
			case s != nil:
				r.made(strings.TrimPrefix(step.ID, "stack/"), s)
			}
		}
		arm := r.image("arm64/standard")
		for _, tt := range []struct {
			name, old, new string
			state          cfntypes.StackStatus
			joined         int
		}{
			{"right", "", "", cfntypes.StackStatusCreateComplete, 3},
			{"another cluster", `\"name\":\"iris\"`, `\"name\":\"other\"`, cfntypes.StackStatusCreateComplete, 0},
			{"another API server", "${Endpoint}", "https://elsewhere", cfntypes.StackStatusCreateComplete, 0},
			{"another authority", "${Authority}", "bm9ib2R5", cfntypes.StackStatusCreateComplete, 0},
			{"another range of services", `\"cidr\":\"10.100.0.0/16\"`, `\"cidr\":\"10.99.0.0/16\"`, cfntypes.StackStatusCreateComplete, 0},
			{"another kind of user data", "application/node.eks.aws", "text/x-shellscript", cfntypes.StackStatusCreateComplete, 0},
			{"no such image", image, "ami-00000000000000000", cfntypes.StackStatusRollbackComplete, 0},
			{"image of another architecture", image, arm, cfntypes.StackStatusRollbackComplete, 0},
			{"no such profile", `"Name":"` + role, `"Name":"x` + role, cfntypes.StackStatusRollbackComplete, 0},
			{"percentage", `"OnDemandPercentageAboveBaseCapacity":50`, `"OnDemandPercentageAboveBaseCapacity":150`, cfntypes.StackStatusRollbackComplete, 0},
			{"strategy", "price-capacity-optimized", "cheapest", cfntypes.StackStatusRollbackComplete, 0},
		} {
			s := *nodes
			if !strings.Contains(string(s.Template), tt.old) {
				t.Fatalf("%s: the template has no %s: %s", tt.name, tt.old, s.Template)
			}
			s.Template = json.RawMessage(strings.Replace(string(s.Template), tt.old, tt.new, 1))
			got := r.stack(&s)
			pass(5 * time.Minute)
			if joined := len(a.Joined("iris")); got.StackStatus != tt.state || joined != tt.joined {
				t.Errorf("%s: %s with %d nodes, want %s with %d:\n%s", tt.name, got.StackStatus, joined, tt.state, tt.joined, strings.Join(r.events(*got.StackId), "\n"))
			}
			for _, o := range got.Outputs {
				if all, spot := a.Spot(*o.OutputValue); all != 3 || spot != 1 {
					t.Errorf("%s: %d instances, %d of them spot; want 3 and 1", tt.name, all, spot)
				}
			}
			if gone := r.delete(*got.StackId); gone.StackStatus != cfntypes.StackStatusDeleteComplete {
				t.Errorf("%s: then %s", tt.name, gone.StackStatus)
			}
		}
		// A role in a profile cannot go, nor a profile with a role.
		if _, err := r.iam.DeleteInstanceProfile(r.ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: &role}); err == nil || !strings.Contains(err.Error(), "DeleteConflict") {
			t.Errorf("DeleteInstanceProfile = %v, want DeleteConflict", err)
		}
	})
}

// image is the id of the newest image of a kind.
func (r *runner) image(kind string) string {
	r.t.Helper()
	name := "/aws/service/eks/optimized-ami/" + cluster.NewestKubernetes + "/amazon-linux-2023/" + kind + "/recommended/image_id"
	out, err := ssm.NewFromConfig(r.cfg).GetParameters(r.ctx, &ssm.GetParametersInput{Names: []string{name}})
	if err != nil || len(out.Parameters) != 1 {
		r.t.Fatalf("%s: %v, %v", name, out, err)
	}
	return aws.ToString(out.Parameters[0].Value)
}

func (r *runner) profile(role string) {
	r.t.Helper()
	if _, err := r.iam.CreateInstanceProfile(r.ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &role}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.iam.AddRoleToInstanceProfile(r.ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &role, RoleName: &role}); err != nil {
		r.t.Fatal(err)
	}
}
