package cli

import (
	"slices"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

func TestRates(t *testing.T) {
	t.Parallel()
	r := rates{}
	for _, look := range []struct {
		after   time.Duration
		traffic *workload.Traffic
		want    []string
	}{
		{0, &workload.Traffic{InFlight: 3, Requests: 100, Seconds: 10}, []string{"3", "-", "-"}},
		{2 * time.Second, &workload.Traffic{InFlight: 4, Requests: 105, Seconds: 10.06}, []string{"4", "2.5", "12 ms"}},
		{4 * time.Second, &workload.Traffic{Requests: 105, Seconds: 10.06}, []string{"0", "0.0", "-"}},
		{6 * time.Second, &workload.Traffic{Requests: 106, Seconds: 11.3}, []string{"0", "0.5", "1.24 s"}},
		{8 * time.Second, nil, []string{"-", "-", "-"}},
		{10 * time.Second, &workload.Traffic{Requests: 2, Seconds: 1}, []string{"0", "-", "-"}}, // restarted
	} {
		api := workload.APIResponse{Metadata: &workload.Metadata{Name: "iris"}, Status: &workload.Status{Traffic: look.traffic}}
		if got := r.columns("local", api, time.Unix(1000, 0).Add(look.after)); !slices.Equal(got, look.want) {
			t.Errorf("after %v: columns() = %q, want %q", look.after, got, look.want)
		}
	}
}
