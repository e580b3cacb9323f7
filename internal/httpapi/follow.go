package httpapi

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// overlap is how much further back a stream is taken up again than it broke off:
// more than the clocks and the ways of two streams can differ by.
const overlap = 10 * time.Second

// maxWindow bounds the lines that are remembered for that.
const maxWindow = 10_000

// follow is stream for one that has no end of its own. When it ends because the
// session is over, the caller proves itself anew and it is taken up where it was:
// no line is missed, none is told twice.
func follow[T comparable](ctx context.Context, c *Client, k call, at func(T) time.Time, fn func(T) error) error {
	told := window[T]{at: at}
	var heard time.Time // when the last line came, by this clock
	for {
		resumed := !heard.IsZero()
		if resumed {
			k.query.Del("tail")
			k.query.Set("since", workload.Duration(time.Since(heard)+overlap).String())
		} else {
			heard = time.Now()
		}
		begun, err := streamOnce(ctx, c, k, func(v T) error {
			heard = time.Now()
			if !told.add(v) && resumed {
				return nil
			}
			return fn(v)
		})
		if c.sessions == nil || !begun || !fault.Is(err, fault.Unproven) || ctx.Err() != nil {
			return err
		}
	}
}

// window remembers the lines of the last moments.
type window[T comparable] struct {
	at    func(T) time.Time
	lines map[T]bool
	old   []T // in order of arrival
}

// add reports whether a line is new, and forgets those that are too old to come again.
func (w *window[T]) add(v T) bool {
	if w.lines[v] {
		return false
	}
	if w.lines == nil {
		w.lines = map[T]bool{}
	}
	w.lines[v] = true
	w.old = append(w.old, v)
	for len(w.old) > maxWindow || w.at(v).Sub(w.at(w.old[0])) > 3*overlap {
		delete(w.lines, w.old[0])
		w.old = w.old[1:]
	}
	return true
}
