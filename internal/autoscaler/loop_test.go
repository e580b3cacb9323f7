package autoscaler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
	"github.com/google/go-cmp/cmp"
)

// place is a source and a target in memory.
type place struct {
	mu        sync.Mutex
	load      map[string]float64
	backlog   workload.Backlog
	workloads map[string]*Workload
	listErr   error
	scaleErr  error
	scaled    []string // "name n"
	reasons   []string
	samples   int
}

func (p *place) Samples() []Sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.samples++
	var out []Sample
	for name, v := range p.load {
		out = append(out, Sample{Name: name, InFlight: v, Backlog: p.backlog})
	}
	return out
}

func (p *place) Workloads(context.Context) ([]Workload, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listErr != nil {
		return nil, p.listErr
	}
	var out []Workload
	for _, w := range p.workloads {
		out = append(out, *w)
	}
	return out, nil
}

func (p *place) Scale(_ context.Context, name string, n int, reason string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.scaleErr != nil {
		return p.scaleErr
	}
	p.workloads[name].Requested = n
	p.scaled = append(p.scaled, fmt.Sprintf("%s %d", name, n))
	p.reasons = append(p.reasons, reason)
	return nil
}

func (p *place) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func eager() Workload {
	spec := defaultSpec()
	spec.UpscaleStabilizationPeriod, spec.DownscaleStabilizationPeriod = 0, 0
	return Workload{Name: "iris", Autoscaling: spec, Requested: 1}
}

func inLoop(t *testing.T, tick time.Duration, w Workload, fn func(*testing.T, *place, *Loop, *telemetry.Registry)) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{load: map[string]float64{w.Name: 1}, workloads: map[string]*Workload{w.Name: &w}}
		metrics := telemetry.New("test", "")
		l, err := NewLoop(Config{Tick: tick, Source: p, Target: p, Telemetry: metrics})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		pass(tick/2 + time.Millisecond) // away from every sample and tick
		fn(t, p, l, metrics)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run(…) = %v, want the context's error", err)
		}
	})
}

// pass lets time go by and the loop come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// What is queued is decided upon each second; what is in flight at the tick.
func TestLoopDoesNotWaitWithAQueue(t *testing.T) {
	t.Parallel()
	for target, within := range map[time.Duration]time.Duration{30 * time.Second: 2 * time.Second, 0: 2 * DefaultTick} {
		w := eager()
		w.Autoscaling.TargetQueueTime = workload.Duration(target)
		inLoop(t, DefaultTick, w, func(t *testing.T, p *place, _ *Loop, _ *telemetry.Registry) {
			pass(DefaultTick)
			p.change(func() { p.load["iris"], p.backlog = 60, workload.Backlog{Queued: 60, Service: 5 * time.Second} })
			pass(2 * time.Second)
			if got := len(p.scaled) > 0; got != (target > 0) {
				t.Errorf("target_queue_time %s: scaled %v after 2 s, want it to be decided within %s", target, p.scaled, within)
			}
			if target > 0 && p.scaled[0] != "iris 10" {
				t.Errorf("scaled %v, want 60 × 5 s ÷ 30 s at once", p.scaled)
			}
		})
	}
}

func TestLoopScalesWithReason(t *testing.T) {
	t.Parallel()
	inLoop(t, DefaultTick, eager(), func(t *testing.T, p *place, _ *Loop, metrics *telemetry.Registry) {
		pass(3 * DefaultTick)
		if len(p.scaled) != 0 {
			t.Fatalf("scaled %v under the load it carries, want nothing", p.scaled)
		}
		p.change(func() { p.load["iris"] = 3 })
		pass(2 * time.Minute)
		if diff := cmp.Diff([]string{"iris 2", "iris 3"}, p.scaled); diff != "" {
			t.Errorf("scaled (-want +got):\n%s", diff)
		}
		if len(p.reasons) == 0 || !strings.Contains(p.reasons[0], "in flight on average over 1m, target 1 per replica") {
			t.Errorf("reasons = %q, want what was observed in the first", p.reasons)
		}
		page := scrape(metrics)
		for _, line := range []string{`cortex_autoscaler_replicas{api_name="iris"} 3`, `cortex_autoscaler_in_flight{api_name="iris"} 3`,
			`cortex_autoscaler_changes_total{api_name="iris",direction="up"} 2`, "cortex_autoscaler_errors_total 0"} {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("metrics lack %q", line)
			}
		}
		p.change(func() { p.load["iris"] = 1 })
		pass(2 * time.Minute)
		if line := `cortex_autoscaler_changes_total{api_name="iris",direction="down"} 2`; !strings.Contains(scrape(metrics), line+"\n") {
			t.Errorf("metrics lack %q after %v", line, p.scaled)
		}
	})
}

func scrape(r *telemetry.Registry) string {
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, _ := io.ReadAll(w.Body)
	return string(body)
}

func TestLoopSamplesEachSecondAndDecidesEachTick(t *testing.T) {
	t.Parallel()
	for tick, want := range map[time.Duration]int{DefaultTick: 60, time.Second: 60, MinTick: 600} {
		inLoop(t, tick, eager(), func(t *testing.T, p *place, l *Loop, _ *telemetry.Registry) {
			var before, after int
			p.change(func() { before = p.samples })
			pass(time.Minute)
			p.change(func() { after = p.samples })
			if got := after - before; got != want {
				t.Errorf("with a tick of %s: %d samples a minute, want %d", tick, got, want)
			}
		})
	}
}

func TestLoopWithShortTickFollowsAtOnce(t *testing.T) {
	t.Parallel()
	inLoop(t, MinTick, eager(), func(t *testing.T, p *place, _ *Loop, _ *telemetry.Registry) {
		p.change(func() { p.load["iris"] = 8 })
		pass(2 * time.Second)
		if n := p.workloads["iris"].Requested; n != 8 {
			t.Errorf("two seconds after the load rose to 8 there are %d replicas, want 8", n)
		}
	})
}

func TestLoopSurvivesErrors(t *testing.T) {
	t.Parallel()
	inLoop(t, DefaultTick, eager(), func(t *testing.T, p *place, _ *Loop, metrics *telemetry.Registry) {
		p.change(func() { p.load["iris"] = 2; p.listErr = errors.New("no store") })
		pass(time.Minute)
		p.change(func() { p.listErr = nil; p.scaleErr = errors.New("no engine") })
		pass(time.Minute)
		if len(p.scaled) != 0 {
			t.Fatalf("scaled %v though nothing could be", p.scaled)
		}
		p.change(func() { p.scaleErr = nil })
		pass(DefaultTick)
		if diff := cmp.Diff([]string{"iris 2"}, p.scaled); diff != "" {
			t.Errorf("at the first tick that can scale (-want +got):\n%s", diff)
		}
		if page := scrape(metrics); !strings.Contains(page, "cortex_autoscaler_errors_total 12\n") {
			t.Errorf("metrics do not count the 12 errors of two minutes")
		}
	})
}

func TestLoopTriesTheOthersWhenOneCannotBeScaled(t *testing.T) {
	t.Parallel()
	inLoop(t, DefaultTick, eager(), func(t *testing.T, p *place, _ *Loop, metrics *telemetry.Registry) {
		rose := eager()
		rose.Name = "rose"
		p.change(func() {
			p.workloads["rose"] = &rose
			p.load["iris"], p.load["rose"] = 5, 5
			p.scaleErr = errors.New("no engine")
		})
		pass(DefaultTick)
		if page := scrape(metrics); !strings.Contains(page, "cortex_autoscaler_errors_total 2\n") {
			t.Errorf("metrics do not count one error of each of two workloads:\n%s", page)
		}
	})
}

func TestLoopLeavesAloneWhatNothingIsKnownOf(t *testing.T) {
	t.Parallel()
	inLoop(t, DefaultTick, eager(), func(t *testing.T, p *place, _ *Loop, metrics *telemetry.Registry) {
		unknown := eager()
		unknown.Name, unknown.Requested = "rose", 3
		p.change(func() { p.workloads["rose"] = &unknown })
		pass(5 * time.Minute)
		if line := `cortex_autoscaler_replicas{api_name="rose"} 3`; len(p.scaled) != 0 || !strings.Contains(scrape(metrics), line+"\n") {
			t.Errorf("scaled %v, want nothing, and %q in the metrics", p.scaled, line)
		}
	})
}

func TestLoopFailedScaleIsNoRecommendation(t *testing.T) {
	t.Parallel()
	w := eager()
	w.Requested = 3
	spec := &w.Autoscaling
	spec.DownscaleStabilizationPeriod = spec.Window
	inLoop(t, DefaultTick, w, func(t *testing.T, p *place, _ *Loop, _ *telemetry.Registry) {
		p.change(func() { p.scaleErr = errors.New("no engine") })
		pass(10 * time.Minute)
		p.change(func() { p.scaleErr = nil })
		pass(DefaultTick)
		if diff := cmp.Diff([]string{"iris 2"}, p.scaled[:min(1, len(p.scaled))]); diff != "" {
			t.Errorf("the wish that failed for ten minutes is not carried out at once (-want +got):\n%s", diff)
		}
	})
}

func TestLoopForgetsRemovedWorkloads(t *testing.T) {
	t.Parallel()
	inLoop(t, DefaultTick, eager(), func(t *testing.T, p *place, l *Loop, metrics *telemetry.Registry) {
		pass(time.Minute)
		p.change(func() { delete(p.workloads, "iris"); delete(p.load, "iris"); p.load["stranger"] = 5 })
		pass(2 * DefaultTick)
		l.mu.Lock()
		_, iris := l.follows["iris"]
		l.mu.Unlock()
		if iris {
			t.Errorf("a removed workload is still followed")
		}
		if page := scrape(metrics); strings.Contains(page, `"iris"`) || strings.Contains(page, `"stranger"`) {
			t.Errorf("metrics name a workload that is not deployed")
		}
	})
}

func TestNewLoopRefuses(t *testing.T) {
	t.Parallel()
	p := &place{}
	for name, c := range map[string]Config{
		"no source":  {Target: p},
		"no target":  {Source: p},
		"short tick": {Source: p, Target: p, Tick: MinTick - 1},
	} {
		if _, err := NewLoop(c); err == nil {
			t.Errorf("NewLoop(%s) = nil, want an error", name)
		}
	}
	if _, err := NewLoop(Config{Source: p, Target: p}); err != nil {
		t.Errorf("NewLoop without a tick = %v, want the default one", err)
	}
}
