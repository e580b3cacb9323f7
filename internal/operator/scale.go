package operator

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Workloads returns every one that follows its load, by name.
func (o *Operator) Workloads(ctx context.Context) ([]workload.Scalable, error) {
	list, ok := o.cache.workloads()
	if !ok { // Run is not there yet
		var err error
		if list, err = o.store.List(ctx); err != nil {
			return nil, err
		}
	}
	var scalable []workload.Scalable
	for _, w := range list {
		if w.Revision.Kind.Scales() && w.Revision.Autoscaling != nil && w.Stopped == nil {
			scalable = append(scalable, workload.Scalable{Name: w.Name(), Autoscaling: *w.Revision.Autoscaling, Requested: w.Replicas})
		}
	}
	return scalable, nil
}

// Scale asks for n replicas of a workload, within the bounds of its current
// revision. Reason says why, for people.
func (o *Operator) Scale(ctx context.Context, name string, n int, reason string) error {
	return o.scale(ctx, name, reason, func(*store.Workload) int { return n })
}

func (o *Operator) scale(ctx context.Context, name, reason string, want func(*store.Workload) int) error {
	before, after, err := o.mutate(ctx, name, func(w *store.Workload) (bool, error) {
		if w.Revision.Autoscaling == nil {
			return false, onlyFor("scaling", &w.Revision.Spec)
		}
		if w.Stopped != nil { // since whoever asks has looked
			return false, nil
		}
		n := within(w.Revision.Autoscaling, want(w))
		changed := n != w.Replicas
		w.Replicas = n
		return changed, nil
	})
	if err != nil || before.Replicas == after.Replicas {
		return err
	}
	event := "ScaledUp"
	if after.Replicas < before.Replicas {
		event = "ScaledDown"
	}
	o.record(ctx, after.Revision.Subject(), normal, event, "from %d to %s: %s", before.Replicas, count(after.Replicas, "replica"), reason)
	return nil
}

// wakes holds the wake-ups under way, so that a thousand requests that arrive at
// once for one workload at zero write its record once.
type wakes struct {
	mu       sync.Mutex
	underWay map[string]*wake
}

type wake struct {
	done chan struct{}
	err  error
}

// wakeTimeout bounds one wake-up, which outlives the request that began it.
const wakeTimeout = 10 * time.Second

// Wake asks for a replica of a workload that has none, at once. It is idempotent,
// and calls for one workload at the same time are answered by one write.
func (o *Operator) Wake(ctx context.Context, name string) error {
	o.wakes.mu.Lock()
	w, underWay := o.wakes.underWay[name]
	if !underWay {
		w = &wake{done: make(chan struct{})}
		if o.wakes.underWay == nil {
			o.wakes.underWay = map[string]*wake{}
		}
		o.wakes.underWay[name] = w
	}
	o.wakes.mu.Unlock()
	if underWay {
		select {
		case <-w.done:
			return w.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	// The others wait for this write, so it does not end with its own caller.
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), wakeTimeout)
	defer cancel()
	if err := o.scale(own, name, "a request arrived", func(w *store.Workload) int { return max(1, w.Replicas) }); err != nil {
		w.err = fmt.Errorf("waking %s: %w", name, err)
	}
	o.wakes.mu.Lock()
	delete(o.wakes.underWay, name)
	o.wakes.mu.Unlock()
	close(w.done)
	return w.err
}
