package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// RetryJobRequest is the body of another try of a job.
type RetryJobRequest struct {
	OnlyFailed bool `json:"only_failed,omitempty" doc:"leave out the batches that the job never came to"`
}

var jobRoutes = []route{
	answers(route{
		id: "submitJob", method: http.MethodPost, path: "/v1/apis/{name}/jobs", action: auth.ActionSubmitJob,
		summary: "Submit a job to a BatchAPI or TaskAPI",
		about:   "The job is on the disk when it is answered with its id.",
		body:    func() any { return new(workload.JobRequest) },
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.JobSubmitted, error) {
		return s.SubmitJob(ctx, in.name, *in.body.(*workload.JobRequest))
	}),

	answers(route{
		id: "listJobs", method: http.MethodGet, path: "/v1/apis/{name}/jobs", action: auth.ActionGet,
		summary: "List the jobs of a BatchAPI or TaskAPI, the newest first",
		query:   []param{paramStatus, paramSince, paramLimit},
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) ([]workload.Job, error) {
		return s.Jobs(ctx, workload.JobQuery{API: in.name, Statuses: in.query.states, Since: in.query.since, Limit: in.query.limit})
	}),

	answers(route{
		id: "getJob", method: http.MethodGet, path: "/v1/apis/{name}/jobs/{id}", action: auth.ActionGet,
		summary: "Describe one job, with its progress or its result",
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.JobResponse, error) {
		return s.Job(ctx, in.name, in.id)
	}),

	answers(route{
		id: "stopJob", method: http.MethodDelete, path: "/v1/apis/{name}/jobs/{id}", action: auth.ActionStopJob,
		summary: "Stop a job; what it has done stays",
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Conflict, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.Message, error) {
		return s.StopJob(ctx, in.name, in.id)
	}),

	answers(route{
		id: "retryJob", method: http.MethodPost, path: "/v1/apis/{name}/jobs/{id}/retry", action: auth.ActionSubmitJob,
		summary: "Submit a job for the batches of another one that did not succeed",
		body:    func() any { return new(RetryJobRequest) }, bodyOptional: true,
		faults: []fault.Kind{fault.NotFound, fault.Invalid, fault.Conflict, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.JobSubmitted, error) {
		return s.RetryJob(ctx, in.name, in.id, in.body.(*RetryJobRequest).OnlyFailed)
	}),

	streams(route{
		id: "readJobLines", method: http.MethodGet, path: "/v1/apis/{name}/jobs/{id}/lines", action: auth.ActionGet,
		summary: "Read what the batches of a job were answered with, or why they failed",
		query:   []param{paramErrors},
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input, emit func(workload.JobLine) error) error {
		return s.JobLines(ctx, workload.JobLinesQuery{API: in.name, Job: in.id, Errors: in.query.errors}, emit)
	}),

	streams(route{
		id: "readJobAnswer", method: http.MethodGet, path: "/v1/apis/{name}/jobs/{id}/answer", action: auth.ActionGet,
		summary: "Read what one batch of a job was answered with, where that is too large for a line",
		about:   "Of a batch whose line of the results has a body_file.",
		query:   []param{paramBatch},
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input, emit func(workload.JobPart) error) error {
		return s.JobAnswer(ctx, workload.JobAnswerQuery{API: in.name, Job: in.id, Batch: in.query.batch}, emit)
	}),
}

func (s services) SubmitJob(ctx context.Context, name string, req workload.JobRequest) (workload.JobSubmitted, error) {
	j, err := s.Service.SubmitJob(ctx, name, req)
	operation := "submit_job"
	if req.DryRun {
		operation = "dry_run"
	}
	s.conclude(ctx, auth.ActionSubmitJob, operation, name, workload.DeployResult{}, err)
	return j, err
}

func (s services) StopJob(ctx context.Context, name, id string) (workload.Message, error) {
	m, err := s.Service.StopJob(ctx, name, id)
	s.conclude(ctx, auth.ActionStopJob, "stop_job", name, workload.DeployResult{}, err)
	return m, err
}

func (s services) RetryJob(ctx context.Context, name, id string, onlyFailed bool) (workload.JobSubmitted, error) {
	j, err := s.Service.RetryJob(ctx, name, id, onlyFailed)
	s.conclude(ctx, auth.ActionSubmitJob, "submit_job", name, workload.DeployResult{}, err)
	return j, err
}

// SubmitJob implements workload.Service.
func (c *Client) SubmitJob(ctx context.Context, name string, req workload.JobRequest) (workload.JobSubmitted, error) {
	var out workload.JobSubmitted
	err := c.about(ctx, name, "/jobs", call{method: http.MethodPost, body: req, out: &out})
	return out, err
}

// Jobs implements workload.Service.
func (c *Client) Jobs(ctx context.Context, q workload.JobQuery) ([]workload.Job, error) {
	var out []workload.Job
	v := url.Values{}
	if len(q.Statuses) > 0 {
		v.Set("status", strings.Join(q.Statuses, ","))
	}
	setSince(v, q.Since)
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	err := c.about(ctx, q.API, "/jobs", call{method: http.MethodGet, query: v, out: &out})
	return out, err
}

// Job implements workload.Service.
func (c *Client) Job(ctx context.Context, name, id string) (workload.JobResponse, error) {
	var out workload.JobResponse
	err := c.job(ctx, name, id, "", call{method: http.MethodGet, out: &out})
	if out.APISpec != nil {
		out.APISpec.SubmittedAPISpec = numbers(out.APISpec.SubmittedAPISpec)
	}
	return out, err
}

// StopJob implements workload.Service.
func (c *Client) StopJob(ctx context.Context, name, id string) (workload.Message, error) {
	var out workload.Message
	err := c.job(ctx, name, id, "", call{method: http.MethodDelete, out: &out})
	return out, err
}

// RetryJob implements workload.Service.
func (c *Client) RetryJob(ctx context.Context, name, id string, onlyFailed bool) (workload.JobSubmitted, error) {
	var out workload.JobSubmitted
	err := c.job(ctx, name, id, "/retry", call{method: http.MethodPost, body: RetryJobRequest{onlyFailed}, out: &out})
	return out, err
}

// JobLines implements workload.Service.
func (c *Client) JobLines(ctx context.Context, q workload.JobLinesQuery, fn func(workload.JobLine) error) error {
	v := url.Values{}
	setBool(v, "errors", q.Errors)
	return streamOfJob(ctx, c, q.API, q.Job, "/lines", v, fn)
}

// JobAnswer implements workload.Service.
func (c *Client) JobAnswer(ctx context.Context, q workload.JobAnswerQuery, fn func(workload.JobPart) error) error {
	return streamOfJob(ctx, c, q.API, q.Job, "/answer", url.Values{"batch": {strconv.Itoa(q.Batch)}}, fn)
}

func streamOfJob[T any](ctx context.Context, c *Client, api, job, tail string, v url.Values, fn func(T) error) error {
	if !isSegment(api) {
		return notDeployed(api)
	}
	if !isSegment(job) {
		return noJob(api, job)
	}
	return stream(ctx, c, call{method: http.MethodGet, path: "/v1/apis/" + url.PathEscape(api) + "/jobs/" + url.PathEscape(job) + tail, query: v}, fn)
}

func noJob(name, id string) error {
	return fault.New(fault.NotFound, "job.not_found", "%s has no job %q", name, clip(id)).WithHint("list its jobs with cortex jobs %s", name)
}

// job is a call on /v1/apis/{name}/jobs/{id}.
func (c *Client) job(ctx context.Context, name, id, tail string, k call) error {
	if !isSegment(id) {
		return noJob(name, id)
	}
	return c.about(ctx, name, "/jobs/"+url.PathEscape(id)+tail, k)
}
