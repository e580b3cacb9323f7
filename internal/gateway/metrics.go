package gateway

import (
	"strconv"
	"sync"
	"sync/atomic"

	"cortex.dev/cortex/internal/telemetry"
)

// counts are one workload's; a request adds to a few atomics and nothing else.
type counts struct {
	classes [6]atomic.Uint64 // by hundreds of the status; 0: the client got no answer
	held    atomic.Uint64
	refused sync.Map // code → *atomic.Uint64; refusals are rare and their codes few
}

func (c *counts) answered(status int) {
	if i := status / 100; i < len(c.classes) {
		c.classes[i].Add(1)
	}
}

// forwarded counts the requests that are over.
func (c *counts) forwarded() (n uint64) {
	for i := range c.classes {
		n += c.classes[i].Load()
	}
	return n
}

func (c *counts) refuse(code string) {
	n, ok := c.refused.Load(code)
	if !ok {
		n, _ = c.refused.LoadOrStore(code, new(atomic.Uint64))
	}
	n.(*atomic.Uint64).Add(1)
}

// metrics are the gateway's own.
type metrics struct {
	unknown   atomic.Uint64 // requests under no endpoint
	coldStart func(seconds float64, labels ...string)
}

// register offers everything that is counted.
func (g *Gateway) register(r *telemetry.Registry) {
	api := []string{"api_name"}
	each := func(m telemetry.Metric, read func(w *work, emit telemetry.Emit)) {
		r.Collect(m, func(emit telemetry.Emit) {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, w := range g.works {
				if w.deployed.Load() {
					read(w, emit)
				}
			}
		})
	}
	each(telemetry.Metric{Name: "cortex_in_flight_requests", Help: "Requests that run, wait or are held.", Type: telemetry.Gauge, Labels: api},
		func(w *work, emit telemetry.Emit) {
			l := w.pool.Load()
			emit(float64(l.Running+l.Waiting), w.name)
		})
	each(telemetry.Metric{Name: "cortex_requests_total", Help: "Forwarded requests by class of status; none: the client left.", Labels: []string{"api_name", "code"}},
		func(w *work, emit telemetry.Emit) {
			for i := range w.counts.classes {
				code := "none"
				if i > 0 {
					code = strconv.Itoa(i) + "xx"
				}
				emit(float64(w.counts.classes[i].Load()), w.name, code)
			}
		})
	each(telemetry.Metric{Name: "cortex_held_requests_total", Help: "Requests that waited for a first replica.", Labels: api},
		func(w *work, emit telemetry.Emit) { emit(float64(w.counts.held.Load()), w.name) })
	each(telemetry.Metric{Name: "cortex_refused_requests_total", Help: "Requests that got no replica, by reason.", Labels: []string{"api_name", "reason"}},
		func(w *work, emit telemetry.Emit) {
			w.counts.refused.Range(func(code, n any) bool {
				emit(float64(n.(*atomic.Uint64).Load()), w.name, code.(string))
				return true
			})
		})
	r.Collect(telemetry.Metric{Name: "cortex_unknown_endpoint_requests_total", Help: "Requests under no endpoint."},
		func(emit telemetry.Emit) { emit(float64(g.metrics.unknown.Load())) })
	r.Collect(telemetry.Metric{Name: "cortex_split_requests_total", Help: "Requests of a splitter by the API that got them.", Labels: []string{"api_name", "target"}},
		func(emit telemetry.Emit) {
			for _, rt := range g.snap.Load().routes {
				if rt.split == nil {
					continue
				}
				for i := range rt.split.targets {
					t := &rt.split.targets[i]
					emit(float64(t.chosen.Load()), rt.name, t.work.name)
				}
			}
		})
	r.Collect(telemetry.Metric{Name: "cortex_shadow_requests_total", Help: "Copies of a splitter's requests; dropped: past a bound, or not answered.", Labels: []string{"api_name", "target", "result"}},
		func(emit telemetry.Emit) {
			for _, rt := range g.snap.Load().routes {
				if rt.split == nil || rt.split.shadow == nil {
					continue
				}
				s := rt.split.shadow
				emit(float64(s.sent.Load()), rt.name, s.work.name, "sent")
				emit(float64(s.dropped.Load()), rt.name, s.work.name, "dropped")
			}
		})
	g.metrics.coldStart = r.Distribution(telemetry.Metric{Name: "cortex_cold_start_seconds",
		Help: "How long held requests waited.", Labels: api}, []float64{.01, .03, .1, .3, 1, 3, 10, 30, 100, 300, 1200})
}
