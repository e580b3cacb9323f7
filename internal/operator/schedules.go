package operator

import (
	"context"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Schedules is who begins what is due.
type Schedules interface {
	List(ctx context.Context, api string) ([]workload.ScheduleStatus, error)
	RunNow(ctx context.Context, api, name string) (workload.ScheduleRun, error)
	Pause(ctx context.Context, api, name, by string) (workload.ScheduleStatus, error)
	Resume(ctx context.Context, api, name string) (workload.ScheduleStatus, error)
	Backfill(ctx context.Context, api, name string, r workload.BackfillRequest) (workload.ScheduleStatus, error)
}

// schedulesOf returns who begins what is due of an API.
func (o *Operator) schedulesOf(ctx context.Context, api string) (Schedules, error) {
	w, err := o.store.Get(ctx, api)
	switch {
	case err != nil:
		return nil, err
	case !workload.Has(w.Revision.Kind, "schedules"):
		return nil, fault.New(fault.Invalid, "resources.operation_is_only_supported_for_kind", "a %s has no schedules", w.Revision.Kind)
	case o.schedules == nil:
		return nil, fault.New(fault.Unsupported, codeKindNotRunning, "schedules cannot run in this environment yet")
	}
	return o.schedules, nil
}

// Schedules implements workload.Service.
func (o *Operator) Schedules(ctx context.Context, api string) ([]workload.ScheduleStatus, error) {
	s, err := o.schedulesOf(ctx, api)
	if err != nil {
		return nil, err
	}
	return s.List(ctx, api)
}

// RunSchedule implements workload.Service.
func (o *Operator) RunSchedule(ctx context.Context, api, name string) (workload.ScheduleRun, error) {
	s, err := o.schedulesOf(ctx, api)
	if err != nil {
		return workload.ScheduleRun{}, err
	}
	return s.RunNow(ctx, api, name)
}

// PauseSchedule implements workload.Service.
func (o *Operator) PauseSchedule(ctx context.Context, api, name string) (workload.ScheduleStatus, error) {
	s, err := o.schedulesOf(ctx, api)
	if err != nil {
		return workload.ScheduleStatus{}, err
	}
	return s.Pause(ctx, api, name, o.caller(ctx))
}

// ResumeSchedule implements workload.Service.
func (o *Operator) ResumeSchedule(ctx context.Context, api, name string) (workload.ScheduleStatus, error) {
	s, err := o.schedulesOf(ctx, api)
	if err != nil {
		return workload.ScheduleStatus{}, err
	}
	return s.Resume(ctx, api, name)
}

// BackfillSchedule implements workload.Service.
func (o *Operator) BackfillSchedule(ctx context.Context, api, name string, r workload.BackfillRequest) (workload.ScheduleStatus, error) {
	s, err := o.schedulesOf(ctx, api)
	if err != nil {
		return workload.ScheduleStatus{}, err
	}
	return s.Backfill(ctx, api, name, r)
}
