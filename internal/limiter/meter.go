package limiter

import "time"

// Meter is the integral of a number over time: how many there are, summed. The zero value
// counts nothing yet. It has no lock of its own.
type Meter struct {
	sum   float64       // number × nanoseconds since began
	upTo  time.Duration // until when sum goes
	began time.Duration
	now   int
}

// Change notes that there are by more now.
func (m *Meter) Change(by int) {
	now := clock()
	if m.began == 0 {
		m.began = now
	}
	m.sum += float64(m.now) * float64(now-m.upTo)
	m.upTo = now
	m.now += by
}

// Now is how many there are.
func (m *Meter) Now() int { return m.now }

// Mean returns how many there were on average since it was called before. It is the
// integral and no sample: what comes and goes within a second is in it, at any time of
// that second.
func (m *Meter) Mean() float64 {
	m.Change(0)
	elapsed := m.upTo - m.began
	if elapsed <= 0 {
		return float64(m.now)
	}
	mean := m.sum / float64(elapsed)
	m.sum, m.began = 0, m.upTo
	return mean
}

// clock is the time since the program began: half the cost of asking for the date too.
func clock() time.Duration { return time.Since(start) }

var start = time.Now()
