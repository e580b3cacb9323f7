package operator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// running is iris with a command, which makes pods of its own, and more keys.
func running(command, more string) string {
	return strings.Replace(realtime("iris", more), "./serve", "./"+command, 1)
}

const fromZero = "  autoscaling:\n    min_replicas: 0\n    init_replicas: 0\n"

// failsBeside is a status in which the wanted revision has failed, while what serves
// in its place, if anything, is ready as often as it is asked for.
func failsBeside(d engine.Deployment) engine.Status {
	s := engine.Status{Name: d.Revision.Name, Revision: d.Revision.ID, Desired: d.Replicas, Failed: &workload.Reason{Code: "crash_loop", Message: "it ends", Fix: "mend it"}}
	if d.Serving != nil {
		for i := range d.Replicas {
			r := replica(d.Serving, i, workload.ReadyOutOfDate, nil)
			r.UpToDate = false
			s.Replicas = append(s.Replicas, r)
		}
	}
	return s
}

// byCommand has revisions whose command is called bad fail.
func byCommand(d engine.Deployment) engine.Status {
	switch {
	case d.Replicas == 0 && !d.Trial && d.Failed == nil:
		return allReady(d)
	case strings.Contains(fmt.Sprint(d.Revision.Pod.Containers[0].Command), "bad"):
		return failsBeside(d)
	case d.Trial:
		d.Replicas = 1
		s := allReady(d)
		s.Desired = 0
		return s
	}
	return allReady(d)
}

func (w *world) phase(name string, want workload.Phase) workload.Status {
	w.t.Helper()
	var s workload.Status
	eventually(w.t, fmt.Sprintf("%s is %s", name, want), func() bool {
		r, err := w.Get(w.t.Context(), name)
		if err == nil {
			s = *r.Status
		}
		return err == nil && s.Phase == want
	})
	return s
}

// results returns what became of each version, newest first: v2 failed (current).
func (w *world) results(name string) (list []string) {
	w.t.Helper()
	versions, err := w.History(w.t.Context(), name)
	if err != nil {
		w.t.Fatalf("History(%s) = %v", name, err)
	}
	for _, v := range versions {
		text := fmt.Sprintf("v%d %s", v.Number, v.Result)
		if v.Current {
			text += " current"
		}
		if v.Serving {
			text += " serving"
		}
		if (v.Result == workload.ResultLive) != (v.FirstLive > 0) || (v.Result == workload.ResultFailed) != (v.Reason != "") {
			w.t.Errorf("version %+v, want the time of one that was live, and the reason of one that failed", v)
		}
		list = append(list, text)
	}
	return list
}

// Who deploys what has failed asks whether it works now, whatever else they change.
func TestADeployOfWhatFailedTriesAgain(t *testing.T) {
	t.Parallel()
	for config, words := range map[string][2]string{
		running("server", ""): {"would try iris (RealtimeAPI) again, which has failed", "trying iris (RealtimeAPI) again, which has failed"},
		running("server", "  autoscaling:\n    max_replicas: 7\n"): {"would update iris (RealtimeAPI)", "updating iris (RealtimeAPI)"},
	} {
		w := newWorld(t)
		w.feed.obey = failsBeside
		w.run()
		w.deploy(running("server", ""))
		w.phase("iris", workload.PhaseFailed)
		eventually(t, "the failure is written down", func() bool { return w.record("iris").Outcome.HasFailed() })
		first := w.record("iris").Revision
		if r := w.deployAs(workload.DeployRequest{Config: config, DryRun: true})[0]; r.Message != words[0] {
			t.Errorf("Deploy(dry run) = %q, want what it would do", r.Message)
		}
		w.feed.obey = allReady
		if r := w.deploy(config)[0]; r.Action != workload.ActionUpdate || r.Message != words[1] {
			t.Errorf("Deploy() = %q %q, want it tried again", r.Action, r.Message)
		}
		w.live("iris")
		if now := w.record("iris"); now.Revision.SamePod(first) || now.Outcome.HasFailed() {
			t.Errorf("the record is %+v, want new replicas and no failure of before", now)
		}
		if r := w.deploy(config)[0]; r.Action != workload.ActionNone {
			t.Errorf("Deploy() of what is live = %q, want nothing done", r.Action)
		}
	}
}

func TestTwoBadVersionsLeaveTheGoodOneServing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed.obey = byCommand
	stop := w.run()
	w.deploy(running("good", ""))
	w.live("iris")
	good := w.record("iris").Revision
	for _, command := range []string{"bad", "bad2"} {
		w.deployAs(workload.DeployRequest{Config: running(command, ""), Force: true})
		s := w.phase("iris", workload.PhaseDegraded)
		if s.Ready != 1 || s.UpToDate != 0 || s.Reason != "it ends; 1 replica of an earlier version still answers requests" {
			t.Errorf("Status = %+v, want it answered by the earlier version", s)
		}
		eventually(t, "the failure is written down", func() bool { return w.record("iris").Outcome.HasFailed() })
		if got := w.record("iris").Serving; got == nil || got.ID != good.ID {
			t.Errorf("after %s %v serves, want %s", command, got, good.ID)
		}
	}
	want := []string{"v3 failed current", "v2 failed", "v1 live serving"}
	if diff := cmp.Diff(want, w.results("iris")); diff != "" {
		t.Errorf("History() differs (-want +got):\n%s", diff)
	}
	e, err := w.Explain(t.Context(), "iris")
	if err != nil || e.Healthy || e.Cause.Fix != "mend it; or go back to v1, which was live: cortex rollback iris" {
		t.Errorf("Explain() = %+v, %v, want the way back", e.Cause, err)
	}

	// A later life asks for both, and knows that the new one has failed.
	stop()
	w.feed.tell(engine.Status{Name: "iris", Removed: true})
	w.feed.obey = failsBeside
	next := operatorOver(t, w.store, w.feed)
	w.Operator = next
	delete(w.feed.desired, "iris")
	w.run()
	if d := mustDeployment(t, w, "iris"); d.Serving == nil || d.Serving.ID != good.ID || d.Failed == nil || d.Trial {
		t.Errorf("a later life applies %+v, want what serves and the failure", d)
	}

	w.feed.obey = allReady
	r, err := w.Rollback(t.Context(), "iris", "")
	if err != nil || r.Message != "rolling back iris (RealtimeAPI) to v1, the last version that was live before" {
		t.Errorf("Rollback() = %q, %v, want v1", r.Message, err)
	}
	w.live("iris")
	if got := w.record("iris"); got.Serving != nil || !got.Outcome.WasLive() || got.Revision.Number != 4 {
		t.Errorf("after the rollback the record is %+v, want v4, live", got)
	}
	_, err = w.Rollback(t.Context(), "iris", "")
	wantFault(t, "Rollback() with no other that was live", err, fault.Conflict, "resources.no_previous_version")
}

// Whoever deploys at the moment at which a version is live does not lose it because
// nobody has written that down yet.
func TestWhatIsLiveRightNowServes(t *testing.T) {
	t.Parallel()
	w := newWorld(t) // not running: nobody writes
	w.deploy(running("good", ""))
	w.feed.tell(allReady(engine.Deployment{Revision: w.record("iris").Revision, Replicas: 1}))
	w.deploy(running("bad", ""))
	if diff := cmp.Diff([]string{"v2 pending current", "v1 live serving"}, w.results("iris")); diff != "" {
		t.Errorf("History() differs (-want +got):\n%s", diff)
	}
}

func TestAnIdleAPIProvesANewVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed.obey = byCommand
	w.run()
	w.deploy(running("good", fromZero))
	w.live("iris")
	eventually(t, "one replica is asked for", func() bool { return w.record("iris").Replicas == 1 })
	if err := w.Scale(t.Context(), "iris", 0, "nothing to do"); err != nil {
		t.Fatal(err)
	}
	w.phase("iris", workload.PhaseIdle)

	w.deploy(running("bad", fromZero))
	s := w.phase("iris", workload.PhaseDegraded)
	if s.Requested != 0 || s.Reason != "it ends; v1 answers requests, the first of which starts a replica" {
		t.Errorf("Status = %+v, want it degraded at zero", s)
	}
	eventually(t, "nothing of the trial is left", func() bool {
		d, _ := w.feed.deployment("iris")
		return !d.Trial && d.Failed != nil && d.Serving != nil && d.Replicas == 0
	})
	if err := w.Wake(t.Context(), "iris"); err != nil {
		t.Fatal(err)
	}
	if s := w.phase("iris", workload.PhaseDegraded); s.Requested != 1 {
		t.Errorf("Status after a request = %+v, want 1 replica", s)
	}
	eventually(t, "v1 answers", func() bool {
		r, err := w.Get(t.Context(), "iris")
		return err == nil && r.Status.Ready == 1 && r.Status.UpToDate == 0
	})
}

func TestNoVerifyLeavesItToTheFirstRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed.obey = byCommand
	w.run()
	w.deployAs(workload.DeployRequest{Config: running("bad", fromZero), NoVerify: true})
	w.phase("iris", workload.PhaseIdle)
	if d := mustDeployment(t, w, "iris"); d.Trial || d.Replicas != 0 {
		t.Errorf("the engine is asked for %+v, want nothing", d)
	}
}

func TestAFirstDeployAtZeroIsProvenToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed.obey = byCommand
	w.run()
	w.deploy(running("bad", fromZero))
	if s := w.phase("iris", workload.PhaseFailed); s.Reason != "it ends" {
		t.Errorf("Status = %+v, want it failed: nothing serves", s)
	}
}

func TestSupersede(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	live, failed := workload.BecameLive(now.Add(-time.Hour)), workload.Outcome{Failed: &workload.Reason{Code: "crash_loop"}, FailedAt: now}
	rev := func(id, pod string, number int) *workload.Revision {
		return &workload.Revision{Spec: workload.Spec{Name: "iris", Kind: workload.Realtime}, ID: id, PodID: pod, Number: number}
	}
	for _, tt := range []struct {
		name    string
		was     store.Workload
		pod     string
		serving string
		live    bool
	}{
		{"over one that was live", store.Workload{Revision: rev("1", "a", 1), Outcome: live}, "b", "1", false},
		{"over one that has failed", store.Workload{Revision: rev("2", "b", 2), Outcome: failed, Serving: rev("1", "a", 1)}, "c", "1", false},
		{"over one that is on its way", store.Workload{Revision: rev("2", "b", 2), Serving: rev("1", "a", 1)}, "c", "1", false},
		{"back to what serves", store.Workload{Revision: rev("2", "b", 2), Outcome: failed, Serving: rev("1", "a", 1)}, "a", "", true},
		{"with the same pods as one that was live", store.Workload{Revision: rev("1", "a", 1), Outcome: live}, "a", "", true},
		{"with the same pods as one that has failed", store.Workload{Revision: rev("2", "b", 2), Outcome: failed, Serving: rev("1", "a", 1)}, "b", "1", false},
		{"over the first, which never was live", store.Workload{Revision: rev("1", "a", 1)}, "b", "", false},
		{"over one of which nobody wrote down what became of it", store.Workload{Revision: rev("1", "a", 0)}, "b", "1", false},
		{"over one of those that has failed since", store.Workload{Revision: rev("1", "a", 0), Outcome: failed}, "b", "", false},
	} {
		w := tt.was
		supersede(&w, rev("9", tt.pod, 9), "deploy", false, now)
		serving := ""
		if w.Serving != nil {
			serving = w.Serving.ID
		}
		if serving != tt.serving || w.Outcome.WasLive() != tt.live {
			t.Errorf("%s: %q serves and the new one was live: %t; want %q, %t", tt.name, serving, w.Outcome.WasLive(), tt.serving, tt.live)
		}
	}
}

func TestNumbersOfRevisionsThatHaveNone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ have, want string }{
		{"", ""}, {"0 0 0", "3 2 1"}, {"7 6 0 0", "7 6 5 4"}, {"1 0 0", "1 0 0"}, {"3 2 1", "3 2 1"},
	} {
		var list []entry
		for _, n := range strings.Fields(tt.have) {
			e := entry{}
			e.Revision = &workload.Revision{}
			fmt.Sscan(n, &e.Revision.Number)
			list = append(list, e)
		}
		number(list)
		var got []string
		for _, e := range list {
			got = append(got, fmt.Sprint(e.number))
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("number(%s) = %s, want %s", tt.have, text, tt.want)
		}
	}
}
