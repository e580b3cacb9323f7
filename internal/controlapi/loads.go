package controlapi

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/workload"
)

// silence is after how long a gateway that reports each second is not counted any
// more: two reports may be lost. What it held is then somewhere else. If it died its
// requests died with it; if it is cut off from us it is cut off from its replicas
// too, or its load balancer sends the callers to another gateway, which reports
// them. Counting its last word for ever would keep replicas for nobody.
const silence = 3 * time.Second

// maxGateways bounds how many are remembered. A gateway that is restarted has a new
// name, so there are at times more names than gateways.
const maxGateways = 256

// Loads adds up what gateways report. Its methods may be called at once.
type Loads struct {
	now   func() time.Time
	began time.Time

	mu      sync.Mutex
	reports map[string]report // by gateway
}

type report struct {
	at      time.Time
	samples map[string]autoscaler.Sample // by workload
	busy    map[string]map[string]int
}

// NewLoads knows of no gateway. Now is the clock; nil is time.Now.
func NewLoads(now func() time.Time) *Loads {
	if now == nil {
		now = time.Now
	}
	return &Loads{now: now, began: now(), reports: map[string]report{}}
}

// Samples implements autoscaler.Source: for each workload the sum over gateways.
// A workload that no gateway reports is left out, which means unknown, not idle;
// so is everything in the first seconds of this process, when some gateways may
// not have reported yet and a sum would be too small.
func (l *Loads) Samples() []autoscaler.Sample {
	now := l.now()
	if now.Sub(l.began) < silence {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	sums := map[string]autoscaler.Sample{}
	for _, r := range l.reports {
		for name, s := range r.samples {
			sum := sums[name]
			sum.Name = name
			sum.InFlight += s.InFlight
			if s.Backlog != (workload.Backlog{}) { // of the one gateway that has it
				sum.Backlog = s.Backlog
			}
			sums[name] = sum
		}
	}
	samples := slices.AppendSeq(make([]autoscaler.Sample, 0, len(sums)), maps.Values(sums))
	slices.SortFunc(samples, func(a, b autoscaler.Sample) int { return strings.Compare(a.Name, b.Name) })
	return samples
}

// InFlight returns how many requests each replica of a workload works on that works
// on any, the sum over gateways, as of the last second or two.
func (l *Loads) InFlight(workload string) map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(l.now())
	sums := map[string]int{}
	for _, r := range l.reports {
		for replica, n := range r.busy[workload] {
			sums[replica] += n
		}
	}
	return sums
}

// Gateways is how many are heard now.
func (l *Loads) Gateways() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(l.now())
	return len(l.reports)
}

// heard takes a gateway's newest report in the place of the one before. It says
// false when there are too many gateways.
func (l *Loads) heard(r loadReport) bool {
	now := l.now()
	samples, busy := make(map[string]autoscaler.Sample, len(r.Samples)), map[string]map[string]int{}
	for _, s := range r.Samples {
		sample := autoscaler.Sample{Name: s.Name, InFlight: s.InFlight}
		if s.Backlog != nil {
			sample.Backlog = *s.Backlog
		}
		samples[s.Name] = sample
		if len(s.Busy) > 0 {
			busy[s.Name] = s.Busy
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	if _, known := l.reports[r.Gateway]; !known && len(l.reports) >= maxGateways {
		return false
	}
	l.reports[r.Gateway] = report{at: now, samples: samples, busy: busy}
	return true
}

// forget drops the gateways that have fallen silent.
func (l *Loads) forget(now time.Time) {
	for name, r := range l.reports {
		if now.Sub(r.at) > silence {
			delete(l.reports, name)
		}
	}
}
