package engine

import (
	"context"
	"maps"
	"slices"
	"sync"

	"cortex.dev/cortex/internal/workload"
)

// maxPendingEvents bounds what a watcher that does not come back may make us keep
// for one workload; the oldest go.
const maxPendingEvents = 1000

// Feed holds the last status of every workload and hands changes to watchers. A
// slow watcher misses states in between, never the last one, and no event but for
// the oldest of a thousand and more. All methods may be called at once.
type Feed struct {
	mu       sync.Mutex
	last     map[string]Status // Events is always nil in here
	watchers map[*feedWatcher]struct{}
}

type feedWatcher struct {
	pending map[string]Status // guarded by Feed.mu
	order   []string
	wake    chan struct{}
}

// NewFeed returns a feed of no workloads.
func NewFeed() *Feed {
	return &Feed{last: map[string]Status{}, watchers: map[*feedWatcher]struct{}{}}
}

// Get returns the last status of a workload, without events.
func (f *Feed) Get(name string) (Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.last[name]
	return s, ok
}

// Publish makes s the last status of its workload. s must not be changed afterwards.
func (f *Feed) Publish(s Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		w.add(s)
	}
	s.Events = nil
	f.last[s.Name] = s
}

// Remove forgets a workload and tells watchers so, with its last events, and whether
// somebody else removed it. Unknown names are ignored.
func (f *Feed) Remove(name string, drifted bool, events ...workload.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.last[name]
	if !ok {
		return
	}
	delete(f.last, name)
	gone := Status{Name: name, Revision: s.Revision, Removed: true, Drifted: drifted, Events: events}
	for w := range f.watchers {
		w.add(gone)
	}
}

// add queues s, keeping the events of the status it replaces. The caller holds Feed.mu.
func (w *feedWatcher) add(s Status) {
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

// Watch calls fn as Engine.Watch does.
func (f *Feed) Watch(ctx context.Context, fn func(Status)) error {
	w := &feedWatcher{pending: map[string]Status{}, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(f.last)) {
		w.add(f.last[name])
	}
	f.watchers[w] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.watchers, w)
		f.mu.Unlock()
	}()
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if s, ok := f.next(w); ok {
			fn(s)
			continue
		}
		select {
		case <-ctx.Done():
		case <-w.wake:
		}
	}
}

func (f *Feed) next(w *feedWatcher) (Status, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(w.order) == 0 {
		return Status{}, false
	}
	name := w.order[0]
	w.order = w.order[1:]
	s := w.pending[name]
	delete(w.pending, name)
	return s, true
}
