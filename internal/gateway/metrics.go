package gateway

import (
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/telemetry/proxymetrics"
)

// counts are one workload's.
type counts struct {
	requests  *proxymetrics.Series
	held      atomic.Uint64
	coldStart *telemetry.Durations
}

var coldStartBounds = []time.Duration{
	10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond,
	time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second, 100 * time.Second, 300 * time.Second, 1200 * time.Second,
}

func newCounts() counts {
	return counts{requests: proxymetrics.NewOfAPI(), coldStart: telemetry.NewDurations(coldStartBounds)}
}

// seriesOf counts the requests of x: those of the workload that the way of x led to, of
// the splitter that turned it away, or of no API.
func (g *Gateway) seriesOf(x *relay.Exchange) *proxymetrics.Series {
	switch to := led(x).(type) {
	case *work:
		return to.counts.requests
	case *split:
		return to.requests
	}
	return g.nowhere
}

// register offers everything that is counted.
func (g *Gateway) register(r *telemetry.Registry) {
	api := []string{"api_name"}
	deployed := func(read func(w *work)) {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, w := range g.works {
			if w.deployed.Load() {
				read(w)
			}
		}
	}
	proxymetrics.Register(r, proxymetrics.Gateway, func(api func(string, *proxymetrics.Series, proxymetrics.Load), refused func(string, *proxymetrics.Series)) {
		deployed(func(w *work) {
			l := w.pool.Load()
			api(w.name, w.counts.requests, proxymetrics.Load{Running: l.Running, Waiting: l.Waiting})
		})
		for _, rt := range g.snap.Load().routes {
			if rt.split != nil {
				refused(rt.name, rt.split.requests)
			}
		}
		refused("", g.nowhere)
	})
	r.Collect(telemetry.Metric{Name: "cortex_tls_handshakes_total", Help: "Handshakes of TLS of callers that succeeded (ok), or did not (failed).", Labels: []string{"result"}},
		func(emit telemetry.Emit) {
			for i, result := range []string{"failed", "ok"} {
				emit(float64(g.shaken[i].Load()), result)
			}
		})
	r.Collect(telemetry.Metric{Name: "cortex_held_requests_total", Help: "Requests that waited for a first replica.", Labels: api},
		func(emit telemetry.Emit) {
			deployed(func(w *work) { emit(float64(w.counts.held.Load()), w.name) })
		})
	r.CollectDurations(telemetry.Metric{Name: "cortex_cold_start_seconds", Help: "How long requests waited for a first replica, of those that got one.", Labels: api},
		func(emit telemetry.EmitDurations) {
			deployed(func(w *work) { emit(w.counts.coldStart, w.name) })
		})
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
}
