// Package autoscaler follows the load of a workload with the number of its
// replicas: the rules (decide.go), the loop that applies them to live workloads
// (loop.go), and the same rules on a virtual clock for `cortex simulate`.
//
// It promises that a decision is a pure function of the spec, what was observed
// and the time, that the result never leaves [min_replicas, max_replicas], and
// that every decision says in words what it saw and which rule bent it. What it
// remembers of one workload is bounded, however long its windows are.
//
// It must not count requests, start replicas or read a clock in a rule; those
// belong to the gateway, the engine and the loop.
package autoscaler

import (
	"fmt"
	"math"
	"strings"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// How often the rules are applied.
const (
	DefaultTick = 10 * time.Second
	MinTick     = 100 * time.Millisecond
	SampleEvery = time.Second // or the tick where that is shorter
)

// Decision is what the rules ask for at one moment.
type Decision struct {
	Replicas int
	Changed  bool    // Replicas differs from what is requested now
	Known    bool    // false: nothing was observed within the window, so nothing is done
	InFlight float64 // mean over the window
	// Reasons say what was observed and, in order, each rule that bent the result.
	Reasons []string
	floor   *workload.Floor // that holds now
	byQueue bool
}

// Reason is all reasons in one line.
func (d Decision) Reason() string { return strings.Join(d.Reasons, "; ") }

func (d *Decision) because(format string, args ...any) {
	d.Reasons = append(d.Reasons, fmt.Sprintf(format, args...))
}

// Decide applies the rules of one tick: how many replicas a workload should have
// that has requested ones now. It returns what must be remembered for the next
// tick; state is not changed.
//
// The rules and their order are those of Cortex 0.42: raw = mean in flight /
// target_in_flight, rounded up; tolerances; at most max_upscale_factor up and
// max_downscale_factor down, one replica being always allowed; min and max; then
// the stabilisation periods, which look at what was recommended before. Three
// things differ, each because the old rule could do what nobody wants: the
// stabilisation of one direction never scales in the other; from zero there is no
// waiting; and a number set by somebody else (a deploy, the wake-up of an idle
// API) counts as a recommendation, so that it is not undone at once.
//
// With target_queue_time raw is that of wanted, and neither max_upscale_factor nor
// upscale_stabilization_period holds it up.
func Decide(spec workload.Autoscaling, state State, requested int, now time.Time) (Decision, State) {
	s := state.clone()
	d := Decision{Replicas: requested}
	span := Span(spec, s.tick)
	mean, known := s.window.mean(now.Add(-span))
	s.window.forget(now.Add(-span))
	if s.decided && requested != s.asked {
		s.recommend(requested, now)
	}
	// A floor is a minimum for a time.
	if least, floor := spec.Least(now); floor != nil {
		spec.MinReplicas = int32(least)
		d.floor = floor
	}
	switch {
	case !known:
		d.because("nothing is known of its load over the last %s", words(span))
		if d.floor != nil {
			d.Replicas = bounded(spec, requested, &d)
		}
	case spec.TargetInFlight <= 0:
		d.because("target_in_flight is not a positive number")
	default:
		d.Known, d.InFlight = true, mean
		d.byQueue = byQueue(spec, s.backlog)
		raw := wanted(spec, mean, span, s.backlog, &d)
		d.Replicas = recommendation(spec, raw, requested, &d)
		s.recommend(d.Replicas, now)
		d.Replicas = stabilised(spec, &s, d.Replicas, requested, now, &d)
		d.Replicas = bounded(spec, d.Replicas, &d) // requested may be outside; that does not wait
	}
	d.Changed = d.Replicas != requested
	s.found, s.asked, s.decided = requested, d.Replicas, true
	s.highest.forget(now.Add(-time.Duration(spec.DownscaleStabilizationPeriod)))
	s.lowest.forget(now.Add(-time.Duration(spec.UpscaleStabilizationPeriod)))
	return d, s
}

// Span returns how much of the past a mean covers. A window is a number of ticks
// (a tick being 10 s, autoscaling.window a multiple of that), so it shrinks with
// a shorter tick; it never grows.
func Span(spec workload.Autoscaling, tick time.Duration) time.Duration {
	span := time.Duration(spec.Window)
	if tick < DefaultTick {
		span = time.Duration(float64(span) * (float64(tick) / float64(DefaultTick)))
	}
	return max(span, tick)
}

// wanted is how many replicas the load asks for.
func wanted(spec workload.Autoscaling, mean float64, span time.Duration, b workload.Backlog, d *Decision) float64 {
	if !byQueue(spec, b) {
		raw := mean / spec.TargetInFlight
		d.because("%s in flight on average over %s, target %s per replica: %s, so %s",
			number(mean), words(span), number(spec.TargetInFlight), number(raw), replicas(some(raw)))
		return raw
	}
	at := AtOnce(b, time.Duration(spec.TargetQueueTime))
	raw := at / spec.TargetInFlight
	d.because("%d queued and %d running, %s each, target_queue_time %s: %s at once, target %s per replica: %s, so %s",
		b.Queued, b.Running, words(b.Service), words(time.Duration(spec.TargetQueueTime)), number(at), number(spec.TargetInFlight), number(raw), replicas(some(raw)))
	return raw
}

// byQueue reports whether replicas follow what is queued. They do so each second, and at
// once: what is queued is known, where a mean has to be waited for.
func byQueue(spec workload.Autoscaling, b workload.Backlog) bool {
	return spec.TargetQueueTime > 0 && b.Service > 0
}

// AtOnce is how many items have to be executed at a time so that what is queued has begun
// within target. What runs goes on to the queue when it is done; so no fewer than run, and
// where one takes longer than target, as many more as those which run cannot get to.
func AtOnce(b workload.Backlog, target time.Duration) float64 {
	queued, running := float64(b.Queued), float64(b.Running)
	if b.Service <= target {
		return max(running, queued*b.Service.Seconds()/target.Seconds())
	}
	return running + max(0, queued-running*target.Seconds()/b.Service.Seconds())
}

// some rounds up: however little load there is, only none at all is none.
func some(raw float64) int {
	if raw > 0 {
		return max(ceil(raw), 1)
	}
	return 0
}

// recommendation applies the rules that look at this moment only.
func recommendation(spec workload.Autoscaling, raw float64, current int, d *Decision) int {
	rec := some(raw)
	c := float64(current)
	switch {
	case raw < c && raw > c*(1-spec.DownscaleTolerance) && rec != current:
		rec = current
		d.because("within downscale_tolerance (%s) of %d", number(spec.DownscaleTolerance), current)
	case raw > c && raw < c*(1+spec.UpscaleTolerance) && rec != current:
		rec = current
		d.because("within upscale_tolerance (%s) of %d", number(spec.UpscaleTolerance), current)
	}
	if floor := min(current-1, ceil(c*spec.MaxDownscaleFactor)); rec < floor {
		rec = floor
		d.because("max_downscale_factor (%s) allows no fewer than %d at once", number(spec.MaxDownscaleFactor), floor)
	}
	if limit := max(current+1, ceil(c*spec.MaxUpscaleFactor)); rec > limit && !d.byQueue {
		rec = limit
		d.because("max_upscale_factor (%s) allows no more than %d at once", number(spec.MaxUpscaleFactor), limit)
	}
	return bounded(spec, rec, d)
}

// stabilised applies the rules that look at earlier recommendations. The result
// lies between current and rec.
func stabilised(spec workload.Autoscaling, s *State, rec, current int, now time.Time, d *Decision) int {
	age := now.Sub(s.since)
	down := time.Duration(spec.DownscaleStabilizationPeriod)
	up := time.Duration(spec.UpscaleStabilizationPeriod)
	switch {
	case rec < current && age < down:
		d.because("stays at %d: %s after the autoscaler started, and downscale_stabilization_period is %s",
			current, words(age), words(down))
		return current
	case rec < current:
		if high, ok := s.highest.since(now.Add(-down)); ok && high > rec {
			rec = min(high, current)
			d.held("below", "highest", "downscale_stabilization_period", down, high, rec)
		}
	case rec > current && current == 0:
		d.because("an API at zero does not wait for upscale_stabilization_period")
	case rec > current && d.byQueue:
	case rec > current && age < up:
		d.because("stays at %d: %s after the autoscaler started, and upscale_stabilization_period is %s",
			current, words(age), words(up))
		return current
	case rec > current:
		if low, ok := s.lowest.since(now.Add(-up)); ok && low < rec {
			rec = max(low, current)
			d.held("above", "lowest", "upscale_stabilization_period", up, low, rec)
		}
	}
	return rec
}

// held says that an earlier recommendation, extreme, made the result what it is.
func (d *Decision) held(side, which, field string, period time.Duration, extreme, result int) {
	if extreme != result {
		d.because("stays at %d: %d was recommended within the last %s (%s)", result, extreme, words(period), field)
		return
	}
	d.because("not %s %d, the %s recommendation of the last %s (%s)", side, extreme, which, words(period), field)
}

func bounded(spec workload.Autoscaling, n int, d *Decision) int {
	if low := int(spec.MinReplicas); n < low {
		if d.floor != nil {
			d.because("the floor %s is %d", d.floor, low)
		} else {
			d.because("min_replicas is %d", low)
		}
		n = low
	}
	if high := int(spec.MaxReplicas); n > high {
		d.because("max_replicas is %d", high)
		n = high
	}
	return n
}

// ceil rounds up, forgiving the last bits that a mean or a product of decimal
// fractions gets wrong: 100 × 1.1 is 110 replicas, not 111.
func ceil(x float64) int {
	return int(min(math.Ceil(x-1e-9*max(1, math.Abs(x))), math.MaxInt32))
}

// number writes up to two decimals, and never a load that exists as 0.
func number(x float64) string {
	if x > 0 && x < 0.005 {
		return "<0.01"
	}
	text := fmt.Sprintf("%.2f", x)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

func replicas(n int) string {
	if n == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", n)
}

func words(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	return workload.Duration(d).String()
}
