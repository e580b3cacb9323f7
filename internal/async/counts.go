package async

import (
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/telemetry"
)

// counts are what is measured of all items here.
type counts struct {
	fenced atomic.Uint64

	mu   sync.Mutex
	apis map[string]*apiCounts
}

// apiCounts are those of one API, for as long as it is deployed.
type apiCounts struct {
	accepted uint64
	ended    map[ended]uint64
	attempts map[ledger.Outcome]uint64
	hooks    map[string]uint64
	wait     *telemetry.Durations
	run      *telemetry.Durations
}

// ended is how an item ended, and the code of the reason if it did not succeed.
type ended struct {
	state  ledger.State
	reason string
}

var durationBounds = []time.Duration{
	10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second,
	10 * time.Second, 30 * time.Second, 100 * time.Second, 300 * time.Second, 1200 * time.Second, time.Hour, 6 * time.Hour,
}

func (c *counts) of(api string, add func(*apiCounts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.apis[api]
	if a == nil {
		if c.apis == nil {
			c.apis = map[string]*apiCounts{}
		}
		a = &apiCounts{
			ended: map[ended]uint64{}, attempts: map[ledger.Outcome]uint64{}, hooks: map[string]uint64{},
			wait: telemetry.NewDurations(durationBounds), run: telemetry.NewDurations(durationBounds),
		}
		c.apis[api] = a
	}
	add(a)
}

func (c *counts) forget(api string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.apis, api)
}

func (c *counts) accepted(api string) { c.of(api, func(a *apiCounts) { a.accepted++ }) }

// applied counts what an event was.
func (c *counts) applied(i ledger.Item, e ledger.Event) {
	if e.Outcome == "" && !i.State.Ended() {
		return
	}
	c.of(i.API, func(a *apiCounts) {
		if e.Outcome != "" {
			a.attempts[e.Outcome]++
		}
		if i.State.Ended() {
			how := ended{state: i.State}
			if i.Reason != nil {
				how.reason = i.Reason.Code
			}
			a.ended[how]++
		}
	})
}

// hooked counts what a try to deliver a message came to.
func (c *counts) hooked(h ledger.Hook) {
	result := string(h.State)
	if h.State == ledger.HookPending {
		result = "failed"
	}
	c.of(h.API, func(a *apiCounts) { a.hooks[result]++ })
}

// waited counts how long an item waited that is executed for the first time.
func (c *counts) waited(i ledger.Item, began time.Time) {
	if i.Attempt == 1 {
		c.of(i.API, func(a *apiCounts) { a.wait.Observe(began.Sub(i.Accepted)) })
	}
}

func (c *counts) ran(api string, took time.Duration) {
	c.of(api, func(a *apiCounts) { a.run.Observe(took) })
}

func (s *Service) register(r *telemetry.Registry) {
	api := []string{"api_name"}
	lines := func(read func(l *line)) {
		if !s.hands() {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, l := range s.lines {
			l.mu.Lock()
			if l.deployed {
				read(l)
			}
			l.mu.Unlock()
		}
	}
	counted := func(read func(api string, a *apiCounts)) {
		s.counts.mu.Lock()
		defer s.counts.mu.Unlock()
		for name, a := range s.counts.apis {
			read(name, a)
		}
	}
	r.Collect(telemetry.Metric{Name: "cortex_async_queued", Type: telemetry.Gauge, Help: "Items that wait for a place at a replica.", Labels: api},
		func(emit telemetry.Emit) { lines(func(l *line) { emit(float64(l.queued), l.name) }) })
	r.Collect(telemetry.Metric{Name: "cortex_async_oldest_seconds", Type: telemetry.Gauge, Help: "How long ago the item was accepted that waits longest for a place; 0: none waits.", Labels: api},
		func(emit telemetry.Emit) {
			lines(func(l *line) {
				age := 0.0
				if e := l.queue.oldest(); e != nil {
					age = max(time.Since(ledger.TimeOf(e.id)).Seconds(), 0)
				}
				emit(age, l.name)
			})
		})
	r.Collect(telemetry.Metric{Name: "cortex_async_streams", Type: telemetry.Gauge, Help: "Streams of events that are open."},
		func(emit telemetry.Emit) { emit(float64(s.streams.Load())) })
	r.Collect(telemetry.Metric{Name: "cortex_async_active", Type: telemetry.Gauge, Help: "Items that replicas work on.", Labels: api},
		func(emit telemetry.Emit) { lines(func(l *line) { emit(float64(l.running), l.name) }) })
	r.Collect(telemetry.Metric{Name: "cortex_async_in_flight", Type: telemetry.Gauge, Help: "Items that replicas work on, and those that wait for a place and start replicas: what the autoscaler follows.", Labels: api},
		func(emit telemetry.Emit) { lines(func(l *line) { emit(float64(l.demand), l.name) }) })
	r.Collect(telemetry.Metric{Name: "cortex_async_accepted_total", Help: "Items that were accepted.", Labels: api},
		func(emit telemetry.Emit) {
			counted(func(name string, a *apiCounts) { emit(float64(a.accepted), name) })
		})
	r.Collect(telemetry.Metric{Name: "cortex_async_items_total", Help: "Items that have ended, by how and, where they did not succeed, why.", Labels: []string{"api_name", "state", "reason"}},
		func(emit telemetry.Emit) {
			counted(func(name string, a *apiCounts) {
				for how, n := range a.ended {
					emit(float64(n), name, string(how.state), how.reason)
				}
			})
		})
	r.Collect(telemetry.Metric{Name: "cortex_async_attempts_total", Help: "Executions of items that have ended, by what they came to.", Labels: []string{"api_name", "outcome"}},
		func(emit telemetry.Emit) {
			counted(func(name string, a *apiCounts) {
				for outcome, n := range a.attempts {
					emit(float64(n), name, string(outcome))
				}
			})
		})
	r.Collect(telemetry.Metric{Name: "cortex_async_webhooks_total", Help: "Tries to deliver webhook messages, by what they came to: delivered, failed, or gave_up with the last one.", Labels: []string{"api_name", "result"}},
		func(emit telemetry.Emit) {
			counted(func(name string, a *apiCounts) {
				for result, n := range a.hooks {
					emit(float64(n), name, result)
				}
			})
		})
	r.Collect(telemetry.Metric{Name: "cortex_async_webhooks_pending", Type: telemetry.Gauge, Help: "Webhook messages that wait to be delivered, of all APIs; at most 100000 are counted."},
		func(emit telemetry.Emit) {
			s.outbox.mu.Lock()
			n := len(s.outbox.waiting)
			s.outbox.mu.Unlock()
			emit(float64(n))
		})
	r.Collect(telemetry.Metric{Name: "cortex_async_fenced_total", Help: "Executions whose end came too late: another one had taken over, or the item had ended."},
		func(emit telemetry.Emit) { emit(float64(s.counts.fenced.Load())) })
	r.CollectDurations(telemetry.Metric{Name: "cortex_async_wait_seconds", Help: "How long items waited until they were executed for the first time.", Labels: api},
		func(emit telemetry.EmitDurations) {
			counted(func(name string, a *apiCounts) { emit(a.wait, name) })
		})
	r.CollectDurations(telemetry.Metric{Name: "cortex_async_run_seconds", Help: "How long executions of items took.", Labels: api},
		func(emit telemetry.EmitDurations) {
			counted(func(name string, a *apiCounts) { emit(a.run, name) })
		})
}
