// Package lifecycle runs the long-lived parts of a program, and stops them in order.
//
// It promises that what comes later in the list, which relies on what comes before,
// has ended before that is told to. It must not know what the parts do.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Task is one long-lived part of a program. It returns when its context ends and
// its goroutines have.
type Task struct {
	Name string
	Run  func(context.Context) error
}

// Run runs all tasks until ctx ends or one of them returns, then stops the
// stages one after another, the last one first: a stage is told to stop when
// every task of the stages after it has returned. It returns the first error of
// a task, wrapped with its name; an ended context is none.
func Run(ctx context.Context, stages ...[]Task) error {
	over, end := context.WithCancelCause(ctx)
	defer end(nil)

	type running struct {
		stop context.CancelFunc
		wait *sync.WaitGroup
	}
	live := make([]running, 0, len(stages))
	for _, tasks := range stages {
		// The stage outlives ctx on purpose: its turn to stop comes later.
		stage, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		wait := new(sync.WaitGroup)
		for _, t := range tasks {
			wait.Go(func() {
				err := t.Run(stage)
				if err != nil && !errors.Is(err, context.Canceled) {
					err = fmt.Errorf("%s: %w", t.Name, err)
				} else if err = nil; stage.Err() == nil {
					err = fmt.Errorf("%s: ended before its time", t.Name)
				}
				if err != nil {
					end(err)
				}
			})
		}
		live = append(live, running{stop, wait})
	}

	<-over.Done()
	for i := len(live) - 1; i >= 0; i-- {
		live[i].stop()
		live[i].wait.Wait()
	}
	if err := context.Cause(over); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
