package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

func events(t *testing.T, s store.Store, q workload.EventQuery) []workload.Event {
	t.Helper()
	var got []workload.Event
	err := s.Events(within(t), q, func(e workload.Event) error {
		got = append(got, e)
		return nil
	})
	if err != nil {
		t.Fatalf("Events(%+v) = %v", q, err)
	}
	return got
}

func mustRecord(t *testing.T, s store.Store, e workload.Event) workload.Event {
	t.Helper()
	if err := s.Record(t.Context(), e); err != nil {
		t.Fatalf("Record(%+v) = %v", e, err)
	}
	return e
}

func sampleEvent(name string, at time.Time, n int) workload.Event {
	return workload.Event{
		Time: at.UTC().Truncate(0), API: name, Kind: workload.Realtime, Type: "normal", Reason: "ScaledUp",
		Message: fmt.Sprintf("%d", n), Replica: "r1",
	}
}

func testEvents(t *testing.T, s store.Store) {
	if got := events(t, s, workload.EventQuery{}); len(got) != 0 {
		t.Errorf("Events() of nothing = %v, want none", got)
	}
	now := time.Now().UTC().Round(0)
	late := mustRecord(t, s, sampleEvent("a", now, 1))
	early := mustRecord(t, s, sampleEvent("a", now.Add(-time.Second), 2))
	other := mustRecord(t, s, sampleEvent("b", now.Add(-time.Minute), 3))
	for _, tt := range []struct {
		query workload.EventQuery
		want  []workload.Event
	}{
		{workload.EventQuery{}, []workload.Event{other, early, late}},
		{workload.EventQuery{Name: "a"}, []workload.Event{early, late}},
		{workload.EventQuery{Name: "b"}, []workload.Event{other}},
		{workload.EventQuery{Name: "c"}, nil},
		{workload.EventQuery{Name: "*"}, nil},
		{workload.EventQuery{Name: ">"}, nil},
	} {
		if diff := cmp.Diff(tt.want, events(t, s, tt.query)); diff != "" {
			t.Errorf("Events(%+v) differ (-want +got):\n%s", tt.query, diff)
		}
	}
}

func testEventsBounded(t *testing.T, s store.Store) {
	now := time.Now()
	mustRecord(t, s, sampleEvent("quiet", now, 0))
	const n = store.MaxEvents + 10
	for i := range n {
		mustRecord(t, s, sampleEvent("noisy", now.Add(time.Duration(i)), i))
	}
	got := events(t, s, workload.EventQuery{Name: "noisy"})
	if len(got) != store.MaxEvents {
		t.Fatalf("Events(noisy) = %d, want %d", len(got), store.MaxEvents)
	}
	if first := got[0].Message; first != "10" {
		t.Errorf("Events(noisy) begins with %s, want 10: the oldest go first", first)
	}
	if got := events(t, s, workload.EventQuery{Name: "quiet"}); len(got) != 1 {
		t.Errorf("Events(quiet) = %d, want 1: the noise of another must not drop it", len(got))
	}
}

func testEventsSince(t *testing.T, s store.Store) {
	now := time.Now()
	mustRecord(t, s, sampleEvent("a", now.Add(-2*time.Hour), 1))
	mustRecord(t, s, sampleEvent("a", now.Add(-time.Minute), 2))
	got := events(t, s, workload.EventQuery{Name: "a", Since: time.Hour})
	if len(got) != 1 || got[0].Message != "2" {
		t.Errorf("Events(since an hour) = %v, want the one of a minute ago", got)
	}
}

func testEventsFollow(t *testing.T, s store.Store) {
	const n = 50
	now := time.Now()
	mustRecord(t, s, sampleEvent("a", now, 0))
	mustRecord(t, s, sampleEvent("b", now, 0))
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	got, done := make(chan workload.Event), make(chan error, 1)
	go func() {
		done <- s.Events(ctx, workload.EventQuery{Name: "a", Follow: true}, func(e workload.Event) error {
			got <- e
			return nil
		})
	}()
	for i := range n {
		select {
		case e := <-got:
			if e.API != "a" || e.Message != fmt.Sprint(i) {
				t.Fatalf("Events(a) told %+v, want number %d of a", e, i)
			}
		case <-ctx.Done():
			t.Fatalf("Events(a) told nothing after %d", i)
		}
		mustRecord(t, s, sampleEvent("b", now, i+1))
		if i < n-1 {
			mustRecord(t, s, sampleEvent("a", now, i+1))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Events(follow) = %v after its context ended, want nil", err)
	}
}

func testEventsError(t *testing.T, s store.Store) {
	mine := errors.New("mine")
	mustRecord(t, s, sampleEvent("a", time.Now(), 1))
	if err := s.Events(within(t), workload.EventQuery{}, func(workload.Event) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("Events() = %v, want the error of fn", err)
	}
	first, recorded := true, make(chan error, 1)
	err := s.Events(within(t), workload.EventQuery{Follow: true}, func(workload.Event) error {
		if first {
			first = false
			go func() { recorded <- s.Record(t.Context(), sampleEvent("a", time.Now(), 2)) }()
			return nil
		}
		return mine
	})
	if !errors.Is(err, mine) {
		t.Fatalf("Events(follow) = %v, want the error of fn", err)
	}
	// It may be told before it is acknowledged.
	if err := <-recorded; err != nil {
		t.Errorf("Record() = %v", err)
	}
}
