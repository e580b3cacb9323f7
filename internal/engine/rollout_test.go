package engine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cortex.dev/cortex/internal/workload"
)

func TestPlanRollout(t *testing.T) {
	t.Parallel()
	const (
		current = "current"
		old     = "old"
	)
	replica := func(id, revision string, ready bool) RolloutReplica {
		return RolloutReplica{ID: id, Current: revision == current, Ready: ready, Available: ready}
	}
	busy := func(r RolloutReplica, requests int) RolloutReplica {
		r.Busy = requests
		return r
	}
	fresh := func(id string) RolloutReplica { return RolloutReplica{ID: id, Current: true, Ready: true} }
	going := func(id string) RolloutReplica { return RolloutReplica{ID: id, Terminating: true} }
	for _, tt := range []struct {
		name  string
		in    RolloutInput
		start int
		stop  []string
	}{
		{name: "from nothing", in: RolloutInput{Desired: 3, Surge: 1}, start: 3},
		{name: "nothing to do", in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{replica("a", current, true)}}},
		{name: "waits for a replica that starts", in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{replica("a", current, false)}}},
		{name: "to zero", in: RolloutInput{Surge: 1, Replicas: []RolloutReplica{replica("a", current, true), replica("b", old, true)}}, stop: []string{"a", "b"}},
		{name: "less than nothing is nothing", in: RolloutInput{Desired: -1, Surge: -1, Unavailable: -1, Replicas: []RolloutReplica{replica("a", current, true)}}, stop: []string{"a"}},
		{
			name: "scale-in takes the unready, then the newest", stop: []string{"b", "d"},
			in: RolloutInput{Desired: 2, Surge: 1, Replicas: []RolloutReplica{
				replica("a", current, true), replica("b", current, false), replica("c", current, true), replica("d", current, true),
			}},
		},
		{
			name: "scale-in spares those that are busy", stop: []string{"c", "b"},
			in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{
				replica("b", current, true), replica("c", current, true), busy(replica("d", current, true), 1),
			}},
		},
		{
			name: "scale-in takes the unready before the idle", stop: []string{"a"},
			in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{busy(replica("a", current, false), 3), replica("b", current, true)}},
		},
		{
			name: "an update spares those that are busy", stop: []string{"b"},
			in: RolloutInput{Desired: 2, Surge: 1, Replicas: []RolloutReplica{busy(replica("a", old, true), 2), busy(replica("b", old, true), 1), replica("c", current, true)}},
		},
		{
			name: "what has only just become ready replaces nothing",
			in:   RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{replica("a", old, true), fresh("b")}},
		},
		{
			name: "and is not replaced for being fresh", stop: []string{"c"},
			in: RolloutInput{Desired: 2, Surge: 1, Replicas: []RolloutReplica{fresh("a"), fresh("b"), fresh("c")}},
		},
		{
			name: "an update starts one more before it stops anything", start: 1,
			in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{replica("a", old, true)}},
		},
		{
			name: "and stops the old one when the new one is ready", stop: []string{"a"},
			in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{replica("a", old, true), replica("b", current, true)}},
		},
		{
			name: "a revision that does not become ready replaces nothing",
			in:   RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{replica("a", old, true), replica("b", current, false)}},
		},
		{
			name: "the failed revision makes room for its correction", stop: []string{"b"},
			in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{replica("a", old, true), replica("b", old, false)}},
		},
		{
			name: "without surge one goes first", stop: []string{"a"},
			in: RolloutInput{Desired: 2, Unavailable: 1, Replicas: []RolloutReplica{replica("a", old, true), replica("b", old, true)}},
		},
		{
			name: "without surge what is stopping still takes room",
			in:   RolloutInput{Desired: 1, Unavailable: 1, Replicas: []RolloutReplica{going("a")}},
		},
		{
			name: "with surge it does not", start: 1,
			in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{going("a"), going("b")}},
		},
		{
			name: "an unready old replica waits as long as it may be the last hope", start: 1,
			in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{replica("a", old, false)}},
		},
		{
			name: "of two only one", stop: []string{"a"},
			in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{replica("a", old, false), replica("b", old, false)}},
		},
		{
			name: "unavailability lets old ones go at once", start: 3, stop: []string{"a"},
			in: RolloutInput{Desired: 4, Surge: 2, Unavailable: 2, Replicas: []RolloutReplica{
				replica("a", old, false), replica("b", old, true), replica("c", old, true),
			}},
		},
		{
			name: "both bounds zero still makes a step", stop: []string{"a"},
			in: RolloutInput{Desired: 1, Replicas: []RolloutReplica{replica("a", old, true)}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			plan := PlanRollout(tt.in)
			var stop []string
			for _, s := range plan.Stop {
				stop = append(stop, s.ID)
				if s.Reason == "" {
					t.Errorf("replica %s is stopped without a reason", s.ID)
				}
			}
			if plan.Start != tt.start || !slices.Equal(stop, tt.stop) {
				t.Errorf("PlanRollout(…) = start %d, stop %v, want start %d, stop %v", plan.Start, stop, tt.start, tt.stop)
			}
			if (plan.Start > 0) != (plan.StartReason != "") {
				t.Errorf("PlanRollout(…) starts %d because %q", plan.Start, plan.StartReason)
			}
		})
	}
}

// What explain and the log say of a step.
func TestRolloutReasons(t *testing.T) {
	t.Parallel()
	current := RolloutReplica{ID: "a", Current: true, Ready: true, Available: true}
	old := RolloutReplica{ID: "b", Ready: true}
	for _, tt := range []struct {
		name string
		in   RolloutInput
		want RolloutPlan
	}{
		{
			name: "scale-out", in: RolloutInput{Desired: 3, Surge: 1, Replicas: []RolloutReplica{current}},
			want: RolloutPlan{Start: 2, StartReason: "wanted: 3, there: 1"},
		},
		{
			name: "scale-in", in: RolloutInput{Replicas: []RolloutReplica{current}},
			want: RolloutPlan{Stop: []Stop{{"a", "wanted: 0, there: 1"}}},
		},
		{
			name: "update", in: RolloutInput{Desired: 3, Surge: 1, Replicas: []RolloutReplica{old}},
			want: RolloutPlan{Start: 3, StartReason: "0 of 3 replicas are of the desired revision; at most 4 may exist during an update"},
		},
		{
			name: "old", in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{current, old}},
			want: RolloutPlan{Stop: []Stop{{"b", "it is of an older revision; ready without it: 1, needed: 1"}}},
		},
		{
			name: "old and not ready", in: RolloutInput{Desired: 1, Surge: 1, Replicas: []RolloutReplica{current, {ID: "b"}}},
			want: RolloutPlan{Stop: []Stop{{"b", "it is of an older revision and not ready"}}},
		},
	} {
		if diff := cmp.Diff(tt.want, PlanRollout(tt.in)); diff != "" {
			t.Errorf("%s: PlanRollout(…) (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		strategy           *workload.UpdateStrategy
		n                  int
		surge, unavailable int
	}{
		{nil, 1, 1, 0},
		{nil, 4, 1, 1},
		{&workload.UpdateStrategy{MaxSurge: "0", MaxUnavailable: "25%"}, 1, 0, 1},
		{&workload.UpdateStrategy{MaxSurge: "100%", MaxUnavailable: "0"}, 3, 3, 0},
	} {
		surge, unavailable := Bounds(tt.strategy, tt.n)
		if got, want := [2]int{surge, unavailable}, [2]int{tt.surge, tt.unavailable}; got != want {
			t.Errorf("Bounds(%+v, %d) = %s", tt.strategy, tt.n, cmp.Diff(want, got))
		}
	}
}

// world is a machine on which a rollout takes place.
type world struct {
	replicas []RolloutReplica
	revision map[string]int
	next     int
}

func (w *world) input(desired, surge, unavailable, revision int) RolloutInput {
	in := RolloutInput{Desired: desired, Surge: surge, Unavailable: unavailable}
	for _, r := range w.replicas {
		r.Current = w.revision[r.ID] == revision
		in.Replicas = append(in.Replicas, r)
	}
	return in
}

func (w *world) count(ok func(RolloutReplica) bool) int {
	n := 0
	for _, r := range w.replicas {
		if ok(r) {
			n++
		}
	}
	return n
}

func (w *world) carryOut(p RolloutPlan, revision int) {
	for i := range w.replicas {
		if slices.ContainsFunc(p.Stop, func(s Stop) bool { return s.ID == w.replicas[i].ID }) {
			w.replicas[i].Terminating, w.replicas[i].Ready = true, false
		}
	}
	w.start(p.Start, revision)
}

func (w *world) start(n, revision int) {
	for range n {
		w.next++
		id := fmt.Sprint("r", w.next)
		w.revision[id] = revision
		w.replicas = append(w.replicas, RolloutReplica{ID: id})
	}
}

// TestRolloutKeepsItsBounds lets replicas become ready, fail and end at random
// while the desired revision and number change.
func TestRolloutKeepsItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &world{revision: map[string]int{}}
		desired := rapid.IntRange(0, 8).Draw(t, "desired")
		surge := rapid.IntRange(0, 4).Draw(t, "surge")
		unavailable := rapid.IntRange(0, 4).Draw(t, "unavailable")
		if surge == 0 && unavailable == 0 {
			unavailable = 1
		}
		revision := 1
		good := map[int]bool{1: true}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				revision++
				good[revision] = rapid.Bool().Draw(t, "good")
			case 1:
				desired = rapid.IntRange(0, 8).Draw(t, "desired")
			default:
				w.shake(t, good)
			}
			checkStep(t, w, desired, surge, unavailable, revision)
		}
		// From anywhere it converges once the desired revision works.
		good[revision] = true
		for range 100 {
			w.calm(good)
			checkStep(t, w, desired, surge, unavailable, revision)
		}
		for _, r := range w.replicas {
			if w.revision[r.ID] != revision || !r.Ready {
				t.Fatalf("after 100 steps replica %+v of revision %d is left, want only ready ones of %d", r, w.revision[r.ID], revision)
			}
		}
		if len(w.replicas) != desired {
			t.Fatalf("after 100 steps there are %d replicas, want %d", len(w.replicas), desired)
		}
	})
}

// checkStep plans once and holds the plan to the bounds.
func checkStep(t *rapid.T, w *world, desired, surge, unavailable, revision int) {
	present := func(r RolloutReplica) bool { return !r.Terminating }
	ready := func(r RolloutReplica) bool { return r.Ready }
	oldReady := func(r RolloutReplica) bool { return r.Ready && w.revision[r.ID] != revision }
	currentReady := func(r RolloutReplica) bool { return r.Ready && r.Available && w.revision[r.ID] == revision }
	beforeAll, beforeReady, beforeOld := w.count(present), w.count(ready), w.count(oldReady)
	beforeEverything, current := len(w.replicas), w.count(currentReady)

	plan := PlanRollout(w.input(desired, surge, unavailable, revision))
	w.carryOut(plan, revision)

	if after := w.count(present); after > max(desired+surge, beforeAll) {
		t.Fatalf("%d replicas, want at most %d: %+v", after, desired+surge, plan)
	}
	if surge == 0 && len(w.replicas) > max(desired, beforeEverything) {
		t.Fatalf("%d replicas with those that are stopping, want at most %d: %+v", len(w.replicas), desired, plan)
	}
	if after := w.count(ready); after < min(beforeReady, desired-unavailable) {
		t.Fatalf("%d ready replicas after %d, want at least %d: %+v", after, beforeReady, desired-unavailable, plan)
	}
	if after := w.count(oldReady); current == 0 && after < min(beforeOld, desired-unavailable) {
		t.Fatalf("%d old ready replicas after %d while none of the new revision is available: %+v", after, beforeOld, plan)
	}
}

// shake changes one replica at random, as machines do.
func (w *world) shake(t *rapid.T, good map[int]bool) {
	if len(w.replicas) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.replicas)-1).Draw(t, "replica")
	r := &w.replicas[i]
	switch {
	case r.Terminating:
		w.replicas = slices.Delete(w.replicas, i, i+1)
	case r.Ready && !r.Available:
		r.Ready = rapid.Bool().Draw(t, "comes through")
		r.Available = r.Ready
	case r.Ready:
		r.Ready = rapid.IntRange(0, 4).Draw(t, "stays") > 0
		r.Available = r.Ready
	default:
		r.Ready = good[w.revision[r.ID]]
	}
}

// calm makes everything happen that can.
func (w *world) calm(good map[int]bool) {
	w.replicas = slices.DeleteFunc(w.replicas, func(r RolloutReplica) bool { return r.Terminating })
	for i, r := range w.replicas {
		w.replicas[i].Available = r.Ready && good[w.revision[r.ID]]
		w.replicas[i].Ready = good[w.revision[r.ID]]
	}
}
