package engine

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// RolloutReplica is what a plan needs to know of one present replica.
type RolloutReplica struct {
	ID          string
	Current     bool // its pod is that of the desired revision
	Serving     bool // its pod is that of the serving revision, and no other
	Ready       bool // receives requests
	Available   bool // Current only: has been ready for SteadyAfter, so others may go on its account
	Terminating bool // on its way out; nothing can be done about it
	Busy        int  // requests in flight there
}

// SteadyAfter is how long a replica of a new revision must have been ready before one of
// an earlier revision is stopped in its favour: a server that comes up and dies of its
// first requests replaces nothing.
const SteadyAfter = 3 * time.Second

// RolloutInput is one observation. Surge and Unavailable are numbers of replicas,
// already rounded for Desired.
type RolloutInput struct {
	Desired     int
	Surge       int
	Unavailable int
	Serving     bool             // there is a serving revision to fall back to
	Failed      bool             // the desired revision has proven unable to become ready
	Trial       bool             // at Desired 0, one replica of the desired revision is to prove itself
	Replicas    []RolloutReplica // oldest first
}

// Bounds returns surge and unavailability of a strategy for n replicas; a nil
// strategy, of kinds that have none, is the default one.
func Bounds(s *workload.UpdateStrategy, n int) (surge, unavailable int) {
	if s == nil {
		s = &workload.UpdateStrategy{MaxSurge: "25%", MaxUnavailable: "25%"}
	}
	return s.Surge(n), s.Unavailable(n)
}

// Stop is one replica to stop, and why in words.
type Stop struct {
	ID     string
	Reason string
}

// RolloutPlan is the next step. The zero value means that nothing is to be done now.
type RolloutPlan struct {
	Start         int    // so many replicas of the desired revision
	StartReason   string // in words; empty when Start is 0
	Restore       int    // so many replicas of the serving revision
	RestoreReason string // in words; empty when Restore is 0
	Stop          []Stop
}

// PlanRollout decides the next step towards Desired replicas of the desired
// revision, as a Kubernetes Deployment does:
//
//   - it never starts past Desired+Surge. Replicas that are still stopping count
//     only when Surge is 0: that is how a user says that no more than Desired fit
//     (one GPU each, say), and no scheduler stands between here and the machine;
//   - it never stops a ready replica when that leaves fewer than
//     Desired-Unavailable ready ones, so a revision that does not become ready
//     never replaces one that is;
//     A replica of the desired revision counts once it is available;
//   - old replicas that are not ready go first, then those with the fewest requests,
//     then the oldest; those of the serving revision last;
//   - past Desired, replicas of the desired revision go too: first those that are
//     not ready, then those with the fewest requests, then the newest.
//
// As long as the desired revision does not carry the load, the serving one does:
//
//   - its replicas are started too, after a restart or when more are desired, so
//     that Desired-Unavailable can be ready;
//   - once the desired revision has failed, it is all of Desired, and the desired
//     revision keeps trying in what Surge adds, which may be nothing.
//
// It changes nothing and remembers nothing; call it again after every change.
func PlanRollout(in RolloutInput) RolloutPlan {
	in.Desired, in.Surge, in.Unavailable = max(in.Desired, 0), max(in.Surge, 0), max(in.Unavailable, 0)
	if in.Surge == 0 && in.Unavailable == 0 {
		in.Unavailable = 1 // otherwise no step would ever be allowed
	}
	var current, old []RolloutReplica
	stopping, serving := 0, 0
	for _, r := range in.Replicas {
		switch {
		case r.Terminating:
			stopping++
		case r.Current:
			current = append(current, r)
		default:
			old = append(old, r)
			if r.Serving {
				serving++
			}
		}
	}
	s := sharesOf(in, current)

	var plan RolloutPlan
	occupied := len(current) + len(old)
	if in.Surge == 0 {
		occupied += stopping
	}
	room := max(in.Desired+in.Surge, s.desired) - occupied
	plan.Restore = max(0, min(s.serving-serving, room))
	plan.Start = max(0, min(s.desired-len(current), room-plan.Restore))
	if plan.Restore > 0 {
		plan.RestoreReason = fmt.Sprintf("it is of the version that was live last, of which %d must run as long as the new one does not serve", s.serving)
	}
	switch {
	case plan.Start == 0:
	case in.Desired == 0:
		plan.StartReason = "it is to prove that this version can become ready"
	default:
		plan.StartReason = startReason(in, len(current), len(old))
	}

	excess := excessOf(current, s.desired)
	for _, r := range excess {
		plan.Stop = append(plan.Stop, Stop{r.ID, fmt.Sprintf("wanted: %d, there: %d", s.desired, len(current))})
	}
	kept := slices.DeleteFunc(slices.Clone(current), func(r RolloutReplica) bool { return slices.Contains(excess, r) })
	plan.Stop = append(plan.Stop, oldToStop(s, kept, old)...)
	return plan
}

// shares is how many replicas each side of a rollout is to have.
type shares struct {
	desired  int // at most, of the desired revision
	serving  int // at least, of the serving revision
	minReady int // of all that receive requests
}

func sharesOf(in RolloutInput, current []RolloutReplica) shares {
	s := shares{desired: in.Desired, minReady: max(0, in.Desired-in.Unavailable)}
	if in.Desired == 0 && in.Trial {
		s.desired = 1
	}
	ready := available(current)
	switch {
	case in.Desired == 0 || !in.Serving:
	case in.Failed && ready == 0:
		return shares{desired: min(in.Surge, in.Desired), serving: in.Desired, minReady: in.Desired}
	default:
		s.serving = max(0, s.minReady-ready)
	}
	return s
}

// excessOf returns what of current goes on scale-in.
func excessOf(current []RolloutReplica, desired int) []RolloutReplica {
	n := len(current) - desired
	if n <= 0 {
		return nil
	}
	order := slices.Clone(current)
	slices.Reverse(order) // newest first
	slices.SortStableFunc(order, leastMissed)
	return order[:n]
}

// oldToStop returns what of old may go now. Replicas of the desired revision that
// are not available are taken for lost: nothing goes on their account.
func oldToStop(s shares, current, old []RolloutReplica) []Stop {
	ready, serving := available(current), 0
	// May go: of all that may be ready, now or one day, what is more than must be;
	// and of those that are ready now, what is more than must be.
	spare := len(old) + ready - s.minReady
	for _, r := range old {
		ready += oneIf(r.Ready)
		if r.Serving {
			serving++
		}
	}
	order := slices.Clone(old)
	slices.SortStableFunc(order, func(a, b RolloutReplica) int {
		return cmp.Or(oneIf(a.Serving)-oneIf(b.Serving), leastMissed(a, b))
	})
	var stops []Stop
	for _, r := range order {
		switch {
		case spare <= 0:
			return stops
		case r.Ready && ready <= s.minReady, r.Serving && !r.Ready && serving <= s.serving:
			continue
		}
		spare--
		reason := "it is of an older revision and not ready"
		if r.Ready {
			ready--
			reason = fmt.Sprintf("it is of an older revision; ready without it: %d, needed: %d", ready, s.minReady)
		}
		if r.Serving {
			serving--
		}
		stops = append(stops, Stop{r.ID, reason})
	}
	return stops
}

// leastMissed orders replicas by what their end would cost those who ask them.
func leastMissed(a, b RolloutReplica) int {
	return cmp.Or(oneIf(a.Ready)-oneIf(b.Ready), cmp.Compare(a.Busy, b.Busy))
}

// available is how many replicas of the desired revision carry load for sure.
func available(current []RolloutReplica) int {
	n := 0
	for _, r := range current {
		n += oneIf(r.Ready && r.Available)
	}
	return n
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

func startReason(in RolloutInput, current, old int) string {
	if old > 0 {
		return fmt.Sprintf("%d of %d replicas are of the desired revision; at most %d may exist during an update", current, in.Desired, in.Desired+in.Surge)
	}
	return fmt.Sprintf("wanted: %d, there: %d", in.Desired, current)
}
