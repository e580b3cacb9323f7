package jobs

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/schedule"
	"cortex.dev/cortex/internal/workload"
)

// Variables by which a worker knows which run of a schedule its job is.
const (
	variableSchedule  = "CORTEX_SCHEDULE"
	variableScheduled = "CORTEX_SCHEDULED_TIME"
)

// scheduled begins the jobs of schedules.
type scheduled struct{ *Service }

// Scheduled returns what submits a job for each run of a schedule of a BatchAPI or TaskAPI.
func (s *Service) Scheduled() schedule.Runner { return scheduled{s} }

// Begin implements schedule.Runner. The id of a run is that of its job, so that no run has two.
func (s scheduled) Begin(ctx context.Context, api string, r schedule.Run) (string, error) {
	spec, err := r.Schedule.Submission(api)
	if err != nil {
		return "", err
	}
	id, _, err := s.submit(ctx, api, spec, r.ID, func(rec *record) {
		rec.Schedule, rec.Scheduled = r.Schedule.Name, r.Time.UTC()
	})
	return id, err
}

// State implements schedule.Runner.
func (s scheduled) State(ctx context.Context, api, id string) (schedule.State, error) {
	status, err := s.Status(ctx, api, id)
	switch {
	case fault.Is(err, fault.NotFound):
		return schedule.Gone, nil
	case err != nil:
		return "", err
	case status.InProgress():
		return schedule.Running, nil
	case status == workload.JobSucceeded:
		return schedule.Succeeded, nil
	case status == workload.JobStopped:
		return schedule.Cancelled, nil
	}
	return schedule.Failed, nil
}

// Cancel implements schedule.Runner.
func (s scheduled) Cancel(ctx context.Context, api, id string) error {
	err := s.Stop(ctx, api, id)
	if fault.Code(err) == CodeEnded {
		return nil
	}
	return err
}

// variables are what the workers of a scheduled job are told.
func (r *record) variables() map[string]string {
	if r.Schedule == "" {
		return nil
	}
	return map[string]string{variableSchedule: r.Schedule, variableScheduled: r.Scheduled.Format(time.RFC3339)}
}
