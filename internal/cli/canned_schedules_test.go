package cli

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// status is one with nothing in its lists, as a service answers.
func status(api, name, state string) workload.ScheduleStatus {
	return workload.ScheduleStatus{API: api, Name: name, When: "every 1h", State: state, Next: []time.Time{}, Runs: []workload.ScheduleRun{}}
}

func (c *canned) Schedules(_ context.Context, api string) ([]workload.ScheduleStatus, error) {
	return c.ScheduleList, c.call("Schedules", api)
}

func (c *canned) RunSchedule(_ context.Context, api, name string) (workload.ScheduleRun, error) {
	return workload.ScheduleRun{ID: "06h2", State: "running"}, c.call("RunSchedule", api, name)
}

func (c *canned) PauseSchedule(_ context.Context, api, name string) (workload.ScheduleStatus, error) {
	return status(api, name, workload.SchedulePaused), c.call("PauseSchedule", api, name)
}

func (c *canned) ResumeSchedule(_ context.Context, api, name string) (workload.ScheduleStatus, error) {
	return status(api, name, workload.ScheduleActive), c.call("ResumeSchedule", api, name)
}

func (c *canned) BackfillSchedule(_ context.Context, api, name string, r workload.BackfillRequest) (workload.ScheduleStatus, error) {
	s := status(api, name, workload.ScheduleActive)
	s.Backfill = &workload.Backfill{From: r.From, To: r.To, Parallel: r.Parallel}
	return s, c.call("BackfillSchedule", api, name, r.Parallel)
}
