package httpapi_test

import (
	"context"

	"cortex.dev/cortex/internal/workload"
)

func (d *double) SubmitJob(_ context.Context, name string, r workload.JobRequest) (workload.JobSubmitted, error) {
	d.saw("SubmitJob", name, string(r.Job), r.DryRun)
	return reply[workload.JobSubmitted](d)
}

func (d *double) Jobs(_ context.Context, q workload.JobQuery) ([]workload.Job, error) {
	d.saw("Jobs", q)
	return reply[[]workload.Job](d)
}

func (d *double) Job(_ context.Context, name, id string) (workload.JobResponse, error) {
	d.saw("Job", name, id)
	return reply[workload.JobResponse](d)
}

func (d *double) StopJob(_ context.Context, name, id string) (workload.Message, error) {
	d.saw("StopJob", name, id)
	return reply[workload.Message](d)
}

func (d *double) RetryJob(_ context.Context, name, id string, onlyFailed bool) (workload.JobSubmitted, error) {
	d.saw("RetryJob", name, id, onlyFailed)
	return reply[workload.JobSubmitted](d)
}

func (d *double) JobAnswer(_ context.Context, q workload.JobAnswerQuery, _ func(workload.JobPart) error) error {
	d.saw("JobAnswer", q)
	_, err := reply[workload.JobPart](d)
	return err
}

func (d *double) JobLines(_ context.Context, q workload.JobLinesQuery, _ func(workload.JobLine) error) error {
	d.saw("JobLines", q)
	_, err := reply[workload.JobLine](d)
	return err
}
