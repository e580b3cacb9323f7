package ledger

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Rules are what an API says about items that do not succeed.
type Rules struct {
	Attempts  int           // executions that the container may spoil, the first one included; at least 1
	Redeliver int           // executions that may be lost
	MinDelay  time.Duration // before the second execution; then twice as long each time
	MaxDelay  time.Duration
	Keep      time.Duration // how long an item is kept after its end
	// On are the answers, and "timeout", after which another execution may succeed; nil:
	// Retried.
	On       []string
	Payloads Payloads
}

// Ending is what was seen of an execution that ended.
type Ending struct {
	Outcome Outcome
	Status  int
	Reason  *Reason
	// RetryAfter is when the container wants to be asked again, or when there may be room for
	// what it answers; 0: it does not say.
	RetryAfter time.Duration
	// Never says that the container wants no other execution.
	Never bool
	// Crashed says that whoever had it executed has ended, and not on purpose: of many that
	// were interrupted then, one may be why.
	Crashed bool
}

// MaxCrashes is during how many of its executions whoever has them executed may crash. It
// is no rule of an API, because it is everybody's items that begin again for it.
const MaxCrashes = 10

// What an item waits that has begun again more than once after a crash, so that those which
// are not why get done in between.
const (
	minCrashDelay = time.Second
	maxCrashDelay = time.Minute
)

// Bounds of what a container may say of the time at which it wants to be asked again.
const (
	minAfter = time.Second
	maxAfter = time.Hour
)

// OnTimeout is what Rules.On calls an execution that took too long.
const OnTimeout = "timeout"

// Retried returns what an execution may come to that is tried again unless an API says
// something else.
func Retried() []string { return []string{"408", "425", "429", "502", "503", "504", OnTimeout} }

// retries reports whether an execution that ended like this may be tried again.
func (r Rules) retries(end Ending) bool {
	on := r.On
	if on == nil {
		on = Retried()
	}
	if end.Outcome == TimedOut {
		return slices.Contains(on, OnTimeout)
	}
	return slices.Contains(on, strconv.Itoa(end.Status))
}

// Judge says what follows from the end of an execution that did not succeed: another one,
// or the end of its item. share, in [0, 1), spreads those that fail together (full jitter).
func Judge(i Item, end Ending, r Rules, now time.Time, share float64) Event {
	e := Event{Type: Retry, At: now, Attempt: i.Attempt, Outcome: end.Outcome, Status: end.Status, Why: end.Reason, Reason: end.Reason, Due: now, Keep: r.Keep, Payloads: r.Payloads}
	switch {
	case end.Crashed:
		e.Charge = ToCrash
		if i.Crashes+1 > MaxCrashes {
			e.Type = Fail
			e.Reason = &Reason{Code: "crashes_exhausted", Message: fmt.Sprintf("this environment ended during %s of it, without having been stopped", times(i.Crashes+1))}
			return e
		}
		if i.Crashes > 0 {
			e.Due = now.Add(delay(Rules{MinDelay: minCrashDelay, MaxDelay: maxCrashDelay}, i.Crashes-1, share))
		}
		return e
	case end.Outcome == Interrupted: // it is nobody's fault
		e.Due = now.Add(min(end.RetryAfter, maxAfter))
		return e
	case end.Never:
		e.Type, e.Charge = Fail, ToItem
		return e
	case end.Outcome == Busy:
		e.Due = now.Add(min(max(end.RetryAfter, minAfter), maxAfter))
		return e
	case end.Outcome == Lost:
		e.Charge = ToLoss
		if i.Losses+1 > r.Redeliver {
			e.Type = Fail
			e.Reason = &Reason{Code: "losses_exhausted", Message: fmt.Sprintf("its replica went away during %s of it, more than the %d that redeliver allows", times(i.Losses+1), r.Redeliver)}
			return e
		}
		e.Due = now.Add(delay(r, i.Losses, share))
		return e
	case !r.retries(end) && end.RetryAfter == 0:
		e.Type, e.Charge = Fail, ToItem
		return e
	}
	e.Charge = ToItem
	if i.Charged+1 >= r.Attempts {
		e.Type = Fail
		if r.Attempts > 1 {
			last := "it did not succeed"
			if end.Reason != nil {
				last = end.Reason.Message
			}
			e.Reason = &Reason{Code: "attempts_exhausted", Message: fmt.Sprintf("it was tried %s; the last time: %s", timesOf(i.Charged+1), last)}
		}
		return e
	}
	e.Due = now.Add(delay(r, i.Charged, share))
	if end.RetryAfter > 0 {
		e.Due = now.Add(min(max(end.RetryAfter, minAfter), maxAfter))
	}
	return e
}

// delay is how long to wait after so many executions that did not succeed.
func delay(r Rules, before int, share float64) time.Duration {
	most := float64(r.MinDelay) * math.Pow(2, float64(before))
	return time.Duration(min(most, float64(r.MaxDelay)) * (1 - share))
}

func times(n int) string {
	if n == 1 {
		return "1 execution"
	}
	return fmt.Sprintf("%d executions", n)
}

func timesOf(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
