package operator

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// maxCalls is how many rows one answer has.
const maxCalls = 200_000

// Calls returns who called which API, by API, hour and caller: as far as it is kept, which is
// all but the last ten seconds.
func (o *Operator) Calls(ctx context.Context, q workload.CallsQuery) ([]workload.Calls, error) {
	if o.calls == nil {
		return nil, nil
	}
	since := time.Time{}
	if q.Since > 0 {
		since = o.now().Add(-q.Since).Truncate(time.Hour)
	}
	var all []workload.Calls
	err := o.calls.EachCalls(ctx, q.API, since, func(c workload.Calls) error {
		if q.Caller != "" && c.Caller != q.Caller {
			return nil
		}
		if len(all) == maxCalls {
			return fault.New(fault.Invalid, workload.CodeTooManyCalls, "there are more than %d rows of usage", maxCalls).
				WithHint("ask for one API, for one caller or for a shorter time")
		}
		all = append(all, c)
		return nil
	})
	return all, err
}
