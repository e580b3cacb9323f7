package probe

import (
	"context"
	"time"
)

// Verdict is what Run reports after every look.
type Verdict struct {
	Result       // of this look
	Passing bool // the verdict of all looks so far
	Known   bool // whether a threshold was reached at all
	Changed bool // the verdict is new
}

// Run looks until ctx ends and calls report, never twice at once, after every
// look. It returns when ctx has ended and nothing of it is running any more.
func Run(ctx context.Context, s Settings, check Check, report func(Verdict)) {
	s = s.defaulted()
	timer := time.NewTimer(s.InitialDelay)
	defer timer.Stop()
	var (
		state     State
		started   = time.Now()
		succeeded bool
	)
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r := look(ctx, s.Timeout, check)
		if ctx.Err() != nil {
			return // the answer of a container that is being stopped says nothing
		}
		succeeded = succeeded || r.OK
		var changed bool
		state, changed = state.Observe(s, r.OK)
		report(Verdict{Result: r, Passing: state.Passing, Known: state.Known, Changed: changed})
		timer.Reset(wait(s, succeeded, time.Since(started)))
	}
}

func look(ctx context.Context, timeout time.Duration, check Check) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return check(ctx)
}
