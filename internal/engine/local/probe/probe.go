// Package probe asks a container, periodically, whether it works: over HTTP, by
// opening a connection or by running a command in it, with the thresholds and
// delays of a Kubernetes probe.
//
// It promises that deciding (State) is apart from asking (Check) and from waiting
// (Run), so that each can be tested alone, and that no answer, however large or
// slow, costs more than its timeout and a few hundred bytes. It must not know
// what an engine does with a verdict.
package probe

import (
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Settings are the timing and thresholds of one probe.
type Settings struct {
	InitialDelay     time.Duration
	Period           time.Duration
	Timeout          time.Duration
	SuccessThreshold int // successes in a row that make it pass
	FailureThreshold int // failures in a row that make it fail
	// Quick looks often until the first success instead of once per Period, so
	// that a replica is known to be ready when it is, not up to a period later.
	// See wait for how often.
	Quick bool
	// Floor is the shortest wait between two quick looks; 10 ms when zero.
	Floor time.Duration
}

// From returns the settings of a probe in a spec. Zero values mean what they mean
// to Kubernetes: a period of ten seconds, a timeout of one, thresholds of one and three.
func From(p *workload.Probe) Settings {
	s := Settings{
		InitialDelay:     time.Duration(p.InitialDelaySeconds) * time.Second,
		Period:           time.Duration(p.PeriodSeconds) * time.Second,
		Timeout:          time.Duration(p.TimeoutSeconds) * time.Second,
		SuccessThreshold: int(p.SuccessThreshold),
		FailureThreshold: int(p.FailureThreshold),
	}
	return s.defaulted()
}

func (s Settings) defaulted() Settings {
	if s.Period <= 0 {
		s.Period = 10 * time.Second
	}
	if s.Timeout <= 0 {
		s.Timeout = time.Second
	}
	if s.SuccessThreshold <= 0 {
		s.SuccessThreshold = 1
	}
	if s.FailureThreshold <= 0 {
		s.FailureThreshold = 3
	}
	if s.Floor <= 0 {
		s.Floor = 10 * time.Millisecond
	}
	return s
}

// Result is one answer.
type Result struct {
	OK     bool
	Detail string // what was asked and what came back, in one line; bounded
}

// State folds results into a verdict. The zero value has seen nothing yet.
type State struct {
	Known   bool // a threshold was reached at least once
	Passing bool // the verdict, meaningless until Known
	Row     int  // results in a row that were like the last one
	last    bool
}

// Observe returns the state after one more result, and whether the verdict is new.
func (s State) Observe(cfg Settings, ok bool) (next State, changed bool) {
	if s.Row > 0 && ok == s.last {
		s.Row++
	} else {
		s.Row = 1
	}
	s.last = ok
	threshold := cfg.FailureThreshold
	if ok {
		threshold = cfg.SuccessThreshold
	}
	if s.Row < max(threshold, 1) || s.Known && s.Passing == ok {
		return s, false
	}
	s.Known, s.Passing = true, ok
	return s, true
}

// wait returns how long to wait before the next look. A quick probe that has not
// succeeded yet waits a hundredth of the time it has waited so far, but no less
// than Floor and no more than Period: readiness is then seen at most one per cent
// later than it came, at a cost that falls as a start-up gets slower.
func wait(s Settings, succeeded bool, waited time.Duration) time.Duration {
	if !s.Quick || succeeded {
		return s.Period
	}
	return min(max(waited/100, s.Floor), s.Period)
}
