package engine

import (
	"fmt"
	"slices"

	"cortex.dev/cortex/internal/workload"
)

// RolloutReplica is what a plan needs to know of one present replica.
type RolloutReplica struct {
	ID          string
	Current     bool // its pod is that of the desired revision
	Ready       bool // receives requests
	Terminating bool // on its way out; nothing can be done about it
}

// RolloutInput is one observation. Surge and Unavailable are numbers of replicas,
// already rounded for Desired.
type RolloutInput struct {
	Desired     int
	Surge       int
	Unavailable int
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
	Start       int    // so many replicas of the desired revision
	StartReason string // in words; empty when Start is 0
	Stop        []Stop
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
//   - old replicas that are not ready go first, then the oldest;
//   - past Desired, replicas of the desired revision go too: first those that are
//     not ready, then the newest.
//
// It changes nothing and remembers nothing; call it again after every change.
func PlanRollout(in RolloutInput) RolloutPlan {
	in.Desired, in.Surge, in.Unavailable = max(in.Desired, 0), max(in.Surge, 0), max(in.Unavailable, 0)
	if in.Surge == 0 && in.Unavailable == 0 {
		in.Unavailable = 1 // otherwise no step would ever be allowed
	}
	var current, old []RolloutReplica
	stopping := 0
	for _, r := range in.Replicas {
		switch {
		case r.Terminating:
			stopping++
		case r.Current:
			current = append(current, r)
		default:
			old = append(old, r)
		}
	}

	var plan RolloutPlan
	occupied := len(current) + len(old)
	if in.Surge == 0 {
		occupied += stopping
	}
	plan.Start = max(0, min(in.Desired-len(current), in.Desired+in.Surge-occupied))
	if plan.Start > 0 {
		plan.StartReason = startReason(in, len(current), len(old))
	}

	excess := excessOf(current, in.Desired)
	for _, r := range excess {
		plan.Stop = append(plan.Stop, Stop{r.ID, fmt.Sprintf("wanted: %d, there: %d", in.Desired, len(current))})
	}
	kept := slices.DeleteFunc(slices.Clone(current), func(r RolloutReplica) bool { return slices.Contains(excess, r) })
	plan.Stop = append(plan.Stop, oldToStop(in, kept, old)...)
	return plan
}

// excessOf returns what of current goes on scale-in.
func excessOf(current []RolloutReplica, desired int) []RolloutReplica {
	n := len(current) - desired
	if n <= 0 {
		return nil
	}
	order := slices.Clone(current)
	slices.Reverse(order) // newest first
	slices.SortStableFunc(order, func(a, b RolloutReplica) int { return readiness(a) - readiness(b) })
	return order[:n]
}

// oldToStop returns what of old may go now. Replicas of the desired revision that
// are not ready are taken for lost: nothing goes on their account.
func oldToStop(in RolloutInput, current, old []RolloutReplica) []Stop {
	minReady := max(0, in.Desired-in.Unavailable)
	// All that may be ready, now or one day, without the desired revision's unready
	// ones, less what must be: as unready old replicas go first, what is left of the
	// budget after them is the number of ready replicas that can be spared.
	budget := len(old) - minReady
	for _, r := range current {
		budget += readiness(r)
	}
	order := slices.Clone(old)
	slices.SortStableFunc(order, func(a, b RolloutReplica) int { return readiness(a) - readiness(b) })
	var stops []Stop
	for _, r := range order[:min(max(0, budget), len(order))] {
		budget--
		reason := "it is of an older revision and not ready"
		if r.Ready {
			reason = fmt.Sprintf("it is of an older revision, and %d replicas are ready without it; at least %d must be", minReady+budget, minReady)
		}
		stops = append(stops, Stop{r.ID, reason})
	}
	return stops
}

func readiness(r RolloutReplica) int {
	if r.Ready {
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
