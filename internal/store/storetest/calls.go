package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

func callsSince(t *testing.T, s store.Calls, since time.Time) (all []workload.Calls) {
	t.Helper()
	if err := s.EachCalls(t.Context(), "", since, func(c workload.Calls) error { all = append(all, c); return nil }); err != nil {
		t.Fatalf("EachCalls(%s) = %v", since, err)
	}
	return all
}

// testCalls holds what counts calls to its promises.
func testCalls(t *testing.T, s store.Calls) {
	noon := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	of := func(hour time.Time, api, caller string, n int64) workload.Calls {
		return workload.Calls{Hour: hour, API: api, Caller: caller, CallCounts: workload.CallCounts{
			Requests: n, Succeeded: n, ClientErrors: n, ServerErrors: n, Broken: n, Limited: n, Seconds: float64(n) / 2,
		}}
	}
	add := func(more ...workload.Calls) {
		t.Helper()
		if err := s.AddCalls(t.Context(), more, noon); err != nil {
			t.Fatalf("AddCalls() = %v", err)
		}
	}
	if got := callsSince(t, s, time.Time{}); len(got) > 0 {
		t.Errorf("at first there are %v, want none", got)
	}
	add(of(noon, "iris", "bob", 1), of(noon, "iris", "alice", 2), of(noon.Add(-time.Hour), "lily", "alice", 3))
	add(of(noon, "iris", "bob", 4))
	want := []workload.Calls{of(noon, "iris", "alice", 2), of(noon, "iris", "bob", 5), of(noon.Add(-time.Hour), "lily", "alice", 3)}
	if diff := cmp.Diff(want, callsSince(t, s, time.Time{})); diff != "" {
		t.Errorf("what is kept (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[:2], callsSince(t, s, noon)); diff != "" {
		t.Errorf("since noon (-want +got):\n%s", diff)
	}
	var ofLily []workload.Calls
	if err := s.EachCalls(t.Context(), "lily", time.Time{}, func(c workload.Calls) error { ofLily = append(ofLily, c); return nil }); err != nil || !cmp.Equal(ofLily, want[2:]) {
		t.Errorf("of lily there are %v, %v; want %v", ofLily, err, want[2:])
	}
	failed := errors.New("enough")
	if err := s.EachCalls(t.Context(), "", noon, func(workload.Calls) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("EachCalls() = %v, want what its function returned", err)
	}

	old := noon.Add(-workload.CallsKept)
	add(of(old.Add(-time.Hour), "old", "bob", 1), of(old, "kept", "bob", 1))
	if got := callsSince(t, s, time.Time{}); len(got) != 4 || got[2].API != "kept" {
		t.Errorf("what is too old is kept: %v", got)
	}

	var all sync.WaitGroup // many at once
	for range 8 {
		all.Go(func() {
			for range 10 {
				if err := s.AddCalls(context.WithoutCancel(t.Context()), []workload.Calls{of(noon, "busy", "bob", 1)}, noon); err != nil {
					t.Errorf("AddCalls() = %v", err)
				}
			}
		})
	}
	all.Wait()
	for _, c := range callsSince(t, s, noon) {
		if c.API == "busy" && c.Requests != 80 {
			t.Errorf("80 additions at once come to %d", c.Requests)
		}
	}
}
