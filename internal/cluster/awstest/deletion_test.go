package awstest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"cortex.dev/cortex/internal/cluster/awstest"
)

func (r *runner) physical(stack, logical string) string {
	r.t.Helper()
	out, err := r.cfn.DescribeStackResources(r.ctx, &cloudformation.DescribeStackResourcesInput{StackName: &stack})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, x := range out.StackResources {
		if *x.LogicalResourceId == logical {
			return *x.PhysicalResourceId
		}
	}
	r.t.Fatalf("%s has no %s", stack, logical)
	return ""
}

// What somebody else has put into a network keeps it from going, and AWS says what.
func TestDeletionsThatAreInTheWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		put  func(r *runner, client *ec2.Client, s string) (take func() error)
		want []string
	}{
		"a network interface": {func(r *runner, client *ec2.Client, s string) func() error {
			out, err := client.CreateNetworkInterface(r.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(r.physical(s, "Subnet")), Groups: []string{r.physical(s, "Group")}})
			if err != nil {
				r.t.Fatal(err)
			}
			return func() error {
				_, err := client.DeleteNetworkInterface(r.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: out.NetworkInterface.NetworkInterfaceId})
				return err
			}
		}, []string{"Group DELETE_FAILED", "has a dependent object", "Subnet DELETE_FAILED", "has dependencies and cannot be deleted", "failed to delete: [Group, Subnet]"}},
		"a security group": {func(r *runner, client *ec2.Client, s string) func() error {
			out, err := client.CreateSecurityGroup(r.ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String("foreign"), Description: aws.String("foreign"), VpcId: aws.String(r.physical(s, "VPC"))})
			if err != nil {
				r.t.Fatal(err)
			}
			return func() error {
				_, err := client.DeleteSecurityGroup(r.ctx, &ec2.DeleteSecurityGroupInput{GroupId: out.GroupId})
				return err
			}
		}, []string{"Group DELETE_COMPLETE", "VPC DELETE_FAILED", "HandlerErrorCode: InvalidRequest", "failed to delete: [VPC]"}},
		"a peering connection": {func(r *runner, client *ec2.Client, s string) func() error {
			other, err := client.CreateVpc(r.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("172.20.0.0/16")})
			if err != nil {
				r.t.Fatal(err)
			}
			out, err := client.CreateVpcPeeringConnection(r.ctx, &ec2.CreateVpcPeeringConnectionInput{VpcId: aws.String(r.physical(s, "VPC")), PeerVpcId: other.Vpc.VpcId})
			if err != nil {
				r.t.Fatal(err)
			}
			return func() error {
				_, err := client.DeleteVpcPeeringConnection(r.ctx, &ec2.DeleteVpcPeeringConnectionInput{VpcPeeringConnectionId: out.VpcPeeringConnection.VpcPeeringConnectionId})
				if err == nil {
					_, err = client.DeleteVpc(r.ctx, &ec2.DeleteVpcInput{VpcId: other.Vpc.VpcId})
				}
				return err
			}
		}, []string{"VPC DELETE_FAILED", "failed to delete: [VPC]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
				s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network()})
				take := c.put(r, ec2.NewFromConfig(r.cfg), *s.StackId)
				began := time.Now()
				wantStatus(t, r.delete(*s.StackId), cfntypes.StackStatusDeleteFailed)
				if took := time.Since(began); took < 5*time.Minute {
					t.Errorf("it was given up after %s", took)
				}
				events := strings.Join(r.events(*s.StackId), "\n")
				for _, want := range c.want {
					if !strings.Contains(events, want) {
						t.Errorf("no event has %q:\n%s", want, events)
					}
				}
				if err := take(); err != nil {
					t.Fatal(err)
				}
				wantStatus(t, r.delete(*s.StackId), cfntypes.StackStatusDeleteComplete)
				if left := a.Left(); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			})
		})
	}
}

// A deleted stack is found by its id alone; a name can be had again, and a token makes
// nothing twice.
func TestNamesAndIdsOfStacks(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
		in := &cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network(), ClientRequestToken: aws.String("one")}
		first, err := r.cfn.CreateStack(r.ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.cfn.CreateStack(r.ctx, in)
		if err != nil || *again.StackId != *first.StackId || a.Made()["stack"] != 1 {
			t.Errorf("the same request again: %v %v, made %v", again, err, a.Made())
		}
		_, err = r.cfn.CreateStack(r.ctx, &cloudformation.CreateStackInput{StackName: in.StackName, TemplateBody: network(), ClientRequestToken: aws.String("two")})
		wantError(t, err, "AlreadyExistsException", "Stack [n] already exists")
		wantStatus(t, r.delete(*first.StackId), cfntypes.StackStatusDeleteComplete) // while it is made
		_, err = r.cfn.DescribeStacks(r.ctx, &cloudformation.DescribeStacksInput{StackName: in.StackName})
		wantError(t, err, "ValidationError", "Stack with id n does not exist")
		second := r.create(&cloudformation.CreateStackInput{StackName: in.StackName, TemplateBody: network(), EnableTerminationProtection: aws.Bool(true)})
		if *second.StackId == *first.StackId {
			t.Error("two stacks have one id")
		}
		wantStatus(t, r.wait(*first.StackId), cfntypes.StackStatusDeleteComplete)
		_, err = r.cfn.DeleteStack(r.ctx, &cloudformation.DeleteStackInput{StackName: second.StackId})
		wantError(t, err, "ValidationError", "TerminationProtection is enabled")
		if _, err := r.cfn.DeleteStack(r.ctx, &cloudformation.DeleteStackInput{StackName: aws.String("never-was")}); err != nil {
			t.Errorf("deleting what is not there: %v", err)
		}
	})
}

// What cannot be deleted can be left.
func TestRetainedResources(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
		s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network()})
		_, err := r.cfn.DeleteStack(r.ctx, &cloudformation.DeleteStackInput{StackName: s.StackId, RetainResources: []string{"VPC"}})
		wantError(t, err, "ValidationError", "only supported in DELETE_FAILED")
		a.Fail(awstest.Fault{Resource: "VPC", Deletion: true, Code: "InternalError", Message: "no"})
		wantStatus(t, r.delete(*s.StackId), cfntypes.StackStatusDeleteFailed)
		if _, err := r.cfn.DeleteStack(r.ctx, &cloudformation.DeleteStackInput{StackName: s.StackId, RetainResources: []string{"VPC"}}); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, r.wait(*s.StackId), cfntypes.StackStatusDeleteComplete)
		if left := a.Left(); len(left) != 1 || !strings.HasPrefix(left[0], "vpc ") {
			t.Errorf("left: %q, want the VPC alone", left)
		}
	})
}

// Drift is what somebody has changed by hand.
func TestDrift(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{PageSize: 50}, func(t *testing.T, _ *awstest.Account, r *runner) {
		s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network(property("VPC", "EnableDnsHostnames", true))})
		client := ec2.NewFromConfig(r.cfg)
		if _, err := client.ModifyVpcAttribute(r.ctx, &ec2.ModifyVpcAttributeInput{VpcId: aws.String(r.physical("n", "VPC")), EnableDnsHostnames: &ec2types.AttributeBooleanValue{Value: aws.Bool(false)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.DeleteSecurityGroup(r.ctx, &ec2.DeleteSecurityGroupInput{GroupId: aws.String(r.physical("n", "Group"))}); err != nil {
			t.Fatal(err)
		}
		out, err := r.cfn.DetectStackDrift(r.ctx, &cloudformation.DetectStackDriftInput{StackName: s.StackId})
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		status, err := r.cfn.DescribeStackDriftDetectionStatus(r.ctx, &cloudformation.DescribeStackDriftDetectionStatusInput{StackDriftDetectionId: out.StackDriftDetectionId})
		if err != nil || status.StackDriftStatus != cfntypes.StackDriftStatusDrifted || *status.DriftedStackResourceCount != 2 {
			t.Fatalf("the drift is %+v, %v", status, err)
		}
		drifts, err := r.cfn.DescribeStackResourceDrifts(r.ctx, &cloudformation.DescribeStackResourceDriftsInput{StackName: s.StackId})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, d := range drifts.StackResourceDrifts {
			got[*d.LogicalResourceId] = string(d.StackResourceDriftStatus)
			for _, p := range d.PropertyDifferences {
				got[*d.LogicalResourceId] += " " + *p.PropertyPath + " " + *p.ExpectedValue + " " + *p.ActualValue
			}
		}
		if got["VPC"] != "MODIFIED /EnableDnsHostnames true false" || got["Group"] != "DELETED" || got["Subnet"] != "IN_SYNC" {
			t.Errorf("the drifts are %v", got)
		}
	})
}
