package eks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// removal is a cluster while it is taken away.
type removal struct {
	*run
	name string
	keep bool // log group and bucket
}

// Removal says what would be taken away: the ids of what there is, in the order in which it goes.
func (a *Account) Removal(ctx context.Context, name string, keep bool) ([]cluster.Change, error) {
	if err := a.refuseOld(ctx, name); err != nil {
		return nil, err
	}
	have, err := a.remains(ctx, name)
	if err != nil {
		return nil, err
	}
	if keep {
		delete(have, "bucket")
		delete(have, "log-group")
	}
	return cluster.Diff(have, nil), nil
}

// remains is what there is of a cluster, without a plan: by its names and tags.
func (a *Account) remains(ctx context.Context, name string) (cluster.State, error) {
	names := a.names(name)
	stacks, err := a.stacks(ctx, name)
	if err != nil {
		return nil, err
	}
	have := cluster.State{}
	there := cluster.Made{Digest: "there"}
	for part := range stacks {
		have[cluster.IDStack+part] = there
	}
	for id, role := range names.Roles() {
		r, err := a.role(ctx, role)
		if err != nil {
			return nil, err
		}
		if r != nil && roleTag(r) == name {
			have[id] = there
		}
	}
	bucket, err := a.bucket(ctx, names.Bucket())
	if err != nil {
		return nil, err
	}
	ours, err := a.ourBucket(ctx, bucket, names.Bucket(), name)
	if err != nil {
		return nil, err
	}
	if ours {
		have["bucket"] = there
	}
	tags, err := a.logGroupTags(ctx, names.LogGroup())
	if err != nil {
		return nil, err
	}
	if tags[cluster.TagClusterName] == name {
		have["log-group"] = there
	}
	policy, err := a.policyThere(ctx, names.PolicyARN())
	if err != nil {
		return nil, err
	}
	queues, err := a.queues(ctx, name)
	if err != nil {
		return nil, err
	}
	// A policy has no tags: it is the cluster's by its name, beside anything else that is.
	if policy {
		have[cluster.IDPolicy] = there
	}
	if len(queues) > 0 {
		have[cluster.IDQueues] = there
	}
	return have, nil
}

// Down takes a cluster away, everything that can go at the same time together, and returns
// what it has found left over at the end.
func (a *Account) Down(ctx context.Context, name string, keep bool, o cluster.Run) ([]cluster.Verified, error) {
	changes, err := a.Removal(ctx, name, keep)
	if err != nil {
		return nil, err
	}
	d := &removal{run: &run{Account: a, options: o}, name: name, keep: keep}
	logged, err := a.controlLogs(ctx, name)
	if err != nil {
		return nil, err
	}
	held, stop := ctx, func(bool) error { return nil }
	have := map[string]bool{}
	for _, c := range changes {
		have[c.ID] = true
	}
	bucket, err := a.bucket(ctx, a.names(name).Bucket())
	if err != nil {
		return nil, err
	}
	if bucket.there && bucket.tags[cluster.TagClusterName] == name {
		lease, err := a.hold(ctx, name, o.Machine)
		if err != nil {
			return nil, err
		}
		held, stop = lease.keep(ctx)
	}
	err = d.all(held, changes)
	err = errors.Join(err, stop(err == nil && have["bucket"]))
	if err != nil {
		return nil, err
	}
	found, err := a.Verify(ctx, name, keep)
	return append(found, logged...), err
}

// controlLogs are the logs of the control plane, where somebody has turned them on: they
// stay, because the published minimum policy lets nobody remove them, nor even look.
func (a *Account) controlLogs(ctx context.Context, name string) ([]cluster.Verified, error) {
	c, err := a.control(ctx, name)
	if err != nil || c == nil || c.Logging == nil {
		return nil, err
	}
	for _, setup := range c.Logging.ClusterLogging {
		if aws.ToBool(setup.Enabled) {
			return []cluster.Verified{{What: "logs of the control plane", Left: one(true, "log group", "/aws/eks/"+name+"/cluster")}}, nil
		}
	}
	return nil, nil
}

// all removes what changes name, rank by rank.
func (d *removal) all(ctx context.Context, changes []cluster.Change) error {
	if err := d.release(ctx); err != nil {
		return err
	}
	return d.ranked(ctx, changes)
}

// ranked removes what changes name, in their order, what can go at the same time together.
func (d *removal) ranked(ctx context.Context, changes []cluster.Change) error {
	for len(changes) > 0 {
		rank := cluster.RemovalRank(changes[0].ID)
		n := slices.IndexFunc(changes, func(c cluster.Change) bool { return cluster.RemovalRank(c.ID) != rank })
		if n < 0 {
			n = len(changes)
		}
		var tasks []func() error
		for _, c := range changes[:n] {
			tasks = append(tasks, func() error { return d.one(ctx, c) })
		}
		if err := together(tasks...); err != nil {
			return err
		}
		changes = changes[n:]
	}
	return ctx.Err()
}

// release has the cluster itself let go of load balancers that users have made in it. An
// API server that does not answer is no reason to stop: what it leaves is found by its tags.
func (d *removal) release(ctx context.Context) error {
	c, err := d.control(ctx, d.name)
	if err != nil || c == nil || c.Endpoint == nil || c.Tags[cluster.TagClusterName] != d.name {
		return err // there is none, or it is somebody else's
	}
	at, err := d.place(ctx, d.name)
	if err != nil {
		return err
	}
	const id = "services"
	began := time.Now()
	d.tell(cluster.Event{Step: id, State: cluster.Begun, Text: "what users have made in the cluster that is something in AWS"})
	say := d.saying(id)
	err = d.kube.Release(ctx, at, func(text string) { say("%s", text) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		d.tell(cluster.Event{Step: id, State: cluster.Done, Took: time.Since(began)})
		return nil
	}
	d.tell(cluster.Event{Step: id, State: cluster.Warned, Text: fault.From(err).Message, Took: time.Since(began)})
	return d.freeBalancers(ctx)
}

// one removes one thing, and tells of it.
func (d *removal) one(ctx context.Context, c cluster.Change) error {
	began := time.Now()
	d.tell(cluster.Event{Step: c.ID, State: cluster.Begun})
	err := d.remove(ctx, c.ID)
	switch {
	case err == nil:
		d.tell(cluster.Event{Step: c.ID, State: cluster.Done, Took: time.Since(began)})
	case ctx.Err() == nil:
		d.tell(cluster.Event{Step: c.ID, State: cluster.Failed, Text: fault.From(err).Message, Took: time.Since(began)})
	}
	return err
}

func (d *removal) remove(ctx context.Context, id string) error {
	names := d.names(d.name)
	switch {
	case strings.HasPrefix(id, cluster.IDStack):
		return d.removeStack(ctx, id)
	case strings.HasPrefix(id, cluster.IDRole):
		return d.removeRole(ctx, names.Roles()[id], d.name)
	case id == cluster.IDPolicy:
		return d.removePolicy(ctx, names.PolicyARN())
	case id == cluster.IDQueues:
		return d.removeQueues(ctx)
	case id == "bucket":
		return d.removeBucket(ctx, names.Bucket())
	}
	group := names.LogGroup()
	_, err := d.logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &group})
	if is(err, "ResourceNotFoundException") {
		return nil
	}
	return asFault("removing log group "+group, err)
}

// deletions are how often a stack is deleted again after what held on to it was removed.
const deletions = 4

// removeStack deletes a stack by its id. Where something holds on to it, what is provably
// the cluster's is removed, and it is tried again.
func (d *removal) removeStack(ctx context.Context, id string) error {
	name := d.names(d.name).Stack(strings.TrimPrefix(id, cluster.IDStack))
	found, err := d.describe(ctx, name)
	if err != nil || found == nil {
		return err
	}
	s := &stack{Account: d.Account, is: *found, say: d.saying(id), want: &cluster.Stack{Name: name}}
	if ended, _ := settled(s.is.StackStatus); !ended && s.is.StackStatus != cfn.StackStatusCreateInProgress && s.is.StackStatus != cfn.StackStatusDeleteInProgress {
		// CloudFormation deletes nothing that it is changing.
		if err := s.follow(ctx, "", false); err != nil {
			return err
		}
	}
	for n := range deletions {
		err := s.remove(ctx)
		if err == nil || s.is.StackStatus != cfn.StackStatusDeleteFailed {
			return err
		}
		if n == deletions-1 {
			return d.holding(ctx, s, err)
		}
		freed, cannot := d.free(ctx, s)
		if cannot != nil {
			return cannot
		}
		s.say("it is held by something; %d removed, trying again", freed)
		// What the network of pods leaves behind lets go by itself after minutes.
		if err := pause(ctx, time.Duration(n+1)*time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// holding is the fault of a stack that cannot be deleted: it names what is in the way.
func (d *removal) holding(ctx context.Context, s *stack, because error) error {
	dependents, err := d.dependents(ctx, s)
	if err != nil || len(dependents) == 0 {
		return because
	}
	lines := []string{fault.From(because).Message, "these hold on to it, and are not the cluster's:"}
	for _, dep := range dependents {
		lines = append(lines, "  "+strings.TrimSpace(dep.What+" "+dep.Name+" "+dep.Note))
	}
	return fault.New(fault.Conflict, CodeStackFailed, "%s", strings.Join(lines, "\n")).
		WithHint("remove them, then run the same command again")
}

func (a *Account) queues(ctx context.Context, name string) (urls []string, err error) {
	prefix := a.names(name).Queues()
	pages := sqs.NewListQueuesPaginator(a.sqs, &sqs.ListQueuesInput{QueueNamePrefix: &prefix})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing the queues of cluster "+name, err)
		}
		urls = append(urls, page.QueueUrls...)
	}
	return urls, nil
}

func (d *removal) removeQueues(ctx context.Context) error {
	urls, err := d.queues(ctx, d.name)
	if err != nil {
		return err
	}
	for _, url := range urls {
		if _, err := d.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &url}); err != nil && !is(err, "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist") {
			return asFault("removing queue "+url, err)
		}
	}
	return nil
}

func (d *removal) removeBucket(ctx context.Context, name string) error {
	if err := d.emptyBucket(ctx, name); err != nil {
		return err
	}
	_, err := d.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &name})
	if is(err, "BucketNotEmpty") { // the note of the lease, written in between
		if err := d.emptyBucket(ctx, name); err != nil {
			return err
		}
		_, err = d.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &name})
	}
	if is(err, "NoSuchBucket") {
		return nil
	}
	return asFault("removing bucket "+name, err)
}

// resources are the physical ids of a stack's resources, by their types.
func (a *Account) resources(ctx context.Context, id string) (map[string][]string, error) {
	all := map[string][]string{}
	pages := cloudformation.NewListStackResourcesPaginator(a.cfn, &cloudformation.ListStackResourcesInput{StackName: &id})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("listing what a stack consists of", err)
		}
		for _, r := range page.StackResourceSummaries {
			if r.ResourceStatus != cfn.ResourceStatusDeleteComplete && r.PhysicalResourceId != nil {
				all[deref(r.ResourceType)] = append(all[deref(r.ResourceType)], *r.PhysicalResourceId)
			}
		}
	}
	return all, nil
}
