package httpapi_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// double is a Service that answers what a test says and remembers what it was asked.
type double struct {
	answer any   // of a method with one answer
	lines  []any // of a method that calls back, before err
	err    error
	hold   bool // streams wait for the end of their context after the lines
	crash  any  // panics with it

	command func(context.Context, workload.ExecRequest, workload.ExecStreams) (int, error) // that Exec runs

	mu    sync.Mutex
	asked []string // method and arguments, as text that can be compared
}

var _ workload.Service = (*double)(nil)

func (d *double) saw(method string, args ...any) {
	if d.crash != nil {
		panic(d.crash)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, fmt.Sprintf("%s%+v", method, args))
}

func (d *double) questions() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.asked...)
}

func reply[T any](d *double) (T, error) {
	var zero T
	if d.err != nil || d.answer == nil {
		return zero, d.err
	}
	return d.answer.(T), nil
}

func tell[T any](ctx context.Context, d *double, fn func(T) error) error {
	for _, line := range d.lines {
		if err := fn(line.(T)); err != nil {
			return err
		}
	}
	if d.hold {
		<-ctx.Done()
		return nil
	}
	return d.err
}

func (d *double) Info(context.Context) (workload.Info, error) {
	d.saw("Info")
	return reply[workload.Info](d)
}

func (d *double) Deploy(_ context.Context, req workload.DeployRequest) ([]workload.DeployResult, error) {
	d.saw("Deploy", req)
	return reply[[]workload.DeployResult](d)
}

func (d *double) List(context.Context) ([]workload.APIResponse, error) {
	d.saw("List")
	return reply[[]workload.APIResponse](d)
}

func (d *double) Get(_ context.Context, name string) (workload.APIResponse, error) {
	d.saw("Get", name)
	return reply[workload.APIResponse](d)
}

func (d *double) Version(_ context.Context, name, id string) (workload.APIResponse, error) {
	d.saw("Version", name, id)
	return reply[workload.APIResponse](d)
}

func (d *double) Describe(_ context.Context, name string) (workload.APIResponse, error) {
	d.saw("Describe", name)
	return reply[workload.APIResponse](d)
}

func (d *double) History(_ context.Context, name string) ([]workload.APIVersion, error) {
	d.saw("History", name)
	return reply[[]workload.APIVersion](d)
}

func (d *double) Rollback(_ context.Context, name, id string) (workload.DeployResult, error) {
	d.saw("Rollback", name, id)
	return reply[workload.DeployResult](d)
}

func (d *double) Refresh(_ context.Context, name string, force bool) (workload.Message, error) {
	d.saw("Refresh", name, force)
	return reply[workload.Message](d)
}

func (d *double) Stop(_ context.Context, name string) (workload.DeployResult, error) {
	d.saw("Stop", name)
	return reply[workload.DeployResult](d)
}

func (d *double) Start(_ context.Context, name string) (workload.DeployResult, error) {
	d.saw("Start", name)
	return reply[workload.DeployResult](d)
}

func (d *double) Resize(_ context.Context, name string, n int) (workload.DeployResult, error) {
	d.saw("Resize", name, n)
	return reply[workload.DeployResult](d)
}

func (d *double) Delete(_ context.Context, name string, opts workload.DeleteOptions) (workload.Message, error) {
	d.saw("Delete", name, opts)
	return reply[workload.Message](d)
}

func (d *double) Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	d.saw("Logs", q)
	return tell(ctx, d, fn)
}

func (d *double) Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	d.saw("Events", q)
	return tell(ctx, d, fn)
}

func (d *double) Series(_ context.Context, q workload.SeriesQuery) (workload.Series, error) {
	d.saw("Series", q)
	return reply[workload.Series](d)
}

func (d *double) Watch(ctx context.Context, q workload.WatchQuery, fn func(workload.Watched) error) error {
	d.saw("Watch", q)
	return tell(ctx, d, fn)
}

// Exec runs d.command, or answers at once.
func (d *double) Exec(ctx context.Context, req workload.ExecRequest, streams workload.ExecStreams) (int, error) {
	d.saw("Exec", req)
	if d.command != nil {
		return d.command(ctx, req, streams)
	}
	return reply[int](d)
}

func (d *double) Explain(_ context.Context, name string) (workload.Explanation, error) {
	d.saw("Explain", name)
	return reply[workload.Explanation](d)
}

// question is one call of the interface as data: the recorded exchanges carry
// it, so that clients in other languages ask the same.
type question struct {
	Op   string    `json:"op"`
	Args arguments `json:"args"`
}

type arguments struct {
	Name      string                  `json:"name,omitempty"`
	ID        string                  `json:"id,omitempty"`
	Force     bool                    `json:"force,omitempty"`
	KeepCache bool                    `json:"keep_cache,omitempty"`
	Deploy    *workload.DeployRequest `json:"deploy,omitempty"`
	Follow    bool                    `json:"follow,omitempty"`
	Since     workload.Duration       `json:"since,omitzero"`
	Tail      int                     `json:"tail,omitempty"`
	Previous  bool                    `json:"previous,omitempty"`
	Replica   string                  `json:"replica,omitempty"`
	Replicas  int                     `json:"replicas,omitempty"`
}

// ask puts q to s. The lines of a stream are its answer.
func ask(ctx context.Context, s workload.Service, q question) (any, error) {
	a := q.Args
	switch q.Op {
	case "info":
		return s.Info(ctx)
	case "deploy":
		return s.Deploy(ctx, *a.Deploy)
	case "list":
		return s.List(ctx)
	case "get":
		return s.Get(ctx, a.Name)
	case "version":
		return s.Version(ctx, a.Name, a.ID)
	case "describe":
		return s.Describe(ctx, a.Name)
	case "history":
		return s.History(ctx, a.Name)
	case "rollback":
		return s.Rollback(ctx, a.Name, a.ID)
	case "refresh":
		return s.Refresh(ctx, a.Name, a.Force)
	case "stop":
		return s.Stop(ctx, a.Name)
	case "start":
		return s.Start(ctx, a.Name)
	case "scale":
		return s.Resize(ctx, a.Name, a.Replicas)
	case "delete":
		return s.Delete(ctx, a.Name, workload.DeleteOptions{KeepCache: a.KeepCache})
	case "explain":
		return s.Explain(ctx, a.Name)
	case "series":
		return s.Series(ctx, workload.SeriesQuery{Name: a.Name, Since: time.Duration(a.Since)})
	case "logs":
		var lines []workload.LogLine
		err := s.Logs(ctx, workload.LogQuery{
			Name: a.Name, Follow: a.Follow, Since: time.Duration(a.Since), Tail: a.Tail, Previous: a.Previous, Replica: a.Replica,
		}, func(l workload.LogLine) error { lines = append(lines, l); return nil })
		return lines, err
	case "watch":
		var lines []workload.Watched
		err := s.Watch(ctx, workload.WatchQuery{After: a.ID}, func(w workload.Watched) error { lines = append(lines, w); return nil })
		return lines, err
	case "events":
		var events []workload.Event
		err := s.Events(ctx, workload.EventQuery{Name: a.Name, Follow: a.Follow, Since: time.Duration(a.Since)},
			func(e workload.Event) error { events = append(events, e); return nil })
		return events, err
	default:
		return nil, fmt.Errorf("there is no operation %q", q.Op)
	}
}
