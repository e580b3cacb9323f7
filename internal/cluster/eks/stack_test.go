package eks

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"cortex.dev/cortex/internal/cluster"
)

// Each state of a stack, and what is done about it.
func TestNext(t *testing.T) {
	t.Parallel()
	const same, other = true, false
	for _, tt := range []struct {
		status cfn.StackStatus
		same   bool
		kept   bool
		want   move
	}{
		{"", other, false, moveCreate},
		{cfn.StackStatusDeleteComplete, other, false, moveCreate},
		{cfn.StackStatusCreateComplete, same, false, moveNone},
		{cfn.StackStatusCreateComplete, other, false, moveChange},
		{cfn.StackStatusCreateComplete, same, true, moveNone},
		{cfn.StackStatusCreateComplete, other, true, moveChange},
		{cfn.StackStatusUpdateComplete, same, true, moveNone},
		{cfn.StackStatusUpdateRollbackComplete, other, false, moveChange},
		{cfn.StackStatusUpdateRollbackComplete, same, false, moveNone},
		{cfn.StackStatusCreateFailed, same, false, moveRemake},
		{cfn.StackStatusCreateFailed, same, true, moveChange},
		{cfn.StackStatusRollbackComplete, same, false, moveRemake},
		{cfn.StackStatusRollbackFailed, same, false, moveRemake},
		{cfn.StackStatusReviewInProgress, same, false, moveRemake},
		{cfn.StackStatusDeleteFailed, same, false, moveRemake},
		{cfn.StackStatusUpdateFailed, same, false, moveChange},
		{cfn.StackStatusUpdateRollbackFailed, same, false, moveContinue},
		{cfn.StackStatusCreateInProgress, same, false, moveFollow},
		{cfn.StackStatusUpdateInProgress, other, true, moveFollow},
		{cfn.StackStatusUpdateCompleteCleanupInProgress, same, false, moveFollow},
		{cfn.StackStatusRollbackInProgress, same, false, moveFollow},
		{cfn.StackStatusUpdateRollbackInProgress, same, false, moveFollow},
		{cfn.StackStatusUpdateRollbackCompleteCleanupInProgress, same, false, moveFollow},
		{cfn.StackStatusDeleteInProgress, same, false, moveFollow},
	} {
		if got, err := next(tt.status, tt.same, tt.kept); got != tt.want || err != nil {
			t.Errorf("next(%q, same %v, kept %v) = %q, %v; want %q", tt.status, tt.same, tt.kept, got, err, tt.want)
		}
	}
	for _, s := range cfn.StackStatus("").Values() {
		if _, err := next(s, false, false); err != nil {
			t.Errorf("next(%q): %v", s, err)
		}
	}
	if _, err := next("INVENTED", false, false); err == nil {
		t.Error("next(INVENTED) is no error")
	}
}

func event(resource string, status cfn.ResourceStatus, reason string) cfn.StackEvent {
	return cfn.StackEvent{LogicalResourceId: &resource, PhysicalResourceId: &resource, ResourceStatus: status, ResourceStatusReason: &reason}
}

func TestCause(t *testing.T) {
	t.Parallel()
	events := []cfn.StackEvent{
		event("Vpc", cfn.ResourceStatusCreateInProgress, ""),
		event("Subnet", cfn.ResourceStatusCreateFailed, "Resource creation cancelled"),
		event("Address", cfn.ResourceStatusCreateFailed, "The maximum number of addresses has been reached. (AddressLimitExceeded)"),
		event("stack", cfn.ResourceStatusRollbackInProgress, "The following resource(s) failed to create: [Subnet, Address]."),
	}
	if c := cause(events); c == nil || *c.LogicalResourceId != "Address" {
		t.Errorf("cause = %+v, want that of Address", c)
	}
	if c := cause(events[:2]); c != nil {
		t.Errorf("cause = %+v, want none where something was only cancelled", c)
	}
}

// Reasons in the words of AWS, and the beginning of what they are explained by.
func TestExplain(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		"The maximum number of addresses has been reached. (Service: Ec2, Status Code: 400, AddressLimitExceeded)":                              "the account has no elastic IP",
		"The maximum number of VPCs has been reached. (VpcLimitExceeded)":                                                                       "the account has no VPC",
		"Cannot create cluster because us-east-1e does not currently have sufficient capacity (UnsupportedAvailabilityZoneException)":           "EKS has no room",
		"NodeCreationFailure: Instances failed to join the kubernetes cluster":                                                                  "the nodes did not reach",
		"AsgInstanceLaunchFailures: Could not launch On-Demand Instances. InsufficientInstanceCapacity":                                         "EC2 has no such machines",
		"You have requested more vCPU capacity than your current vCPU limit of 0 allows":                                                        "the quota of virtual CPUs",
		"User: arn:aws:iam::111122223333:user/a is not authorized to perform: ec2:CreateVpc because no identity-based policy allows the action": "the credentials lack a permission: ec2:CreateVpc is allowed by statement 6 of the published minimum policy, or statement Network of the one",
		"API: iam:CreateServiceLinkedRole User: x is not authorized to perform: iam:CreateServiceLinkedRole on resource: *":                     "the credentials lack a permission: iam:CreateServiceLinkedRole is allowed by statements 1 and 2",
		"AccessDenied": "the credentials lack a permission: `cortex cluster policy` prints",
		"The security token included in the request is expired": "get new credentials",
		"something nobody has seen":                             "",
	} {
		if got := explain(reason); len(want) == 0 && got != "" || len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("explain(%q) = %q, want %q…", reason, got, want)
		}
	}
}

// Changes that would take away what a cluster cannot be without are named, others made.
func TestDangers(t *testing.T) {
	t.Parallel()
	change := func(kind string, action cfn.ChangeAction, replaced cfn.Replacement, property string) cfn.Change {
		return cfn.Change{ResourceChange: &cfn.ResourceChange{
			LogicalResourceId: aws.String("It"), ResourceType: &kind, Action: action, Replacement: replaced,
			Details: []cfn.ResourceChangeDetail{
				{Target: &cfn.ResourceTargetDefinition{Name: &property, RequiresRecreation: cfn.RequiresRecreationAlways}},
				{Target: &cfn.ResourceTargetDefinition{Name: aws.String("Tags"), RequiresRecreation: cfn.RequiresRecreationNever}},
			},
		}}
	}
	for _, tt := range []struct {
		change cfn.Change
		want   []string
	}{
		{change("AWS::EC2::Subnet", cfn.ChangeActionModify, cfn.ReplacementTrue, "CidrBlock"), []string{"It (AWS::EC2::Subnet) would be replaced because of CidrBlock"}},
		{change("AWS::EKS::Cluster", cfn.ChangeActionModify, cfn.ReplacementConditional, "RoleArn"), []string{"It (AWS::EKS::Cluster) might be replaced because of RoleArn"}},
		{change("AWS::EC2::VPC", cfn.ChangeActionRemove, "", "X"), []string{"It (AWS::EC2::VPC) would be removed because of X"}},
		{change("AWS::EKS::Cluster", cfn.ChangeActionModify, cfn.ReplacementFalse, "Version"), nil},
		{change("AWS::ElasticLoadBalancingV2::Listener", cfn.ChangeActionRemove, "", "X"), nil},
		{change("AWS::EKS::Nodegroup", cfn.ChangeActionModify, cfn.ReplacementTrue, "InstanceTypes"), nil},
	} {
		if got := dangers([]cfn.Change{tt.change}); !slices.Equal(got, tt.want) {
			t.Errorf("dangers(%s %s %s) = %q, want %q", *tt.change.ResourceChange.ResourceType, tt.change.ResourceChange.Action, tt.change.ResourceChange.Replacement, got, tt.want)
		}
	}
}

func TestSameStack(t *testing.T) {
	t.Parallel()
	want := &cluster.Stack{
		Params: map[string]cluster.Source{"Subnets": {Stack: "network", Output: "PublicSubnets"}, "Min": {Literal: "1", Once: true}},
		Tags:   map[string]string{"a": "1"},
	}
	is := func(subnets, least, tag string) *cfn.Stack {
		return &cfn.Stack{
			Parameters: []cfn.Parameter{{ParameterKey: aws.String("Subnets"), ParameterValue: &subnets}, {ParameterKey: aws.String("Min"), ParameterValue: &least}},
			Tags:       []cfn.Tag{{Key: aws.String("a"), Value: &tag}},
		}
	}
	params := map[string]string{"Subnets": "s-1,s-2", "Min": "1"}
	for _, tt := range []struct {
		is   *cfn.Stack
		want bool
	}{
		{is("s-1,s-2", "1", "1"), true},
		{is("s-1,s-2", "7", "1"), true}, // given once: an update keeps it
		{is("s-1", "1", "1"), false},
		{is("s-1,s-2", "1", "2"), false},
	} {
		if got := sameStack(tt.is, want, params); got != tt.want {
			t.Errorf("sameStack(%v) = %v, want %v", *tt.is.Parameters[0].ParameterValue, got, tt.want)
		}
	}
	more := is("s-1,s-2", "1", "1")
	more.Tags = append(more.Tags, cfn.Tag{Key: aws.String("b"), Value: aws.String("2")})
	if sameStack(more, want, params) {
		t.Error("a stack with a tag too many is the same")
	}
}
