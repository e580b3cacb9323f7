package local

import "time"

// Backoff says how long to wait before a container is started again. The zero
// value is that of New: at once the first time, then one second, doubling up to
// five minutes; a run of ten minutes makes the next end a first time again.
type Backoff struct {
	First   time.Duration // before the second restart in a row; the first restart waits for nothing
	Max     time.Duration
	Healthy time.Duration // a run this long wipes the slate
}

func (b Backoff) defaulted() Backoff {
	if b.First <= 0 {
		b.First = time.Second
	}
	if b.Max <= 0 {
		b.Max = 5 * time.Minute
	}
	if b.Healthy <= 0 {
		b.Healthy = 10 * time.Minute
	}
	return b
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
