package httpapi

import (
	"context"
	"net/http"
	"net/url"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

var scheduleFaults = []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported}

var scheduleRoutes = []route{
	answers(route{
		id: "listSchedules", method: http.MethodGet, path: "/v1/apis/{name}/schedules", action: auth.ActionListSchedules,
		summary: "List the schedules of an API: when they are due next, and their latest runs",
		faults:  scheduleFaults,
	}, func(ctx context.Context, s services, in input) ([]workload.ScheduleStatus, error) {
		return s.Schedules(ctx, in.name)
	}),

	answers(route{
		id: "runSchedule", method: http.MethodPost, path: "/v1/apis/{name}/schedules/{id}/run", action: auth.ActionRunSchedules,
		summary: "Begin a run of a schedule at once, whatever else is under way",
		faults:  append(scheduleFaults, fault.Conflict),
	}, func(ctx context.Context, s services, in input) (workload.ScheduleRun, error) {
		return s.RunSchedule(ctx, in.name, in.id)
	}),

	answers(route{
		id: "backfillSchedule", method: http.MethodPost, path: "/v1/apis/{name}/schedules/{id}/backfill", action: auth.ActionRunSchedules,
		summary: "Begin the runs of a schedule that were due from one moment to before another",
		about:   "In their order, so many at once. They go on when the environment is started anew.",
		body:    func() any { return new(workload.BackfillRequest) },
		faults:  append(scheduleFaults, fault.Conflict),
	}, func(ctx context.Context, s services, in input) (workload.ScheduleStatus, error) {
		return s.BackfillSchedule(ctx, in.name, in.id, *in.body.(*workload.BackfillRequest))
	}),

	answers(route{
		id: "pauseSchedule", method: http.MethodPost, path: "/v1/apis/{name}/schedules/{id}/pause", action: auth.ActionPauseSchedules,
		summary: "Have nothing of a schedule begin until it is resumed; what is under way goes on",
		faults:  scheduleFaults,
	}, func(ctx context.Context, s services, in input) (workload.ScheduleStatus, error) {
		return s.PauseSchedule(ctx, in.name, in.id)
	}),

	answers(route{
		id: "resumeSchedule", method: http.MethodPost, path: "/v1/apis/{name}/schedules/{id}/resume", action: auth.ActionPauseSchedules,
		summary: "End the pause of a schedule; what was due in between is not begun",
		faults:  scheduleFaults,
	}, func(ctx context.Context, s services, in input) (workload.ScheduleStatus, error) {
		return s.ResumeSchedule(ctx, in.name, in.id)
	}),
}

func (s services) RunSchedule(ctx context.Context, api, name string) (workload.ScheduleRun, error) {
	r, err := s.Service.RunSchedule(ctx, api, name)
	s.conclude(ctx, auth.ActionRunSchedules, "run_schedule", api, workload.DeployResult{}, err)
	return r, err
}

func (s services) BackfillSchedule(ctx context.Context, api, name string, asked workload.BackfillRequest) (workload.ScheduleStatus, error) {
	r, err := s.Service.BackfillSchedule(ctx, api, name, asked)
	s.conclude(ctx, auth.ActionRunSchedules, "backfill_schedule", api, workload.DeployResult{}, err)
	return r, err
}

func (s services) PauseSchedule(ctx context.Context, api, name string) (workload.ScheduleStatus, error) {
	r, err := s.Service.PauseSchedule(ctx, api, name)
	s.conclude(ctx, auth.ActionPauseSchedules, "pause_schedule", api, workload.DeployResult{}, err)
	return r, err
}

func (s services) ResumeSchedule(ctx context.Context, api, name string) (workload.ScheduleStatus, error) {
	r, err := s.Service.ResumeSchedule(ctx, api, name)
	s.conclude(ctx, auth.ActionPauseSchedules, "resume_schedule", api, workload.DeployResult{}, err)
	return r, err
}

// Schedules implements workload.Service.
func (c *Client) Schedules(ctx context.Context, api string) ([]workload.ScheduleStatus, error) {
	var out []workload.ScheduleStatus
	err := c.about(ctx, api, "/schedules", call{method: http.MethodGet, out: &out})
	return out, err
}

// schedule does something with one schedule.
func (c *Client) schedule(ctx context.Context, api, name, verb string, body, out any) error {
	if !isSegment(name) {
		return fault.New(fault.NotFound, "schedules.not_found", "%s has no schedule %q", api, clip(name)).WithHint("cortex schedules list %s shows which it has", api)
	}
	return c.about(ctx, api, "/schedules/"+url.PathEscape(name)+"/"+verb, call{method: http.MethodPost, body: body, out: out})
}

// RunSchedule implements workload.Service.
func (c *Client) RunSchedule(ctx context.Context, api, name string) (out workload.ScheduleRun, err error) {
	err = c.schedule(ctx, api, name, "run", nil, &out)
	return out, err
}

// BackfillSchedule implements workload.Service.
func (c *Client) BackfillSchedule(ctx context.Context, api, name string, r workload.BackfillRequest) (out workload.ScheduleStatus, err error) {
	err = c.schedule(ctx, api, name, "backfill", r, &out)
	return out, err
}

// PauseSchedule implements workload.Service.
func (c *Client) PauseSchedule(ctx context.Context, api, name string) (out workload.ScheduleStatus, err error) {
	err = c.schedule(ctx, api, name, "pause", nil, &out)
	return out, err
}

// ResumeSchedule implements workload.Service.
func (c *Client) ResumeSchedule(ctx context.Context, api, name string) (out workload.ScheduleStatus, err error) {
	err = c.schedule(ctx, api, name, "resume", nil, &out)
	return out, err
}
