package gateway

import (
	"math/rand/v2"
	"sync/atomic"

	"cortex.dev/cortex/internal/telemetry/proxymetrics"
	"cortex.dev/cortex/internal/workload"
)

// split divides the requests of a TrafficSplitter.
type split struct {
	targets []target
	draw    draw    // of indices into targets
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
			s.shadow = newShadow(workOf(a.Name), a.Weight)
			continue
		}
		s.targets = append(s.targets, target{work: workOf(a.Name), weight: a.Weight})
		weights = append(weights, a.Weight)
	}
	s.draw.init(weights, rand.Uint64())
	return s
}

// pick returns the workload of the next request; nil when no target has a weight.
func (s *split) pick() *work {
	i, ok := s.draw.pick()
	if !ok {
		return nil
	}
	t := &s.targets[i]
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

// draw chooses indices by their weights, in blocks: each has every index exactly as often
// as its weight says, and an order of its own. With one order for all blocks, a client
// that alternates between two paths would have each of them answered by one target.
type draw struct {
	order []uint8  // a block: what spread makes of the weights
	steps []uint64 // the numbers that have no divisor in common with its length
	seed  uint64
	next  atomic.Uint64
}

func (d *draw) init(weights []int32, seed uint64) {
	d.order, d.seed = spread(weights), seed
	for n := range len(d.order) {
		if gcd(int64(n+1), int64(len(d.order))) == 1 {
			d.steps = append(d.steps, uint64(n+1))
		}
	}
}

// pick returns the next index; false when no weight is above 0.
func (d *draw) pick() (int, bool) {
	n := uint64(len(d.order))
	if n == 0 {
		return 0, false
	}
	i := d.next.Add(1) - 1
	h := mix(d.seed + i/n)
	// From a place of the block on, in steps that come to every other place once.
	return int(d.order[(i%n*d.steps[h%uint64(len(d.steps))]+h>>32)%n]), true
}

// mix makes numbers that follow each other as different as random ones (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
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
