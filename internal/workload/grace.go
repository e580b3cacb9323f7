package workload

import (
	"cmp"
	"time"
)

// DefaultGrace is between the decision to stop a replica and SIGKILL, where neither the
// file nor the installation says another time.
const DefaultGrace = time.Minute

// The grace of a replica is divided so that each step leaves something to the next: a
// drain that takes as long as it may still leaves time for a hook, and a hook for a
// polite end.
const (
	drainReserve    = 6 // a sixth of the grace is never spent on draining,
	maxDrainReserve = time.Minute
	hookReserve     = 2 // and half of that never on the hook
)

// Grace is between the decision to stop a replica of p and SIGKILL. def is the
// installation's; 0 is DefaultGrace.
func (p *Pod) Grace(def time.Duration) time.Duration {
	if p != nil && p.TerminationGracePeriod != nil {
		return time.Duration(*p.TerminationGracePeriod)
	}
	return cmp.Or(def, DefaultGrace)
}

// DrainWithin is how much of a grace the requests in flight have.
func DrainWithin(grace time.Duration) time.Duration { return grace - afterDrain(grace) }

// HookWithin is when, after the decision to stop, the hook has to be over.
func HookWithin(grace time.Duration) time.Duration { return grace - afterDrain(grace)/hookReserve }

func afterDrain(grace time.Duration) time.Duration {
	return min(grace/drainReserve, maxDrainReserve)
}
