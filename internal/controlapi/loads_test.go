package controlapi

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/workload"
)

// clock is a time that a test sets while a server reads it.
type clock struct{ passed atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).Add(time.Duration(c.passed.Load()))
}

func (c *clock) pass(d time.Duration) { c.passed.Add(int64(d)) }

func newClock() *clock { return &clock{} }

func reportOf(gateway string, samples ...loadSample) loadReport {
	return loadReport{Gateway: gateway, Samples: samples}
}

func TestLoadsAddUpWhatGatewaysSay(t *testing.T) {
	t.Parallel()
	type said struct {
		after  time.Duration // the one before
		report loadReport
	}
	iris := func(n float64) loadSample { return loadSample{Name: "iris", InFlight: n} }
	other := func(n float64) loadSample { return loadSample{Name: "other", InFlight: n} }
	for _, tt := range []struct {
		name string
		said []said
		then time.Duration // until the samples are taken
		want []autoscaler.Sample
	}{
		{name: "nobody has said anything", then: time.Hour, want: []autoscaler.Sample{}},
		{name: "in the first seconds nothing is known", said: []said{{0, reportOf("a", iris(4))}}, then: silence - time.Second},
		{
			name: "the sum of two gateways", want: []autoscaler.Sample{{Name: "iris", InFlight: 6}, {Name: "other", InFlight: 0}},
			said: []said{{silence, reportOf("a", iris(4), other(0))}, {time.Second, reportOf("b", iris(2))}}, then: time.Second,
		},
		{
			name: "the newest report of a gateway", want: []autoscaler.Sample{{Name: "iris", InFlight: 1}},
			said: []said{{silence, reportOf("a", iris(4))}, {time.Second, reportOf("a", iris(1))}},
		},
		{
			name: "an API that a gateway says nothing of any more is unknown",
			said: []said{{silence, reportOf("a", iris(4))}, {time.Second, reportOf("a")}}, want: []autoscaler.Sample{},
		},
		{
			name: "a gateway that missed two reports still counts", want: []autoscaler.Sample{{Name: "iris", InFlight: 6}},
			said: []said{{silence, reportOf("a", iris(4))}, {silence, reportOf("b", iris(2))}},
		},
		{
			name: "the backlog of the one that hands items out", want: []autoscaler.Sample{{Name: "iris", InFlight: 7, Backlog: workload.Backlog{Queued: 5, Running: 2, Service: time.Second}}},
			said: []said{
				{silence, reportOf("a", loadSample{Name: "iris", InFlight: 7, Backlog: &workload.Backlog{Queued: 5, Running: 2, Service: time.Second}})},
				{time.Second, reportOf("b", iris(0))},
			},
		},
		{
			name: "a gateway that is silent does not", want: []autoscaler.Sample{{Name: "iris", InFlight: 2}},
			said: []said{{silence, reportOf("a", iris(4))}, {silence + 1, reportOf("b", iris(2))}},
		},
		{
			name: "all are silent: unknown, not idle", want: []autoscaler.Sample{},
			said: []said{{silence, reportOf("a", iris(4))}}, then: silence + 1,
		},
		{
			name: "a gateway that is back counts again", want: []autoscaler.Sample{{Name: "iris", InFlight: 3}},
			said: []said{{silence, reportOf("a", iris(4))}, {time.Minute, reportOf("a", iris(3))}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			l := NewLoads(c.now)
			for _, s := range tt.said {
				c.pass(s.after)
				if !l.heard(s.report) {
					t.Fatalf("heard(%+v) = false", s.report)
				}
			}
			c.pass(tt.then)
			if diff := cmp.Diff(tt.want, l.Samples()); diff != "" {
				t.Errorf("Samples() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBusyReplicasOfAllGateways(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := NewLoads(c.now)
	busy := func(replica string, n int) loadSample {
		return loadSample{Name: "iris", InFlight: float64(n), Busy: map[string]int{replica: n}}
	}
	l.heard(reportOf("a", busy("one", 2)))
	c.pass(silence)
	l.heard(reportOf("b", busy("one", 1)))
	l.heard(reportOf("c", busy("two", 4), loadSample{Name: "other"}))
	if diff := cmp.Diff(map[string]int{"one": 3, "two": 4}, l.InFlight("iris")); diff != "" {
		t.Errorf("InFlight(iris) (-want +got):\n%s", diff)
	}
	c.pass(time.Second) // gateway a has fallen silent
	l.heard(reportOf("c", busy("two", 1)))
	if diff := cmp.Diff(map[string]int{"one": 1, "two": 1}, l.InFlight("iris")); diff != "" {
		t.Errorf("InFlight(iris) later (-want +got):\n%s", diff)
	}
	if got := l.InFlight("other"); len(got) > 0 {
		t.Errorf("InFlight(other) = %v, want nothing", got)
	}
}

func TestLoadsAreBounded(t *testing.T) {
	t.Parallel()
	c := newClock()
	l := NewLoads(c.now)
	for i := range maxGateways {
		if !l.heard(reportOf(fmt.Sprintf("gateway-%d", i))) {
			t.Fatalf("gateway %d of %d is not heard", i, maxGateways)
		}
	}
	if l.heard(reportOf("one-too-many")) {
		t.Errorf("heard() = true for more than %d gateways", maxGateways)
	}
	if !l.heard(reportOf("gateway-0")) {
		t.Error("a gateway that is known is not heard when there are many")
	}
	c.pass(silence + 1)
	if !l.heard(reportOf("one-too-many")) || l.Gateways() != 1 {
		t.Errorf("after all fell silent there are %d gateways, want the new one", l.Gateways())
	}
}
