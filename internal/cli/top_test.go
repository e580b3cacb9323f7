package cli

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/workload"
)

// leaving is an environment that goes away after each line, and is away for some seconds.
type leaving struct {
	workload.Service
	asked []string
}

func (s *leaving) Watch(_ context.Context, q workload.WatchQuery, fn func(workload.Watched) error) error {
	s.asked = append(s.asked, q.After)
	switch len(s.asked) {
	case 1, 4:
		return errors.Join(fn(workload.Watched{ID: "e-" + string(rune('0'+len(s.asked))), Snapshot: true}), errors.New("cut off"))
	default:
		return errors.New("nobody answers")
	}
}

// A restart of the environment is said, outlived, and taken up where the stream was.
func TestTopOutlivesTheEnvironment(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &leaving{}
		l := &live{t: &target{Service: svc}, changes: make(chan func())}
		l.model.Env = "local"
		var ctx context.Context
		ctx, l.end = context.WithCancelCause(t.Context())
		l.work(func() error { return l.watch(ctx) })
		start := time.Now().Format(time.TimeOnly)
		var said []string
		for range 6 {
			change := <-l.changes
			change()
			first := strings.Fields(l.model.Render(80, 24, time.Now(), (&app{}).topPaint())[0])
			said = append(said, strings.Join(first[:min(5, len(first))], " "))
		}
		l.end(nil)
		l.workers.Wait()
		away, back := "local is away since "+start+":", "local 0 APIs by trouble"
		later := "local is away since " + time.Now().Format(time.TimeOnly) + ":"
		if diff := cmp.Diff([]string{back, away, away, away, back, later}, said); diff != "" {
			t.Errorf("the first lines of the screen (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"", "e-1", "e-1", "e-1"}, svc.asked); diff != "" {
			t.Errorf("asked for what comes after (-want +got):\n%s", diff)
		}
	})
}

// A panic beside the screen ends it in order: the terminal is given back before it is told.
func TestTopGivesTheTerminalBackAfterAPanic(t *testing.T) {
	t.Parallel()
	l := &live{}
	var ctx context.Context
	ctx, l.end = context.WithCancelCause(t.Context())
	l.work(func() error { panic("beside") })
	<-ctx.Done()
	l.workers.Wait()
	if err := context.Cause(ctx); err == nil || !strings.HasPrefix(err.Error(), "panic: beside\n") {
		t.Errorf("the cause of the end is %v, want the panic", err)
	}
}
