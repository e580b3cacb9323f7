package telemetry

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Durations is a histogram of times. Observe takes no lock and allocates nothing, so
// that it can stand where every request passes. All methods may be called at once.
type Durations struct {
	bounds []time.Duration
	counts []atomic.Uint64 // one more than there are bounds: what is above the last
	sum    atomic.Int64    // nanoseconds
}

// NewDurations returns an empty histogram with the given upper bounds, which rise and
// are kept.
func NewDurations(bounds []time.Duration) *Durations {
	return &Durations{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe records one time.
func (h *Durations) Observe(d time.Duration) {
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] { // few bounds, and the lower ones are met most
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Total returns how many times were recorded, and their sum.
func (h *Durations) Total() (count uint64, sum time.Duration) {
	for i := range h.counts {
		count += h.counts[i].Load()
	}
	return count, time.Duration(h.sum.Load())
}

// Counts returns the bounds, which must not be changed, and how many times were recorded up to
// each and above the one before; one more are above all of them.
func (h *Durations) Counts() (bounds []time.Duration, counts []uint64) {
	counts = make([]uint64, len(h.counts))
	for i := range h.counts {
		counts[i] = h.counts[i].Load()
	}
	return h.bounds, counts
}

// read returns what Prometheus wants to know: for each bound, how many are not above it.
func (h *Durations) read() (count uint64, sum float64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(h.bounds))
	for i := range h.counts {
		count += h.counts[i].Load()
		if i < len(h.bounds) {
			buckets[h.bounds[i].Seconds()] = count
		}
	}
	return count, time.Duration(h.sum.Load()).Seconds(), buckets
}

// EmitDurations hands one histogram over; labels in the order of Metric.Labels.
type EmitDurations func(h *Durations, labels ...string)

// CollectDurations is Collect for a family of histograms, in seconds; the type of m is
// not looked at.
func (r *Registry) CollectDurations(m Metric, read func(EmitDurations)) {
	r.register(m, func(desc *prometheus.Desc, ch chan<- prometheus.Metric) {
		read(func(h *Durations, labels ...string) {
			count, sum, buckets := h.read()
			ch <- prometheus.MustNewConstHistogram(desc, count, sum, buckets, labels...)
		})
	})
}
