package awstest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"cortex.dev/cortex/internal/cluster/awstest"
)

const publicCluster = "cluster_name: iris\nregion: us-west-2\nnode_groups:\n- {name: cpu, instance_type: m5.large, min_instances: 1, max_instances: 4}\n"

// EKS does one thing at a time, in order, and says why it does not.
func TestRefusalsOfEKS(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
		p := planned(t, strings.Replace(publicCluster, "region: us-west-2", "region: us-west-2\nkubernetes_version: '1.35'", 1))
		r.up(p)
		client := eks.NewFromConfig(r.cfg)
		name := aws.String("iris")
		upgrade := func(to string) error {
			_, err := client.UpdateClusterVersion(r.ctx, &eks.UpdateClusterVersionInput{Name: name, Version: &to})
			return err
		}
		_, err := client.DeleteCluster(r.ctx, &eks.DeleteClusterInput{Name: name})
		wantError(t, err, "ResourceInUseException", "Cluster has nodegroups attached")
		wantError(t, upgrade("1.37"), "InvalidParameterException", "from 1.35 to 1.37")
		if err := upgrade("1.36"); err != nil {
			t.Fatal(err)
		}
		wantError(t, upgrade("1.37"), "ResourceInUseException", "update in progress")
		pass(15 * time.Minute)
		wantError(t, upgrade("1.37"), "InvalidRequestException", "must be updated to match cluster version 1.36")
		nodes := func(group, version string) error {
			_, err := client.UpdateNodegroupVersion(r.ctx, &eks.UpdateNodegroupVersionInput{ClusterName: name, NodegroupName: &group, Version: &version})
			return err
		}
		wantError(t, nodes("cx-wd-cpu", "1.37"), "InvalidParameterException", "not supported for cluster version 1.36")
		for _, group := range []string{"cx-operator", "cx-wd-cpu"} {
			if err := nodes(group, "1.36"); err != nil {
				t.Fatal(err)
			}
		}
		wantError(t, nodes("cx-wd-cpu", "1.36"), "ResourceInUseException", "update in progress")
		pass(15 * time.Minute)
		if err := upgrade("1.37"); err != nil {
			t.Errorf("with all groups up to date: %v", err)
		}
		if got := a.AuthMap("iris"); len(got) != 1 || !strings.HasSuffix(got[0], "-nodes") {
			t.Errorf("aws-auth has %q, want the role of the nodes", got)
		}
	})
}

// A group is scaled by EKS, within its bounds, and its instances follow.
func TestScaling(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{PageSize: 50}, func(t *testing.T, _ *awstest.Account, r *runner) {
		r.up(planned(t, publicCluster))
		client := eks.NewFromConfig(r.cfg)
		scale := func(least, most, desired int32) error {
			_, err := client.UpdateNodegroupConfig(r.ctx, &eks.UpdateNodegroupConfigInput{ClusterName: aws.String("iris"), NodegroupName: aws.String("cx-wd-cpu"), ScalingConfig: &ekstypes.NodegroupScalingConfig{
				MinSize: &least, MaxSize: &most, DesiredSize: &desired,
			}})
			return err
		}
		wantError(t, scale(3, 4, 1), "InvalidParameterException", "Minimum capacity 3 can't be greater than desired size 1")
		wantError(t, scale(1, 2, 3), "InvalidParameterException", "desired capacity 3 can't be greater than max size 2")
		running := func() int {
			out, err := ec2.NewFromConfig(r.cfg).DescribeInstances(r.ctx, &ec2.DescribeInstancesInput{})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, each := range out.Reservations {
				if each.Instances[0].State.Name == "running" && each.Instances[0].InstanceType == "m5.large" {
					n++
				}
			}
			return n
		}
		for _, n := range []int32{4, 1} {
			if err := scale(1, 4, n); err != nil {
				t.Fatal(err)
			}
			pass(5 * time.Minute)
			if got := running(); got != int(n) {
				t.Errorf("%d instances run, want %d", got, n)
			}
		}
	})
}

// Nodes that cannot join say why, in the words by which EKS is known.
func TestNodesThatDoNotJoin(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o    awstest.Options
		file string
		skip string // a stack that is not made
		lost string // routes with this property are to another range
		want string
	}{
		"no network plug-in": {file: publicCluster, skip: "addons", want: "Issue(Code=NodeCreationFailure, Message=Unhealthy nodes in the kubernetes cluster"},
		"no way out":         {file: privateCluster, lost: "NatGatewayId", want: "Issue(Code=NodeCreationFailure, Message=Instances failed to join the kubernetes cluster"},
		"no instances":       {file: publicCluster, o: awstest.Options{Scarce: []string{"t3.medium"}}, want: "Issue(Code=AsgInstanceLaunchFailures, Message=Could not launch On-Demand Instances. InsufficientInstanceCapacity"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, c.o, func(t *testing.T, _ *awstest.Account, r *runner) {
				p := planned(t, c.file)
				r.objects(p)
				for _, step := range p.Steps {
					part := strings.TrimPrefix(step.ID, "stack/")
					if step.Do.Stack == nil || part == c.skip {
						continue
					}
					if part != "nodes-cx-operator" {
						s := *step.Do.Stack
						if c.lost != "" {
							s.Template = []byte(strings.ReplaceAll(string(s.Template), `"DestinationCidrBlock":"0.0.0.0/0","`+c.lost, `"DestinationCidrBlock":"10.9.0.0/16","`+c.lost))
						}
						r.made(part, &s)
						continue
					}
					began := time.Now()
					got := r.stack(step.Do.Stack)
					wantStatus(t, got, cfntypes.StackStatusRollbackComplete)
					if events := strings.Join(r.events(*got.StackId), "\n"); !strings.Contains(events, c.want) {
						t.Errorf("no event has %q:\n%s", c.want, events)
					}
					if took := time.Since(began); took < 20*time.Minute {
						t.Errorf("EKS gave up after %s", took)
					}
					break
				}
				if c.o.Scarce == nil {
					return
				}
				out, err := autoscaling.NewFromConfig(r.cfg).DescribeScalingActivities(r.ctx, &autoscaling.DescribeScalingActivitiesInput{})
				if err != nil || len(out.Activities) > 0 { // the group went with the stack
					t.Errorf("activities: %v, %v", out, err)
				}
			})
		})
	}
}

// DNS before there are nodes waits for them, and does not wait for ever.
func TestAddonWithoutNodes(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, _ *awstest.Account, r *runner) {
		p := planned(t, publicCluster)
		r.objects(p)
		for _, step := range p.Steps {
			if part := strings.TrimPrefix(step.ID, "stack/"); part == "network" || part == "cluster" {
				r.made(part, step.Do.Stack)
			}
		}
		template := `{"Resources":{"Dns":{"Type":"AWS::EKS::Addon","Properties":{"ClusterName":"iris","AddonName":"coredns"}}}}`
		began := time.Now()
		out, err := r.cfn.CreateStack(r.ctx, &cloudformation.CreateStackInput{StackName: aws.String("dns"), TemplateBody: &template})
		if err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Minute)
		addon, err := eks.NewFromConfig(r.cfg).DescribeAddon(r.ctx, &eks.DescribeAddonInput{ClusterName: aws.String("iris"), AddonName: aws.String("coredns")})
		if err != nil || addon.Addon.Status != ekstypes.AddonStatusDegraded || addon.Addon.Health.Issues[0].Code != ekstypes.AddonIssueCodeInsufficientNumberOfReplicas {
			t.Fatalf("%+v, %v", addon, err)
		}
		wantStatus(t, r.wait(*out.StackId), cfntypes.StackStatusRollbackComplete)
		if took := time.Since(began); took < 20*time.Minute {
			t.Errorf("it was given up after %s", took)
		}
	})
}

// Entries are for people whom IAM knows, and for nobody who gets their name later.
func TestAccessEntries(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
		r.up(planned(t, publicCluster))
		a.AddUser("bob")
		client := eks.NewFromConfig(r.cfg)
		cluster, bob := aws.String("iris"), aws.String("arn:aws:iam::111122223333:user/bob")
		create := func(arn string, groups ...string) error {
			_, err := client.CreateAccessEntry(r.ctx, &eks.CreateAccessEntryInput{ClusterName: cluster, PrincipalArn: &arn, KubernetesGroups: groups})
			return err
		}
		wantError(t, create("arn:aws:iam::111122223333:user/nobody"), "InvalidParameterException", "invalid principal")
		wantError(t, create("arn:aws:sts::111122223333:assumed-role/a/b"), "InvalidParameterException", "format is not valid")
		wantError(t, create(*bob, "system:masters"), "InvalidParameterException", "cannot start with system:")
		if err := create(*bob); err != nil {
			t.Fatal(err)
		}
		wantError(t, create(*bob), "ResourceInUseException", "already in use")
		associate := func() error {
			_, err := client.AssociateAccessPolicy(r.ctx, &eks.AssociateAccessPolicyInput{
				ClusterName: cluster, PrincipalArn: bob, PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster},
			})
			return err
		}
		wantError(t, associate(), "ResourceNotFoundException", "could not be found") // not everybody knows yet
		pass(5 * time.Second)
		if err := associate(); err != nil {
			t.Fatal(err)
		}
		creator := "arn:aws:iam::111122223333:user/admin"
		if got := a.Administrators("iris"); !slices.Equal(got, []string{creator, *bob}) {
			t.Errorf("the administrators are %q", got)
		}
		a.RemoveUser("bob")
		a.AddUser("bob")
		if got := a.Administrators("iris"); !slices.Equal(got, []string{creator}) {
			t.Errorf("with another bob the administrators are %q", got)
		}
		if _, err := client.DeleteAccessEntry(r.ctx, &eks.DeleteAccessEntryInput{ClusterName: cluster, PrincipalArn: bob}); err != nil {
			t.Error(err)
		}
		out, err := client.ListAccessEntries(r.ctx, &eks.ListAccessEntriesInput{ClusterName: cluster})
		if err != nil || !slices.Equal(out.AccessEntries, []string{creator}) {
			t.Errorf("the entries are %v, %v", out, err)
		}
	})
}

// A role that was made this moment is not known to EKS, and zones that EKS does not serve
// are refused by their ids.
func TestClustersThatCannotBeMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o    awstest.Options
		wait time.Duration
		want string
	}{
		"a fresh role": {awstest.Options{Region: "us-west-2", Propagation: time.Hour}, 0, "could not be assumed because it does not exist or the trusted entity is not correct"},
		"a zone":       {awstest.Options{Region: "us-east-1"}, time.Hour, "because EKS does not support creating control plane instances in us-east-1c"},
		"no quota":     {awstest.Options{Region: "us-west-2", Quotas: map[string]float64{"L-1194D53C": 0}}, time.Hour, "Cluster limit exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, c.o, func(t *testing.T, _ *awstest.Account, r *runner) {
				file := strings.Replace(publicCluster, "us-west-2", c.o.Region, 1)
				if c.o.Region == "us-east-1" {
					file += "availability_zones: [us-east-1a, us-east-1b, us-east-1d]\n"
				}
				p := planned(t, file)
				r.objects(p)
				for _, step := range p.Steps {
					switch step.ID {
					case "stack/network":
						s := *step.Do.Stack
						s.Template = []byte(strings.ReplaceAll(string(s.Template), "us-east-1d", "us-east-1c"))
						r.made("network", &s)
						pass(c.wait)
					case "stack/cluster":
						got := r.stack(step.Do.Stack)
						wantStatus(t, got, cfntypes.StackStatusCreateFailed)
						if events := strings.Join(r.events(*got.StackId), "\n"); !strings.Contains(events, c.want) {
							t.Errorf("no event has %q:\n%s", c.want, events)
						}
					}
				}
			})
		})
	}
}

// Targets are healthy when nodes are there, the load balancer refers to them, and the
// group was attached.
func TestTargets(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{PageSize: 50}, func(t *testing.T, _ *awstest.Account, r *runner) {
		r.up(planned(t, publicCluster))
		client := elb.NewFromConfig(r.cfg)
		for arn := range strings.SplitSeq(r.outputs["services"]["TargetGroups"], ",") {
			out, err := client.DescribeTargetHealth(r.ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: &arn})
			if err != nil || len(out.TargetHealthDescriptions) != 2 {
				t.Fatalf("%+v, %v", out, err)
			}
			for _, d := range out.TargetHealthDescriptions {
				if d.TargetHealth.State != "healthy" {
					t.Errorf("a target is %s", d.TargetHealth.State)
				}
			}
			_, err = client.DeleteTargetGroup(r.ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: &arn})
			wantError(t, err, "ResourceInUse", "currently in use by a listener")
		}
	})
}
