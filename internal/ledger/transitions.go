package ledger

import (
	"fmt"
	"slices"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// EventType is what happens to an item.
type EventType string

// The events. Those of an execution carry its number, and nothing else does.
const (
	Due     EventType = "due"     // the time has come at which it was to begin, or to be tried again
	Begin   EventType = "begin"   // there is a place for it
	Succeed EventType = "succeed" // an execution succeeded, and its result is kept
	Retry   EventType = "retry"   // an execution did not succeed, and another one is to follow
	Fail    EventType = "fail"    // an execution did not succeed, and no other one is to follow
	Cancel  EventType = "cancel"  // somebody does not want it any more
	Expire  EventType = "expire"  // it has waited for as long as it may
	Again   EventType = "again"   // somebody wants it after all
	Adopt   EventType = "adopt"   // whoever had it executed is gone, and somebody else waits for its end
)

// Outcome is what an execution came to, in one word.
type Outcome string

// The outcomes.
const (
	OK          Outcome = "succeeded"
	Error       Outcome = "error"       // the container said no
	TimedOut    Outcome = "timeout"     // it took too long
	Lost        Outcome = "lost"        // the container went away
	Busy        Outcome = "busy"        // the container asked to come back later
	Interrupted Outcome = "interrupted" // we ended it: a deploy, a scale-in, a restart
)

// Charge is to which budget of its item an execution goes.
type Charge string

// The budgets.
const (
	ToNobody Charge = ""
	ToItem   Charge = "attempt"
	ToLoss   Charge = "loss"
	ToCrash  Charge = "crash"
)

// Event is something that happens to an item.
type Event struct {
	Type EventType
	At   time.Time

	Attempt  int    // of an execution: its number
	Owner    string // Begin, Adopt
	Replica  string // Begin
	Revision string // Begin

	Outcome Outcome   // of an execution
	Status  int       // that the container answered with; 0: none
	Why     *Reason   // of an execution that did not succeed
	Reason  *Reason   // of the end that is no success
	Charge  Charge    // Retry, Fail
	Due     time.Time // Retry: when it is tried again
	Result  *Content  // Succeed
	Expires time.Time // Again
	Keep    time.Duration
	// Payloads says of an end whether the payload is kept with it.
	Payloads Payloads
}

// Payloads says of which ended items the payload is kept, so that they can be tried again.
type Payloads string

// The ways.
const (
	OnFailure Payloads = "" // of those that did not succeed
	Always    Payloads = "always"
	Never     Payloads = "never"
)

// Keeps reports whether the payload of an item that has come to an end is kept.
func (p Payloads) Keeps(end State) bool { return p == Always || p == OnFailure && end != Succeeded }

// row is one line of the table: what an event makes of an item, by the state it is in.
type row struct {
	to map[State]State
	// fenced says that the event is of one execution, and counts only while that is the
	// latest one.
	fenced bool
	// ready refuses for a reason that is not the state; nil: there is none.
	ready func(*Item, Event) string
	apply func(*Item, Event)
}

// table is every way in which an item can change. What is cancelled while it runs ends
// with its execution: as a success if that was faster, and cancelled otherwise.
var table = map[EventType]row{
	Due: {
		to:    map[State]State{Delayed: Queued, Retrying: Queued},
		ready: func(i *Item, e Event) string { return when(e.At.Before(i.Due), "its time has not come") },
		apply: func(i *Item, _ Event) { i.Due = time.Time{} },
	},
	Begin: {
		to:    map[State]State{Queued: Running},
		ready: func(i *Item, e Event) string { return when(overdue(i, e.At), "it has waited for too long") },
		apply: begin,
	},
	Succeed: {
		to:     map[State]State{Running: Succeeded, Cancelling: Succeeded},
		fenced: true,
		apply: func(i *Item, e Event) {
			i.Result, i.Reason = e.Result, nil
			finish(i, e)
		},
	},
	Retry: {
		to:     map[State]State{Running: Retrying, Cancelling: Cancelled},
		fenced: true,
		apply: func(i *Item, e Event) {
			finish(i, e)
			if i.State == Retrying {
				i.Due = e.Due
			}
		},
	},
	Fail: {
		to:     map[State]State{Running: Failed, Cancelling: Cancelled},
		fenced: true,
		apply:  finish,
	},
	Cancel: {
		to: map[State]State{Delayed: Cancelled, Queued: Cancelled, Retrying: Cancelled, Running: Cancelling},
		apply: func(i *Item, e Event) {
			i.Reason, i.Due = e.Reason, time.Time{}
		},
	},
	Expire: {
		to:    map[State]State{Delayed: Expired, Queued: Expired, Retrying: Expired},
		ready: func(i *Item, e Event) string { return when(!overdue(i, e.At), "it may wait for longer") },
		apply: func(i *Item, e Event) {
			i.Reason, i.Due = e.Reason, time.Time{}
		},
	},
	Adopt: {
		to:     map[State]State{Running: Running, Cancelling: Cancelling},
		fenced: true,
		apply:  func(i *Item, e Event) { i.Owner = e.Owner },
	},
	Again: {
		to:    map[State]State{Failed: Queued, Cancelled: Queued, Expired: Queued, Succeeded: Queued},
		ready: func(i *Item, _ Event) string { return when(i.Payload == nil, "its payload is not kept any more") },
		apply: func(i *Item, e Event) {
			i.Generation++
			i.Charged, i.Losses, i.Crashes, i.Reason, i.Result = 0, 0, 0, nil, nil
			i.Expires, i.Ended, i.Forget = e.Expires, time.Time{}, time.Time{}
		},
	},
}

// Next is the item after an event: the one way in which items change. It fails with
// fault.Conflict, CodeFenced for an execution that is not the item's latest or that has
// ended, and CodeRefused for anything else that the table does not have.
func Next(was Item, e Event) (Item, error) {
	r, known := table[e.Type]
	if !known {
		return was, fmt.Errorf("ledger: no event is called %q", e.Type)
	}
	to, has := r.to[was.State]
	switch {
	case r.fenced && (!has || e.Attempt != was.Attempt):
		return was, fault.New(fault.Conflict, CodeFenced, "execution %d of %s is over: the item is %s, in execution %d", e.Attempt, was.ID, was.State, was.Attempt)
	case !has:
		return was, fault.New(fault.Conflict, CodeRefused, "%s is %s", was.ID, was.State)
	}
	if r.ready != nil {
		if why := r.ready(&was, e); why != "" {
			return was, fault.New(fault.Conflict, CodeRefused, "%s is %s, and %s", was.ID, was.State, why)
		}
	}
	next := was
	next.Attempts = slices.Clone(was.Attempts)
	next.State, next.Updated, next.Version = to, e.At, was.Version+1
	r.apply(&next, e)
	if to.Ended() {
		next.Ended, next.Forget = e.At, e.At.Add(e.Keep)
		if !e.Payloads.Keeps(to) {
			next.Payload = nil
		}
	}
	return next, nil
}

// CanEnd reports whether cancelling an item in s is still of use.
func CanEnd(s State) bool { _, can := table[Cancel].to[s]; return can || s == Cancelling }

func begin(i *Item, e Event) {
	i.Attempt++
	i.Owner = e.Owner
	i.Attempts = append(i.Attempts, Attempt{N: i.Attempt, Started: e.At, Replica: e.Replica, Revision: e.Revision})
	if more := len(i.Attempts) - MaxAttempts; more > 0 {
		i.Attempts = i.Attempts[more:]
	}
}

// finish notes what the latest execution came to.
func finish(i *Item, e Event) {
	i.Owner = ""
	switch e.Charge {
	case ToItem:
		i.Charged++
	case ToLoss:
		i.Losses++
	case ToCrash:
		i.Crashes++
	}
	if n := len(i.Attempts); n > 0 {
		a := &i.Attempts[n-1]
		a.Outcome, a.Status, a.Reason, a.Took = e.Outcome, e.Status, e.Why, max(e.At.Sub(a.Started), 0)
	}
	if i.State == Failed {
		i.Reason = e.Reason
	}
}

func overdue(i *Item, now time.Time) bool { return !i.Expires.IsZero() && !now.Before(i.Expires) }

func when(is bool, why string) string {
	if is {
		return why
	}
	return ""
}
