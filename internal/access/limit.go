package access

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// limit is one limit of an API, with what is left of it for whom.
type limit struct {
	spec  workload.Limit
	cells *cells
	line  string // its part of RateLimit-Policy
	code  string // of what it refuses

	interval  int64 // of a rate: nanoseconds of one request
	tolerance int64 // how far ahead of its time a request may be
	most      int64 // requests of a quota, or at once
	window    int64 // of a quota: nanoseconds
	fresh     bool  // nothing is known yet of what was used of a quota before

	shared bool           // with other gateways
	told   map[*cell]bool // whose requests at once were told; true: again, since Heard
}

// newLimit compiles a valid limit.
func newLimit(spec workload.Limit) *limit {
	l := &limit{spec: spec, cells: newCells(), fresh: true}
	switch {
	case spec.Concurrent > 0:
		l.most, l.code = spec.Concurrent, "concurrency_limited"
		l.line = fmt.Sprintf(`%q;q=%d;qu="concurrent-requests"`, spec.Name, l.most)
	case spec.Quota != "":
		n, window, _ := workload.ParseQuota(spec.Quota)
		l.most, l.window, l.code = n, int64(window), "quota_exceeded"
		l.line = fmt.Sprintf(`%q;q=%d;w=%d`, spec.Name, n, l.window/int64(time.Second))
	default:
		n, unit, _ := workload.ParseRate(spec.Rate)
		burst := max(spec.Burst, 1)
		if spec.Burst == 0 {
			burst = max(n/int64(unit/time.Second), 1)
		}
		l.interval, l.most, l.code = max(int64(unit)/n, 1), burst, "rate_limited"
		l.tolerance = (burst - 1) * l.interval
		l.line = fmt.Sprintf(`%q;q=%d;w=%d`, spec.Name, burst, ceilSeconds(burst*l.interval))
	}
	return l
}

// state is what is left of a limit.
type state struct {
	left  int64 // requests
	reset int64 // nanoseconds until all of it is there again; of what runs at once: 0
	wait  int64 // of what is refused: nanoseconds until the next one would not be
}

// take takes one request from c, and says what is left; false: there is nothing to take.
func (l *limit) take(c *cell, now int64) (s state, ok bool) {
	switch {
	case l.interval > 0:
		s, ok = l.takeRate(c, now)
	case l.window > 0:
		s, ok = l.takeQuota(c, now)
	default:
		s, ok = l.takePlace(c)
	}
	if l.shared && ok == (l.order() > 0) { // others hear what was taken, or of what there was too little
		c.since.Add(1)
	}
	return s, ok
}

func (l *limit) takePlace(c *cell) (state, bool) {
	for {
		n, most := c.n.Load(), l.most
		if told := c.most.Load(); told > 0 {
			most = min(most, told-1)
		}
		if n >= most {
			return state{wait: int64(time.Second)}, false
		}
		if c.n.CompareAndSwap(n, n+1) {
			return state{left: most - n - 1}, true
		}
	}
}

// takeRate is the generic cell rate algorithm (ITU-T I.371): n of a cell is the time at
// which the next request would come, if all came evenly.
func (l *limit) takeRate(c *cell, now int64) (state, bool) {
	for {
		was := c.n.Load()
		due := max(was, now)
		if ahead := due - now; ahead > l.tolerance {
			return state{reset: ahead, wait: ahead - l.tolerance}, false
		}
		if c.n.CompareAndSwap(was, due+l.interval) {
			ahead := due + l.interval - now
			return state{left: max(l.tolerance+l.interval-ahead, 0) / l.interval, reset: ahead}, true
		}
	}
}

// A quota has a window, of which all begin at a multiple of it since 1970 in UTC, and a
// count, in one word.
const (
	countBits = 40 // of a count
	countMask = 1<<countBits - 1
)

// mark names the window of a moment, in the bits that a count leaves.
func (l *limit) mark(now int64) int64 { return now / l.window & (1<<(63-countBits) - 1) }

func (l *limit) takeQuota(c *cell, now int64) (state, bool) {
	reset := l.window - now%l.window
	mark := l.mark(now)
	for {
		was := c.n.Load()
		count := was & countMask
		if was>>countBits != mark {
			count = 0
		}
		if count >= l.most {
			return state{reset: reset, wait: reset}, false
		}
		if c.n.CompareAndSwap(was, mark<<countBits|count+1) {
			return state{left: l.most - count - 1, reset: reset}, true
		}
	}
}

// begin says that n requests of the present window came before. Those that were counted
// meanwhile stay.
func (l *limit) begin(c *cell, now, n int64) {
	mark := l.mark(now)
	for {
		was := c.n.Load()
		count := n
		if was>>countBits == mark {
			count += was & countMask
		}
		if c.n.CompareAndSwap(was, mark<<countBits|min(count, countMask)) {
			return
		}
	}
}

// giveBack undoes take, of a request that another limit refused.
func (l *limit) giveBack(c *cell, now int64) {
	if l.shared && l.order() > 0 {
		c.since.Add(-1)
	}
	switch {
	case l.interval > 0:
		c.n.Add(-l.interval)
	case l.window > 0:
		mark := l.mark(now)
		for {
			was := c.n.Load()
			if was>>countBits != mark || was&countMask == 0 || c.n.CompareAndSwap(was, was-1) {
				return
			}
		}
	default:
		c.n.Add(-1)
	}
}

// idle reports whether c may be forgotten: a new one would say the same.
func (l *limit) idle(c *cell, now int64) bool {
	n := c.n.Load()
	switch {
	case c.since.Load() != 0:
		return false
	case l.interval > 0:
		return n <= now
	case l.window > 0:
		return n>>countBits != l.mark(now)
	}
	return n == 0
}

// appendState appends the part of RateLimit that says what is left.
func (l *limit) appendState(b []byte, s state) []byte {
	b = strconv.AppendInt(append(strconv.AppendQuote(b, l.spec.Name), ";r="...), s.left, 10)
	if l.interval == 0 && l.window == 0 {
		return b
	}
	return strconv.AppendInt(append(b, ";t="...), ceilSeconds(s.reset), 10)
}

func ceilSeconds(n int64) int64 {
	if n > math.MaxInt64-int64(time.Second) {
		n = math.MaxInt64 - int64(time.Second)
	}
	return (n + int64(time.Second) - 1) / int64(time.Second)
}
