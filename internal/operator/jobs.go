package operator

import (
	"context"
	"strings"
	"sync"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// jobs says of each job that others submit in the store what becomes of it. A nil
// one does nothing: nobody can submit jobs there.
type jobs struct {
	*Operator
	from    store.Submittable
	judging *keyed // by source

	mu   sync.Mutex
	told map[string]store.Submission // by source: what is to be judged
}

// newJobs returns nil when nobody can submit jobs in the store.
func newJobs(o *Operator) *jobs {
	from, ok := o.store.(store.Submittable)
	if !ok {
		return nil
	}
	j := &jobs{Operator: o, from: from, told: map[string]store.Submission{}}
	j.judging = newKeyed(j.judge, func(source string, err error) {
		o.log.Warn("will try again", "doing", "saying what became of a job", "job", source, "error", err)
	})
	return j
}

// run follows the jobs until ctx ends; wait waits for what it leaves behind.
func (j *jobs) run(ctx context.Context) {
	if j == nil {
		return
	}
	j.retry(ctx, "following jobs", func() error {
		return j.from.Submitted(ctx, func(s store.Submission) {
			j.mu.Lock()
			j.told[s.Source] = s
			j.mu.Unlock()
			j.judging.add(ctx, s.Source)
		})
	})
}

func (j *jobs) wait() {
	if j != nil {
		j.judging.wait()
	}
}

func (j *jobs) judge(ctx context.Context, source string) error {
	j.mu.Lock()
	s, ok := j.told[source]
	j.mu.Unlock()
	if !ok {
		return nil
	}
	if err := j.from.JudgedJob(ctx, s, ofJob(s)); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.told[source].Mark == s.Mark { // nothing newer was told meanwhile
		delete(j.told, source)
	}
	return nil
}

// ofJob says why a job does not run, in the words of who wrote its resource: which
// rules it breaks or, as nothing runs jobs yet, that.
func ofJob(s store.Submission) error {
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
