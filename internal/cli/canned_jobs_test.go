package cli

import (
	"context"
	"errors"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func (c *canned) SubmitJob(_ context.Context, name string, r workload.JobRequest) (workload.JobSubmitted, error) {
	err := c.call("SubmitJob", name, string(r.Job), r.DryRun)
	if r.DryRun {
		return workload.JobSubmitted{Files: []string{"file:///data/a.json"}}, err
	}
	return workload.JobSubmitted{Job: &workload.Job{JobID: "job1", APIName: name, Kind: workload.Task, Status: workload.JobPending}}, err
}

func (c *canned) Jobs(_ context.Context, q workload.JobQuery) ([]workload.Job, error) {
	return c.JobList, c.call("Jobs", q.API, q.Statuses, q.Since, q.Limit)
}

func (c *canned) Job(_ context.Context, name, id string) (workload.JobResponse, error) {
	err := c.call("Job", name, id)
	for _, j := range c.JobList {
		if j.JobID == id {
			return workload.JobResponse{JobStatus: j, Endpoint: "http://localhost:8888/" + name + "?jobID=" + id}, err
		}
	}
	return workload.JobResponse{}, fault.New(fault.NotFound, "job.not_found", "%s has no job %q", name, id)
}

func (c *canned) StopJob(_ context.Context, name, id string) (workload.Message, error) {
	return workload.Message{Message: "stopped job " + id}, c.call("StopJob", name, id)
}

func (c *canned) RetryJob(_ context.Context, name, id string, onlyFailed bool) (workload.JobSubmitted, error) {
	return workload.JobSubmitted{Job: &workload.Job{JobID: "job2", APIName: name, Kind: workload.Batch, Parent: id, Status: workload.JobPending}}, c.call("RetryJob", name, id, onlyFailed)
}

func (c *canned) JobAnswer(_ context.Context, q workload.JobAnswerQuery, fn func(workload.JobPart) error) error {
	err := c.call("JobAnswer", q.API, q.Job, q.Batch)
	for _, text := range []string{"what ", "it said"} {
		err = errors.Join(err, fn(workload.JobPart{Data: []byte(text)}))
	}
	return err
}

func (c *canned) JobLines(_ context.Context, q workload.JobLinesQuery, fn func(workload.JobLine) error) error {
	if err := c.call("JobLines", q.API, q.Job, q.Errors); err != nil {
		return err
	}
	return fn(workload.JobLine{Index: 3, Status: 200, Body: []byte(`{"ok":true}`)})
}
