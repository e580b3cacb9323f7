package autoscaler

import (
	"maps"
	"slices"
	"time"
)

// line is the queueing model of Simulate: requests are kept as counts per step,
// so that a step costs the same whatever the load. All replicas share one line,
// which is what least-loaded balancing comes to.
type line struct {
	concurrency int64 // that one replica serves at once
	queue       int64 // that may wait for one replica
	hold        int64 // that may wait while none is ready
	most        int64 // that may wait for all of them, as items do; 0: they wait for one
	step        time.Duration

	running int64
	waiting int64
	ends    schedule // how many running requests end, per step
	returns schedule // how many refused clients come back, per step
	refused int64    // clients that are away
	arrived []cohort // the waiting ones, in order

	started int64
	waited  float64 // seconds, summed over the started ones
	longest time.Duration
	waits   map[time.Duration]int64 // of those that started, in steps of waitStep
}

const waitStep = 100 * time.Millisecond

// p95 is what all but one in twenty waited for at most.
func (l *line) p95() time.Duration {
	var seen int64
	for _, wait := range slices.Sorted(maps.Keys(l.waits)) {
		if seen += l.waits[wait]; float64(seen) >= 0.95*float64(l.started) {
			return wait
		}
	}
	return 0
}

type cohort struct {
	at    time.Duration
	count int64
}

// retryAfter is what a refused client of an in_flight trace waits.
const retryAfter = time.Second

func (l *line) inFlight() int64       { return l.running + l.waiting }
func (l *line) refusedClients() int64 { return l.refused }

// finish begins a step and returns how many requests were answered.
func (l *line) finish() int64 {
	n := l.ends.next()
	l.running -= n
	l.refused -= l.returns.next()
	return n
}

// arrive lets n requests in, as far as there is room, and returns the others.
func (l *line) arrive(n int64, ready int, now time.Duration) int64 {
	if n == 0 {
		return 0
	}
	room := l.hold - l.waiting
	if l.most > 0 {
		room = l.most - l.waiting
	} else if ready > 0 {
		room = int64(ready)*(l.concurrency+l.queue) - l.inFlight()
	}
	in := min(n, max(room, 0))
	if in > 0 {
		l.waiting += in
		l.arrived = append(l.arrived, cohort{at: now, count: in})
	}
	refused := n - in
	if refused > 0 {
		l.refused += refused
		l.returns.add(max(retryAfter/l.step, 1), refused)
	}
	return refused
}

// start gives waiting requests to ready replicas, oldest first.
func (l *line) start(ready int, latency, now time.Duration) {
	free := int64(ready)*l.concurrency - l.running
	var begun int64
	for free > 0 && len(l.arrived) > 0 {
		c := &l.arrived[0]
		n := min(free, c.count)
		wait := now - c.at
		l.longest = max(l.longest, wait)
		l.waited += float64(n) * wait.Seconds()
		if l.waits == nil {
			l.waits = map[time.Duration]int64{}
		}
		l.waits[roundUp(wait, waitStep)] += n
		c.count -= n
		free -= n
		begun += n
		if c.count == 0 {
			l.arrived = l.arrived[1:]
		}
	}
	if begun == 0 {
		return
	}
	l.started += begun
	l.running += begun
	l.waiting -= begun
	l.ends.add(max((latency+l.step/2)/l.step, 1), begun)
}

// schedule is a ring of counts, one per coming step.
type schedule struct {
	ring []int64
	at   int
}

// add counts n for the step that begins after ahead more calls of next.
func (s *schedule) add(ahead time.Duration, n int64) {
	need := int(ahead) + 1
	if need > len(s.ring) {
		grown := make([]int64, need*2)
		for i := range s.ring {
			grown[i] = s.ring[(s.at+i)%len(s.ring)]
		}
		s.ring, s.at = grown, 0
	}
	s.ring[(s.at+int(ahead))%len(s.ring)] += n
}

// next moves on by one step and returns its count.
func (s *schedule) next() int64 {
	if len(s.ring) == 0 {
		return 0
	}
	s.ring[s.at] = 0
	s.at = (s.at + 1) % len(s.ring)
	return s.ring[s.at]
}
