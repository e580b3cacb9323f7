package operator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

func TestCalls(t *testing.T) {
	t.Parallel()
	kept, err := bolt.Open(t.Context(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kept.Close() })
	now := time.Date(2026, 12, 1, 12, 30, 0, 0, time.UTC)
	of := func(ago time.Duration, api, caller string, n int64) workload.Calls {
		return workload.Calls{Hour: now.Add(-ago).Truncate(time.Hour), API: api, Caller: caller, CallCounts: workload.CallCounts{Requests: n}}
	}
	all := []workload.Calls{of(2*time.Hour, "iris", "bob", 1), of(0, "iris", "alice", 2), of(0, "iris", "bob", 3), of(time.Hour, "lily", "alice", 4)}
	if err := kept.AddCalls(t.Context(), all, now); err != nil {
		t.Fatal(err)
	}
	o := &Operator{calls: kept, now: func() time.Time { return now }}
	for name, tt := range map[string]struct {
		q    workload.CallsQuery
		want []workload.Calls
	}{
		"all":                {workload.CallsQuery{}, all},
		"of an API":          {workload.CallsQuery{API: "lily"}, all[3:]},
		"of a caller":        {workload.CallsQuery{Caller: "bob"}, []workload.Calls{all[0], all[2]}},
		"within an hour":     {workload.CallsQuery{Since: time.Hour}, all[1:]},
		"of nobody":          {workload.CallsQuery{API: "iris", Caller: "carol"}, nil},
		"of what is not one": {workload.CallsQuery{API: "iri"}, nil},
	} {
		got, err := o.Calls(t.Context(), tt.q)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	if got, err := (&Operator{}).Calls(t.Context(), workload.CallsQuery{}); got != nil || err != nil {
		t.Errorf("where nothing is counted: %v, %v", got, err)
	}
}
