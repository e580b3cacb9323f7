package workload

import "time"

// Took counts requests by how long they took.
type Took struct {
	Bounds []time.Duration // rising
	Counts []uint64        // of those up to each bound and above the one before; the last of those above all bounds
}

// Since is what was counted since an earlier reading of the same counter, and everything
// when that is no such.
func (t Took) Since(earlier Took) Took {
	counts := make([]uint64, len(t.Counts))
	copy(counts, t.Counts)
	if len(earlier.Counts) != len(counts) {
		return Took{t.Bounds, counts}
	}
	for i, n := range earlier.Counts {
		if n > counts[i] { // begun anew
			return Took{t.Bounds, append([]uint64(nil), t.Counts...)}
		}
		counts[i] -= n
	}
	return Took{t.Bounds, counts}
}

// Quantile is the time in seconds that a share q of the requests took at most, as Prometheus
// estimates it: evenly spread between two bounds, and the last bound for what is above it.
// Without requests it is 0.
func (t Took) Quantile(q float64) float64 {
	var all uint64
	for _, n := range t.Counts {
		all += n
	}
	if all == 0 || len(t.Bounds) == 0 {
		return 0
	}
	rank, below := q*float64(all), 0.0
	for i, n := range t.Counts {
		if i == len(t.Bounds) {
			break
		}
		if n > 0 && below+float64(n) >= rank {
			low := 0.0
			if i > 0 {
				low = t.Bounds[i-1].Seconds()
			}
			return low + (t.Bounds[i].Seconds()-low)*(rank-below)/float64(n)
		}
		below += float64(n)
	}
	return t.Bounds[len(t.Bounds)-1].Seconds()
}
