package awstest_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"

	"cortex.dev/cortex/internal/cluster/awstest"
)

type object = map[string]any

// network is a template of a few resources, with changes.
func network(changes ...func(resources object)) *string {
	resources := object{
		"VPC":        object{"Type": "AWS::EC2::VPC", "Properties": object{"CidrBlock": "10.0.0.0/16"}},
		"Gateway":    object{"Type": "AWS::EC2::InternetGateway"},
		"Attachment": object{"Type": "AWS::EC2::VPCGatewayAttachment", "Properties": object{"VpcId": ref("VPC"), "InternetGatewayId": ref("Gateway")}},
		"Subnet":     object{"Type": "AWS::EC2::Subnet", "Properties": object{"VpcId": ref("VPC"), "CidrBlock": "10.0.0.0/19", "AvailabilityZone": "us-west-2a"}},
		"Group":      object{"Type": "AWS::EC2::SecurityGroup", "Properties": object{"GroupDescription": "one", "VpcId": ref("VPC")}},
	}
	for _, c := range changes {
		c(resources)
	}
	b, err := json.Marshal(object{"Resources": resources, "Outputs": object{"Vpc": object{"Value": ref("VPC")}}})
	if err != nil {
		panic(err)
	}
	return aws.String(string(b))
}

func ref(name string) object { return object{"Ref": name} }

func property(resource, name string, value any) func(object) {
	return func(resources object) {
		r := resources[resource].(object)
		p, _ := r["Properties"].(object)
		if p == nil {
			p = object{}
			r["Properties"] = p
		}
		p[name] = value
		if value == nil {
			delete(p, name)
		}
	}
}

// bubble runs a test with an account of its own, where time costs nothing.
func bubble(t *testing.T, o awstest.Options, test func(t *testing.T, a *awstest.Account, r *runner)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := awstest.New(o)
		test(t, a, newRunner(t, a, a.Root()))
	})
}

func (r *runner) create(in *cloudformation.CreateStackInput) cfntypes.Stack {
	r.t.Helper()
	out, err := r.cfn.CreateStack(r.ctx, in)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.wait(*out.StackId)
}

// code is that of an error of AWS.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

func wantError(t *testing.T, err error, wantCode, part string) {
	t.Helper()
	if err == nil || code(err) != wantCode || !strings.Contains(err.Error(), part) {
		t.Errorf("the error is %v, want %s with %q", err, wantCode, part)
	}
}

func wantStatus(t *testing.T, s cfntypes.Stack, want cfntypes.StackStatus) {
	t.Helper()
	if s.StackStatus != want {
		t.Errorf("the stack is %s (%s), want %s", s.StackStatus, aws.ToString(s.StackStatusReason), want)
	}
}

// What happens comes in AWS's order: the stack, the two beginnings of each resource, a
// resource after those it needs, the stack at last.
func TestEventsOfACreation(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, _ *awstest.Account, r *runner) {
		began := time.Now()
		s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network()})
		wantStatus(t, s, cfntypes.StackStatusCreateComplete)
		events := r.events(*s.StackId)
		if events[0] != "n CREATE_IN_PROGRESS User Initiated" || events[len(events)-1] != "n CREATE_COMPLETE" {
			t.Errorf("the events begin with %q and end with %q", events[0], events[len(events)-1])
		}
		at := func(e string) int { return slices.Index(events, e) }
		order := []string{"VPC CREATE_IN_PROGRESS", "VPC CREATE_IN_PROGRESS Resource creation Initiated", "VPC CREATE_COMPLETE", "Subnet CREATE_IN_PROGRESS", "Subnet CREATE_IN_PROGRESS Resource creation Initiated", "Subnet CREATE_COMPLETE"}
		for i := 1; i < len(order); i++ {
			if at(order[i-1]) < 0 || at(order[i]) <= at(order[i-1]) {
				t.Errorf("%q is not after %q in %q", order[i], order[i-1], events)
			}
		}
		if at("Gateway CREATE_IN_PROGRESS") > at("VPC CREATE_COMPLETE") {
			t.Error("what needs nothing was not made at once")
		}
		if took := time.Since(began); took < 20*time.Second || took > 2*time.Minute {
			t.Errorf("it took %s", took)
		}
		if got := aws.ToString(s.Outputs[0].OutputValue); !strings.HasPrefix(got, "vpc-") {
			t.Errorf("the output is %q", got)
		}
	})
}

// A resource that fails takes the others with it, unless the stack is to stay.
func TestFailedCreations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   cloudformation.CreateStackInput
		want cfntypes.StackStatus
		left int
	}{
		"rolled back": {cloudformation.CreateStackInput{}, cfntypes.StackStatusRollbackComplete, 1},
		"kept":        {cloudformation.CreateStackInput{DisableRollback: aws.Bool(true)}, cfntypes.StackStatusCreateFailed, 4},
		"left as is":  {cloudformation.CreateStackInput{OnFailure: cfntypes.OnFailureDoNothing}, cfntypes.StackStatusCreateFailed, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
				a.Fail(awstest.Fault{Resource: "Subnet", Code: "InvalidSubnet.Range", Message: "no"})
				in := c.in
				in.StackName, in.TemplateBody = aws.String("n"), network()
				s := r.create(&in)
				wantStatus(t, s, c.want)
				events := strings.Join(r.events(*s.StackId), "\n")
				for _, want := range []string{
					`Subnet CREATE_FAILED Resource handler returned message: "no (Service: `, "Group CREATE_FAILED Resource creation cancelled", "The following resource(s) failed to create: [",
				} {
					if !strings.Contains(events, want) {
						t.Errorf("no event has %q:\n%s", want, events)
					}
				}
				if left := a.Left(); len(left) < c.left || c.left == 1 && len(left) > 1 {
					t.Errorf("there are %q", left)
				}
				_, err := r.cfn.UpdateStack(r.ctx, &cloudformation.UpdateStackInput{StackName: in.StackName, TemplateBody: network(property("VPC", "EnableDnsHostnames", true))})
				if c.want == cfntypes.StackStatusRollbackComplete {
					wantError(t, err, "ValidationError", "is in ROLLBACK_COMPLETE state and can not be updated")
				} else if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A stack that was kept goes on where it failed.
func TestContinuedCreation(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
		a.Fail(awstest.Fault{Resource: "Subnet", Times: 1, Code: "InternalError", Message: "no"})
		s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network(), DisableRollback: aws.Bool(true)})
		wantStatus(t, s, cfntypes.StackStatusCreateFailed)
		changes := r.change("n", network())
		if len(changes.Changes) == 0 {
			t.Error("there is nothing to be changed")
		}
		r.execute(changes)
		wantStatus(t, r.wait(*s.StackId), cfntypes.StackStatusUpdateComplete)
		if made := a.Made(); made["vpc"] != 1 || made["subnet"] != 1 {
			t.Errorf("made: %v", made)
		}
	})
}

// change makes a change set and waits for it.
func (r *runner) change(stack string, template *string) *cloudformation.DescribeChangeSetOutput {
	r.t.Helper()
	name := "c" + time.Now().Format("150405")
	if _, err := r.cfn.CreateChangeSet(r.ctx, &cloudformation.CreateChangeSetInput{StackName: &stack, ChangeSetName: &name, TemplateBody: template}); err != nil {
		r.t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	out, err := r.cfn.DescribeChangeSet(r.ctx, &cloudformation.DescribeChangeSetInput{StackName: &stack, ChangeSetName: &name})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *runner) execute(c *cloudformation.DescribeChangeSetOutput) {
	r.t.Helper()
	if _, err := r.cfn.ExecuteChangeSet(r.ctx, &cloudformation.ExecuteChangeSetInput{ChangeSetName: c.ChangeSetId}); err != nil {
		r.t.Fatal(err)
	}
}

// A change set says what would be another resource, by AWS's own rules.
func TestChangeSets(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(object)
		want   []string
	}{
		"a property that can change":    {property("VPC", "EnableDnsHostnames", true), []string{"Modify VPC False"}},
		"one that makes another":        {property("Group", "GroupDescription", "two"), []string{"Modify Group True"}},
		"and all that refer to it":      {property("VPC", "CidrBlock", "10.0.0.0/17"), []string{"Modify VPC True", "Modify Attachment Conditional", "Modify Group Conditional", "Modify Subnet Conditional"}},
		"a resource more":               {func(r object) { r["More"] = object{"Type": "AWS::EC2::InternetGateway"} }, []string{"Add More "}},
		"a resource less":               {func(r object) { delete(r, "Group") }, []string{"Remove Group "}},
		"nothing":                       {func(object) {}, nil},
		"a number written in other way": {property("VPC", "EnableDnsSupport", "true"), []string{"Modify VPC False"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, awstest.Options{PageSize: 50}, func(t *testing.T, _ *awstest.Account, r *runner) {
				s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network()})
				out := r.change("n", network(c.change))
				var got []string
				for _, x := range out.Changes {
					got = append(got, string(x.ResourceChange.Action)+" "+*x.ResourceChange.LogicalResourceId+" "+string(x.ResourceChange.Replacement))
				}
				slices.Sort(got)
				slices.Sort(c.want)
				if !slices.Equal(got, c.want) {
					t.Errorf("the changes are %q, want %q", got, c.want)
				}
				if c.want == nil {
					if out.Status != cfntypes.ChangeSetStatusFailed || !strings.Contains(aws.ToString(out.StatusReason), "didn't contain changes") {
						t.Errorf("it is %s: %s", out.Status, aws.ToString(out.StatusReason))
					}
					_, err := r.cfn.UpdateStack(r.ctx, &cloudformation.UpdateStackInput{StackName: aws.String("n"), TemplateBody: network()})
					wantError(t, err, "ValidationError", "No updates are to be performed.")
					return
				}
				r.execute(out)
				end := cfntypes.StackStatusUpdateComplete
				if len(c.want) == 4 { // a gateway cannot be attached to both networks at once
					end = cfntypes.StackStatusUpdateRollbackComplete
				}
				wantStatus(t, r.wait(*s.StackId), end)
				wantStatus(t, r.delete(*s.StackId), cfntypes.StackStatusDeleteComplete)
			})
		})
	}
}

// An update that fails goes back to what was.
func TestFailedUpdate(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{PageSize: 50}, func(t *testing.T, a *awstest.Account, r *runner) {
		s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network()})
		a.Fail(awstest.Fault{Resource: "More", Code: "InternalError", Message: "no"})
		r.execute(r.change("n", network(property("VPC", "EnableDnsHostnames", true), property("Group", "GroupDescription", "two"), func(res object) {
			res["More"] = object{"Type": "AWS::EC2::Subnet", "Properties": object{"VpcId": ref("VPC"), "CidrBlock": "10.0.128.0/19"}, "DependsOn": []string{"Group"}}
		})))
		s = r.wait(*s.StackId)
		wantStatus(t, s, cfntypes.StackStatusUpdateRollbackComplete)
		out := r.change("n", network())
		if len(out.Changes) > 0 {
			t.Errorf("it is not as it was: %v", out.Changes)
		}
		for _, want := range []string{"More CREATE_FAILED", "UPDATE_ROLLBACK_IN_PROGRESS The following resource(s) failed to update: [More]", "n UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"} {
			if events := strings.Join(r.events(*s.StackId), "\n"); !strings.Contains(events, want) {
				t.Errorf("no event has %q:\n%s", want, events)
			}
		}
		wantStatus(t, r.delete(*s.StackId), cfntypes.StackStatusDeleteComplete)
		if left := a.Left(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// A going-back that fails can be gone on with.
func TestContinueUpdateRollback(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{PageSize: 50}, func(t *testing.T, a *awstest.Account, r *runner) {
		s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network()})
		a.Fail(awstest.Fault{Resource: "More", Code: "InternalError", Message: "no"})
		a.Fail(awstest.Fault{Resource: "VPC", After: 1, Times: 1, Code: "InternalError", Message: "neither"})
		r.execute(r.change("n", network(property("VPC", "EnableDnsHostnames", true), func(res object) {
			res["More"] = object{"Type": "AWS::EC2::InternetGateway", "DependsOn": "VPC"}
		})))
		wantStatus(t, r.wait(*s.StackId), cfntypes.StackStatusUpdateRollbackFailed)
		if _, err := r.cfn.ContinueUpdateRollback(r.ctx, &cloudformation.ContinueUpdateRollbackInput{StackName: s.StackId}); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, r.wait(*s.StackId), cfntypes.StackStatusUpdateRollbackComplete)
	})
}

// pass lets time pass, in the bubble in which every scene plays.
func pass(d time.Duration) { time.Sleep(d) }
