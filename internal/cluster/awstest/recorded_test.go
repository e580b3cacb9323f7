package awstest_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// recorded are situations whose answers AWS has given to others, who published them: which
// fields there are, and in which words it refuses.
var recorded = []struct{ command, want string }{
	{"cloudformation create-stack --stack-name *@da591fa3_$ --template-body file://testdata/network.json", "failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*|arn:[-a-zA-Z0-9:/._+]*"},
	{`cloudformation create-stack --stack-name n --template-body {"Resources":{"A":"b"}}`, "Template format error: Any Resources member must be an object."},
	{"cloudformation describe-change-set --stack-name somestack --change-set-name c", "(ValidationError) when calling the DescribeChangeSet operation: Stack [somestack] does not exist"},
	{"cloudformation delete-change-set --change-set-name c", "StackName must be specified if ChangeSetName is not specified as an ARN."},
	{"cloudformation create-change-set --stack-name net --change-set-name c --change-set-type CREATE --template-body file://testdata/network.json", "stack/net/"},
	{"cloudformation describe-stacks --stack-name net --query sort(keys(Stacks[0]))", "CreationTime DisableRollback DriftInformation EnableTerminationProtection NotificationARNs RollbackConfiguration StackId StackName StackStatus StackStatusReason Tags"},
	{"cloudformation describe-stacks --stack-name net --query Stacks[0].[StackStatus,StackStatusReason]", "REVIEW_IN_PROGRESS User Initiated"},
	{"cloudformation describe-change-set --stack-name net --change-set-name c --no-paginate --query sort(keys(@))", "Capabilities ChangeSetId ChangeSetName Changes CreationTime ExecutionStatus IncludeNestedStacks NotificationARNs RollbackConfiguration StackId StackName Status"},
	{"cloudformation describe-change-set --stack-name net --change-set-name c --query sort(keys(Changes[0].ResourceChange))", "Action Details LogicalResourceId ResourceType Scope"},
	{"cloudformation execute-change-set --stack-name net --change-set-name c", ""},
	{"cloudformation describe-stacks --stack-name net --query sort(keys(Stacks[0]))", "ChangeSetId CreationTime Description DisableRollback DriftInformation EnableTerminationProtection LastUpdatedTime NotificationARNs Outputs RollbackConfiguration StackId StackName StackStatus Tags"},
	{"cloudformation describe-change-set --stack-name net --change-set-name c --query ExecutionStatus", "EXECUTE_COMPLETE"},
	{"cloudformation create-change-set --stack-name net --change-set-name d --change-set-type CREATE --template-body file://testdata/network.json", "Stack [net] already exists and cannot be created again with the changeSet [d]."},
	{"cloudformation create-change-set --stack-name net --change-set-name e --template-body file://testdata/network.json", "stack/net/"},
	{"cloudformation describe-change-set --stack-name net --change-set-name e --query [Status,ExecutionStatus,StatusReason]", "FAILED UNAVAILABLE The submitted information didn't contain changes. Submit different information to create a change set."},
	{"cloudformation execute-change-set --stack-name net --change-set-name e", "cannot be executed in its current status of [FAILED]"},
	{"cloudformation describe-stack-resources --stack-name net --query sort(keys(StackResources[0]))", "DriftInformation LogicalResourceId PhysicalResourceId ResourceStatus ResourceType StackId StackName Timestamp"},
	{"cloudformation describe-stack-events --stack-name net --query sort(keys(StackEvents[-1]))", "EventId LogicalResourceId PhysicalResourceId ResourceStatus ResourceStatusReason ResourceType StackId StackName Timestamp"},
	{"cloudformation describe-stack-events --stack-name net --query sort(keys(StackEvents[1]))", "EventId LogicalResourceId PhysicalResourceId ResourceProperties ResourceStatus ResourceType StackId StackName Timestamp"},
	{"cloudformation describe-stack-events --stack-name net --query StackEvents[-2:].ResourceStatus", "CREATE_IN_PROGRESS REVIEW_IN_PROGRESS"},
}

// What the simulator answers has the fields of what AWS has answered, and its words.
func TestRecordedAnswers(t *testing.T) {
	t.Parallel()
	a := awstest.New(awstest.Options{Speed: 1e6, PageSize: 50})
	lines := make([]string, len(recorded))
	for i, r := range recorded {
		lines[i] = r.command
	}
	plain := strings.NewReplacer("[\n", "", "\n]", "", `"`, "", ",\n", " ")
	for i, got := range commands(t, a, a.Root(), lines) {
		said := strings.Join(strings.Fields(plain.Replace(got.Out)), " ")
		if said != recorded[i].want && (recorded[i].want == "" || !strings.Contains(got.Out+got.Complaints, recorded[i].want)) {
			t.Errorf("aws %s\nexit %d: %s %s\nwant %q", recorded[i].command, got.Code, said, got.Complaints, recorded[i].want)
		}
	}
}

// AWS's record of a stack that could not be rolled back, was deleted in vain, and at last
// without what was in the way: newest first, as it was recorded.
func TestRecordedEndOfABlockedStack(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
		a.Fail(awstest.Fault{Resource: "Broken", Deletion: true, Code: "InternalError", Message: "no"})
		a.Fail(awstest.Fault{Resource: "Late", Code: "InternalError", Message: "no"})
		template := `{"Resources":{"Broken":{"Type":"AWS::EC2::InternetGateway"},"Late":{"Type":"AWS::EC2::InternetGateway","DependsOn":"Broken"}}}`
		s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: &template})
		wantStatus(t, s, cfntypes.StackStatusRollbackFailed)
		if got := aws.ToString(s.StackStatusReason); got != "The following resource(s) failed to delete: [Broken]. " {
			t.Errorf("the reason is %q", got)
		}
		if s.DeletionTime == nil || s.EnableTerminationProtection == nil {
			t.Errorf("the stack has no time of its deletion, or no termination protection: %+v", s)
		}
		wantStatus(t, r.delete(*s.StackId), cfntypes.StackStatusDeleteFailed)
		if _, err := r.cfn.DeleteStack(r.ctx, &cloudformation.DeleteStackInput{StackName: s.StackId, RetainResources: []string{"Broken"}}); err != nil {
			t.Fatal(err)
		}
		end := r.wait(*s.StackId)
		wantStatus(t, end, cfntypes.StackStatusDeleteComplete)
		if end.EnableTerminationProtection != nil {
			t.Error("a deleted stack has termination protection")
		}
		var got []string
		for _, e := range r.events(*s.StackId) {
			name, status, _ := strings.Cut(e, " ")
			status, _, _ = strings.Cut(status, " ")
			if name == "n" || name == "Broken" && strings.HasPrefix(status, "DELETE") {
				got = append(got, name+" "+status)
			}
		}
		want := "n CREATE_IN_PROGRESS, n ROLLBACK_IN_PROGRESS, Broken DELETE_IN_PROGRESS, Broken DELETE_FAILED, n ROLLBACK_FAILED, " +
			"n DELETE_IN_PROGRESS, Broken DELETE_IN_PROGRESS, Broken DELETE_FAILED, n DELETE_FAILED, n DELETE_IN_PROGRESS, Broken DELETE_SKIPPED, n DELETE_COMPLETE"
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("the events are\n%s, want\n%s", text, want)
		}
	})
}
