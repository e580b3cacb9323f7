package awstest

import "net/http"

// Fault is something that goes wrong. It is one of Throttle, Broken, Expired, Lost and
// Code; and it is about calls (Service and Action) or about what a stack makes
// (Resource).
type Fault struct {
	Service, Action string // such as cloudformation, CreateStack; empty: every one
	// Resource is the logical name in a template; Type its type. Either makes the fault one
	// of creations by stacks.
	Resource, Type string
	Deletion       bool // it is one of deletions instead
	After          int  // this many go well first
	Times          int  // then so many fail; 0: all
	// Odds are those with which one fails whose turn it is; 0: it does.
	Odds float64

	Throttle bool   // too many requests
	Broken   bool   // an error 500
	Lost     bool   // it is done, and the answer is lost
	Expired  bool   // the credentials have expired, for good
	Code     string // this error
	Message  string
}

type faultState struct {
	Fault
	seen  int
	words errorWords
}

// Fail has something go wrong from now on.
func (a *Account) Fail(f Fault) {
	defer a.locked()()
	a.faults = append(a.faults, &faultState{Fault: f})
}

// Heal ends all faults.
func (a *Account) Heal() {
	defer a.locked()()
	a.faults = nil
}

// hits counts one that the fault is about, and reports whether it is its turn.
func (a *Account) hits(f *faultState) bool {
	f.seen++
	turn := f.seen > f.After && (f.Times == 0 || f.seen <= f.After+f.Times)
	return turn && (f.Odds == 0 || a.random.Float64() < f.Odds)
}

// fault is what goes wrong with a call, or nil. CloudFormation's own calls are spared: what
// it makes has faults of its own.
func (c *call) fault() *faultState {
	if c.implied {
		return nil
	}
	for _, f := range c.faults {
		if f.Resource == "" && f.Type == "" && (f.Service == "" || f.Service == c.service.name) && (f.Action == "" || f.Action == c.op.name) && c.hits(f) {
			f.words = c.service.errors
			if f.Expired {
				c.who.expires = c.clock.now
			}
			return f
		}
	}
	return nil
}

// creationFault is what goes wrong with a resource of a stack.
func (a *Account) creationFault(logical, kind string) error {
	for _, f := range a.faults {
		if !f.Deletion && (f.Resource != "" || f.Type != "") && (f.Resource == "" || f.Resource == logical) && (f.Type == "" || f.Type == kind) && a.hits(f) {
			f.words = wordsQuery
			return f.err()
		}
	}
	return nil
}

func (f *faultState) err() error {
	switch {
	case f.Throttle:
		return f.words.of("throttle")
	case f.Expired:
		return f.words.of("expired")
	case f.Broken:
		return refuseAs(http.StatusInternalServerError, "InternalFailure", "We encountered an internal error. Please try again.")
	case f.Code != "":
		return refuse(f.Code, "%s", f.Message)
	}
	return refuseAs(http.StatusInternalServerError, "InternalError", "An internal error has occurred")
}

// lostAnswer is an answer that does not arrive.
type lostAnswer struct{}

func (*lostAnswer) Error() string { return errLost.Error() }
