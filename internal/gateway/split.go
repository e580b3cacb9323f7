package gateway

import (
	"sync/atomic"

	"cortex.dev/cortex/internal/telemetry/proxymetrics"
	"cortex.dev/cortex/internal/workload"
)

// split divides the requests of a TrafficSplitter.
type split struct {
	targets []target
	order   []uint8 // one period of the choice, as indices into targets
	next    atomic.Uint64
	shadow  *shadow // nil: none
	// requests counts those that were turned away before a target was found.
	requests *proxymetrics.Series
}

type target struct {
	work   *work
	weight int32
	chosen atomic.Uint64
}

// newSplit returns the split of apis; workOf knows them by name.
func newSplit(apis []workload.Target, workOf func(name string) *work) *split {
	s := &split{requests: proxymetrics.New()}
	var weights []int32
	for _, a := range apis {
		if a.Shadow {
			s.shadow = &shadow{work: workOf(a.Name), weight: uint64(min(max(a.Weight, 0), 100))}
			continue
		}
		s.targets = append(s.targets, target{work: workOf(a.Name), weight: a.Weight})
		weights = append(weights, a.Weight)
	}
	s.order = spread(weights)
	return s
}

// pick returns the workload of the next request; nil when no target has a weight.
func (s *split) pick() *work {
	if len(s.order) == 0 {
		return nil
	}
	t := &s.targets[s.order[(s.next.Add(1)-1)%uint64(len(s.order))]]
	t.chosen.Add(1)
	return t.work
}

func (s *split) has(w *work) bool {
	for i := range s.targets {
		if s.targets[i].work == w {
			return true
		}
	}
	return s.shadow != nil && s.shadow.work == w
}

// maxPeriod bounds what spread builds; valid weights sum to 100.
const maxPeriod = 10_000

// spread returns a sequence in which each index i appears weights[i] times (divided
// by what the weights have in common), as evenly spaced as can be: at any point of
// its repetition, no index is ahead of or behind its share by a whole turn.
func spread(weights []int32) []uint8 {
	var sum, common int64
	for _, w := range weights {
		if w < 0 || len(weights) > 255 {
			return nil
		}
		sum += int64(w)
		common = gcd(common, int64(w))
	}
	if sum == 0 || sum/common > maxPeriod {
		return nil
	}
	period := int(sum / common)
	order := make([]uint8, 0, period)
	credit := make([]int64, len(weights))
	for range period {
		best := -1
		for i, w := range weights {
			credit[i] += int64(w)
			if w > 0 && (best < 0 || credit[i] > credit[best]) {
				best = i
			}
		}
		credit[best] -= sum
		order = append(order, uint8(best))
	}
	return order
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
