package kube

import (
	"context"
	"fmt"
	"slices"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"cortex.dev/cortex/internal/workload"
)

// followEvents calls fn for the events that are there and for those that come. What
// goes wrong before the first were read is an error; later it tries again.
func (s *Store) followEvents(ctx context.Context, name string, since time.Time, fn func(workload.Event) error) error {
	follow, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closing, func() { cancel(errClosed()) })()
	events := s.core.Events(s.cfg.Namespace)
	feed := &eventFeed{since: since, fn: fn, end: cancel}
	failed := func(err error) error {
		if err != nil && !feed.begun {
			cancel(s.failure(follow, "reading events", err))
		}
		return err
	}
	r := newReflector("events", &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			opts.LabelSelector = selector(name)
			list, err := events.List(ctx, opts)
			return list, failed(err)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.LabelSelector = selector(name)
			return events.Watch(ctx, opts)
		},
	}, &core.Event{}, feed)
	r.RunWithContext(quiet(follow))
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(follow)
}

// eventFeed tells what a reflector learns of events. The reflector waits while fn
// does; when the API server loses patience with it, the next list has what was
// missed. One goroutine uses it.
type eventFeed struct {
	since time.Time
	fn    func(workload.Event) error
	end   context.CancelCauseFunc

	begun bool
	ended bool
	last  uint64 // of what was told; see recordedAt
}

var _ cache.ReflectorStore = (*eventFeed)(nil)

func (f *eventFeed) tell(e workload.Event) {
	if f.ended {
		return
	}
	if err := f.fn(e); err != nil {
		f.ended = true
		f.end(err)
	}
}

// Replace tells what is there, or what of it is new.
func (f *eventFeed) Replace(list []any, resourceVersion string) error {
	events := make([]core.Event, 0, len(list))
	for _, obj := range list {
		e, ok := obj.(*core.Event)
		if !ok {
			return fmt.Errorf("a %T among the events", obj)
		}
		events = append(events, *e)
	}
	sortEvents(events)
	events = slices.DeleteFunc(events, func(e core.Event) bool { return recordedAt(&e) <= f.last })
	since := f.since
	if f.begun {
		since = time.Time{}
	}
	version, err := number(resourceVersion)
	if err != nil {
		return err
	}
	f.begun, f.last = true, max(f.last, version)
	for _, e := range kept(events, since) {
		f.tell(e)
	}
	return nil
}

// Add tells a new event.
func (f *eventFeed) Add(obj any) error {
	e, ok := obj.(*core.Event)
	if !ok {
		return fmt.Errorf("a %T among the events", obj)
	}
	f.last = max(f.last, recordedAt(e))
	f.tell(eventOf(e))
	return nil
}

// Update does nothing: events of ours do not change.
func (f *eventFeed) Update(any) error { return nil }

// Delete does nothing: what was told was told.
func (f *eventFeed) Delete(any) error { return nil }

// Resync does nothing.
func (f *eventFeed) Resync() error { return nil }
