package local

import (
	"context"
	"maps"
	"slices"
	"sync"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// maxPendingEvents bounds what a watcher that does not come back may make us keep
// for one workload; the oldest go.
const maxPendingEvents = 1000

// hub holds the last status of every workload and hands changes to watchers. A
// slow watcher misses states in between, never the last one, and no event.
type hub struct {
	mu       sync.Mutex
	last     map[string]engine.Status // Events is always nil in here
	watchers map[*watcher]struct{}
}

type watcher struct {
	pending map[string]engine.Status // guarded by hub.mu
	order   []string
	wake    chan struct{}
}

func newHub() *hub {
	return &hub{last: map[string]engine.Status{}, watchers: map[*watcher]struct{}{}}
}

func (h *hub) get(name string) (engine.Status, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.last[name]
	return s, ok
}

// publish makes s the last status of its workload. s must not be changed afterwards.
func (h *hub) publish(s engine.Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		w.add(s)
	}
	s.Events = nil
	h.last[s.Name] = s
}

// remove forgets a workload and tells watchers so.
func (h *hub) remove(name string, events ...workload.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.last[name]
	if !ok {
		return
	}
	delete(h.last, name)
	gone := engine.Status{Name: name, Revision: s.Revision, Removed: true, Events: events}
	for w := range h.watchers {
		w.add(gone)
	}
}

// add queues s, keeping the events of the status it replaces. The caller holds hub.mu.
func (w *watcher) add(s engine.Status) {
	if before, ok := w.pending[s.Name]; ok {
		events := slices.Concat(before.Events, s.Events)
		s.Events = events[max(0, len(events)-maxPendingEvents):]
	} else {
		w.order = append(w.order, s.Name)
	}
	w.pending[s.Name] = s
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (h *hub) watch(ctx context.Context, fn func(engine.Status)) error {
	w := &watcher{pending: map[string]engine.Status{}, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(h.last)) {
		w.add(h.last[name])
	}
	h.watchers[w] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.watchers, w)
		h.mu.Unlock()
	}()
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s, ok := h.next(w); ok {
			fn(s)
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		}
	}
}

func (h *hub) next(w *watcher) (engine.Status, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(w.order) == 0 {
		return engine.Status{}, false
	}
	name := w.order[0]
	w.order = w.order[1:]
	s := w.pending[name]
	delete(w.pending, name)
	return s, true
}
