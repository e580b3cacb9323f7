package lifecycle

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStagesStopInReverseOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var stopped []string
		part := func(name string, slow time.Duration) Task {
			return Task{name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(slow)
				mu.Lock()
				defer mu.Unlock()
				stopped = append(stopped, name)
				return ctx.Err()
			}}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := Run(ctx,
			[]Task{part("engine", time.Second)},
			[]Task{part("gateway", time.Hour)},
			[]Task{part("management", time.Second), part("autoscaler", 2*time.Second)},
		)
		// The deadline of the caller is an error of its own; an interrupt is none.
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run() = %v, want the deadline", err)
		}
		if diff := cmp.Diff([]string{"management", "autoscaler", "gateway", "engine"}, stopped); diff != "" {
			t.Errorf("order of stopping (-want +got):\n%s", diff)
		}
	})
}

func TestAFailingTaskStopsEverything(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"with an error", errors.New("no disk"), "store: no disk"},
		{"without one", nil, "store: ended before its time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			err := Run(t.Context(),
				[]Task{{"engine", func(ctx context.Context) error { <-ctx.Done(); close(ended); return nil }}},
				[]Task{{"store", func(context.Context) error { return tt.err }}},
			)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Run() = %v, want %s", err, tt.want)
			}
			<-ended
		})
	}
}

func TestAnInterruptIsNoError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, []Task{{"a", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}}); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
}
