package eks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// Bounds of the work on one stack.
const (
	maxMoves     = 12
	maxYoung     = 5                // failures because IAM had not spread yet
	youngPause   = 10 * time.Second // before it is tried again
	patience     = 90 * time.Minute // with something that CloudFormation does
	shortestLook = 5 * time.Second  // between two looks at it
	longestLook  = 30 * time.Second
)

// stack is one stack while it is worked on.
type stack struct {
	*Account
	want   *cluster.Stack
	params map[string]string // values of all parameters
	say    func(format string, args ...any)
	soft   bool // the cluster does without it

	is     cfn.Stack // as it was last seen; without an id there is none
	remade bool
	young  int
}

// ensure makes the stack what is wanted, and returns its outputs. It goes on where another
// run was stopped: all that is known comes from CloudFormation.
func (s *stack) ensure(ctx context.Context) (map[string]string, error) {
	for range maxMoves {
		if err := s.look(ctx); err != nil {
			return nil, err
		}
		m, err := next(s.is.StackStatus, sameStack(&s.is, s.want, s.params), !s.want.Rollback)
		if err != nil {
			return nil, s.failed("%w", err)
		}
		if m == moveNone {
			return outputsOf(&s.is), nil
		}
		if err := s.do(ctx, m); errors.Is(err, errNoChange) {
			return outputsOf(&s.is), nil
		} else if err != nil {
			return nil, err
		}
	}
	return nil, s.failed("it does not come to rest: it is %s", s.is.StackStatus)
}

// look reads the stack by its name.
func (s *stack) look(ctx context.Context) error {
	found, err := s.describe(ctx, s.want.Name)
	if err != nil {
		return err
	}
	if found == nil {
		s.is = cfn.Stack{}
		return nil
	}
	s.is = *found
	if owner := tagOf(found.Tags, cluster.TagClusterName); owner != s.want.Tags[cluster.TagClusterName] {
		return fault.New(fault.Conflict, CodeNotOurs, "stack %s is there and is not of this cluster: its tag %s is %q", s.want.Name, cluster.TagClusterName, owner).
			WithHint("give the cluster another name, or delete the stack")
	}
	return nil
}

func (s *stack) failed(format string, args ...any) error {
	return fault.New(fault.Unavailable, CodeStackFailed, "stack %s: %w", s.want.Name, fmt.Errorf(format, args...))
}

// do carries out one move.
func (s *stack) do(ctx context.Context, m move) error {
	switch m {
	case moveCreate:
		return s.create(ctx)
	case moveFollow:
		s.say("going on with what is under way: %s", words(s.is.StackStatus))
		return s.follow(ctx, "", false)
	case moveChange:
		return s.change(ctx)
	case moveRemake:
		return s.remake(ctx)
	case moveContinue:
		s.say("finishing the rollback of an update")
		mark, err := s.newest(ctx)
		if err != nil {
			return err
		}
		if _, err := s.cfn.ContinueUpdateRollback(ctx, &cloudformation.ContinueUpdateRollbackInput{StackName: s.is.StackId, ClientRequestToken: s.token("continue")}); err != nil {
			return asFault("finishing the rollback of stack "+s.want.Name, err)
		}
		return s.follow(ctx, mark, false)
	}
	return s.failed("no way to %s it", m)
}

// token names an attempt: the same one again is the same operation to CloudFormation.
func (s *stack) token(what string) *string {
	sum := sha256.Sum256([]byte(strings.Join([]string{what, s.want.Name, s.want.Hash, deref(s.is.StackId), fmt.Sprint(s.is.LastUpdatedTime)}, "\n")))
	return aws.String("cortex-" + what + "-" + hex.EncodeToString(sum[:8]))
}

func (s *stack) create(ctx context.Context) error {
	out, err := s.cfn.CreateStack(ctx, &cloudformation.CreateStackInput{
		StackName: &s.want.Name, TemplateBody: aws.String(string(s.want.Template)), Parameters: s.parameters(false), Tags: s.tags(),
		DisableRollback: aws.Bool(!s.want.Rollback), ClientRequestToken: s.token("create"),
	})
	if is(err, "AlreadyExistsException") {
		return nil // made since it was looked at: the next look sees it
	}
	if err != nil {
		return asFault("making stack "+s.want.Name, err)
	}
	s.is = cfn.Stack{StackId: out.StackId}
	return s.follow(ctx, "", true)
}

func (s *stack) parameters(update bool) []cfn.Parameter {
	var all []cfn.Parameter
	for _, name := range sorted(s.want.Params) {
		p := cfn.Parameter{ParameterKey: aws.String(name)}
		if update && s.want.Params[name].Once {
			p.UsePreviousValue = aws.Bool(true)
		} else {
			p.ParameterValue = aws.String(s.params[name])
		}
		all = append(all, p)
	}
	return all
}

func (s *stack) tags() []cfn.Tag {
	var all []cfn.Tag
	for _, key := range sorted(s.want.Tags) {
		all = append(all, cfn.Tag{Key: aws.String(key), Value: aws.String(s.want.Tags[key])})
	}
	return all
}

// remake deletes what cannot be gone on with, so that the next move makes it again; once.
func (s *stack) remake(ctx context.Context) error {
	why := s.why(ctx)
	if s.soft && s.gaveUp() {
		return fault.New(fault.Unavailable, CodeStackFailed, "stack %s could not be made earlier%s", s.want.Name, why).
			WithHint("`aws cloudformation delete-stack --stack-name %s` has it tried again", s.want.Name)
	}
	if s.remade {
		return s.failed("it was made twice and failed twice%s", why)
	}
	s.remade = true
	s.say("%s earlier%s; making it again", words(s.is.StackStatus), why)
	return s.remove(ctx)
}

// gaveUp reports whether making the stack as it is wanted was tried, and undone.
func (s *stack) gaveUp() bool {
	return s.is.StackStatus == cfn.StackStatusRollbackComplete && sameStack(&s.is, s.want, s.params)
}

// why is the cause of the stack's present state, for a sentence.
func (s *stack) why(ctx context.Context) string {
	events, _, err := s.events(ctx, deref(s.is.StackId), "")
	if err != nil {
		return ""
	}
	if c := cause(events); c != nil {
		return fmt.Sprintf(" (%s: %s)", deref(c.LogicalResourceId), bounded(deref(c.ResourceStatusReason)))
	}
	return ""
}

// remove deletes the stack by its id, and waits for the end of it.
func (s *stack) remove(ctx context.Context) error {
	if s.is.StackStatus != cfn.StackStatusDeleteInProgress {
		mark, err := s.newest(ctx)
		if err != nil {
			return err
		}
		if _, err := s.cfn.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: s.is.StackId, ClientRequestToken: s.token("delete-" + mark)}); err != nil {
			return asFault("deleting stack "+s.want.Name, err)
		}
		return s.follow(ctx, mark, true)
	}
	return s.follow(ctx, "", true)
}

// follow waits for the end of what was begun after the event mark, and tells how far it
// is. failing says that an end which is not a good one is an error; otherwise the state is
// looked at again.
func (s *stack) follow(ctx context.Context, mark string, failing bool) error {
	id := deref(s.is.StackId)
	// Of looking, not of the clock: a machine may have slept meanwhile.
	var elapsed time.Duration
	var all []cfn.StackEvent
	seen := mark
	for {
		events, newest, err := s.events(ctx, id, seen)
		if err != nil {
			return err
		}
		all, seen = append(all, events...), newest
		if status := endOf(id, events); status != "" {
			s.is.StackStatus = status
			if _, well := settled(status); well || !failing {
				return nil
			}
			return s.because(ctx, all)
		}
		if done, of := progress(id, all); of > 0 {
			s.say("%d of %d", done, of)
		}
		if elapsed > patience {
			return s.failed("it has been at work for %s; CloudFormation goes on with it", elapsed.Round(time.Minute))
		}
		d := min(max(shortestLook, elapsed/8), longestLook)
		if err := pause(ctx, d); err != nil {
			return err
		}
		elapsed += d
	}
}

// because is the error of a stack that has failed, or nil where it is worth another try.
func (s *stack) because(ctx context.Context, events []cfn.StackEvent) error {
	c := cause(events)
	if c == nil {
		return s.failed("%s", words(s.is.StackStatus))
	}
	reason := bounded(deref(c.ResourceStatusReason))
	if young(reason) && s.young < maxYoung {
		s.young++
		s.remade = false
		s.say("IAM has not spread a new role yet")
		return pause(ctx, youngPause)
	}
	f := fault.New(fault.Unavailable, CodeStackFailed, "stack %s: %s: %s", s.want.Name, deref(c.LogicalResourceId), reason)
	if do := explain(reason); do != "" {
		return f.WithHint("%s", do)
	}
	return f.WithHint("run the same command again when the cause is gone: it goes on where it stopped")
}

// endOf is the state in which events, in their order, leave the stack, or "" while it is
// under way.
func endOf(id string, events []cfn.StackEvent) (end cfn.StackStatus) {
	for _, e := range events {
		if deref(e.PhysicalResourceId) != id {
			continue
		}
		end = cfn.StackStatus(e.ResourceStatus)
		if ended, _ := settled(end); !ended {
			end = ""
		}
	}
	return end
}

// progress counts the resources that are done, of those that were begun.
func progress(id string, events []cfn.StackEvent) (done, of int) {
	last := map[string]string{}
	for _, e := range events {
		if deref(e.PhysicalResourceId) != id {
			last[deref(e.LogicalResourceId)] = string(e.ResourceStatus)
		}
	}
	for _, status := range last {
		if strings.HasSuffix(status, "_COMPLETE") {
			done++
		}
	}
	return done, len(last)
}

// events are those after the event seen, in their order, back to where the present
// operation began at most; and the newest there is.
func (a *Account) events(ctx context.Context, id, seen string) (events []cfn.StackEvent, newest string, err error) {
	newest = seen
	pages := cloudformation.NewDescribeStackEventsPaginator(a.cfn, &cloudformation.DescribeStackEventsInput{StackName: &id})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, "", asFault("reading what happens to a stack", err)
		}
		for i, e := range page.StackEvents {
			if n == 0 && i == 0 {
				newest = deref(e.EventId)
			}
			if deref(e.EventId) == seen {
				slices.Reverse(events)
				return events, newest, nil
			}
			events = append(events, e)
			if seen == "" && deref(e.PhysicalResourceId) == id && begins(e.ResourceStatus) {
				slices.Reverse(events)
				return events, newest, nil
			}
		}
	}
	slices.Reverse(events)
	return events, newest, nil
}

// begins reports whether a state of a stack is the first of an operation.
func begins(status cfn.ResourceStatus) bool {
	switch status {
	case cfn.ResourceStatusCreateInProgress, cfn.ResourceStatusUpdateInProgress, cfn.ResourceStatusDeleteInProgress:
		return true
	}
	return false
}

// newest is the id of the last event of the stack.
func (s *stack) newest(ctx context.Context) (string, error) {
	out, err := s.cfn.DescribeStackEvents(ctx, &cloudformation.DescribeStackEventsInput{StackName: s.is.StackId})
	if err != nil {
		return "", asFault("reading what happens to a stack", err)
	}
	if len(out.StackEvents) == 0 {
		return "", nil
	}
	return deref(out.StackEvents[0].EventId), nil
}

// describe reads a stack by name or id; nil when there is none.
func (a *Account) describe(ctx context.Context, name string) (*cfn.Stack, error) {
	out, err := a.cfn.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	switch {
	case is(err, "ValidationError") && says(err, "does not exist"):
		return nil, nil
	case err != nil:
		return nil, asFault("reading stack "+name, err)
	case len(out.Stacks) == 0:
		return nil, nil
	}
	return &out.Stacks[0], nil
}

func outputsOf(s *cfn.Stack) map[string]string {
	all := map[string]string{}
	for _, o := range s.Outputs {
		all[deref(o.OutputKey)] = deref(o.OutputValue)
	}
	return all
}

func tagOf(tags []cfn.Tag, key string) string {
	for _, t := range tags {
		if deref(t.Key) == key {
			return deref(t.Value)
		}
	}
	return ""
}

// words are a state of CloudFormation as people read it.
func words[S ~string](status S) string {
	return strings.ToLower(strings.ReplaceAll(string(status), "_", " "))
}
