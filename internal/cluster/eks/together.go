package eks

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// together does some things at the same time and returns what went wrong, all of it as one
// fault, in the order in which they were given.
func together(tasks ...func() error) error {
	errs := make([]error, len(tasks))
	var wg sync.WaitGroup
	for i, task := range tasks {
		wg.Go(func() { errs[i] = task() })
	}
	wg.Wait()
	return oneFault(errs...)
}

// oneFault joins errors into one fault, each once: the first gives its kind and its code.
func oneFault(errs ...error) error {
	var lines, hints []string
	var first *fault.Fault
	for _, err := range errs {
		if err == nil {
			continue
		}
		if errors.Is(err, context.Canceled) {
			return err
		}
		f := fault.From(err)
		if first == nil {
			first = f
		}
		if !slices.Contains(lines, f.Message) {
			lines = append(lines, f.Message)
		}
		if f.Hint != "" && !slices.Contains(hints, f.Hint) {
			hints = append(hints, f.Hint)
		}
	}
	if first == nil {
		return nil
	}
	all := fault.New(first.Kind, first.Code, "%s", strings.Join(lines, "\n"))
	if len(hints) > 0 {
		return all.WithHint("%s", strings.Join(hints, "\n      "))
	}
	return all
}

// pause waits, or returns the error of ctx when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
