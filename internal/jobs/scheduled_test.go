package jobs

import (
	"context"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/schedule"
	"cortex.dev/cortex/internal/workload"
)

// A run of a schedule is one job, however often it is begun, and the worker knows of which
// time it is.
func TestARunOfAScheduleIsOneJob(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	due := time.Date(2026, 5, 4, 2, 30, 0, 0, time.UTC)
	run := schedule.Run{ID: "nightly-1", Time: due, Schedule: &workload.Schedule{Name: "nightly", Job: `{"config": {"rate": 0.5}}`}}
	runs := r.s.Scheduled()
	id, err := runs.Begin(t.Context(), "task-ok", run)
	if err != nil {
		t.Fatal(err)
	}
	job := r.await("task-ok", id, never)
	if job.Status != workload.JobSucceeded || job.Schedule != "nightly" || job.ScheduledTime == nil || !job.ScheduledTime.Equal(due) {
		t.Errorf("the job is %s of %q at %v, want succeeded of nightly at %s", job.Status, job.Schedule, job.ScheduledTime, due)
	}
	if again, err := runs.Begin(t.Context(), "task-ok", run); err != nil || again != id {
		t.Errorf("Begin() once more = %s, %v; want %s", again, err, id)
	}
	run.ID = "nightly-2"
	if other, err := runs.Begin(t.Context(), "task-ok", run); err != nil || other == id {
		t.Errorf("Begin() of the next run = %s, %v; want a job of its own", other, err)
	}
	if s, err := runs.State(t.Context(), "task-ok", id); err != nil || s != schedule.Succeeded {
		t.Errorf("State() = %s, %v", s, err)
	}
	if err := runs.Cancel(t.Context(), "task-ok", id); err != nil {
		t.Errorf("Cancel() of what has ended = %v", err)
	}
	if s, err := runs.State(t.Context(), "task-ok", "scheduled-0"); err != nil || s != schedule.Gone {
		t.Errorf("State() of nothing = %s, %v", s, err)
	}
	run.Schedule = &workload.Schedule{Name: "long"}
	long, err := runs.Begin(t.Context(), "task-wait", run)
	if err != nil {
		t.Fatal(err)
	}
	if err := runs.Cancel(context.WithoutCancel(t.Context()), "task-wait", long); err != nil {
		t.Fatal(err)
	}
	if got := r.await("task-wait", long, never).Status; got != workload.JobStopped {
		t.Errorf("after Cancel() it is %s", got)
	}
	if s, err := runs.State(t.Context(), "task-wait", long); err != nil || s != schedule.Cancelled {
		t.Errorf("State() = %s, %v", s, err)
	}
	text, err := r.s.readFile(t.Context(), key{"task-ok", id}, fileJob)
	if err != nil || !strings.Contains(string(text), `"scheduled_time": "2026-05-04T02:30:00Z"`) {
		t.Errorf("its workers read %s, %v", text, err)
	}
}
