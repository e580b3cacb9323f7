package engine

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestPlanRolloutKeepsWhatServes(t *testing.T) {
	t.Parallel()
	current := func(id string, ready bool) RolloutReplica {
		return RolloutReplica{ID: id, Current: true, Ready: ready, Available: ready}
	}
	serving := func(id string, ready bool) RolloutReplica {
		return RolloutReplica{ID: id, Serving: true, Ready: ready}
	}
	other := func(id string, ready bool) RolloutReplica { return RolloutReplica{ID: id, Ready: ready} }
	for _, tt := range []struct {
		name           string
		in             RolloutInput
		start, restore int
		stop           []string
	}{
		{name: "after a restart both are started", in: RolloutInput{Desired: 1, Surge: 1, Serving: true}, start: 1, restore: 1},
		{name: "each its part", in: RolloutInput{Desired: 4, Surge: 1, Unavailable: 1, Serving: true}, start: 2, restore: 3},
		{name: "after a failure what serves is all of it", in: RolloutInput{Desired: 4, Surge: 1, Unavailable: 1, Serving: true, Failed: true}, start: 1, restore: 4},
		{
			name: "more load goes to what serves", restore: 2, start: 1,
			in: RolloutInput{Desired: 4, Surge: 1, Unavailable: 1, Serving: true, Replicas: []RolloutReplica{serving("a", true), current("b", false)}},
		},
		{
			name: "less load leaves one of each", stop: []string{"d", "a"},
			in: RolloutInput{Desired: 1, Surge: 1, Serving: true, Replicas: []RolloutReplica{serving("a", true), serving("b", true), current("c", false), current("d", false)}},
		},
		{
			name: "a second bad version takes the place of the first, not of what serves", stop: []string{"b"},
			in: RolloutInput{Desired: 1, Surge: 1, Serving: true, Replicas: []RolloutReplica{serving("a", true), other("b", false)}},
		},
		{
			name: "what has only begun to serve again stays, too", stop: []string{"a"},
			in: RolloutInput{Desired: 1, Surge: 1, Serving: true, Replicas: []RolloutReplica{other("a", false), serving("b", false)}},
		},
		{
			name: "as does the only one that is ready until it does", stop: []string{"b"},
			in: RolloutInput{Desired: 1, Surge: 1, Serving: true, Replicas: []RolloutReplica{other("a", true), serving("b", false), serving("c", false)}},
		},
		{
			name: "of those in between only what is more than must be ready goes", stop: []string{"a"},
			in: RolloutInput{Desired: 2, Surge: 2, Serving: true, Replicas: []RolloutReplica{other("a", true), other("b", true), other("c", true), serving("d", false)}},
		},
		{
			name: "and of what has only begun to serve again what is more than must serve", stop: []string{"a", "b"},
			in: RolloutInput{Desired: 1, Surge: 1, Serving: true, Replicas: []RolloutReplica{other("a", false), serving("b", false), serving("c", false)}},
		},
		{
			name: "a version in between goes before the one that serves", stop: []string{"b"},
			in: RolloutInput{Desired: 1, Surge: 1, Serving: true, Replicas: []RolloutReplica{serving("a", true), other("b", true)}},
		},
		{
			name: "it goes when the desired version is ready", stop: []string{"a"},
			in: RolloutInput{Desired: 1, Surge: 1, Serving: true, Failed: true, Replicas: []RolloutReplica{serving("a", true), current("b", true)}},
		},
		{
			name: "without surge the new version is tried alone", start: 1,
			in: RolloutInput{Desired: 1, Unavailable: 1, Serving: true},
		},
		{
			name: "and goes when it has failed", stop: []string{"a"},
			in: RolloutInput{Desired: 1, Unavailable: 1, Serving: true, Failed: true, Replicas: []RolloutReplica{current("a", false)}},
		},
		{
			name: "so that what serves comes back", restore: 1,
			in: RolloutInput{Desired: 1, Unavailable: 1, Serving: true, Failed: true},
		},
		{
			name: "and stays",
			in:   RolloutInput{Desired: 1, Unavailable: 1, Serving: true, Failed: true, Replicas: []RolloutReplica{serving("a", true)}},
		},
		{name: "a trial is one replica", in: RolloutInput{Serving: true, Trial: true}, start: 1},
		{
			name: "and no more",
			in:   RolloutInput{Serving: true, Trial: true, Replicas: []RolloutReplica{current("a", false)}},
		},
		{
			name: "a request during a trial is served by what serves", restore: 1,
			in: RolloutInput{Desired: 1, Surge: 1, Serving: true, Replicas: []RolloutReplica{current("a", false)}},
		},
		{
			name: "nothing is left of a trial that failed", stop: []string{"a"},
			in: RolloutInput{Serving: true, Failed: true, Replicas: []RolloutReplica{current("a", false)}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			plan := PlanRollout(tt.in)
			var stop []string
			for _, s := range plan.Stop {
				stop = append(stop, s.ID)
			}
			if plan.Start != tt.start || plan.Restore != tt.restore || !slices.Equal(stop, tt.stop) {
				t.Errorf("PlanRollout(…) = start %d, restore %d, stop %v, want %d, %d, %v", plan.Start, plan.Restore, stop, tt.start, tt.restore, tt.stop)
			}
			if (plan.Start > 0) != (plan.StartReason != "") || (plan.Restore > 0) != (plan.RestoreReason != "") {
				t.Errorf("PlanRollout(…) starts %d because %q, and %d because %q", plan.Start, plan.StartReason, plan.Restore, plan.RestoreReason)
			}
		})
	}
}

// TestRolloutFallsBack deploys versions of which only the first can become ready,
// and has replicas of everything become ready, fail and end, and the machine restart.
func TestRolloutFallsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const served = 1
		w := &world{revision: map[string]int{}}
		good := map[int]bool{served: true}
		desired := rapid.IntRange(1, 8).Draw(t, "desired")
		surge := rapid.IntRange(0, 4).Draw(t, "surge")
		unavailable := rapid.IntRange(0, 4).Draw(t, "unavailable")
		if surge == 0 && unavailable == 0 {
			unavailable = 1
		}
		revision, failed := served+1, false
		step := func() {
			present := func(r RolloutReplica) bool { return !r.Terminating }
			ready := func(r RolloutReplica) bool { return r.Ready }
			before, beforeReady, everything := w.count(present), w.count(ready), len(w.replicas)
			in := w.input(desired, surge, unavailable, revision)
			in.Serving, in.Failed = true, failed
			for i := range in.Replicas {
				in.Replicas[i].Serving = w.revision[in.Replicas[i].ID] == served
			}
			plan := PlanRollout(in)
			w.carryOut(plan, revision)
			w.start(plan.Restore, served)
			if after := w.count(present); after > max(desired+surge, before) {
				t.Fatalf("%d replicas, want at most %d: %+v", after, desired+surge, plan)
			}
			if surge == 0 && len(w.replicas) > max(desired, everything) {
				t.Fatalf("%d replicas with those that are stopping, want at most %d: %+v", len(w.replicas), desired, plan)
			}
			if after := w.count(ready); after < min(beforeReady, desired-unavailable) {
				t.Fatalf("%d ready replicas after %d, want at least %d: %+v", after, beforeReady, desired-unavailable, plan)
			}
		}
		settle := func() {
			for range 100 {
				w.calm(good)
				step()
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				revision, failed = revision+1, false
			case 1:
				desired = rapid.IntRange(1, 8).Draw(t, "desired")
			case 2:
				failed = true
			case 3:
				w.replicas = nil
			default:
				w.shake(t, good)
			}
			step()
		}
		ofServed := func(r RolloutReplica) bool { return r.Ready && w.revision[r.ID] == served }
		failed = false
		settle()
		if got, want := w.count(ofServed), desired-unavailable; got < want {
			t.Fatalf("while the new version is tried %d replicas serve, want at least %d: %+v", got, want, w.replicas)
		}
		failed = true
		settle()
		if got := w.count(ofServed); got != desired || len(w.replicas) > desired+surge {
			t.Fatalf("after the new version has failed %d of %d replicas serve, want %d and at most %d", got, len(w.replicas), desired, desired+surge)
		}
		if surge == 0 {
			return // then nothing of the new version is left that could become ready
		}
		good[revision] = true
		settle()
		if got := w.count(func(r RolloutReplica) bool { return r.Ready && w.revision[r.ID] == revision }); got != desired || len(w.replicas) != desired {
			t.Fatalf("after the new version has recovered %d of %d replicas are its own, want %d of as many: %s", got, len(w.replicas), desired, fmt.Sprint(w.replicas))
		}
	})
}
