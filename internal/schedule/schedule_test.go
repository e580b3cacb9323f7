package schedule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// place is where runs run: it outlives the service, as a ledger does.
type place struct {
	mu      sync.Mutex
	began   []begun
	takes   time.Duration // of a run; 0: at once
	ends    State         // of a run; empty: Succeeded
	refuses error
	most    int // runs under way at once, ever
}

type begun struct {
	Run
	at        time.Time
	cancelled bool
}

func (p *place) Begin(_ context.Context, _ string, r Run) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuses != nil {
		return "", p.refuses
	}
	if !slices.ContainsFunc(p.began, func(b begun) bool { return b.ID == r.ID }) {
		p.began = append(p.began, begun{Run: r, at: time.Now()})
	}
	running := 0
	for _, b := range p.began {
		if p.state(b) == Running {
			running++
		}
	}
	p.most = max(p.most, running)
	return r.ID, nil
}

func (p *place) state(b begun) State {
	switch {
	case b.cancelled:
		return Cancelled
	case time.Since(b.at) < p.takes:
		return Running
	case p.ends != "":
		return p.ends
	}
	return Succeeded
}

func (p *place) State(_ context.Context, _, id string) (State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.began {
		if b.ID == id {
			return p.state(b), nil
		}
	}
	return Gone, nil
}

func (p *place) Cancel(_ context.Context, _, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.began {
		if p.began[i].ID == id && p.state(p.began[i]) == Running {
			p.began[i].cancelled = true
		}
	}
	return nil
}

// due lists when the runs were due, in the order in which they began.
func (p *place) due() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.began {
		list = append(list, b.Time.Format("15:04:05"))
	}
	return list
}

// all returns what began, and how many runs were ever under way at once.
func (p *place) all() ([]begun, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.began), p.most
}

func (p *place) set(change func(*place)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// world is an environment with one AsyncAPI, on a real store and a virtual clock, which
// begins at midnight.
type world struct {
	t     *testing.T
	store *bolt.Store
	place *place
	*Service
	states store.Schedules
	runner Runner
	stop   func()
}

func inWorld(t *testing.T, fn func(w *world)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st, err := bolt.Open(t.Context(), bolt.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		w := &world{t: t, store: st, place: &place{}, states: st}
		w.runner = w.place
		fn(w)
		if w.stop != nil {
			w.stop()
		}
	})
}

// start starts the service, as a new process would.
func (w *world) start() {
	w.t.Helper()
	s, err := New(Config{Deployed: w.store, States: w.states, Runners: map[workload.Kind]Runner{workload.Async: w.runner}})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.Service = s
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run() = %v", err)
		}
	})
}

// deploy deploys the API with one schedule.
func (w *world) deploy(change func(*workload.Schedule)) { w.put(change, false) }

func (w *world) put(change func(*workload.Schedule), stopped bool) {
	w.t.Helper()
	x := workload.NewSchedule()
	x.Name, x.Payload = "tick", &workload.Payload{Text: "x"}
	change(&x)
	spec := workload.Spec{
		Name: "work", Kind: workload.Async, Pod: &workload.Pod{Containers: []workload.Container{{Name: "api", Image: "i"}}}, Schedules: []workload.Schedule{x},
	}
	spec.Default()
	if broken := spec.Validate(); len(broken) > 0 {
		w.t.Fatalf("Validate() = %+v", broken)
	}
	var version store.Version
	var prev *workload.Revision
	if was, err := w.store.Get(w.t.Context(), "work"); err == nil {
		version, prev = was.Version, was.Revision
	}
	record := store.Workload{Revision: workload.NewRevision(spec, prev, workload.Origin{}, time.Now()), Version: version}
	if stopped {
		record.Stopped = &workload.Stopped{At: time.Now()}
	}
	if _, err := w.store.Put(w.t.Context(), record); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) events(reason string) (texts []string) {
	w.t.Helper()
	if err := w.store.Events(w.t.Context(), workload.EventQuery{Name: "work"}, func(e workload.Event) error {
		if e.Reason == reason {
			texts = append(texts, e.Message)
		}
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return texts
}

func (w *world) status() workload.ScheduleStatus {
	w.t.Helper()
	list, err := w.List(w.t.Context(), "work")
	if err != nil || len(list) != 1 {
		w.t.Fatalf("List() = %+v, %v, want one schedule", list, err)
	}
	return list[0]
}

func (w *world) want(due ...string) {
	w.t.Helper()
	if got := w.place.due(); !slices.Equal(got, due) {
		w.t.Errorf("%s after the start, runs began that were due at\n%v, want\n%v", time.Since(midnight).Round(time.Second), got, due)
	}
}

var midnight = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of synctest

func every(d time.Duration, more ...func(*workload.Schedule)) func(*workload.Schedule) {
	return func(x *workload.Schedule) {
		x.Every = workload.Duration(d)
		for _, change := range more {
			change(x)
		}
	}
}

func overlap(o string) func(*workload.Schedule) {
	return func(x *workload.Schedule) { x.Overlap = o }
}

func catchUp(window time.Duration, runs string) func(*workload.Schedule) {
	return func(x *workload.Schedule) {
		x.CatchUp = workload.CatchUp{Window: workload.Duration(window), Runs: runs}
	}
}

func TestRunsWhenItIsDue(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.start()
		time.Sleep(5 * time.Second)
		w.deploy(every(10 * time.Second))
		time.Sleep(26 * time.Second)
		w.want("00:00:10", "00:00:20", "00:00:30")
		all, _ := w.place.all()
		for _, b := range all {
			if late := b.at.Sub(b.Time); late < 0 || late > time.Second {
				t.Errorf("the run of %s began %s late", b.Time, late)
			}
		}
		if st := w.status(); len(st.Next) != 5 || !st.Next[0].Equal(midnight.Add(40*time.Second)) || len(st.Runs) != 3 || st.State != workload.ScheduleActive {
			t.Errorf("status = %+v, want three runs, and the next one at 00:00:40", st)
		}
	})
}

func TestACronInItsZone(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.start()
		w.deploy(func(x *workload.Schedule) { x.Cron, x.Timezone = "30 8 * * *", "Asia/Tokyo" })
		time.Sleep(48 * time.Hour)
		w.want("23:30:00", "23:30:00")
	})
}

// A deploy begins nothing whose time has passed, and what is due at other times goes on
// from where it was.
func TestADeployBeginsNothingOfThePast(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.start()
		w.deploy(every(time.Hour))
		time.Sleep(90 * time.Minute)
		w.want("01:00:00")
		w.deploy(func(x *workload.Schedule) { x.Cron = "20,40 * * * *" }) // 01:20 is the past
		time.Sleep(15 * time.Minute)
		w.want("01:00:00", "01:40:00")
		w.deploy(func(x *workload.Schedule) { x.Cron, x.Payload = "20,40 * * * *", &workload.Payload{Text: "y"} })
		time.Sleep(time.Minute)
		w.want("01:00:00", "01:40:00")
	})
}

// What a deploy that was written before the death of the process has due is not lost.
func TestADeployJustBeforeADeath(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		time.Sleep(time.Second)
		w.deploy(every(10 * time.Second))
		time.Sleep(15 * time.Second)
		w.start()
		time.Sleep(time.Second)
		w.want("00:00:10")
	})
}

func TestAfterAYearOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		with func(*workload.Schedule)
		want int
		last string
	}{
		{"the last", catchUp(time.Hour, workload.RunsLast), 1, "00:00:00"},
		{"all of an hour", catchUp(time.Hour, workload.RunsAll), 60, "00:00:00"},
		{"all of a week: the newest", catchUp(workload.MaxWindow, workload.RunsAll), workload.MaxCatchUp, "00:00:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				w.start()
				w.deploy(every(time.Minute, overlap(workload.OverlapAllow), tt.with))
				time.Sleep(150 * time.Second)
				w.stop()
				before := len(w.place.due())
				time.Sleep(time.Until(midnight.AddDate(1, 0, 0).Add(time.Second)))
				w.start()
				time.Sleep(10 * time.Second)
				due := w.place.due()[before:]
				if len(due) != tt.want || due[len(due)-1] != tt.last {
					t.Errorf("%d runs began after a year, the last of %s; want %d and %s", len(due), due[len(due)-1], tt.want, tt.last)
				}
				if missed := w.events("Missed"); len(missed) != 1 {
					t.Errorf("Missed = %q, want one event", missed)
				}
				time.Sleep(time.Minute)
				if n := len(w.place.due()) - before; n != tt.want+1 {
					t.Errorf("it is due no more: %d runs", n)
				}
			})
		})
	}
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		overlap         string
		want            []string
		skipped, cancel int
	}{
		{workload.OverlapSkip, []string{"00:00:10", "00:00:40"}, 3, 0},
		{workload.OverlapQueue, []string{"00:00:10", "00:00:20", "00:00:30"}, 0, 0},
		{workload.OverlapAllow, []string{"00:00:10", "00:00:20", "00:00:30", "00:00:40", "00:00:50"}, 0, 0},
		{workload.OverlapReplace, []string{"00:00:10", "00:00:20", "00:00:30", "00:00:40", "00:00:50"}, 0, 4},
	} {
		t.Run(tt.overlap, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				w.place.takes = 22 * time.Second
				w.start()
				w.deploy(every(10*time.Second, overlap(tt.overlap)))
				time.Sleep(58 * time.Second)
				w.want(tt.want...)
				if got := w.events("Skipped"); len(got) != tt.skipped || tt.skipped > 0 && !strings.Contains(got[0], "(overlap)") {
					t.Errorf("Skipped = %q, want %d", got, tt.skipped)
				}
				cancelled := 0
				all, most := w.place.all()
				for _, b := range all {
					if b.cancelled {
						cancelled++
					}
				}
				if cancelled != tt.cancel {
					t.Errorf("%d runs were cancelled, want %d", cancelled, tt.cancel)
				}
				if tt.overlap != workload.OverlapAllow && most > 1 {
					t.Errorf("%d runs were under way at once", most)
				}
			})
		})
	}
}

func TestPausesAfterFailures(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.place.ends = Failed
		w.start()
		w.deploy(every(10*time.Second, func(x *workload.Schedule) { x.PauseAfterFailures = 2 }))
		time.Sleep(55 * time.Second)
		w.want("00:00:10", "00:00:20")
		if st := w.status(); st.State != workload.SchedulePaused || st.Failures != 2 || len(st.Next) != 0 || len(w.events("SchedulePaused")) != 1 {
			t.Errorf("status = %+v, want that it is paused after two", st)
		}
		w.stop() // it is remembered
		w.start()
		time.Sleep(20 * time.Second)
		w.want("00:00:10", "00:00:20")
		w.place.set(func(p *place) { p.ends = Succeeded })
		if _, err := w.Resume(w.t.Context(), "work", "tick"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		w.want("00:00:10", "00:00:20", "00:01:20")
		time.Sleep(2 * time.Second)
		if st := w.status(); st.Failures != 0 || st.Runs[0].State != string(Succeeded) {
			t.Errorf("status = %+v, want no failures in a row", st)
		}
	})
}

func TestNothingIsDueWhileItIsIdle(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		idle, busy func(w *world)
		state      string
	}{
		{"suspended", func(w *world) { w.deploy(every(10*time.Second, func(x *workload.Schedule) { x.Suspend = true })) }, func(w *world) { w.deploy(every(10 * time.Second)) }, workload.ScheduleSuspended},
		{"stopped", func(w *world) { w.put(every(10*time.Second), true) }, func(w *world) { w.put(every(10*time.Second), false) }, workload.ScheduleStopped},
		{"paused", func(w *world) {
			if _, err := w.Pause(w.t.Context(), "work", "tick", "alice"); err != nil {
				w.t.Fatal(err)
			}
		}, func(w *world) {
			if _, err := w.Resume(w.t.Context(), "work", "tick"); err != nil {
				w.t.Fatal(err)
			}
		}, workload.SchedulePaused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				w.start()
				w.deploy(every(10 * time.Second))
				time.Sleep(15 * time.Second)
				tt.idle(w)
				time.Sleep(30 * time.Second)
				w.want("00:00:10")
				if st := w.status(); st.State != tt.state || st.Reason == "" {
					t.Errorf("status = %+v, want %s", st, tt.state)
				}
				w.stop() // nor what was due in between, after a new start
				time.Sleep(20 * time.Second)
				w.start()
				time.Sleep(2 * time.Second)
				tt.busy(w)
				time.Sleep(5 * time.Second) // 00:01:12
				w.want("00:00:10", "00:01:10")
			})
		})
	}
}

// An API that cannot take a run is asked again, within the window.
func TestTriesAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		runs   string
		want   []string
		missed int
	}{
		{workload.RunsLast, []string{"00:00:10", "00:00:40", "00:00:50"}, 2},
		{workload.RunsAll, []string{"00:00:10", "00:00:20", "00:00:30", "00:00:40", "00:00:50"}, 0},
	} {
		t.Run(tt.runs, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				w.start()
				w.deploy(every(10*time.Second, overlap(workload.OverlapAllow), catchUp(time.Minute, tt.runs)))
				time.Sleep(11 * time.Second)
				w.place.set(func(p *place) { p.refuses = fault.New(fault.Unavailable, "queue_full", "it is full") })
				time.Sleep(30 * time.Second)
				if st := w.status(); !strings.Contains(st.Reason, "it is full") {
					t.Errorf("status = %+v, want why nothing begins", st)
				}
				w.place.set(func(p *place) { p.refuses = nil })
				time.Sleep(17 * time.Second)
				w.want(tt.want...)
				if got := w.events("Missed"); len(got) != tt.missed {
					t.Errorf("Missed = %q, want %d", got, tt.missed)
				}
			})
		})
	}
}

// What cannot begin whenever it is tried is a failure, and the next one is tried.
func TestARunThatIsRefused(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.place.refuses = fault.New(fault.Invalid, "payload_too_large", "it is too large")
		w.start()
		w.deploy(every(10*time.Second, func(x *workload.Schedule) { x.PauseAfterFailures = 3 }))
		time.Sleep(25 * time.Second)
		if st := w.status(); st.Failures != 2 || len(st.Runs) != 2 || !strings.Contains(st.Runs[0].Error, "too large") || len(w.events("ScheduleFailed")) != 2 {
			t.Errorf("status = %+v, want two failures", st)
		}
		time.Sleep(10 * time.Second)
		if st := w.status(); st.State != workload.SchedulePaused {
			t.Errorf("status = %+v, want that it is paused", st)
		}
	})
}

func TestJitterPutsOffByTheSame(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.start()
		w.deploy(every(time.Hour, func(x *workload.Schedule) { x.Jitter = workload.Duration(10 * time.Minute) }))
		time.Sleep(5*time.Hour + 30*time.Minute)
		w.want("01:00:00", "02:00:00", "03:00:00", "04:00:00", "05:00:00")
		seen := map[time.Duration]bool{}
		all, _ := w.place.all()
		for _, b := range all {
			off := b.at.Sub(b.Time)
			want := putOff("work", "tick", 10*time.Minute, b.Time)
			if off < want || off > want+time.Second || off > 10*time.Minute+time.Second {
				t.Errorf("the run of %s was put off by %s, want %s", b.Time, off, want)
			}
			seen[want] = true
		}
		if len(seen) != 5 {
			t.Errorf("runs are put off by %v, want five times", seen)
		}
	})
}

func TestByHand(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.start()
		w.deploy(every(time.Hour))
		synctest.Wait()
		r, err := w.RunNow(w.t.Context(), "work", "tick")
		if err != nil || r.Cause != causeManual || len(w.place.due()) != 1 {
			t.Errorf("RunNow() = %+v, %v, with %v", r, err, w.place.due())
		}
		if _, err := w.RunNow(w.t.Context(), "work", "other"); fault.Code(err) != "schedules.not_found" {
			t.Errorf("RunNow(other) = %v, want that there is none", err)
		}
		w.place.set(func(p *place) { p.refuses = errors.New("no") })
		if _, err := w.RunNow(w.t.Context(), "work", "tick"); err == nil {
			t.Error("RunNow() = nil, want what the API says")
		}
	})
}

func TestBackfill(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.place.takes = 5 * time.Second
		w.start()
		w.deploy(every(time.Hour))
		time.Sleep(10*time.Hour + time.Minute)
		before := len(w.place.due())
		asked := workload.BackfillRequest{From: midnight.Add(2 * time.Hour), To: midnight.Add(8 * time.Hour), Parallel: 2}
		if _, err := w.Backfill(w.t.Context(), "work", "tick", asked); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Backfill(w.t.Context(), "work", "tick", asked); fault.Code(err) != "schedules.backfill_under_way" {
			t.Errorf("Backfill() = %v, want that one is under way", err)
		}
		time.Sleep(8 * time.Second)
		w.stop() // it goes on where it was
		w.start()
		time.Sleep(time.Minute)
		_, most := w.place.all()
		if got := w.place.due()[before:]; !slices.Equal(got, []string{"02:00:00", "03:00:00", "04:00:00", "05:00:00", "06:00:00", "07:00:00"}) || most != 2 {
			t.Errorf("%d at once, runs of %v", most, got)
		}
		if got := w.events("BackfillEnded"); len(got) != 1 || w.status().Backfill != nil {
			t.Errorf("BackfillEnded = %q, %+v", got, w.status())
		}
		for name, r := range map[string]workload.BackfillRequest{
			"ends before it begins": {From: midnight.Add(2), To: midnight.Add(1)},
			"to come":               {From: midnight, To: midnight.Add(24 * time.Hour)},
			"before 1970":           {From: midnight.AddDate(-100, 0, 0), To: midnight},
			"nothing was due":       {From: midnight.Add(time.Second), To: midnight.Add(2 * time.Second)},
			"more than 1000 runs":   {From: midnight.AddDate(-1, 0, 0), To: midnight},
			"cannot be under way":   {From: midnight, To: midnight.Add(time.Hour), Parallel: 1000},
		} {
			if _, err := w.Backfill(w.t.Context(), "work", "tick", r); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("Backfill(%s) = %v", name, err)
			}
		}
	})
}

// What is not deployed any more leaves nothing, and begins anew.
func TestForgets(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.start()
		w.deploy(every(10 * time.Second))
		time.Sleep(11 * time.Second)
		deployed, err := w.store.Get(w.t.Context(), "work")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.Delete(w.t.Context(), "work", deployed.Version, true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		kept := 0
		if err := w.store.ScheduleStates(w.t.Context(), func(string, string, []byte) { kept++ }); err != nil || kept != 0 {
			t.Errorf("%d states are kept, %v", kept, err)
		}
		time.Sleep(20 * time.Second)
		w.want("00:00:10")
	})
}

// The time of the day was wrong, and is set back by years: it is due all the same.
func TestAClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.deploy(every(10 * time.Second))
		r := record{Cursor: midnight.AddDate(30, 0, 0), Definition: "every 10s "}
		data, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.SetScheduleState(w.t.Context(), "work", "tick", data); err != nil {
			t.Fatal(err)
		}
		w.start()
		time.Sleep(11 * time.Second)
		w.want("00:00:10")
	})
}

// deadly kills the process that uses it at its nth call: before the call has an effect, or
// after, when nobody hears of it. Nothing has an effect any more then.
type deadly struct {
	*place
	store.Schedules
	mu    sync.Mutex
	at    int
	after bool
	n     int
	dead  chan struct{}
}

func (d *deadly) call(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	switch {
	case d.n > d.at || d.n == d.at && !d.after:
		if d.n == d.at {
			close(d.dead)
		}
		return errors.New("dead")
	case d.n == d.at:
		_ = do()
		close(d.dead)
		return errors.New("dead")
	}
	return do()
}

func (d *deadly) Begin(ctx context.Context, api string, r Run) (id string, err error) {
	err = d.call(func() error { id, err = d.place.Begin(ctx, api, r); return err })
	return id, err
}

func (d *deadly) SetScheduleState(ctx context.Context, api, schedule string, data []byte) error {
	return d.call(func() error { return d.Schedules.SetScheduleState(ctx, api, schedule, data) })
}

// Killed at each of its effects (at every fifth, unless CORTEX_TEST_EXHAUSTIVE is set), and started anew half a minute later: each run that was
// due has begun once, as have those of a backfill.
func TestKilledAtEachEdge(t *testing.T) {
	t.Parallel()
	stride := 5
	if os.Getenv("CORTEX_TEST_EXHAUSTIVE") != "" {
		stride = 1
	}
	for _, o := range []string{workload.OverlapAllow, workload.OverlapQueue} {
		for _, after := range []bool{false, true} {
			for at := 1; ; at += stride {
				killed := false
				t.Run(fmt.Sprintf("%s after=%t %d", o, after, at), func(t *testing.T) { killed = killAt(t, o, at, after) })
				if !killed {
					if at < 15 {
						t.Errorf("the scene has %d edges, want more", at-1)
					}
					break
				}
			}
		}
	}
}

func killAt(t *testing.T, o string, at int, after bool) (killed bool) {
	inWorld(t, func(w *world) {
		w.place.takes = 3 * time.Second
		d := &deadly{place: w.place, Schedules: w.store, at: at, after: after, dead: make(chan struct{})}
		w.runner, w.states = d, d
		w.start()
		w.deploy(every(10*time.Second, overlap(o), catchUp(time.Hour, workload.RunsAll)))
		time.Sleep(45 * time.Second)
		// What fails here was not promised; it is asked again below.
		asked := workload.BackfillRequest{From: midnight, To: midnight.Add(30 * time.Second)}
		_, err := w.Backfill(w.t.Context(), "work", "tick", asked)
		again := err != nil
		time.Sleep(30 * time.Second)
		select {
		case <-d.dead:
			killed = true
		default:
		}
		w.stop()
		w.runner, w.states = w.place, w.store
		time.Sleep(30 * time.Second)
		w.start()
		time.Sleep(5 * time.Second)
		if again && w.status().Backfill == nil && len(w.events("BackfillEnded")) == 0 {
			if _, err := w.Backfill(w.t.Context(), "work", "tick", asked); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(69 * time.Second) // until 00:02:59
		count := map[string]int{}
		ids := map[string]bool{}
		all, _ := w.place.all()
		for _, b := range all {
			count[b.Time.Format("15:04:05")]++
			ids[b.ID] = true
		}
		want := map[string]int{"00:00:00": 1} // of the backfill
		for at := midnight.Add(10 * time.Second); at.Before(midnight.Add(179 * time.Second)); at = at.Add(10 * time.Second) {
			want[at.Format("15:04:05")] = 1
		}
		want["00:00:10"], want["00:00:20"] = 2, 2
		for due, n := range want {
			if count[due] != n {
				t.Errorf("%d runs of %s began, want %d", count[due], due, n)
			}
		}
		if len(count) != len(want) || len(ids) != len(all) {
			t.Errorf("runs of %v began", count)
		}
	})
	return killed
}
