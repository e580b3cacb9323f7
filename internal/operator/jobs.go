package operator

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// jobController submits the jobs that others hand to a store.JobSource, and says there what
// becomes of each. A nil one does nothing: there is no such source.
type jobController struct {
	*Operator
	resolving *workqueue // by resource

	mu   sync.Mutex
	jobs map[string]*sourceJob // by resource: those that are not over
}

// sourceJob is one job of a source.
type sourceJob struct {
	store.Submission
	reported workload.JobStatus // empty: nothing was
}

// newJobController returns nil without a source of jobs.
func newJobController(o *Operator) *jobController {
	if o.jobs == nil {
		return nil
	}
	j := &jobController{Operator: o, jobs: map[string]*sourceJob{}}
	j.resolving = newWorkqueue(j.resolve, func(source string, err error) {
		o.log.Warn("will try again", "doing", "saying what became of a job", "job", source, "error", err)
	})
	return j
}

// lookEvery is how often it is looked what the jobs of a source are doing.
const lookEvery = 2 * time.Second

// run follows the jobs until ctx ends; wait waits for what it leaves behind.
func (j *jobController) run(ctx context.Context) {
	if j == nil {
		return
	}
	var looking sync.WaitGroup
	defer looking.Wait()
	looking.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			j.mu.Lock()
			all := slices.Sorted(maps.Keys(j.jobs))
			j.mu.Unlock()
			for _, resource := range all {
				j.resolving.add(ctx, resource)
			}
		}
	})
	j.retry(ctx, "following jobs", func() error {
		return j.Operator.jobs.PendingJobs(ctx, func(s store.Submission) {
			j.mu.Lock()
			was := j.jobs[s.Resource]
			if was == nil || was.Version != s.Version {
				was = &sourceJob{}
				j.jobs[s.Resource] = was
			}
			s.Accepted = s.Accepted || was.Accepted
			was.Submission = s
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

// resolve does what is to be done about a job now.
func (j *jobController) resolve(ctx context.Context, resource string) error {
	j.mu.Lock()
	known, ok := j.jobs[resource]
	if !ok {
		j.mu.Unlock()
		return nil
	}
	s, reported := known.Submission, known.reported
	j.mu.Unlock()
	if s.Gone {
		if err := j.withdraw(ctx, s); err != nil {
			return err
		}
		j.forget(s)
		return nil
	}
	if !s.Accepted {
		return j.submit(ctx, s, reported)
	}
	status, why, err := j.stateOf(ctx, s)
	if err != nil || status == reported {
		return err
	}
	return j.report(ctx, s, status, why)
}

// report tells what a job is doing. One that has ended is over.
func (j *jobController) report(ctx context.Context, s store.Submission, status workload.JobStatus, why *workload.ItemReason) error {
	if err := j.Operator.jobs.ReportJob(ctx, s, status, why); err != nil {
		return err
	}
	if !status.InProgress() {
		j.forget(s)
		return nil
	}
	j.note(s, func(known *sourceJob) { known.reported = status })
	return nil
}

// note changes what is known of a job, unless it is another one by now.
func (j *jobController) note(s store.Submission, change func(*sourceJob)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if known := j.jobs[s.Resource]; known != nil && known.Version == s.Version {
		change(known)
	}
}

func (j *jobController) forget(s store.Submission) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if known := j.jobs[s.Resource]; known != nil && known.Version == s.Version {
		delete(j.jobs, s.Resource)
	}
}

// submit has a job run, under the name of its resource. What may come right by itself is
// waited for: its API may be in the same commit.
func (j *jobController) submit(ctx context.Context, s store.Submission, reported workload.JobStatus) error {
	api, err := apiOfJob(s)
	if err == nil && j.runJobs == nil {
		err = fault.New(fault.Unsupported, codeKindNotRunning, "jobs of a %s cannot run in this environment yet", s.Kind.Of()).
			WithHint("nothing was started; submit the job again once %s can", plural(s.Kind.Of()))
	}
	if err == nil {
		err = j.submitOnce(ctx, api, s)
		if fault.Is(err, fault.NotFound) {
			if reported == workload.JobPending {
				return nil // it is looked again soon
			}
			return j.report(ctx, s, workload.JobPending, &workload.ItemReason{Code: fault.Code(err), Message: err.Error()})
		}
		if passes(err) {
			return err
		}
	}
	if resolving := j.Operator.jobs.ResolveJob(ctx, s, err); resolving != nil {
		return resolving
	}
	if err != nil {
		j.forget(s)
		return nil
	}
	j.note(s, func(known *sourceJob) { known.Accepted = true })
	return nil
}

// skewed is how far the clock of a source may be from ours.
const skewed = 5 * time.Second

// submitOnce submits a job, unless that was done before: by an operator that could not say
// so. A job of this id that is older than the resource is another one.
func (j *jobController) submitOnce(ctx context.Context, api string, s store.Submission) error {
	_, replayed, err := j.runJobs.Submit(ctx, api, s.Spec, s.ID)
	if err != nil || !replayed {
		return err
	}
	job, _, err := j.runJobs.Get(ctx, api, s.ID)
	if err == nil && job.StartTime.Add(skewed).Before(s.Created) {
		err = fault.New(fault.Conflict, codeJobTaken, "%s has had a job %s already, at %s", api, s.ID, job.StartTime.UTC().Format(time.RFC3339)).
			WithHint("give the resource another name: a job runs once")
	}
	return err
}

// codeJobTaken is of a resource whose name is that of an earlier job.
const codeJobTaken = "jobs.id_taken"

// stateOf is what a job that was accepted is doing.
func (j *jobController) stateOf(ctx context.Context, s store.Submission) (workload.JobStatus, *workload.ItemReason, error) {
	api, err := apiOfJob(s)
	if err != nil || j.runJobs == nil {
		return workload.JobUnknown, nil, nil
	}
	job, _, err := j.runJobs.Get(ctx, api, s.ID)
	if fault.Is(err, fault.NotFound) {
		return workload.JobUnknown, &workload.ItemReason{Code: fault.Code(err), Message: "nothing is known of it any more"}, nil
	}
	return job.Status, job.Reason, err
}

// withdraw stops a job whose resource is gone.
func (j *jobController) withdraw(ctx context.Context, s store.Submission) error {
	api, err := apiOfJob(s)
	if err != nil || j.runJobs == nil {
		return nil
	}
	if err := j.runJobs.Stop(ctx, api, s.ID); passes(err) {
		return err
	}
	return nil // what has ended, or never began, needs no end
}

// apiOfJob is the API of a job, or which rules the job breaks, in the words of who wrote
// its resource.
func apiOfJob(s store.Submission) (string, error) {
	submission, err := store.ParseSubmission(s.Kind, s.Spec, "spec")
	if err != nil {
		return "", err
	}
	return submission.API(), nil
}

// passes reports whether an error may be over when it is tried again.
func passes(err error) bool {
	return err != nil && (fault.Is(err, fault.Unavailable) || fault.Code(err) == "")
}
