package schedule

import (
	"cmp"
	"context"
	"slices"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// shownNext is how many of the times that come are shown.
const shownNext = 5

// List returns the schedules of an API, by name.
func (s *Service) List(ctx context.Context, api string) (list []workload.ScheduleStatus, _ error) {
	select {
	case <-s.known.Done():
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	clocks := make([]*clock, 0, len(s.clocks[api]))
	for _, c := range s.clocks[api] {
		clocks = append(clocks, c)
	}
	s.mu.Unlock()
	for _, c := range clocks {
		list = append(list, c.status())
	}
	slices.SortFunc(list, func(a, b workload.ScheduleStatus) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

func (c *clock) status() workload.ScheduleStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.rec
	st := workload.ScheduleStatus{
		API: c.api, Name: c.name, When: c.spec.When(), State: workload.ScheduleActive,
		Failures: r.Failures, Running: len(r.Active), Waiting: len(r.Waiting), Next: []time.Time{}, Runs: []workload.ScheduleRun{},
	}
	switch {
	case c.stopped:
		st.State, st.Reason = workload.ScheduleStopped, "the API is stopped"
	case c.spec.Suspend:
		st.State, st.Reason = workload.ScheduleSuspended, "its specification says suspend: true"
	case r.Paused != nil:
		st.State, st.Reason = workload.SchedulePaused, r.Paused.Why
	default:
		st.Next = append(st.Next, c.times.Coming(later(r.Cursor, time.Now()), shownNext)...)
		if c.why != nil {
			st.Reason = "a run cannot begin: " + c.why.Error()
		}
	}
	for i := len(r.Active) - 1; i >= 0; i-- {
		st.Runs = append(st.Runs, r.Active[i].shown())
	}
	for _, x := range r.Recent {
		st.Runs = append(st.Runs, x.shown())
	}
	st.Runs = st.Runs[:min(len(st.Runs), maxRecent)]
	if b := r.Backfill; b != nil {
		st.Backfill = &workload.Backfill{From: b.Cursor, To: b.To, Parallel: b.Parallel, Begun: b.Begun, Failed: b.Failed, Running: len(b.Active)}
	}
	return st
}

func (x run) shown() workload.ScheduleRun {
	return workload.ScheduleRun{Time: x.Time, ID: x.ID, BeganAt: x.Began, Cause: x.Cause, State: string(x.State), Error: x.Error}
}

// RunNow begins a run of a schedule at once, whatever else is under way.
func (s *Service) RunNow(ctx context.Context, api, name string) (workload.ScheduleRun, error) {
	c, err := s.find(ctx, api, name)
	if err != nil {
		return workload.ScheduleRun{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.rec.Active) >= maxActive {
		return workload.ScheduleRun{}, fault.New(fault.Conflict, "schedules.too_many_runs", "%d runs of %s are under way, as many as may", maxActive, name)
	}
	now := time.Now().UTC()
	id, err := c.ask(ctx, now, causeManual, now)
	if err != nil {
		return workload.ScheduleRun{}, err
	}
	x := run{Time: now, ID: id, Began: now, Cause: causeManual, State: Running}
	c.rec.Active = append(c.rec.Active, x)
	c.begun.Add(1)
	c.save(context.WithoutCancel(ctx))
	c.poke()
	return x.shown(), nil
}

// Pause has nothing of a schedule begin until Resume; by is who wants it.
func (s *Service) Pause(ctx context.Context, api, name, by string) (workload.ScheduleStatus, error) {
	return s.change(ctx, api, name, func(c *clock) error {
		why := "paused"
		if by != "" {
			why += " by " + by
		}
		if c.rec.Paused == nil {
			c.pause(why)
		}
		return nil
	})
}

// Resume ends a pause. What was due in between is not begun.
func (s *Service) Resume(ctx context.Context, api, name string) (workload.ScheduleStatus, error) {
	return s.change(ctx, api, name, func(c *clock) error {
		if c.rec.Paused != nil {
			c.rec.Paused, c.rec.Failures, c.rec.Cursor = nil, 0, later(c.rec.Cursor, time.Now().UTC())
		}
		return nil
	})
}

// Backfill begins the runs of a time, in order and so many at once.
func (s *Service) Backfill(ctx context.Context, api, name string, asked workload.BackfillRequest) (workload.ScheduleStatus, error) {
	return s.change(ctx, api, name, func(c *clock) error {
		refuse := func(format string, args ...any) *fault.Fault {
			return fault.New(fault.Invalid, "schedules.backfill_invalid", format, args...)
		}
		now := time.Now().UTC()
		if asked.Parallel == 0 {
			asked.Parallel = 1
		}
		switch {
		case c.rec.Backfill != nil:
			return fault.New(fault.Conflict, "schedules.backfill_under_way", "a backfill of %s is under way", name).WithHint("wait until it has ended")
		case asked.Parallel < 1 || asked.Parallel > workload.MaxCatchUp:
			return refuse("%d runs cannot be under way at once: 1 to %d", asked.Parallel, workload.MaxCatchUp)
		case !asked.From.Before(asked.To):
			return refuse("the time ends before it begins")
		case asked.To.After(now):
			return refuse("the time ends at %s, which is to come", asked.To.Format(time.RFC3339))
		case asked.From.Year() < 1970:
			return refuse("the time begins before 1970")
		}
		runs := 0
		for t := c.times.Next(asked.From.Add(-1)); !t.IsZero() && t.Before(asked.To); t = c.times.Next(t) {
			if runs++; runs > workload.MaxBackfill {
				return refuse("there are more than %d runs in that time", workload.MaxBackfill).WithHint("take a shorter one")
			}
		}
		if runs == 0 {
			return refuse("nothing was due from %s to %s", asked.From.Format(time.RFC3339), asked.To.Format(time.RFC3339))
		}
		c.rec.Backfill = &backfill{Asked: now, Cursor: asked.From.UTC().Add(-1), To: asked.To.UTC(), Parallel: asked.Parallel}
		return nil
	})
}

// change changes what is remembered of a schedule. It returns when that is written.
func (s *Service) change(ctx context.Context, api, name string, edit func(*clock) error) (workload.ScheduleStatus, error) {
	c, err := s.find(ctx, api, name)
	if err != nil {
		return workload.ScheduleStatus{}, err
	}
	if err := func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := edit(c); err != nil {
			return err
		}
		c.save(context.WithoutCancel(ctx))
		if c.unsaved {
			return fault.New(fault.Unavailable, "store.unavailable", "the change is made, and could not be written down: it is lost if this environment ends now").WithHint("look at the log of the daemon")
		}
		return nil
	}(); err != nil {
		return workload.ScheduleStatus{}, err
	}
	c.poke()
	return c.status(), nil
}

func (s *Service) register(r *telemetry.Registry) {
	each := func(read func(c *clock)) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, clocks := range s.clocks {
			for _, c := range clocks {
				read(c)
			}
		}
	}
	r.CollectDurations(telemetry.Metric{Name: "cortex_schedule_late_seconds", Help: "How long after it was due a run of a schedule began.", Labels: []string{"api_name", "schedule"}},
		func(emit telemetry.EmitDurations) { each(func(c *clock) { emit(c.late, c.api, c.name) }) })
	r.Collect(telemetry.Metric{Name: "cortex_schedule_runs_total", Help: "Runs of a schedule: begun, skipped because of others, missed, and refused by their API.", Labels: []string{"api_name", "schedule", "outcome"}},
		func(emit telemetry.Emit) {
			each(func(c *clock) {
				emit(float64(c.begun.Load()), c.api, c.name, "begun")
				emit(float64(c.skipped.Load()), c.api, c.name, "skipped")
				emit(float64(c.missed.Load()), c.api, c.name, "missed")
				emit(float64(c.refused.Load()), c.api, c.name, "refused")
			})
		})
}
