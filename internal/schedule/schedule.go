// Package schedule begins what APIs do again and again, when it is due.
//
// It promises that a run is begun once, however often this process dies and whenever: its
// id follows from its API, its schedule and the time at which it was due, and Begin begins
// one id once. It promises that what was due while nothing could begin is caught up with
// as the schedule says, within its window and at most workload.MaxCatchUp runs; that a
// deploy begins nothing whose time has passed; and that whatever happens a schedule is due
// again.
//
// It must not know what a run is (Runner), when something is due (cron), or how state is
// kept (store.Schedules).
package schedule

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// State is what became of a run.
type State string

// The states of a run.
const (
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
	Gone      State = "gone" // nobody knows any more: what became of it is forgotten
)

// Run is what is to begin.
type Run struct {
	ID       string // of the run: what was begun with it is not begun again
	Time     time.Time
	Schedule *workload.Schedule
	KeepID   time.Duration // for how long its id is to be remembered at least
}

// Runner begins runs of the APIs of one kind.
type Runner interface {
	// Begin begins a run, and returns what it is called among the items or jobs of its API.
	// An error that is fault.Invalid or fault.Malformed says that trying again is of no use.
	Begin(ctx context.Context, api string, r Run) (id string, err error)
	// State returns what became of one, by what Begin returned.
	State(ctx context.Context, api, id string) (State, error)
	// Cancel ends one; that it has ended is no error.
	Cancel(ctx context.Context, api, id string) error
}

// Config is what a Service needs.
type Config struct {
	Deployed  store.Store // its Watch and Record
	States    store.Schedules
	Runners   map[workload.Kind]Runner
	Telemetry *telemetry.Registry // nil: no metrics
	Log       *slog.Logger        // nil: none
}

// Service is what runs the schedules of one environment. There is one at a time.
type Service struct {
	cfg Config
	log *slog.Logger

	known context.Context // ends when what is deployed is known
	know  context.CancelFunc

	mu     sync.Mutex
	clocks map[string]map[string]*clock // by API and name
	kept   map[string]map[string][]byte // what was remembered, until it is looked at
	begin  func(*clock)                 // nil unless Run is running
}

// New returns a service that does nothing until Run.
func New(cfg Config) (*Service, error) {
	if cfg.Deployed == nil || cfg.States == nil {
		return nil, errors.New("schedule: what is deployed and a place for states are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, log: cfg.Log, clocks: map[string]map[string]*clock{}, kept: map[string]map[string][]byte{}}
	s.known, s.know = context.WithCancel(context.Background())
	s.register(cfg.Telemetry)
	return s, nil
}

// Run begins what is due until ctx ends. It fails only when what is deployed, or what is
// remembered, cannot be read.
func (s *Service) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	if err := s.cfg.States.ScheduleStates(ctx, func(api, schedule string, data []byte) {
		if s.kept[api] == nil {
			s.kept[api] = map[string][]byte{}
		}
		s.kept[api][schedule] = data
	}); err != nil {
		return err
	}
	s.mu.Lock()
	s.begin = func(c *clock) {
		own, stop := context.WithCancel(ctx)
		c.mu.Lock()
		c.stop = stop
		c.mu.Unlock()
		all.Go(func() { c.run(own) })
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.begin = nil
		s.mu.Unlock()
	}()
	err := s.cfg.Deployed.Watch(ctx, func(c store.Change) { s.changed(ctx, c) })
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// changed follows what is deployed.
func (s *Service) changed(ctx context.Context, c store.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.Name == "": // that was everything there is
		for api := range s.kept {
			if s.clocks[api] == nil {
				s.configure(ctx, api, nil)
			}
		}
		clear(s.kept)
		s.know()
	default:
		s.configure(ctx, c.Name, c.Workload)
	}
}

// configure makes the clocks of an API those of what is deployed; nil: it is not.
func (s *Service) configure(ctx context.Context, api string, w *store.Workload) {
	wanted := map[string]*workload.Schedule{}
	if w != nil && s.cfg.Runners[w.Revision.Kind] != nil {
		for i := range w.Revision.Schedules {
			wanted[w.Revision.Schedules[i].Name] = &w.Revision.Schedules[i]
		}
	}
	clocks := s.clocks[api]
	for name, c := range clocks {
		if wanted[name] == nil {
			c.end()
			delete(clocks, name)
			s.forget(ctx, api, name)
		}
	}
	for name := range s.kept[api] {
		if wanted[name] == nil {
			s.forget(ctx, api, name)
		}
	}
	for name, x := range wanted {
		c := clocks[name]
		if c == nil {
			c = newClock(s, api, w.Revision.Kind, name, s.kept[api][name])
		}
		if err := c.configure(x, w); err != nil {
			s.log.Warn("a schedule is not kept: it cannot be read", "api", api, "schedule", name, "error", err)
			continue
		}
		if clocks[name] == nil {
			if clocks == nil {
				clocks = map[string]*clock{}
				s.clocks[api] = clocks
			}
			clocks[name] = c
			s.begin(c)
		}
	}
	delete(s.kept, api)
	if len(clocks) == 0 {
		delete(s.clocks, api)
	}
}

func (s *Service) forget(ctx context.Context, api, name string) {
	if err := s.cfg.States.SetScheduleState(ctx, api, name, nil); err != nil {
		s.log.Warn("what was remembered of a schedule is not forgotten", "api", api, "schedule", name, "error", err)
	}
}

// find returns a schedule of an API, once it is known which there are.
func (s *Service) find(ctx context.Context, api, name string) (*clock, error) {
	select {
	case <-s.known.Done():
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clocks[api][name]; c != nil {
		return c, nil
	}
	return nil, fault.New(fault.NotFound, "schedules.not_found", "%s has no schedule %s", api, name).
		WithHint("cortex schedules list %s shows which it has", api)
}
