package local

import "time"

// Backoff says how long to wait before a container is started again. The zero
// value is that of New: at once the first time, then one second, doubling up to
// five minutes; a run in which it was of use, of ten seconds and of three times the
// pause before it, makes the next end a first time again.
type Backoff struct {
	First   time.Duration // before the second restart in a row; the first restart waits for nothing
	Max     time.Duration
	Healthy time.Duration // no shorter run wipes the slate
}

func (b Backoff) defaulted() Backoff {
	if b.First <= 0 {
		b.First = time.Second
	}
	if b.Max <= 0 {
		b.Max = 5 * time.Minute
	}
	if b.Healthy <= 0 {
		b.Healthy = 10 * time.Second
	}
	return b
}

// healthyPauses is how many pauses a run has to last to be worth the next one at once.
const healthyPauses = 3

// wipes reports whether a run after a pause wipes the slate.
func (b Backoff) wipes(run, pause time.Duration) bool {
	return run >= max(b.Healthy, healthyPauses*pause)
}

// wait returns how long to wait after ends in a row, the last one included.
func (b Backoff) wait(ends int) time.Duration {
	if ends <= 1 {
		return 0
	}
	d := b.First
	for range ends - 2 {
		if d >= b.Max {
			break
		}
		d *= 2
	}
	return min(d, b.Max)
}
