package eks

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"cortex.dev/cortex/internal/fault"
)

// change updates the stack by a change set, unless that would take away what the cluster
// cannot be without.
func (s *stack) change(ctx context.Context) error {
	id := s.is.StackId
	name := s.token("change")
	made := func() error {
		_, err := s.cfn.CreateChangeSet(ctx, &cloudformation.CreateChangeSetInput{
			StackName: id, ChangeSetName: name, ChangeSetType: cfn.ChangeSetTypeUpdate, TemplateBody: aws.String(string(s.want.Template)),
			Parameters: s.parameters(true), Tags: s.tags(),
		})
		return err
	}
	err := made()
	if is(err, "AlreadyExistsException") { // of a run that was stopped
		if _, err := s.cfn.DeleteChangeSet(ctx, &cloudformation.DeleteChangeSetInput{StackName: id, ChangeSetName: name}); err != nil {
			return asFault("removing an old change set of stack "+s.want.Name, err)
		}
		err = made()
	}
	if err != nil {
		return asFault("preparing a change of stack "+s.want.Name, err)
	}
	changes, empty, err := s.changes(ctx, name)
	if err != nil {
		return err
	}
	bad := dangers(changes)
	if empty || len(bad) > 0 {
		if _, err := s.cfn.DeleteChangeSet(ctx, &cloudformation.DeleteChangeSetInput{StackName: id, ChangeSetName: name}); err != nil {
			return asFault("removing a change set of stack "+s.want.Name, err)
		}
	}
	switch {
	case len(bad) > 0:
		return fault.New(fault.Conflict, CodeReplacement, "stack %s is not changed:\n  %s", s.want.Name, strings.Join(bad, "\n  ")).
			WithHint("what is in the way belongs to the cluster for its whole life: make a second cluster, and move what is deployed")
	case empty && s.unmade():
		return s.failed("it was not made whole, and there is nothing to change about it%s", s.why(ctx))
	case empty:
		return errNoChange
	}
	mark, err := s.newest(ctx)
	if err != nil {
		return err
	}
	s.say("changing %d", len(changes))
	if _, err := s.cfn.ExecuteChangeSet(ctx, &cloudformation.ExecuteChangeSetInput{
		StackName: id, ChangeSetName: name, ClientRequestToken: s.token("execute"), DisableRollback: aws.Bool(!s.want.Rollback && s.unmade()),
	}); err != nil {
		return asFault("changing stack "+s.want.Name, err)
	}
	return s.follow(ctx, mark, true)
}

// unmade reports whether the stack was never whole.
func (s *stack) unmade() bool { return s.is.StackStatus == cfn.StackStatusCreateFailed }

// errNoChange ends the work on a stack that differs in nothing which CloudFormation knows.
var errNoChange = errors.New("there is nothing to change")

// changes waits for a change set, and returns what it would do.
func (s *stack) changes(ctx context.Context, name *string) (all []cfn.Change, empty bool, err error) {
	for range 60 {
		all = nil
		var token *string
		for {
			page, err := s.cfn.DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{StackName: s.is.StackId, ChangeSetName: name, NextToken: token})
			if err != nil {
				return nil, false, asFault("reading a change of stack "+s.want.Name, err)
			}
			all = append(all, page.Changes...)
			switch page.Status {
			case cfn.ChangeSetStatusFailed:
				reason := deref(page.StatusReason)
				if strings.Contains(reason, "No updates are to be performed") || strings.Contains(reason, "didn't contain changes") {
					return nil, true, nil
				}
				return nil, false, s.failed("CloudFormation refuses the change: %s", bounded(reason))
			case cfn.ChangeSetStatusCreateComplete:
				if token = page.NextToken; token != nil {
					continue
				}
				return all, false, nil
			}
			break
		}
		if err := pause(ctx, shortestLook); err != nil {
			return nil, false, err
		}
	}
	return nil, false, s.failed("CloudFormation has not prepared the change in five minutes")
}
