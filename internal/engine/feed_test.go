package engine

import (
	"context"
	"errors"
	"testing"

	"cortex.dev/cortex/internal/workload"
)

func event(text string) workload.Event { return workload.Event{Message: text} }

func TestSlowWatcherMissesStatesButNoEvents(t *testing.T) {
	t.Parallel()
	f := NewFeed()
	f.Publish(Status{Name: "iris", Desired: 1, Events: []workload.Event{event("before")}})
	ctx, cancel := context.WithCancel(context.Background())
	entered, goOn := make(chan struct{}), make(chan struct{})
	var seen []Status
	result := make(chan error, 1)
	go func() {
		result <- f.Watch(ctx, func(s Status) {
			seen = append(seen, s)
			if len(seen) == 1 {
				close(entered)
				<-goOn
			}
			if s.Removed {
				cancel()
			}
		})
	}()
	<-entered
	for i := 2; i <= 4; i++ {
		f.Publish(Status{Name: "iris", Desired: i, Events: []workload.Event{event("more")}})
	}
	f.Publish(Status{Name: "rose", Desired: 1})
	f.Remove("rose", true, event("gone"))
	close(goOn)
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch = %v, want the error of its context", err)
	}
	if len(seen) != 3 {
		t.Fatalf("it saw %d states, want 3: the present one, the last one, the removal", len(seen))
	}
	if seen[0].Desired != 1 || len(seen[0].Events) != 0 {
		t.Errorf("first = %+v, want the present status without events of before", seen[0])
	}
	if seen[1].Desired != 4 || len(seen[1].Events) != 3 {
		t.Errorf("second = %+v, want the last status with all three events", seen[1])
	}
	if !seen[2].Removed || len(seen[2].Events) != 1 {
		t.Errorf("third = %+v, want the removal of rose with its event", seen[2])
	}
	if _, ok := f.Get("rose"); ok {
		t.Error("a removed workload has a status")
	}
}

func TestWatcherThatNeverComesBackCostsABoundedAmount(t *testing.T) {
	t.Parallel()
	f := NewFeed()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	entered, goOn := make(chan struct{}), make(chan struct{})
	got := make(chan int, 10)
	first := true
	go func() {
		_ = f.Watch(ctx, func(s Status) {
			if first {
				first = false
				close(entered)
				<-goOn
				return
			}
			got <- len(s.Events)
		})
	}()
	f.Publish(Status{Name: "iris"})
	<-entered
	for range 3 * maxPendingEvents {
		f.Publish(Status{Name: "iris", Events: []workload.Event{event("x")}})
	}
	close(goOn)
	if n := <-got; n != maxPendingEvents {
		t.Errorf("%d events were kept, want %d", n, maxPendingEvents)
	}
}
