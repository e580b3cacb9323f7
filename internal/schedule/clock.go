package schedule

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/cron"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// How long a clock sleeps at most: the time of the day may be set while it does.
const (
	longest = time.Minute
	polls   = time.Second // while runs are under way
	backoff = 10 * time.Second
)

// clock runs one schedule.
type clock struct {
	s         *Service
	api, name string
	kind      workload.Kind

	stop  context.CancelFunc
	ended chan struct{}
	poked chan struct{}

	mu      sync.Mutex
	spec    workload.Schedule
	times   cron.Times
	stopped bool // the API is
	rec     record
	unsaved bool
	tries   int       // that failed, of the run that is to begin next
	wait    time.Time // before it is tried again
	why     error     // the last of them failed

	late                            *telemetry.Durations
	begun, skipped, missed, refused atomic.Uint64
}

var lateBounds = []time.Duration{
	10 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second,
	time.Minute, 10 * time.Minute, time.Hour, 24 * time.Hour,
}

func newClock(s *Service, api string, kind workload.Kind, name string, kept []byte) *clock {
	c := &clock{s: s, api: api, kind: kind, name: name, ended: make(chan struct{}), poked: make(chan struct{}, 1), late: telemetry.NewDurations(lateBounds)}
	if kept != nil {
		var err error
		if c.rec, err = decode(kept); err != nil { // written by another version: it begins anew, with now
			s.log.Warn("what was remembered of a schedule cannot be read", "api", api, "schedule", name, "error", err)
			c.rec = record{Cursor: time.Now().UTC()}
		}
	}
	return c
}

// configure takes what is deployed. What was due before it was deployed is not begun.
func (c *clock) configure(spec *workload.Schedule, w *store.Workload) error {
	times, err := spec.Times()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, deployed := time.Now().UTC(), w.Revision.LastUpdated.UTC()
	c.spec, c.times, c.stopped = *spec, times, w.Stopped != nil
	r, was := &c.rec, c.rec
	switch idle := spec.Suspend || c.stopped; {
	case idle:
		r.Idle = now
		c.drop("nothing is due for now")
	case !r.Idle.IsZero() && deployed.After(r.Idle):
		r.Cursor, r.Idle = later(r.Cursor, deployed), time.Time{}
	case !r.Idle.IsZero(): // it was stopped, and is started
		r.Cursor, r.Idle = now, time.Time{}
	}
	if def := definition(spec); r.Definition != def { // a new one, or one that is due at other times
		r.Cursor, r.Definition = later(r.Cursor, deployed), def
	}
	c.unsaved = c.unsaved || r.Cursor != was.Cursor || r.Idle != was.Idle || r.Definition != was.Definition
	c.poke()
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// poke has the clock look again.
func (c *clock) poke() {
	select {
	case c.poked <- struct{}{}:
	default:
	}
}

// end ends the clock, and returns when it begins nothing any more.
func (c *clock) end() {
	c.mu.Lock()
	stop := c.stop
	c.mu.Unlock()
	if stop != nil {
		stop()
		<-c.ended
	}
}

func (c *clock) run(ctx context.Context) {
	defer close(c.ended)
	for {
		next := c.step(ctx)
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-c.poked:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// step does what is to be done now, and returns when to look again.
func (c *clock) step(ctx context.Context) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return 0
	}
	c.look(ctx)
	now := time.Now().UTC()
	var next time.Time
	if c.idle() {
		c.rec.Cursor = later(c.rec.Cursor, now)
	} else {
		next = c.due(ctx, now)
		c.waiting(ctx)
	}
	c.fill(ctx)
	if c.unsaved {
		c.save(ctx)
	}
	sleep := longest
	if !next.IsZero() {
		sleep = min(sleep, max(time.Until(next), 0))
	}
	if c.unsaved || len(c.rec.Active)+len(c.rec.Waiting) > 0 || c.rec.Backfill != nil {
		sleep = min(sleep, polls)
	}
	return sleep
}

// idle reports whether nothing is due.
func (c *clock) idle() bool { return c.spec.Suspend || c.stopped || c.rec.Paused != nil }

// look finds out which runs have ended.
func (c *clock) look(ctx context.Context) {
	c.rec.Active = c.stillRunning(ctx, c.rec.Active, func(x run) {
		switch x.State {
		case Succeeded:
			c.rec.Failures = 0
		case Failed:
			c.failed()
		}
	})
}

// stillRunning returns those of some runs that have not ended, and notes the others.
func (c *clock) stillRunning(ctx context.Context, runs []run, ended func(run)) (still []run) {
	for _, x := range runs {
		state, err := c.runner().State(ctx, c.api, x.ID)
		if err != nil || state == Running {
			still = append(still, x)
			continue
		}
		x.State = state
		c.rec.ended(x)
		c.unsaved = true
		ended(x)
	}
	return still
}

func (c *clock) runner() Runner { return c.s.cfg.Runners[c.kind] }

// failed counts a run that failed, and pauses the schedule after too many.
func (c *clock) failed() {
	c.rec.Failures++
	if most := int(c.spec.PauseAfterFailures); most > 0 && c.rec.Failures >= most && c.rec.Paused == nil {
		c.pause(fmt.Sprintf("%d runs in a row failed", c.rec.Failures))
		c.event("warning", "SchedulePaused", "%s is paused: %s; cortex schedules resume %s %s goes on", c.name, c.rec.Paused.Why, c.api, c.name)
	}
}

func (c *clock) pause(why string) {
	c.rec.Paused = &paused{At: time.Now().UTC(), Why: why}
	c.drop("it is paused")
	c.unsaved = true
}

// drop gives up what waits.
func (c *clock) drop(why string) {
	for _, t := range c.rec.Waiting {
		c.skip(t, why)
	}
	c.rec.Waiting = nil
}

// due begins what is due, and returns when it is to look again; zero: not by itself.
func (c *clock) due(ctx context.Context, now time.Time) time.Time {
	if now.Before(c.wait) {
		return c.wait
	}
	if c.rec.Cursor.After(now.Add(longest)) { // the time of the day was set back: what is due again has the ids of before
		c.rec.Cursor, c.unsaved = now, true
	}
	list, gone, next := c.pending(now)
	if gone.n > 0 {
		c.missed.Add(uint64(gone.n))
		c.event("warning", "Missed", "%s: %s", c.name, gone.words(c.why))
		c.rec.Cursor, c.unsaved = gone.to, true
		if len(list) > 0 && !gone.to.Before(list[0]) { // jitter can have the later of two late first
			c.rec.Cursor = list[0].Add(-1)
		}
	}
	for _, t := range list {
		if !c.take(ctx, t, now) {
			return c.wait
		}
		c.rec.Cursor, c.unsaved = t, true
		c.save(ctx)
	}
	return next
}

// lost are runs whose time has passed and that will not begin.
type lost struct {
	n        int
	more     bool // than n, which are not counted
	from, to time.Time
}

func (l *lost) add(t time.Time) {
	if l.n == 0 {
		l.from = t
	}
	l.n++
	l.to = t
}

func (l lost) words(why error) string {
	text := fmt.Sprintf("the run of %s was not begun", l.from.Format(time.RFC3339))
	if l.n > 1 {
		text = fmt.Sprintf("%d runs from %s to %s were not begun", l.n, l.from.Format(time.RFC3339), l.to.Format(time.RFC3339))
	}
	if l.more {
		text = fmt.Sprintf("runs from %s to %s were not begun", l.from.Format(time.RFC3339), l.to.Format(time.RFC3339))
	}
	if why != nil {
		text += ": " + why.Error()
	}
	return text
}

// pending returns which runs are to begin, in order, which are lost, and when the next one
// is due.
func (c *clock) pending(now time.Time) (list []time.Time, gone lost, next time.Time) {
	window, jitter := time.Duration(c.spec.CatchUp.Window), time.Duration(c.spec.Jitter)
	limit := 1
	if c.spec.CatchUp.Runs == workload.RunsAll {
		limit = workload.MaxCatchUp
	}
	at := c.rec.Cursor
	if oldest := now.Add(-window - jitter); at.Before(oldest) { // what is older is not counted one by one
		if t := c.times.Next(at); !t.IsZero() && t.Before(oldest) {
			gone.add(t)
			gone.more, gone.to = true, oldest
			at = oldest.Add(-1)
		}
	}
	for {
		t := c.times.Next(at)
		if t.IsZero() {
			return list, gone, time.Time{}
		}
		at = t
		begins := t.Add(putOff(c.api, c.name, jitter, t))
		if begins.After(now) {
			return list, gone, begins
		}
		if now.Sub(begins) > window {
			gone.add(t)
			continue
		}
		if list = append(list, t); len(list) > limit {
			gone.add(list[0])
			list = list[1:]
		}
	}
}

// take deals with a run that is due. It reports false where that has to be tried again.
func (c *clock) take(ctx context.Context, t, now time.Time) bool {
	busy := len(c.rec.Active)+len(c.rec.Waiting) > 0
	switch c.spec.Overlap {
	case workload.OverlapAllow:
		if len(c.rec.Active) >= maxActive {
			c.skip(t, fmt.Sprintf("%d runs are under way", maxActive))
			return true
		}
		busy = false
	case workload.OverlapQueue:
		if busy && len(c.rec.Waiting) >= maxWaiting {
			c.skip(t, fmt.Sprintf("%d runs wait", maxWaiting))
			return true
		}
	case workload.OverlapReplace:
		if busy {
			for _, x := range c.rec.Active {
				if err := c.runner().Cancel(ctx, c.api, x.ID); err != nil && !fault.Is(err, fault.NotFound) {
					c.retryLater(ctx, err, now)
					return false
				}
			}
			c.drop("a later one takes its place")
		}
	default:
		if busy {
			c.skip(t, "an earlier run is under way")
			return true
		}
	}
	if busy {
		c.rec.Waiting = append(c.rec.Waiting, t)
		return true
	}
	x, ok := c.start(ctx, t, "", time.Time{})
	if ok && x.ID != "" {
		c.late.Observe(now.Sub(t.Add(putOff(c.api, c.name, time.Duration(c.spec.Jitter), t))))
		c.rec.Active = append(c.rec.Active, x)
	}
	return ok
}

func (c *clock) skip(t time.Time, why string) {
	c.skipped.Add(1)
	c.event("normal", "Skipped", "%s: the run of %s is left out (overlap): %s", c.name, t.Format(time.RFC3339), why)
}

// waiting begins what waited for an earlier run.
func (c *clock) waiting(ctx context.Context) {
	for len(c.rec.Waiting) > 0 && len(c.rec.Active) == 0 && !time.Now().Before(c.wait) {
		x, ok := c.start(ctx, c.rec.Waiting[0], "", time.Time{})
		if !ok {
			return
		}
		c.rec.Waiting, c.unsaved = c.rec.Waiting[1:], true
		if x.ID != "" {
			c.rec.Active = append(c.rec.Active, x)
		}
		c.save(ctx)
	}
}

// start begins a run. What cannot begin at all has no id, and counts as one that failed;
// false says that it is to be tried again.
func (c *clock) start(ctx context.Context, t time.Time, cause string, asked time.Time) (run, bool) {
	x := run{Time: t, Began: time.Now().UTC(), Cause: cause, State: Running}
	id, err := c.ask(ctx, t, cause, asked)
	switch {
	case err == nil:
		x.ID = id
		c.tries, c.wait, c.why = 0, time.Time{}, nil
		c.begun.Add(1)
		return x, true
	case fault.Is(err, fault.Invalid) || fault.Is(err, fault.Malformed):
		x.State, x.Error = Failed, err.Error()
		c.refused.Add(1)
		c.rec.ended(x)
		c.unsaved = true
		c.event("warning", "ScheduleFailed", "%s: the run of %s cannot begin: %v", c.name, t.Format(time.RFC3339), err)
		c.failed()
		return x, true
	}
	c.retryLater(ctx, err, time.Now())
	return x, false
}

func (c *clock) ask(ctx context.Context, t time.Time, cause string, asked time.Time) (string, error) {
	return c.runner().Begin(ctx, c.api, Run{
		ID: idOf(c.api, c.name, cause, asked, t), Time: t, Schedule: &c.spec,
		KeepID: max(2*time.Duration(c.spec.CatchUp.Window+c.spec.Jitter), 24*time.Hour),
	})
}

// retryLater has a run tried again that could not begin.
func (c *clock) retryLater(ctx context.Context, err error, now time.Time) {
	if ctx.Err() != nil {
		return
	}
	if c.tries == 0 {
		c.s.log.Warn("a run that is due cannot begin, and is tried again", "api", c.api, "schedule", c.name, "error", err)
	}
	c.why = err
	c.wait = now.Add(min(time.Second<<min(c.tries, 10), backoff))
	c.tries++
}

// fill goes on with what is made up for.
func (c *clock) fill(ctx context.Context) {
	b := c.rec.Backfill
	if b == nil || c.stopped {
		return
	}
	b.Active = c.stillRunning(ctx, b.Active, func(x run) {
		if x.State == Failed {
			b.Failed++
		}
	})
	for len(b.Active) < b.Parallel && !time.Now().Before(c.wait) {
		t := c.times.Next(b.Cursor)
		if t.IsZero() || !t.Before(b.To) {
			if len(b.Active) == 0 {
				c.event("normal", "BackfillEnded", "%s: %d runs, of which %d failed", c.name, b.Begun, b.Failed)
				c.rec.Backfill, c.unsaved = nil, true
			}
			return
		}
		x, ok := c.start(ctx, t, causeBackfill, b.Asked)
		if !ok {
			return
		}
		b.Cursor, b.Begun, c.unsaved = t, b.Begun+1, true
		if x.ID != "" {
			b.Active = append(b.Active, x)
		} else {
			b.Failed++
		}
		c.save(ctx)
	}
}

// save writes what is remembered. Where that fails it is written later: until then a death
// has what was begun asked for again, by the same id.
func (c *clock) save(ctx context.Context) {
	data, err := c.rec.encode()
	if err == nil {
		err = c.s.cfg.States.SetScheduleState(ctx, c.api, c.name, data)
	}
	if err != nil && ctx.Err() == nil {
		c.s.log.Warn("what is remembered of a schedule is not written, and will be tried again", "api", c.api, "schedule", c.name, "error", err)
	}
	c.unsaved = err != nil
}

func (c *clock) event(kind, reason, format string, args ...any) {
	e := workload.Event{Time: time.Now().UTC(), API: c.api, Kind: c.kind, Type: kind, Reason: reason, Message: fmt.Sprintf(format, args...)}
	if err := c.s.cfg.Deployed.Record(context.Background(), e); err != nil {
		c.s.log.Warn("an event was lost", "api", c.api, "event", reason, "error", err)
	}
}
