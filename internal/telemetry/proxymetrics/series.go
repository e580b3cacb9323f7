// Package proxymetrics measures, by the same names, what gateways and sidecars do with
// requests: how many there were by how they were answered, and how long they took.
//
// It promises that each request is counted once, when it is over, by the status that its
// caller got, whoever answered: what is refused here too. It promises that counting takes
// no lock and allocates nothing for what a container answers, and that the number of
// values does not depend on what callers or containers send. It must not decide anything
// about a request.
package proxymetrics

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/relay"
	"cortex.dev/cortex/internal/telemetry"
)

// Bounds of the times of requests: from what a small model needs to what a large one, or
// a stream of words, takes.
var bounds = []time.Duration{
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute,
}

// Series counts the requests of one API, at one hop. All methods may be called at once.
type Series struct {
	// What containers answered, by hundreds of the status: most only ever use one or two.
	answered [6]atomic.Pointer[[100]atomic.Uint64]
	took     *telemetry.Durations
	// fromStart says that 200 and 500 are told before there were any.
	fromStart bool

	// What containers did not answer, or not whole. A map is never changed, another one
	// takes its place.
	reasons atomic.Pointer[map[outcome]*atomic.Uint64]
	growing sync.Mutex
}

// outcome of a request that its container did not answer.
type outcome struct {
	status int
	reason string
}

// New returns a Series that has counted nothing.
func New() *Series {
	s := &Series{took: telemetry.NewDurations(bounds)}
	s.reasons.Store(&map[outcome]*atomic.Uint64{})
	return s
}

// NewOfAPI returns a Series that says 0 of what is looked for most. Prometheus sees a
// counter rise only when it has seen it before: of a thousand refusals between two
// scrapes, the first there ever were, it would show none.
func NewOfAPI() *Series {
	s := New()
	s.fromStart = true
	reasons := map[outcome]*atomic.Uint64{}
	for _, o := range []outcome{{499, relay.ClientGone}, {502, "upstream_closed"}, {503, "queue_full"}, {503, "hold_timeout"}, {503, relay.Unreached}} {
		reasons[o] = new(atomic.Uint64)
	}
	s.reasons.Store(&reasons)
	return s
}

// Statuses that stand for no whole answer, by the reason. The caller may have read
// another one in a head; this is what it came to.
var unfinished = map[string]int{
	relay.ClientGone:  499, // as other proxies call it
	"upstream_closed": 502,
	"shutting_down":   503,
}

const (
	maxReasons = 64      // outcomes of one API; there are about twenty reasons
	other      = "other" // past that
)

// Count counts a request that is over after age. Status and reason are those of
// relay.Observer; placed says that a container had it, in part at least.
func (s *Series) Count(status int, reason string, placed bool, age time.Duration) {
	if status != 101 && (reason == "" || status == 0 && placed) { // what changed protocols lasts as long as its user likes
		s.took.Observe(age)
	}
	status = min(status, 599) // what is above is no status of HTTP, and taken for an error
	if reason == "" && status >= 100 {
		s.of(status).Add(1)
		return
	}
	if status == 0 {
		if status = unfinished[reason]; status == 0 {
			status = 502
		}
	}
	s.because(outcome{status, reason}).Add(1)
}

// Worked returns how many requests containers worked on, and for how long together.
func (s *Series) Worked() (requests uint64, took time.Duration) { return s.took.Total() }

// Took returns how many requests containers worked on by how long that took: see
// telemetry.Durations.Counts.
func (s *Series) Took() (bounds []time.Duration, counts []uint64) { return s.took.Counts() }

// Over returns how many requests are over, whoever answered, and how many of them with a
// status of 500 and above.
func (s *Series) Over() (all, failed uint64) {
	for class := range s.answered {
		counts := s.answered[class].Load()
		if counts == nil {
			continue
		}
		for i := range counts {
			n := counts[i].Load()
			all += n
			if class >= 5 {
				failed += n
			}
		}
	}
	for o, n := range *s.reasons.Load() {
		all += n.Load()
		if o.status >= 500 {
			failed += n.Load()
		}
	}
	return all, failed
}

func (s *Series) of(status int) *atomic.Uint64 {
	class := &s.answered[status/100]
	counts := class.Load()
	if counts == nil {
		class.CompareAndSwap(nil, new([100]atomic.Uint64))
		counts = class.Load()
	}
	return &counts[status%100]
}

// because is the counter of o. Reasons come from sidecars, too: they are bounded.
func (s *Series) because(o outcome) *atomic.Uint64 {
	if n := (*s.reasons.Load())[o]; n != nil {
		return n
	}
	s.growing.Lock()
	defer s.growing.Unlock()
	reasons := *s.reasons.Load()
	if len(reasons) >= maxReasons || !isWord(o.reason) {
		o = outcome{o.status / 100 * 100, other}
	}
	if n := reasons[o]; n != nil {
		return n
	}
	grown := maps.Clone(reasons)
	grown[o] = new(atomic.Uint64)
	s.reasons.Store(&grown)
	return grown[o]
}

// isWord reports whether reason looks like one of ours.
func isWord(reason string) bool {
	for i := range len(reason) {
		if c := reason[i]; (c < 'a' || c > 'z') && c != '_' && c != '.' {
			return false
		}
	}
	return reason != "" && len(reason) <= 64
}

func (s *Series) each(yield func(n uint64, code, reason string)) {
	for status := range 600 {
		n := uint64(0)
		if counts := s.answered[status/100].Load(); counts != nil {
			n = counts[status%100].Load()
		}
		if n > 0 || s.fromStart && (status == 200 || status == 500) {
			yield(n, strconv.Itoa(status), "")
		}
	}
	for o, n := range *s.reasons.Load() {
		yield(n.Load(), strconv.Itoa(o.status), o.reason)
	}
}

// Hop is a place on the way of a request.
type Hop string

// The hops.
const (
	Gateway Hop = "gateway"
	Sidecar Hop = "sidecar"
)

// Load is what an API has to do at a hop.
type Load struct{ Running, Waiting int }

// Source tells a scrape of all APIs, and of what is only refused: requests of splitters,
// and, by no name, those of no API.
type Source func(api func(name string, s *Series, load Load), refused func(name string, s *Series))

// Register offers what all is counted at a hop.
func Register(r *telemetry.Registry, at Hop, source Source) {
	hop := string(at)
	r.Collect(telemetry.Metric{Name: "cortex_requests_total", Type: telemetry.Counter, Labels: []string{"api_name", "hop", "code", "reason"},
		Help: "Requests that are over, by the status that the caller got. The reason says why a container did not answer; empty: it did."},
		func(emit telemetry.Emit) {
			of := func(name string, s *Series) {
				s.each(func(n uint64, code, reason string) { emit(float64(n), name, hop, code, reason) })
			}
			source(func(name string, s *Series, _ Load) { of(name, s) }, of)
		})
	r.CollectDurations(telemetry.Metric{Name: "cortex_request_duration_seconds", Labels: []string{"api_name", "hop"},
		Help: "From a request's head to the end of its answer, of requests that a container worked on."},
		func(emit telemetry.EmitDurations) {
			source(func(name string, s *Series, _ Load) { emit(s.took, name, hop) }, func(string, *Series) {})
		})
	r.Collect(telemetry.Metric{Name: "cortex_in_flight_requests", Type: telemetry.Gauge, Labels: []string{"api_name", "hop", "state"},
		Help: "Requests that containers work on (running), and that wait for a place or for a first replica (waiting)."},
		func(emit telemetry.Emit) {
			source(func(name string, _ *Series, load Load) {
				emit(float64(load.Running), name, hop, "running")
				emit(float64(load.Waiting), name, hop, "waiting")
			}, func(string, *Series) {})
		})
}
