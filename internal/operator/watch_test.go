package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// watcher follows the stream of an operator in the background.
type watcher struct {
	lines chan workload.Watched
	end   func() error
}

func watch(t *testing.T, o *Operator, after string) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{lines: make(chan workload.Watched)}
	done := make(chan error, 1)
	go func() {
		done <- o.Watch(ctx, workload.WatchQuery{After: after}, func(l workload.Watched) error {
			select {
			case w.lines <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	w.end = func() error { cancel(); return <-done }
	t.Cleanup(cancel)
	return w
}

// next is the next line of which ok holds; those before are left out.
func (w *watcher) next(t *testing.T, what string, ok func(workload.Watched) bool) workload.Watched {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case l := <-w.lines:
			if ok(l) {
				return l
			}
		case <-deadline:
			t.Fatalf("not within a minute: a line %s", what)
		}
	}
}

func names(l workload.Watched) string {
	var words []string
	for _, a := range l.APIs {
		words = append(words, a.Name)
	}
	for _, name := range l.Gone {
		words = append(words, "-"+name)
	}
	return fmt.Sprintf("%v %s", l.Snapshot, strings.Join(words, " "))
}

const another = `
- name: rose
  kind: RealtimeAPI
  pod:
    containers:
      - name: api
        command: [python3, server.py]
`

// What there is comes first, and then changes only: of status, of events, of what is new
// and of what has gone. Who comes back is told what they missed.
func TestWatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.deploy(strings.ReplaceAll(another, "rose", "iris"))
	first := watch(t, w.Operator, "")
	snapshot := first.next(t, "with everything", func(workload.Watched) bool { return true })
	if got := names(snapshot); got != "true iris" {
		t.Errorf("the first line has %q, want %q", got, "true iris")
	}
	if a := snapshot.APIs[0]; a.Kind != workload.Realtime || a.Endpoint != "http://localhost:8888/iris" || a.Status == nil || a.Status.Requested != 1 {
		t.Errorf("the first line says %+v of iris, want its kind, endpoint and status", a)
	}
	first.next(t, "with the deploy of iris", func(l workload.Watched) bool {
		return len(l.APIs) == 1 && l.APIs[0].LastEvent != nil && l.APIs[0].LastEvent.API == "iris"
	})
	w.deploy(another)
	line := first.next(t, "with rose", func(l workload.Watched) bool { return strings.Contains(names(l), "rose") })
	if got := names(line); got != "false rose" {
		t.Errorf("a deploy of rose is told as %q, want it alone", got)
	}
	if err := first.end(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Watch() = %v at its end, want nil", err)
	}

	if _, err := w.Delete(t.Context(), "iris", workload.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "iris is gone", func() bool { list, _ := w.cache.workloads(); return len(list) == 1 })
	for _, tt := range []struct{ name, after, want string }{
		{"nothing is known", "", "true rose"},
		{"of another process", "0123abcd-7", "true rose"},
		{"no line of ours", "nonsense", "true rose"},
		{"of the future", w.watches.epoch + "-999999", "true rose"},
		{"iris was there", line.ID, "-iris"},
	} {
		w.watches.mu.Lock()
		w.watches.looked = time.Time{} // what was computed a moment ago may have iris
		w.watches.mu.Unlock()
		again := watch(t, w.Operator, tt.after)
		got := names(again.next(t, "at all", func(workload.Watched) bool { return true }))
		if got != tt.want && (tt.name != "iris was there" || !strings.HasPrefix(got, "false ") || !strings.HasSuffix(got, tt.want)) {
			t.Errorf("%s: the first line is %q, want %q", tt.name, got, tt.want)
		}
		if err := again.end(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("Watch() = %v at its end, want nil", err)
		}
	}
}

// A reader that takes its time is told once of what changed often, and what nobody has
// heard of comes and goes untold.
func TestWatchQueuesNothing(t *testing.T) {
	t.Parallel()
	w := newWatches()
	api := func(name string, ready int) workload.WatchedAPI {
		return workload.WatchedAPI{Metadata: workload.Metadata{Name: name}, Status: &workload.Status{Ready: ready}}
	}
	w.set(api("a", 0))
	known := w.after("").ID
	for i := range 1000 {
		w.set(api("a", i))
		w.set(api("b", i))
	}
	w.remove("b")
	if line := w.after(known); len(line.APIs) != 1 || line.APIs[0].Status.Ready != 999 {
		t.Errorf("after a thousand changes the line is %+v, want the last state of a", line)
	}
	known = w.after("").ID
	w.set(api("a", 999))
	if line := w.after(known); line.ID != known || len(line.APIs) != 0 {
		t.Errorf("after no change the line is %+v, want none and the same id", line)
	}
	for i := range maxGone + 1 {
		name := fmt.Sprintf("old-%d", i)
		w.set(api(name, 0))
		w.remove(name)
	}
	if line := w.after(known); !line.Snapshot || len(w.gone) != maxGone {
		t.Errorf("of more deletions than are remembered the line is a snapshot: %v, with %d remembered; want one, and %d", line.Snapshot, len(w.gone), maxGone)
	}
}

func TestWatchIsBounded(t *testing.T) {
	t.Parallel()
	w := newWatches()
	var leave []func()
	for i := range maxWatches {
		l, err := w.enter(fmt.Sprintf("arn-%d", i/maxWatchesEach))
		if err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		leave = append(leave, l)
	}
	if _, err := w.enter("another"); fault.Code(err) != workload.CodeTooManyWatches {
		t.Errorf("one more than there can be: %v, want %s", err, workload.CodeTooManyWatches)
	}
	leave[maxWatches-1]()
	if _, err := w.enter("arn-0"); fault.Code(err) != workload.CodeTooManyWatches {
		t.Errorf("one more than a caller can have: %v, want %s", err, workload.CodeTooManyWatches)
	}
	if _, err := w.enter("another"); err != nil {
		t.Errorf("after one has left: %v", err)
	}
}

// Rates are of the last seconds, and none where the count has begun anew.
func TestWatchedRates(t *testing.T) {
	t.Parallel()
	w := newWatches()
	start := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		second   int
		requests uint64
		took     float64
		want     *workload.Rates
	}{
		{0, 100, 10, nil},
		{1, 110, 11, &workload.Rates{Requests: 10, Latency: 0.1}},
		{5, 200, 60, &workload.Rates{Requests: 20, Latency: 0.5}},
		{6, 200, 60, &workload.Rates{Requests: 18, Latency: 49.0 / 90}}, // since second 1
		{11, 200, 60, &workload.Rates{}},
		{12, 3, 1, nil},  // restarted
		{60, 90, 9, nil}, // nobody watched
		{61, 91, 9, &workload.Rates{Requests: 1}},
	} {
		got := w.rates("iris", measured{start.Add(time.Duration(tt.second) * time.Second), workload.Traffic{Requests: tt.requests, Seconds: tt.took}, workload.Took{}})
		if (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("rates() after %ds = %+v, want %+v", tt.second, got, tt.want)
		}
	}
}

// A hundred who watch cost one computation, and nobody none.
func TestWatchComputesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked atomic.Int32
	o := operatorWith(t, Config{Store: w.store, Engine: w.feed, Traffic: func(string) (workload.Traffic, bool) {
		asked.Add(1)
		return workload.Traffic{}, true
	}, Now: func() time.Time { return time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC) }})
	w.deploy(another)
	for range 20 {
		if err := o.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := asked.Load(); got != 1 {
		t.Errorf("of 20 looks at one moment %d computed something, want 1", got)
	}
}
