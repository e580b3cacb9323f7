package autoscaler

import (
	"math"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
	"pgregory.net/rapid"
)

func drawSpec(t *rapid.T) workload.Autoscaling {
	low := rapid.Int32Range(0, 20).Draw(t, "min_replicas")
	period := func(name string) workload.Duration {
		return workload.Duration(time.Duration(rapid.IntRange(0, 40).Draw(t, name)) * 7 * time.Second)
	}
	return workload.Autoscaling{
		MinReplicas: low, MaxReplicas: max(low, 1) + rapid.Int32Range(0, 100).Draw(t, "max_replicas - min_replicas"),
		TargetInFlight:               rapid.Float64Range(0.1, 50).Draw(t, "target_in_flight"),
		Window:                       workload.Duration(time.Duration(rapid.IntRange(1, 12).Draw(t, "window/10s")) * DefaultTick),
		DownscaleStabilizationPeriod: period("downscale_stabilization_period/7s"),
		UpscaleStabilizationPeriod:   period("upscale_stabilization_period/7s"),
		MaxDownscaleFactor:           rapid.Float64Range(0, 0.99).Draw(t, "max_downscale_factor"),
		MaxUpscaleFactor:             rapid.Float64Range(1.01, 5).Draw(t, "max_upscale_factor"),
		DownscaleTolerance:           rapid.Float64Range(0, 0.5).Draw(t, "downscale_tolerance"),
		UpscaleTolerance:             rapid.Float64Range(0, 0.5).Draw(t, "upscale_tolerance"),
	}
}

// history drives a state through random loads and returns where it ends.
func history(t *rapid.T, spec workload.Autoscaling) (State, int, time.Time) {
	state, now := Start(DefaultTick, DefaultStart), DefaultStart
	requested := int(spec.InitReplicas)
	requested = min(max(requested, int(spec.MinReplicas)), int(spec.MaxReplicas))
	for _, load := range rapid.SliceOfN(rapid.Float64Range(0, 500), 0, 60).Draw(t, "past load") {
		now = now.Add(DefaultTick)
		state = state.Observe(load, now)
		var d Decision
		d, state = Decide(spec, state, requested, now)
		requested = d.Replicas
	}
	return state, requested, now.Add(DefaultTick)
}

func TestDecideStaysWithinBoundsAndFactors(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		state, was, now := history(t, spec)
		load := rapid.Float64Range(0, 1e9).Draw(t, "load")
		d, _ := Decide(spec, state.Observe(load, now), was, now)
		if d.Replicas < int(spec.MinReplicas) || d.Replicas > int(spec.MaxReplicas) {
			t.Fatalf("Decide(…) = %d, want within [%d, %d]", d.Replicas, spec.MinReplicas, spec.MaxReplicas)
		}
		if limit := max(float64(was+1), float64(was)*spec.MaxUpscaleFactor+1); float64(d.Replicas) > limit {
			t.Fatalf("Decide(…) = %d from %d, want at most %v (max_upscale_factor %v)", d.Replicas, was, limit, spec.MaxUpscaleFactor)
		}
		if floor := min(float64(was-1), float64(was)*spec.MaxDownscaleFactor-1e-6); float64(d.Replicas) < floor {
			t.Fatalf("Decide(…) = %d from %d, want at least %v (max_downscale_factor %v)", d.Replicas, was, floor, spec.MaxDownscaleFactor)
		}
		if len(d.Reasons) == 0 || !d.Known {
			t.Fatalf("Decide(…) says nothing of a load it has seen")
		}
	})
}

func TestDecideIsMonotoneInLoad(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		state, was, now := history(t, spec)
		less := rapid.Float64Range(0, 1000).Draw(t, "load")
		more := less + rapid.Float64Range(0, 1000).Draw(t, "additional load")
		a, _ := Decide(spec, state.Observe(less, now), was, now)
		b, _ := Decide(spec, state.Observe(more, now), was, now)
		if b.Replicas < a.Replicas {
			t.Fatalf("Decide with load %v = %d (%s), and with %v = %d (%s), want no less",
				less, a.Replicas, a.Reason(), more, b.Replicas, b.Reason())
		}
	})
}

func TestDecideDoesNotFlapUnderConstantLoad(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		state, requested, now := history(t, spec)
		load := rapid.Float64Range(0, 500).Draw(t, "constant load")
		// The window first forgets the past, then nothing but the direction of the
		// first change is allowed.
		settled := now.Add(Span(spec, DefaultTick))
		direction, quiet := 0, 0
		for range 4000 {
			var d Decision
			d, state = Decide(spec, state.Observe(load, now), requested, now)
			step := d.Replicas - requested
			requested = d.Replicas
			now = now.Add(DefaultTick)
			if !now.After(settled) {
				continue
			}
			if step == 0 {
				if quiet++; quiet > 60 {
					break
				}
				continue
			}
			quiet = 0
			if direction != 0 && (step > 0) != (direction > 0) {
				t.Fatalf("under a constant load of %v it went both ways: now %+d to %d (%s)", load, step, d.Replicas, d.Reason())
			}
			direction = step
		}
		if quiet <= 60 {
			t.Fatalf("under a constant load of %v it never came to rest; it is at %d", load, requested)
		}
		want := bounded(spec, ceil(load/spec.TargetInFlight), &Decision{})
		slack := max(spec.DownscaleTolerance, spec.UpscaleTolerance)*float64(max(want, requested)) + 1
		if math.Abs(float64(requested-want)) > slack {
			t.Fatalf("under a constant load of %v it rests at %d, want %d ± %v", load, requested, want, slack)
		}
	})
}

func TestDecideChangesNoState(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := drawSpec(t)
		state, was, now := history(t, spec)
		load := rapid.Float64Range(0, 500).Draw(t, "load")
		first, _ := Decide(spec, state.Observe(load, now), was, now)
		Decide(spec, state.Observe(load+300, now), was+1, now.Add(time.Hour))
		again, _ := Decide(spec, state.Observe(load, now), was, now)
		if first.Reason() != again.Reason() || first.Replicas != again.Replicas {
			t.Fatalf("the same question was answered with %d (%s), then with %d (%s)",
				first.Replicas, first.Reason(), again.Replicas, again.Reason())
		}
	})
}

func TestStateIsBounded(t *testing.T) {
	t.Parallel()
	spec := defaultSpec()
	spec.MaxReplicas, spec.MaxUpscaleFactor = math.MaxInt32, 1.0001
	spec.Window = workload.Duration(200 * 365 * 24 * time.Hour)
	spec.DownscaleStabilizationPeriod, spec.UpscaleStabilizationPeriod = spec.Window, spec.Window
	state, now := Start(DefaultTick, DefaultStart.Add(-time.Duration(spec.Window))), DefaultStart
	for i := range 1_500 {
		now = now.Add(DefaultTick)
		state = state.Observe(1e12, now)
		_, state = Decide(spec, state, 1+i, now) // somebody raises it at every tick
	}
	for i := range 1_500 {
		now = now.Add(DefaultTick)
		_, state = Decide(spec, state.Observe(0, now), 1_000_000-i, now)
	}
	if n := len(state.window); n > maxBuckets {
		t.Errorf("a long window is kept in %d buckets, want at most %d", n, maxBuckets)
	}
	if n := max(len(state.highest), len(state.lowest)); n > maxExtremes {
		t.Errorf("%d recommendations are kept, want at most %d", n, maxExtremes)
	}
	mean, ok := state.window.mean(DefaultStart)
	if !ok || math.Abs(mean-5e11) > 1e10 {
		t.Errorf("the mean of 1500 samples of 1e12 and as many of 0 is %v, want 5e11 within a fiftieth", mean)
	}
}

func TestDecideKeepsOneReplicaForAnyLoad(t *testing.T) {
	t.Parallel()
	spec := defaultSpec()
	spec.MinReplicas, spec.TargetInFlight, spec.DownscaleStabilizationPeriod = 0, 1e6, 0
	for load, want := range map[float64]int{0: 0, 1e-9: 1} {
		d, _ := Decide(spec, Start(DefaultTick, DefaultStart).Observe(load, DefaultStart.Add(time.Second)), 1, DefaultStart.Add(DefaultTick))
		if d.Replicas != want {
			t.Errorf("Decide(load %v, target 1e6) = %d, want %d", load, d.Replicas, want)
		}
	}
}

func TestObserveLeavesOutWhatIsNoLoad(t *testing.T) {
	t.Parallel()
	state := Start(DefaultTick, DefaultStart)
	for _, v := range []float64{math.NaN(), -1, math.Inf(-1)} {
		state = state.Observe(v, DefaultStart.Add(time.Second))
	}
	if _, known := state.window.mean(DefaultStart); known {
		t.Errorf("a load that is no number was taken for one")
	}
	d, _ := Decide(defaultSpec(), state.Observe(math.Inf(1), DefaultStart.Add(time.Second)), 10, DefaultStart.Add(DefaultTick))
	if d.Replicas != 10 || !d.Known {
		t.Errorf("Decide(infinite load, just started) = %d, want 10", d.Replicas)
	}
}
