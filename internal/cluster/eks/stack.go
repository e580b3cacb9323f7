package eks

import (
	"fmt"
	"slices"
	"strings"

	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"cortex.dev/cortex/internal/cluster"
)

// move is what is done next about a stack.
type move string

const (
	moveNone     move = "nothing"
	moveCreate   move = "create"
	moveFollow   move = "follow"   // something is under way
	moveChange   move = "change"   // by a change set that is looked at first
	moveRemake   move = "remake"   // delete, and create again
	moveContinue move = "continue" // the rollback of an update
)

// ways are the moves by what a stack is compared with: what is wanted, and whether it was
// made to stay when making it fails.
type ways struct{ same, other, kept move }

// always is one move, whatever is wanted.
func always(m move) ways { return ways{m, m, m} }

// moves says what is done about a stack in each of its states.
var moves = map[cfn.StackStatus]ways{
	"":                              always(moveCreate),
	cfn.StackStatusDeleteComplete:   always(moveCreate),
	cfn.StackStatusCreateInProgress: always(moveFollow),
	cfn.StackStatusUpdateInProgress: always(moveFollow),
	cfn.StackStatusUpdateCompleteCleanupInProgress:         always(moveFollow),
	cfn.StackStatusRollbackInProgress:                      always(moveFollow),
	cfn.StackStatusUpdateRollbackInProgress:                always(moveFollow),
	cfn.StackStatusDeleteInProgress:                        always(moveFollow),
	cfn.StackStatusImportInProgress:                        always(moveFollow),
	cfn.StackStatusImportRollbackInProgress:                always(moveFollow),
	cfn.StackStatusUpdateRollbackCompleteCleanupInProgress: always(moveFollow),
	cfn.StackStatusCreateComplete:                          {moveNone, moveChange, moveNone},
	cfn.StackStatusUpdateComplete:                          {moveNone, moveChange, moveNone},
	cfn.StackStatusUpdateRollbackComplete:                  {moveNone, moveChange, moveNone},
	cfn.StackStatusImportComplete:                          {moveNone, moveChange, moveNone},
	cfn.StackStatusImportRollbackComplete:                  {moveNone, moveChange, moveNone},
	// A control plane that took ten minutes is gone on with, everything else is made anew.
	cfn.StackStatusCreateFailed:         {moveRemake, moveRemake, moveChange},
	cfn.StackStatusUpdateFailed:         always(moveChange),
	cfn.StackStatusReviewInProgress:     always(moveRemake),
	cfn.StackStatusRollbackComplete:     always(moveRemake),
	cfn.StackStatusRollbackFailed:       always(moveRemake),
	cfn.StackStatusDeleteFailed:         always(moveRemake),
	cfn.StackStatusImportRollbackFailed: always(moveContinue),
	cfn.StackStatusUpdateRollbackFailed: always(moveContinue),
}

// next is what is done about a stack in a state. same says that its template, parameters
// and tags are those that are wanted; kept, that it is not rolled back when making it fails.
func next(status cfn.StackStatus, same, kept bool) (move, error) {
	w, known := moves[status]
	switch {
	case !known:
		return "", fmt.Errorf("it is in state %s, which this program does not know", status)
	case kept && w.kept != moveNone:
		return w.kept, nil
	case same:
		return w.same, nil
	}
	return w.other, nil
}

// settled reports whether a stack has come to an end, and well.
func settled(status cfn.StackStatus) (ended, well bool) {
	switch status {
	case cfn.StackStatusCreateComplete, cfn.StackStatusUpdateComplete, cfn.StackStatusDeleteComplete, cfn.StackStatusImportComplete:
		return true, true
	}
	return !strings.HasSuffix(string(status), "_IN_PROGRESS"), false
}

// guarded are the types whose loss would be the loss of the cluster, or of its address.
var guarded = []string{
	"AWS::EKS::Cluster", "AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::EC2::NatGateway", "AWS::ElasticLoadBalancingV2::LoadBalancer",
}

// dangers are the changes of a change set that are not made: those that would take away or
// replace what a cluster cannot be without.
func dangers(changes []cfn.Change) (all []string) {
	for _, c := range changes {
		r := c.ResourceChange
		if r == nil || !slices.Contains(guarded, deref(r.ResourceType)) {
			continue
		}
		what := ""
		switch {
		case r.Action == cfn.ChangeActionRemove:
			what = "would be removed"
		case r.Replacement == cfn.ReplacementTrue:
			what = "would be replaced"
		case r.Replacement == cfn.ReplacementConditional:
			what = "might be replaced"
		default:
			continue
		}
		var why []string
		for _, d := range r.Details {
			if d.Target != nil && d.Target.Name != nil && d.Target.RequiresRecreation != cfn.RequiresRecreationNever {
				why = append(why, *d.Target.Name)
			}
		}
		text := fmt.Sprintf("%s (%s) %s", deref(r.LogicalResourceId), deref(r.ResourceType), what)
		if slices.Sort(why); len(why) > 0 {
			text += " because of " + strings.Join(slices.Compact(why), ", ")
		}
		all = append(all, text)
	}
	return all
}

// echoes are reasons that only repeat that something else has failed.
var echoes = []string{"creation cancelled", "update cancelled", "deletion cancelled", "The following resource(s) failed", "Rollback requested by user"}

// cause is the first event that says why a stack has failed, of events in their order; nil
// where none does.
func cause(events []cfn.StackEvent) *cfn.StackEvent {
	for i := range events {
		e := &events[i]
		reason := deref(e.ResourceStatusReason)
		if !strings.HasSuffix(string(e.ResourceStatus), "_FAILED") || reason == "" {
			continue
		}
		if !slices.ContainsFunc(echoes, func(words string) bool { return strings.Contains(reason, words) }) {
			return e
		}
	}
	return nil
}

// explanation is what to do about a cause.
type explanation struct {
	words []string // any of them is in the reason
	do    string
}

var explanations = []explanation{
	{[]string{"AddressLimitExceeded"}, "the account has no elastic IP address left: release one, ask AWS for more, or write nat_gateway: single"},
	{[]string{"VpcLimitExceeded"}, "the account has no VPC left in the region: remove one, ask AWS for more, or name subnets of your own"},
	{[]string{"UnsupportedAvailabilityZone"}, "EKS has no room in one of the zones: name others with availability_zones"},
	{[]string{"NodeCreationFailure", "failed to join"}, "the nodes did not reach the control plane: `cortex cluster info` shows their issues; private subnets of your own need a way to the internet"},
	{[]string{"InsufficientInstanceCapacity", "InsufficientCapacity", "AsgInstanceLaunchFailures", "UnfulfillableCapacity"}, "EC2 has no such machines now: wait, or take another instance type or more of them, or other zones"},
	{[]string{"VcpuLimitExceeded", "vCPU"}, "the quota of virtual CPUs is used up: `cortex cluster plan` says which, and what to ask AWS for"},
	{[]string{"MaxSpotInstanceCountExceeded"}, "the quota of spot instances is used up: `cortex cluster plan` says which, and what to ask AWS for"},
	{[]string{"not authorized to perform", "AccessDenied", "UnauthorizedOperation"}, lacking},
	{[]string{"PodEvictionFailure"}, "pods could not be moved off old nodes in time: look at their PodDisruptionBudgets, then run the same command again"},
	{[]string{"OptInRequired"}, "turn the service or the region on for the account first"},
	{[]string{"ExpiredToken", "security token included in the request is expired"}, "get new credentials and run the same command again: nothing is lost"},
	{[]string{"LimitExceeded", "QuotaExceeded", "ServiceLimitExceeded"}, "a quota of the account is used up: ask AWS for more, then run the same command again"},
}

// lacking is how the explanation of a refusal begins.
const lacking = "the credentials lack a permission: "

// explain says what to do about a reason of AWS's, or "".
func explain(reason string) string {
	for _, e := range explanations {
		if slices.ContainsFunc(e.words, func(w string) bool { return strings.Contains(reason, w) }) {
			if e.do == lacking {
				return e.do + granted(reason)
			}
			return e.do
		}
	}
	return ""
}

// propagating are reasons that go away by themselves: what IAM was told some seconds ago
// is not known everywhere yet.
var propagating = []string{
	"could not be assumed because it does not exist or the trusted entity is not correct", "is not authorized to assume", "cannot be assumed",
	"Role arn is not valid", "invalid role", "The role defined for", "does not exist or cannot be assumed", "Trust policy of role",
	"invalid principal", "Invalid IAM Instance Profile name",
}

// young reports whether a reason is that IAM has not spread something yet.
func young(reason string) bool {
	return slices.ContainsFunc(propagating, func(words string) bool { return strings.Contains(strings.ToLower(reason), strings.ToLower(words)) })
}

// sameStack reports whether a stack is what is wanted, once its parameters have values.
func sameStack(s *cfn.Stack, want *cluster.Stack, params map[string]string) bool {
	tags := map[string]string{}
	for _, t := range s.Tags {
		tags[deref(t.Key)] = deref(t.Value)
	}
	for key, value := range want.Tags {
		if tags[key] != value {
			return false
		}
	}
	has := map[string]string{}
	for _, p := range s.Parameters {
		has[deref(p.ParameterKey)] = deref(p.ParameterValue)
	}
	for name, from := range want.Params {
		if !from.Once && !from.Along && has[name] != params[name] {
			return false
		}
	}
	return len(tags) == len(want.Tags)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
