package eks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
	"cortex.dev/cortex/internal/fault"
)

// What is wrong with a cluster is told by the check that it belongs to, with what to do.
func TestHealth(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		harm  func(ctx context.Context, w *world, root *Account) error
		check string // "": all are in order
		says  string
		do    string
	}{
		"nothing":    {func(context.Context, *world, *Account) error { return nil }, "", "", ""},
		"node group": {ailing("cx-wd-cpu", "Ec2SubnetInvalidConfiguration", "no public addresses"), "node_groups", "cx-wd-cpu: Ec2SubnetInvalidConfiguration: no public addresses", "cortex cluster info"},
		"add-on":     {ailing("coredns", "InsufficientNumberOfReplicas", "too few replicas"), "add_ons", "coredns: InsufficientNumberOfReplicas: too few replicas", "kube-system"},
		"no machines": {func(ctx context.Context, w *world, root *Account) error {
			w.aws.RunOut("m5.large")
			_, err := root.eks.UpdateNodegroupConfig(ctx, &eks.UpdateNodegroupConfigInput{
				ClusterName: aws.String("iris"), NodegroupName: aws.String("cx-wd-cpu"), ScalingConfig: &ekstypes.NodegroupScalingConfig{DesiredSize: aws.Int32(4)},
			})
			return err
		}, "node_groups", "cx-wd-cpu has 1 of 4 nodes", "EC2 has no such machines now"},
		"detached": {func(ctx context.Context, _ *world, root *Account) error {
			all, err := root.scaling(ctx, "iris")
			if err != nil {
				return err
			}
			g := all[cluster.SystemGroup][0]
			_, err = root.asg.DetachLoadBalancerTargetGroups(ctx, &autoscaling.DetachLoadBalancerTargetGroupsInput{AutoScalingGroupName: g.AutoScalingGroupName, TargetGroupARNs: g.TargetGroupARNs})
			return err
		}, "load_balancer_targets", "that of the operator reaches none", "cortex cluster up FILE"},
		"moved by AWS": {func(_ context.Context, w *world, _ *Account) error {
			w.aws.MoveControlPlane("iris", "1.37")
			return nil
		}, "kubernetes_version", "the nodes of cx-wd-cpu have 1.36", "cortex cluster upgrade"},
		"within": {func(_ context.Context, w *world, _ *Account) error {
			w.kube.sick = errors.New("the API server does not answer")
			return nil
		}, "kubernetes", "does not answer", ""},
		"end of support": {func(context.Context, *world, *Account) error {
			time.Sleep(time.Until(time.Date(2027, 7, 19, 0, 0, 0, 0, time.UTC)))
			return nil
		}, "kubernetes_version", "for 13 days only", "cortex cluster upgrade"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, root := made(t)
			ctx := t.Context()
			settle(t)
			if err := tt.harm(ctx, w, root); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			settle(t)
			a, err := w.open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			checks, err := a.Health(ctx, "iris")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			bad := map[string]cluster.Check{}
			for _, c := range checks {
				if !c.OK {
					bad[c.Name] = c
				}
			}
			if c := bad[tt.check]; len(bad) > 1 || (len(bad) == 1) != (tt.check != "") || !strings.Contains(c.Text, tt.says) || !strings.Contains(c.Do, tt.do) {
				t.Errorf("%s: wrong are %+v, want %q with %q and %q", name, bad, tt.check, tt.says, tt.do)
			}
		})
	}
}

func ailing(what, code, message string) func(context.Context, *world, *Account) error {
	return func(_ context.Context, w *world, _ *Account) error {
		w.aws.Ail("iris", what, code, message)
		return nil
	}
}

func TestHealthOfNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		a, err := w.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Health(t.Context(), "iris"); fault.Code(err) != CodeNoCluster {
			t.Errorf("Health = %v, want %s", err, CodeNoCluster)
		}
	})
}

// What was changed past the stacks is found, and what others than stacks change by design is
// not told as such.
func TestStackDrift(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, root := made(t)
		ctx := t.Context()
		settle(t)
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.scale(ctx, "iris", "cx-wd-cpu", 2, 7); err != nil { // as configure and the autoscaler do
			t.Fatal(err)
		}
		settle(t)
		w.kube.mapped = []Mapping{{ARN: a.names("iris").RoleARN("nodes"), Role: true, Groups: []string{"system:nodes"}}}
		if found, err := a.StackDrift(ctx, "iris"); err != nil || len(found) > 0 {
			t.Fatalf("StackDrift of a cluster that nobody has touched = %+v, %v", found, err)
		}
		s, err := a.Info(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		// Somebody lets the world in past the white list.
		services, err := a.describe(ctx, a.names("iris").Stack("services"))
		if err != nil {
			t.Fatal(err)
		}
		all, err := a.resources(ctx, deref(services.StackId))
		if err != nil {
			t.Fatal(err)
		}
		group := all["AWS::EC2::SecurityGroup"][0]
		must[*ec2.AuthorizeSecurityGroupIngressOutput](t)(root.ec2.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{
			GroupId: &group, IpPermissions: []ec2types.IpPermission{{
				IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}},
			}},
		}))
		w.kube.mapped = append(w.kube.mapped, Mapping{ARN: "arn:aws:iam::" + account + ":user/mallory", Groups: []string{mastersGroup}}, Mapping{ARN: "444455556666"})
		found, err := a.StackDrift(ctx, "iris")
		text := fmt.Sprintf("%+v", found)
		if err != nil || len(found) != 3 || !strings.Contains(text, "account 444455556666") || !strings.Contains(text, "SecurityGroupIngress") || !strings.Contains(text, "user/mallory") || !strings.Contains(text, mastersGroup) {
			t.Errorf("StackDrift of %s = %s, %v; want the rule and mallory", s.Network.VPC, text, err)
		}
	})
}

// EKS, which answers for one group of nodes at a time, is asked about each once by the checks
// of a cluster, and once by what plans an upgrade; everything else answers for all groups.
func TestEachGroupIsAskedAboutOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *cluster.Config) {
			c.KubernetesVersion = "1.35"
			c.NodeGroups = append(c.NodeGroups, group("big", 1, 2), group("many", 1, 2), group("more", 1, 2))
		})
		w.aws = awstest.New(awstest.Options{Account: account, Region: region, PageSize: 100})
		w.key = w.aws.Root()
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		settle(t)
		const groups, mostBeside = 5, 12
		for what, do := range map[string]func(a *Account) error{
			"health":  func(a *Account) error { _, err := a.Health(ctx, "iris"); return err },
			"upgrade": func(a *Account) error { _, err := a.Upgrade(ctx, "iris", ""); return err },
		} {
			before, calls := len(w.aws.Calls()), w.calls()
			a, err := w.open(ctx)
			if err == nil {
				err = do(a)
			}
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if n := w.asked(before); n != groups {
				t.Errorf("%s asks %d times about %d groups", what, n, groups)
			}
			scaling := 0
			for _, c := range w.aws.Calls()[before:] {
				if c.Service == "autoscaling" && !c.Implied {
					scaling++
				}
			}
			if n := w.calls() - calls - groups; scaling != 1 || what == "health" && n > mostBeside {
				t.Errorf("%s takes %d calls besides, %d of them about scaling groups; want at most %d, and one", what, n, scaling, mostBeside)
			}
		}
	})
}
