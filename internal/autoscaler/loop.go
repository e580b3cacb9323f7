package autoscaler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// Sample is what a Source knows of one workload.
type Sample = workload.Load

// Source knows the present load, one sample per workload. A workload it leaves
// out is one of which nothing is known.
type Source interface {
	Samples() []Sample
}

// Workload is what the rules need to know of a deployed workload.
type Workload = workload.Scalable

// Target is what is scaled.
type Target interface {
	// Workloads returns everything that follows its load.
	Workloads(ctx context.Context) ([]Workload, error)
	// Scale asks for n replicas; reason says why, for people.
	Scale(ctx context.Context, name string, n int, reason string) error
}

// Config of a Loop.
type Config struct {
	Tick      time.Duration // between decisions; 0 is DefaultTick, at least MinTick
	Source    Source
	Target    Target
	Log       *slog.Logger        // nil discards
	Telemetry *telemetry.Registry // nil measures nothing
}

// Loop applies Decide to live workloads. Errors of the target are logged and
// tried again at the next tick.
type Loop struct {
	tick    time.Duration
	source  Source
	target  Target
	log     *slog.Logger
	mu      sync.Mutex
	follows map[string]*followed
	errors  float64
}

type followed struct {
	state    State
	queues   bool // has a target_queue_time
	present  bool // among the target's workloads at the latest tick
	inFlight float64
	replicas int
	ups      float64
	downs    float64
}

// NewLoop returns a loop that is not running yet.
func NewLoop(c Config) (*Loop, error) {
	if c.Source == nil || c.Target == nil {
		return nil, fmt.Errorf("autoscaler: a source and a target are needed")
	}
	if c.Tick == 0 {
		c.Tick = DefaultTick
	}
	if c.Tick < MinTick {
		return nil, fmt.Errorf("autoscaler: the tick is %s, and must be at least %s", c.Tick, MinTick)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	l := &Loop{tick: c.Tick, source: c.Source, target: c.Target, log: c.Log, follows: map[string]*followed{}}
	l.measure(c.Telemetry)
	return l, nil
}

// Run samples and decides until ctx ends, and returns ctx's error.
func (l *Loop) Run(ctx context.Context) error {
	sample := time.NewTicker(min(SampleEvery, l.tick))
	defer sample.Stop()
	due := time.Now().Add(l.tick)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sample.C:
		}
		now := time.Now()
		l.observe(now)
		// One ticker for both, so that a decision always knows the sample of its
		// moment; half a sample early rather than a whole one late.
		if now.Before(due.Add(-min(SampleEvery, l.tick) / 2)) {
			if l.quick() {
				l.decide(ctx, now, byQueue)
			}
			continue
		}
		l.decide(ctx, now, func(workload.Autoscaling, workload.Backlog) bool { return true })
		for !due.After(now.Add(min(SampleEvery, l.tick) / 2)) {
			due = due.Add(l.tick)
		}
	}
}

func (l *Loop) observe(now time.Time) {
	samples := l.source.Samples()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range samples {
		f := l.follows[s.Name]
		if f == nil { // deployed since the latest tick; forgotten there if it is not
			f = &followed{state: Start(l.tick, now)}
			l.follows[s.Name] = f
		}
		f.state = f.state.Observe(s.InFlight, now).ObserveBacklog(s.Backlog)
	}
}

// quick reports whether anything follows what it has queued.
func (l *Loop) quick() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.follows {
		if f.queues && f.state.backlog.Service > 0 {
			return true
		}
	}
	return false
}

// decide applies one tick to the workloads for which it is due.
func (l *Loop) decide(ctx context.Context, now time.Time, is func(workload.Autoscaling, workload.Backlog) bool) {
	ctx, cancel := context.WithTimeout(ctx, max(l.tick, DefaultTick))
	defer cancel()
	workloads, err := l.target.Workloads(ctx)
	if err != nil {
		l.failed(ctx, "listing what to scale", err)
		return
	}
	for _, c := range l.plan(workloads, now, is) {
		l.log.Info("scaling", "api", c.name, "from", c.from, "to", c.to, "reason", c.reason)
		if err := l.target.Scale(ctx, c.name, c.to, c.reason); err != nil {
			l.failed(ctx, "scaling "+c.name, err)
			l.undone(c)
			continue
		}
		l.scaled(c)
	}
}

type change struct {
	name     string
	from, to int
	reason   string
}

// plan decides for the workloads for which it is due, and forgets those that are gone.
func (l *Loop) plan(workloads []Workload, now time.Time, is func(workload.Autoscaling, workload.Backlog) bool) []change {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.follows {
		f.present = false
	}
	var changes []change
	for _, w := range workloads {
		f := l.follows[w.Name]
		if f == nil {
			f = &followed{state: Start(l.tick, now)}
			l.follows[w.Name] = f
		}
		f.present, f.queues = true, w.Autoscaling.TargetQueueTime > 0
		if !is(w.Autoscaling, f.state.backlog) {
			continue
		}
		var d Decision
		d, f.state = Decide(w.Autoscaling, f.state, w.Requested, now)
		f.inFlight, f.replicas = d.InFlight, d.Replicas
		if d.Changed {
			changes = append(changes, change{name: w.Name, from: w.Requested, to: d.Replicas, reason: d.Reason()})
		} else {
			l.log.Debug("not scaling", "api", w.Name, "replicas", w.Requested, "reason", d.Reason())
		}
	}
	for name, f := range l.follows {
		if !f.present {
			delete(l.follows, name)
		}
	}
	return changes
}

func (l *Loop) scaled(c change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.follows[c.name]
	if f == nil {
		return
	}
	if c.to > c.from {
		f.ups++
	} else {
		f.downs++
	}
}

func (l *Loop) undone(c change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.follows[c.name]; f != nil {
		f.state = f.state.Undone()
	}
}

func (l *Loop) failed(ctx context.Context, doing string, err error) {
	if context.Cause(ctx) == context.Canceled {
		return // the loop is ending
	}
	l.log.Warn("autoscaler: "+doing, "error", err)
	l.mu.Lock()
	l.errors++
	l.mu.Unlock()
}

func (l *Loop) measure(r *telemetry.Registry) {
	each := func(emit func(name string, f *followed)) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for name, f := range l.follows {
			if f.present {
				emit(name, f)
			}
		}
	}
	labels := []string{"api_name"}
	r.Collect(telemetry.Metric{Name: "cortex_autoscaler_in_flight", Type: telemetry.Gauge, Labels: labels,
		Help: "Mean requests in flight over the autoscaling window, as the latest decision saw it."}, func(out telemetry.Emit) {
		each(func(name string, f *followed) { out(f.inFlight, name) })
	})
	r.Collect(telemetry.Metric{Name: "cortex_autoscaler_replicas", Type: telemetry.Gauge, Labels: labels,
		Help: "Replicas the latest decision asked for."}, func(out telemetry.Emit) {
		each(func(name string, f *followed) { out(float64(f.replicas), name) })
	})
	r.Collect(telemetry.Metric{Name: "cortex_autoscaler_changes_total", Type: telemetry.Counter, Labels: []string{"api_name", "direction"},
		Help: "Changes of the number of replicas that were carried out."}, func(out telemetry.Emit) {
		each(func(name string, f *followed) { out(f.ups, name, "up"); out(f.downs, name, "down") })
	})
	r.Collect(telemetry.Metric{Name: "cortex_autoscaler_errors_total", Type: telemetry.Counter,
		Help: "Attempts to list or scale workloads that failed; each is tried again."}, func(out telemetry.Emit) {
		l.mu.Lock()
		defer l.mu.Unlock()
		out(l.errors)
	})
}
