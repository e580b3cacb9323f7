package autoscaler

import (
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// office has two replicas at least on working days from 8 to 18 o'clock in Berlin.
func office() workload.Autoscaling {
	spec := defaultSpec()
	spec.MinReplicas, spec.MaxReplicas = 0, 5
	spec.Floors = []workload.Floor{{Cron: "0 8 * * mon-fri", Timezone: "Europe/Berlin", For: workload.Duration(10 * time.Hour), MinReplicas: 2}}
	return spec
}

func TestAFloorIsAMinimumForATime(t *testing.T) {
	t.Parallel()
	monday := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name      string
		at        time.Duration // since Monday in UTC
		observed  float64       // below 0: nothing is known
		requested int
		want      int
		reason    string
	}{
		{"before it", 7*time.Hour - time.Second, 0, 0, 0, "so 0 replicas"},
		{"from its first moment", 7 * time.Hour, 0, 0, 2, "the floor 0 8 * * mon-fri (Europe/Berlin) for 10h is 2"},
		{"where nothing is known of the load", 7 * time.Hour, -1, 0, 2, "the floor 0 8 * * mon-fri"},
		{"to its last", 17*time.Hour - time.Second, 0, 1, 2, "the floor"},
		{"not after it", 17 * time.Hour, 0, 1, 1, ""},
		{"not on a Sunday", 8*time.Hour - 24*time.Hour, 0, 0, 0, ""},
		{"the load asks for more", 8 * time.Hour, 4, 3, 4, "so 4 replicas"},
	} {
		now := monday.Add(tt.at)
		state := Start(DefaultTick, now.Add(-time.Hour))
		if tt.observed >= 0 {
			state = state.Observe(tt.observed, now)
		}
		spec := office()
		spec.DownscaleStabilizationPeriod = workload.Duration(2 * time.Hour)
		d, _ := Decide(spec, state, tt.requested, now)
		if d.Replicas != tt.want || !strings.Contains(d.Reason(), tt.reason) {
			t.Errorf("%s: Decide() = %d because %s; want %d because %q", tt.name, d.Replicas, d.Reason(), tt.want, tt.reason)
		}
	}
}

func TestOfSeveralFloorsTheHighestCounts(t *testing.T) {
	t.Parallel()
	spec := office()
	hour := func(n int32) workload.Floor {
		return workload.Floor{Cron: "@hourly", For: workload.Duration(time.Hour), MinReplicas: n}
	}
	spec.Floors = []workload.Floor{hour(1), hour(3), hour(2), hour(9)}
	if n, floor := spec.Least(noon); n != 5 || floor.MinReplicas != 9 {
		t.Errorf("Least() = %d by %v, want max_replicas, by the highest", n, floor)
	}
}

// What the rules say live they say in a simulation.
func TestSimulateHasFloors(t *testing.T) {
	t.Parallel()
	spec := simulated(office(), 1, 10)
	trace := parsed(t, "time,rps\n0,0\n7200,0\n")
	for at, want := range map[string]int{"2026-01-05T06:00:00Z": 2, "2026-01-04T06:00:00Z": 0} {
		start, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		result := run(t, spec, trace, SimulateOptions{Start: start, AtZero: true, Latency: time.Second, ColdStart: time.Second})
		if got := result.Summary.MostReplicas; got != want {
			t.Errorf("from %s there are %d replicas at most, want %d", at, got, want)
		}
		if want > 0 && (len(result.Changes) == 0 || !strings.Contains(result.Changes[0].Reason, "the floor") || result.Changes[0].Seconds != 3600) {
			t.Errorf("changes = %+v, want the floor after an hour", result.Changes)
		}
	}
}
