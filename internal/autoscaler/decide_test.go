package autoscaler

import (
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestReasons(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*workload.Autoscaling)
		tick   time.Duration
		want   string
	}{
		{name: "nothing bends a number that fits", tick: DefaultTick, want: "1 in flight on average over 1m, target 1 per replica: 1, so 1 replica"},
		{
			name: "nor one that is the bound", tick: DefaultTick, change: func(s *workload.Autoscaling) { s.MaxReplicas = 1 },
			want: "1 in flight on average over 1m, target 1 per replica: 1, so 1 replica",
		},
		{
			name: "no target", tick: DefaultTick, change: func(s *workload.Autoscaling) { s.TargetInFlight = 0 },
			want: "target_in_flight is not a positive number",
		},
		{
			name: "less than a second", tick: MinTick, change: func(s *workload.Autoscaling) { s.Window = workload.Duration(DefaultTick) },
			want: "1 in flight on average over 100ms, target 1 per replica: 1, so 1 replica",
		},
	} {
		spec := defaultSpec()
		if tt.change != nil {
			tt.change(&spec)
		}
		d, _ := Decide(spec, Start(tt.tick, noon).Observe(1, noon), 1, noon)
		if d.Changed || d.Reason() != tt.want {
			t.Errorf("%s: Decide(…) = %+v, want no change because %q", tt.name, d, tt.want)
		}
	}
}

// Of 11,000 replicas a tenth more is 12,100, although 11000 × 1.1 is a little more.
func TestManyReplicasAreRoundedRight(t *testing.T) {
	t.Parallel()
	spec := defaultSpec()
	spec.MaxReplicas, spec.MaxUpscaleFactor, spec.UpscaleStabilizationPeriod = 1_000_000, 1.1, 0
	if d, _ := Decide(spec, Start(DefaultTick, noon).Observe(1e6, noon), 11_000, noon); d.Replicas != 12_100 {
		t.Errorf("Decide(…) = %d, want 12100", d.Replicas)
	}
}

// A state is a value: what is observed or decided after it does not change it.
func TestAStateStaysAsItIs(t *testing.T) {
	t.Parallel()
	later := noon.Add(50 * time.Second)
	state := Start(DefaultTick, noon).Observe(1, noon).Observe(3, later)
	state.Observe(100, later)
	Decide(defaultSpec(), state, 1, noon.Add(90*time.Second)) // forgets the first
	if d, _ := Decide(defaultSpec(), state, 1, later); d.InFlight != 2 {
		t.Errorf("Decide(…) saw %v in flight, want 2", d.InFlight)
	}
}
