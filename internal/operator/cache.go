package operator

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// cache is what Run has last seen of the store and of the engine. It is behind
// by the time a change takes to arrive, so nothing that changes a record reads it.
type cache struct {
	mu       sync.Mutex
	complete bool                      // everything in the store has been seen
	desired  map[string]store.Workload // of the store
	fresh    map[string]bool           // seen by a watch of the store that is not complete yet
	running  map[string]engine.Status  // of the engine, without events
	trouble  map[string]error          // why the engine was last not made to do what it should
}

// changed takes a change of the store over and returns the names to look at.
func (m *cache) changed(c store.Change) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.desired == nil {
		m.desired = map[string]store.Workload{}
	}
	switch {
	case c.Name == "": // all that were there have been told: the rest is gone
		var gone []string
		for name := range m.desired {
			if !m.complete && m.fresh != nil && !m.fresh[name] {
				delete(m.desired, name)
				delete(m.trouble, name)
				gone = append(gone, name)
			}
		}
		for name := range m.running {
			if _, ok := m.desired[name]; !ok {
				gone = append(gone, name)
			}
		}
		m.complete, m.fresh = true, nil
		return gone
	case c.Workload == nil:
		delete(m.desired, c.Name)
		delete(m.trouble, c.Name)
	default:
		m.desired[c.Name] = *c.Workload
		if m.fresh != nil {
			m.fresh[c.Name] = true
		}
	}
	return []string{c.Name}
}

// restart says that a watch of the store begins from the start.
func (m *cache) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.complete, m.fresh = false, map[string]bool{}
}

// seen takes a status of the engine over. Stray says that the store does not have
// this workload.
func (m *cache) seen(es engine.Status) (stray bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if es.Removed {
		delete(m.running, es.Name)
		return false
	}
	if m.running == nil {
		m.running = map[string]engine.Status{}
	}
	es.Events = nil
	m.running[es.Name] = es
	_, ok := m.desired[es.Name]
	return !ok && m.complete
}

// want returns what should be of a workload: ok says that it should exist, known
// that the cache can tell.
func (m *cache) want(name string) (w store.Workload, ok, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w, ok = m.desired[name]
	return w, ok, ok || m.complete
}

// workloads returns all of the store by name; ok says whether they are complete.
func (m *cache) workloads() (list []store.Workload, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.desired {
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b store.Workload) int { return strings.Compare(a.Name(), b.Name()) })
	return list, m.complete
}

// missing returns the targets that are not deployed. Copies of requests do not count.
func (m *cache) missing(targets []workload.Target) (gone []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range targets {
		if _, ok := m.desired[t.Name]; !ok && m.complete && !t.Shadow && t.Weight > 0 {
			gone = append(gone, t.Name)
		}
	}
	return gone
}

// splittersOf returns those that send requests to a workload.
func (m *cache) splittersOf(name string) (list []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.desired {
		if slices.ContainsFunc(w.Revision.APIs, func(t workload.Target) bool { return t.Name == name }) {
			list = append(list, w.Name())
		}
	}
	return list
}

// tried says what came of making the engine do what it should.
func (m *cache) tried(name string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.desired[name]; err == nil || !ok {
		delete(m.trouble, name)
		return
	}
	if m.trouble == nil {
		m.trouble = map[string]error{}
	}
	m.trouble[name] = err
}

// why returns what stands in the way of a workload; nil when nothing is known to.
func (m *cache) why(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.trouble[name]
}

func (m *cache) status(name string) *engine.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	if es, ok := m.running[name]; ok {
		return &es
	}
	return nil
}

// measure registers the metrics, which are read from the cache.
func (o *Operator) measure(registry *telemetry.Registry) {
	each := func(read func(w store.Workload, s *workload.Status)) {
		list, _ := o.cache.workloads()
		for _, w := range list {
			if w.Revision.Kind.Scales() {
				read(w, statusOf(w, o.cache.status(w.Name())))
			}
		}
	}
	registry.Collect(telemetry.Metric{
		Name: "cortex_replicas", Type: telemetry.Gauge, Labels: []string{"api_name", "state"},
		Help: "Replicas of each API: requested, ready (of any version) and up_to_date.",
	}, func(emit telemetry.Emit) {
		each(func(w store.Workload, s *workload.Status) {
			emit(float64(s.Requested), w.Name(), "requested")
			emit(float64(s.Ready), w.Name(), "ready")
			emit(float64(s.UpToDate), w.Name(), "up_to_date")
		})
	})
	registry.Collect(telemetry.Metric{
		Name: "cortex_api_status", Type: telemetry.Gauge, Labels: []string{"api_name", "status"},
		Help: "1 for the status that each API has: live, updating, idle, stopped, degraded or failed.",
	}, func(emit telemetry.Emit) {
		each(func(w store.Workload, s *workload.Status) { emit(1, w.Name(), string(s.Phase)) })
	})
	registry.Collect(telemetry.Metric{
		Name: "cortex_apis", Type: telemetry.Gauge, Labels: []string{"api_kind"},
		Help: "Deployed APIs of each kind.",
	}, func(emit telemetry.Emit) {
		list, _ := o.cache.workloads()
		counts := map[workload.Kind]int{}
		for _, w := range list {
			counts[w.Revision.Kind]++
		}
		for kind, n := range counts {
			emit(float64(n), string(kind))
		}
	})
}

// Kind returns the kind of a deployed API, as Run has last seen it, or of a deleted one
// that has left events behind; "" when there is none of that name.
func (o *Operator) Kind(ctx context.Context, name string) workload.Kind {
	kind := o.cachedKind(name)
	if kind != "" {
		return kind
	}
	if err := o.store.Events(ctx, workload.EventQuery{Name: name}, func(e workload.Event) error {
		kind = cmp.Or(e.Kind, kind)
		return nil
	}); err != nil {
		o.log.Warn("the kind of an API is not known", "api", name, "error", err)
	}
	return kind
}

func (o *Operator) cachedKind(name string) workload.Kind {
	o.cache.mu.Lock()
	defer o.cache.mu.Unlock()
	if w, ok := o.cache.desired[name]; ok {
		return w.Revision.Kind
	}
	return ""
}
