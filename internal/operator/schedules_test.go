package operator

import (
	"context"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/schedule"
	"cortex.dev/cortex/internal/workload"
)

const scheduled = `
- name: transcribe
  kind: AsyncAPI
  pod: {containers: [{name: api, command: [serve]}]}
  autoscaling: {floors: [{cron: "* * * * *", for: 2m, min_replicas: 2}]}
  schedules:
  - {name: nightly, cron: "30 2 * * *", timezone: Europe/Berlin, payload: {text: x}}
  - {name: hourly, every: 1h, payload: {text: x}}
`

// Schedules of an API are listed and changed; another kind has none, and where nobody
// begins what is due it is said so.
func TestSchedules(t *testing.T) {
	t.Parallel()
	w, work := itemWorld(t)
	timetable, err := schedule.New(schedule.Config{
		Deployed: w.store, States: w.store, Runners: map[workload.Kind]schedule.Runner{workload.Async: work.Scheduled()},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- timetable.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	w.schedules = timetable
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: scheduled + realtime("iris", "")}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the schedules to be known", func() bool {
		list, err := w.Schedules(t.Context(), "transcribe")
		return err == nil && len(list) == 2 && list[0].Name == "hourly" && len(list[1].Next) == 5
	})
	var run workload.ScheduleRun
	eventually(t, "a run to begin", func() bool {
		run, err = w.RunSchedule(t.Context(), "transcribe", "nightly")
		return err == nil
	})
	if item, err := w.Item(t.Context(), "transcribe", run.ID); err != nil || item.ID != run.ID {
		t.Errorf("Item(%s) = %+v, %v, want that of the run", run.ID, item, err)
	}
	if st, err := w.PauseSchedule(t.Context(), "transcribe", "nightly"); err != nil || st.State != workload.SchedulePaused {
		t.Errorf("PauseSchedule() = %+v, %v", st, err)
	}
	if st, err := w.ResumeSchedule(t.Context(), "transcribe", "nightly"); err != nil || st.State != workload.ScheduleActive {
		t.Errorf("ResumeSchedule() = %+v, %v", st, err)
	}
	past := workload.BackfillRequest{From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC)}
	if st, err := w.BackfillSchedule(t.Context(), "transcribe", "hourly", past); err != nil || st.Name != "hourly" {
		t.Errorf("BackfillSchedule() = %+v, %v", st, err)
	}
	if e, err := w.Explain(t.Context(), "transcribe"); err != nil || !strings.Contains(e.Steps[0].Detail, "the floor * * * * * (UTC) for 2m holds at least 2 replicas") {
		t.Errorf("Explain() = %+v, %v, want the floor", e.Steps, err)
	}
	for _, tt := range []struct{ name, code string }{
		{"iris", "resources.operation_is_only_supported_for_kind"},
		{"rose", "resources.api_not_deployed"},
	} {
		if _, err := w.Schedules(t.Context(), tt.name); fault.Code(err) != tt.code {
			t.Errorf("Schedules(%s) = %v, want %s", tt.name, err, tt.code)
		}
	}
	w.schedules = nil
	if _, err := w.RunSchedule(t.Context(), "transcribe", "nightly"); fault.Code(err) != codeKindNotRunning {
		t.Errorf("RunSchedule() where nothing is due = %v, want %s", err, codeKindNotRunning)
	}
}
