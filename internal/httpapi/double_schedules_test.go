package httpapi_test

import (
	"context"

	"cortex.dev/cortex/internal/workload"
)

func (d *double) Schedules(_ context.Context, api string) ([]workload.ScheduleStatus, error) {
	d.saw("Schedules", api)
	return reply[[]workload.ScheduleStatus](d)
}

func (d *double) RunSchedule(_ context.Context, api, name string) (workload.ScheduleRun, error) {
	d.saw("RunSchedule", api, name)
	return reply[workload.ScheduleRun](d)
}

func (d *double) PauseSchedule(_ context.Context, api, name string) (workload.ScheduleStatus, error) {
	d.saw("PauseSchedule", api, name)
	return reply[workload.ScheduleStatus](d)
}

func (d *double) ResumeSchedule(_ context.Context, api, name string) (workload.ScheduleStatus, error) {
	d.saw("ResumeSchedule", api, name)
	return reply[workload.ScheduleStatus](d)
}

func (d *double) BackfillSchedule(_ context.Context, api, name string, r workload.BackfillRequest) (workload.ScheduleStatus, error) {
	d.saw("BackfillSchedule", api, name, r)
	return reply[workload.ScheduleStatus](d)
}
