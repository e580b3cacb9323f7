package operator

import (
	"context"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Jobs is who runs the jobs of BatchAPIs and TaskAPIs.
type Jobs interface {
	// Submit accepts a job and returns its id, with id if that is not empty; DryRun returns
	// the files that it would read.
	Submit(ctx context.Context, api string, spec []byte, id string) (jobID string, replayed bool, err error)
	DryRun(ctx context.Context, api string, spec []byte) ([]string, error)
	Retry(ctx context.Context, api, id string, onlyFailed bool) (jobID string, err error)
	Stop(ctx context.Context, api, id string) error
	Get(ctx context.Context, api, id string) (workload.Job, *workload.JobMetrics, error)
	// Revision is the version that a job runs; nil: it cannot be read.
	Revision(ctx context.Context, api, id string) *workload.Revision
	List(ctx context.Context, q workload.JobQuery) ([]workload.Job, error)
	Lines(ctx context.Context, q workload.JobLinesQuery, fn func(workload.JobLine) error) error
	Answer(ctx context.Context, q workload.JobAnswerQuery, fn func(workload.JobPart) error) error
	Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error
	// Code returns the copies of code that jobs need, by their digests.
	Code() []string
}

// shownJobs is how many jobs an API is shown with.
const shownJobs = 10

func hasJobs(k workload.Kind) bool { return k == workload.Batch || k == workload.Task }

func notJobs(s *workload.Spec) error {
	return fault.New(fault.Invalid, "resources.operation_is_only_supported_for_kind", "only a BatchAPI or a TaskAPI has jobs, and %s is a %s", s.Name, s.Kind)
}

// jobsOf returns who runs the jobs of an API, and its endpoint.
func (o *Operator) jobsOf(ctx context.Context, name string) (Jobs, string, error) {
	w, err := o.store.Get(ctx, name)
	if err != nil {
		return nil, "", err
	}
	if !hasJobs(w.Revision.Kind) {
		return nil, "", notJobs(&w.Revision.Spec)
	}
	if o.runJobs == nil {
		return nil, "", fault.New(fault.Unsupported, codeKindNotRunning, "%s cannot run in this environment yet", plural(w.Revision.Kind))
	}
	return o.runJobs, o.endpoint(w.Revision), nil
}

// addJobs adds the jobs of an API: the latest, or those that have not ended and the latest.
func (o *Operator) addJobs(ctx context.Context, r *workload.APIResponse, w store.Workload, all bool) error {
	if !hasJobs(w.Revision.Kind) || o.runJobs == nil {
		return nil
	}
	list, err := o.runJobs.List(ctx, workload.JobQuery{API: w.Name()})
	if err != nil {
		return err
	}
	var shown []workload.Job
	for i, j := range list {
		if all && i < shownJobs || !all && (i == 0 || j.Status.InProgress()) {
			shown = append(shown, j)
		}
	}
	r.BatchJobStatuses, r.TaskJobStatuses = nil, nil
	if w.Revision.Kind == workload.Batch {
		r.BatchJobStatuses = shown
	} else {
		r.TaskJobStatuses = shown
	}
	return nil
}

// SubmitJob implements workload.Service.
func (o *Operator) SubmitJob(ctx context.Context, name string, req workload.JobRequest) (workload.JobSubmitted, error) {
	jobs, _, err := o.jobsOf(ctx, name)
	if err != nil {
		return workload.JobSubmitted{}, err
	}
	if req.DryRun {
		files, err := jobs.DryRun(ctx, name, req.Job)
		return workload.JobSubmitted{Files: files}, err
	}
	id, _, err := jobs.Submit(ctx, name, req.Job, "")
	return o.submitted(ctx, jobs, name, id, err)
}

func (o *Operator) submitted(ctx context.Context, jobs Jobs, name, id string, err error) (workload.JobSubmitted, error) {
	if err != nil {
		return workload.JobSubmitted{}, err
	}
	job, _, err := jobs.Get(ctx, name, id)
	return workload.JobSubmitted{Job: &job}, err
}

// Jobs implements workload.Service.
func (o *Operator) Jobs(ctx context.Context, q workload.JobQuery) ([]workload.Job, error) {
	jobs, _, err := o.jobsOf(ctx, q.API)
	if err != nil {
		return nil, err
	}
	return jobs.List(ctx, q)
}

// Job implements workload.Service.
func (o *Operator) Job(ctx context.Context, name, id string) (workload.JobResponse, error) {
	jobs, endpoint, err := o.jobsOf(ctx, name)
	if err != nil {
		return workload.JobResponse{}, err
	}
	job, metrics, err := jobs.Get(ctx, name, id)
	if err != nil {
		return workload.JobResponse{}, err
	}
	r := workload.JobResponse{JobStatus: job, Metrics: metrics, Endpoint: endpoint + "?jobID=" + id}
	if rev := jobs.Revision(ctx, name, id); rev != nil {
		r.APISpec = rev.Shown()
	}
	return r, nil
}

// StopJob implements workload.Service.
func (o *Operator) StopJob(ctx context.Context, name, id string) (workload.Message, error) {
	jobs, _, err := o.jobsOf(ctx, name)
	if err == nil {
		err = jobs.Stop(ctx, name, id)
	}
	if err != nil {
		return workload.Message{}, err
	}
	return workload.Message{Message: "stopped job " + id}, nil
}

// RetryJob implements workload.Service.
func (o *Operator) RetryJob(ctx context.Context, name, id string, onlyFailed bool) (workload.JobSubmitted, error) {
	jobs, _, err := o.jobsOf(ctx, name)
	if err != nil {
		return workload.JobSubmitted{}, err
	}
	again, err := jobs.Retry(ctx, name, id, onlyFailed)
	return o.submitted(ctx, jobs, name, again, err)
}

// JobLines implements workload.Service.
func (o *Operator) JobLines(ctx context.Context, q workload.JobLinesQuery, fn func(workload.JobLine) error) error {
	jobs, _, err := o.jobsOf(ctx, q.API)
	if err != nil {
		return err
	}
	return jobs.Lines(ctx, q, fn)
}

// JobAnswer implements workload.Service.
func (o *Operator) JobAnswer(ctx context.Context, q workload.JobAnswerQuery, fn func(workload.JobPart) error) error {
	jobs, _, err := o.jobsOf(ctx, q.API)
	if err != nil {
		return err
	}
	return jobs.Answer(ctx, q, fn)
}

func (o *Operator) jobLogs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	jobs, _, err := o.jobsOf(ctx, q.Name)
	if err != nil {
		return err
	}
	if q.Job == "" {
		return fault.New(fault.Invalid, "endpoints.logs_job_id_required", "the logs of %s are those of its jobs: which one?", q.Name).
			WithHint("cortex jobs %s lists them; then cortex logs %s JOB_ID", q.Name, q.Name)
	}
	return jobs.Logs(ctx, q, fn)
}
