package autoscaler

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

func TestAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		queued, running int
		service, target time.Duration
		want            float64
	}{
		{0, 0, time.Second, time.Minute, 0},
		{500, 0, 5 * time.Second, 30 * time.Second, 500. / 6},
		{100, 84, 5 * time.Second, 30 * time.Second, 84}, // who runs does it in time
		{0, 3, 5 * time.Second, 30 * time.Second, 3},
		{10, 4, 30 * time.Second, 30 * time.Second, 10},
		{10, 0, time.Minute, 30 * time.Second, 10}, // each for itself: none is done within the target
		{10, 4, time.Minute, 30 * time.Second, 12}, // but two of those who run are
	} {
		b := workload.Backlog{Queued: tt.queued, Running: tt.running, Service: tt.service}
		if got := AtOnce(b, tt.target); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("AtOnce(%+v, %s) = %v, want %v", b, tt.target, got, tt.want)
		}
	}
}

// What is queued is acted upon at once; until it is known how long an item takes, the
// load in flight is.
func TestTargetQueueTime(t *testing.T) {
	t.Parallel()
	spec := workload.NewAutoscaling(0)
	spec.MaxReplicas, spec.TargetInFlight, spec.TargetQueueTime = 1000, 2, workload.Duration(30*time.Second)
	s := Start(DefaultTick, DefaultStart).Observe(500, DefaultStart.Add(time.Second)).ObserveBacklog(workload.Backlog{Queued: 500, Service: 5 * time.Second})
	d, _ := Decide(*spec, s, 1, DefaultStart.Add(time.Second))
	if d.Replicas != 42 || !strings.HasPrefix(d.Reason(), "500 queued and 0 running, 5s each, target_queue_time 30s: 83.33 at once, target 2 per replica: 41.67, so 42 replicas") {
		t.Errorf("Decide() = %d: %s; want 42", d.Replicas, d.Reason())
	}
	d, _ = Decide(*spec, s.ObserveBacklog(workload.Backlog{Queued: 500}), 1, DefaultStart.Add(time.Second))
	if d.Replicas != 1 || !strings.Contains(d.Reason(), "500 in flight on average") {
		t.Errorf("Decide() = %d: %s; want what is in flight to count", d.Replicas, d.Reason())
	}
}

// Bursts of 500 items of 5 s each: 95 % begin within one and a half times the target, for
// at most 15 % more than the least that any constant number of replicas would cost that
// begins them in that time, each of them leaving when there is nothing more for it to do.
func TestBursts(t *testing.T) {
	t.Parallel()
	const burst, service, target, start = 500, 5 * time.Second, 30 * time.Second, 5 * time.Second
	spec := workload.Spec{
		Name: "iris", Kind: workload.Async, Pod: &workload.Pod{MaxConcurrency: 1}, Async: workload.NewAsynchronous(), Autoscaling: workload.NewAutoscaling(0),
	}
	a := spec.Autoscaling
	a.MinReplicas, a.MaxReplicas, a.InitReplicas, a.TargetInFlight, a.TargetQueueTime = 0, 1000, 0, 1, workload.Duration(target)
	a.DownscaleStabilizationPeriod, a.MaxDownscaleFactor, a.DownscaleTolerance = 0, 0, 0

	least := math.Inf(1)
	for n := 1; n <= burst; n++ {
		last := burst*95/100 - 1 // the 95th percentile begins after the waves before it
		if wait := start + time.Duration(last/n)*service; wait <= target*3/2 {
			least = min(least, float64(n)*start.Seconds()+burst*service.Seconds())
		}
	}
	// The warming up, with which it is learned what an item takes, is measured alone.
	run := func(bursts int) Summary {
		trace := "time,items\n0,20\n"
		for i := range bursts {
			trace += fmt.Sprintf("%d,%d\n", 600+i*300, burst)
		}
		trace += "3000,0\n3001,0\n"
		parsed, err := ParseTrace("bursts.csv", strings.NewReader(trace))
		if err != nil {
			t.Fatal(err)
		}
		r, err := Simulate(spec, parsed, SimulateOptions{Latency: service, ColdStart: start, AtZero: true})
		if err != nil {
			t.Fatal(err)
		}
		return r.Summary
	}
	warm, got := run(0), run(5)
	if got.Answered != got.Requests || got.Dropped > 0 {
		t.Fatalf("%+v, want all to be done", got)
	}
	cost := (got.ReplicaSeconds - warm.ReplicaSeconds) / 5
	t.Logf("p95 %.1f s, %.0f replica-seconds for each burst, the least being %.0f: %.3f", got.P95Wait, cost, least, cost/least)
	if got.P95Wait > 1.5*target.Seconds() {
		t.Errorf("95 %% began within %.1f s, want at most %.0f s", got.P95Wait, 1.5*target.Seconds())
	}
	if cost > 1.15*least {
		t.Errorf("a burst costs %.0f replica-seconds, want at most 1.15 × %.0f", cost, least)
	}
}
