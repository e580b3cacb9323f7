package operator

import (
	"context"
	"strings"
	"sync"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// jobController says of each job that others submit to a store.JobSource what becomes
// of it. A nil one does nothing: there is no such source.
type jobController struct {
	*Operator
	resolving *workqueue // by source

	mu      sync.Mutex
	pending map[string]store.Submission // by resource: what is not resolved yet
}

// newJobController returns nil without a source of jobs.
func newJobController(o *Operator) *jobController {
	if o.jobs == nil {
		return nil
	}
	j := &jobController{Operator: o, pending: map[string]store.Submission{}}
	j.resolving = newWorkqueue(j.resolve, func(source string, err error) {
		o.log.Warn("will try again", "doing", "saying what became of a job", "job", source, "error", err)
	})
	return j
}

// run follows the jobs until ctx ends; wait waits for what it leaves behind.
func (j *jobController) run(ctx context.Context) {
	if j == nil {
		return
	}
	j.retry(ctx, "following jobs", func() error {
		return j.jobs.PendingJobs(ctx, func(s store.Submission) {
			j.mu.Lock()
			j.pending[s.Resource] = s
			j.mu.Unlock()
			j.resolving.add(ctx, s.Resource)
		})
	})
}

func (j *jobController) wait() {
	if j != nil {
		j.resolving.wait()
	}
}

func (j *jobController) resolve(ctx context.Context, source string) error {
	j.mu.Lock()
	s, ok := j.pending[source]
	j.mu.Unlock()
	if !ok {
		return nil
	}
	if err := j.jobs.ResolveJob(ctx, s, jobRefusal(s)); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.pending[source].Version == s.Version { // nothing newer was told meanwhile
		delete(j.pending, source)
	}
	return nil
}

// jobRefusal says why a job does not run, in the words of who wrote its resource: which
// rules it breaks or, as nothing runs jobs yet, that.
func jobRefusal(s store.Submission) error {
	_, violations := workload.ParseSubmission(s.Kind, s.Spec)
	var problems []fault.Problem
	for _, v := range violations {
		problems = append(problems, fault.Problem{
			Path: strings.TrimSuffix("spec."+v.Path, "."), Code: v.Code,
			Message: v.Message, Found: v.Found, Allowed: v.Allowed, Hint: v.Hint,
		})
	}
	if err := fault.OfProblems(problems); err != nil {
		return err
	}
	return fault.New(fault.Unsupported, codeKindNotRunning, "jobs of a %s cannot run in this environment yet", s.Kind.Of()).
		WithHint("nothing was started; submit the job again once %s can", plural(s.Kind.Of()))
}
