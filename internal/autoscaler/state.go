package autoscaler

import (
	"math"
	"slices"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Bounds of what is remembered of one workload. Past them older detail is
// merged, so that a window of a year costs what one of an hour does.
const (
	maxBuckets  = 512
	maxExtremes = 512
)

// State is what the rules remember of one workload between ticks. It is a value:
// Observe and Decide return a new one. Its memory is bounded.
type State struct {
	since   time.Time
	tick    time.Duration
	window  buckets
	backlog workload.Backlog // the latest
	highest extremes         // recommendations, falling
	lowest  extremes         // recommendations, rising
	decided bool
	asked   int // what the latest decision asked for
	found   int // what was requested when it was made
}

// Undone says that the latest decision could not be carried out, so that the
// number of before does not look like somebody else's wish.
func (s State) Undone() State {
	s.asked = s.found
	return s
}

// Start returns the state of a workload of which nothing was seen before now.
func Start(tick time.Duration, now time.Time) State {
	return State{since: now, tick: max(tick, MinTick)}
}

// Observe adds one sample: the requests in flight (running and waiting) at a
// moment. What is no such number (negative, NaN) is left out; samples are given
// in order of time.
func (s State) Observe(inFlight float64, at time.Time) State {
	if math.IsNaN(inFlight) || inFlight < 0 {
		return s
	}
	s.window = slices.Clone(s.window)
	s.window.add(min(inFlight, 1e12), at, s.tick)
	return s
}

// ObserveBacklog takes note of what an AsyncAPI has to do now.
func (s State) ObserveBacklog(b workload.Backlog) State {
	s.backlog = b
	return s
}

func (s State) clone() State {
	s.window = slices.Clone(s.window)
	s.highest = slices.Clone(s.highest)
	s.lowest = slices.Clone(s.lowest)
	return s
}

func (s *State) recommend(n int, now time.Time) {
	s.highest.add(n, now, func(older, newer int) bool { return older <= newer })
	s.lowest.add(n, now, func(older, newer int) bool { return older >= newer })
}

// buckets hold the samples of a window, summed per tick, oldest first.
type buckets []bucket

type bucket struct {
	first, last time.Time
	sum         float64
	count       float64
}

func (b *buckets) add(v float64, at time.Time, width time.Duration) {
	if n := len(*b); n > 0 {
		if newest := &(*b)[n-1]; at.Sub(newest.first) < width {
			newest.last = at
			newest.sum += v
			newest.count++
			return
		}
		if n >= maxBuckets {
			b.halve()
		}
	}
	*b = append(*b, bucket{first: at, last: at, sum: v, count: 1})
}

// halve merges neighbours.
func (b *buckets) halve() {
	old := *b
	half := old[:0]
	for i := 0; i < len(old); i += 2 {
		m := old[i]
		if i+1 < len(old) {
			m.last = old[i+1].last
			m.sum += old[i+1].sum
			m.count += old[i+1].count
		}
		half = append(half, m)
	}
	*b = half
}

// mean is that of the buckets that reach past from.
func (b buckets) mean(from time.Time) (float64, bool) {
	var sum, count float64
	for _, k := range b {
		if k.last.After(from) {
			sum += k.sum
			count += k.count
		}
	}
	if count == 0 {
		return 0, false
	}
	return sum / count, true
}

func (b *buckets) forget(until time.Time) {
	*b = slices.DeleteFunc(*b, func(k bucket) bool { return !k.last.After(until) })
}

// extremes answer "the highest (or lowest) recommendation since": only entries
// that no later one makes irrelevant are kept, oldest and most extreme first.
type extremes []recommended

type recommended struct {
	at       time.Time
	replicas int
}

func (e *extremes) add(n int, now time.Time, covers func(older, newer int) bool) {
	for len(*e) > 0 && covers((*e)[len(*e)-1].replicas, n) {
		*e = (*e)[:len(*e)-1]
	}
	if len(*e) >= maxExtremes {
		// The second takes the value of the first: it then holds a little longer
		// than asked for, never shorter.
		(*e)[1].replicas = (*e)[0].replicas
		*e = slices.Delete(*e, 0, 1)
	}
	*e = append(*e, recommended{at: now, replicas: n})
}

func (e extremes) since(from time.Time) (int, bool) {
	for _, r := range e {
		if !r.at.Before(from) {
			return r.replicas, true
		}
	}
	return 0, false
}

func (e *extremes) forget(until time.Time) {
	*e = slices.DeleteFunc(*e, func(r recommended) bool { return r.at.Before(until) })
}
