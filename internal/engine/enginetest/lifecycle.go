package enginetest

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func scenes() []test {
	return slices.Concat(lifecycleScenes(), servingScenes(), endingScenes(), containerScenes(), failureScenes(), logScenes())
}

func lifecycleScenes() []test {
	return []test{
		{name: "StartsAndBecomesReady", play: startsAndBecomesReady},
		{name: "ScalesUpDownAndToZero", play: scales},
		{name: "ScaleInSparesTheBusy", options: oneIsBusy, play: sparesTheBusy},
		{name: "UpdatesWithinItsBounds", play: updates},
		{name: "OnlyWhatStaysReadyReplaces", options: neverSteady, unless: func(h Harness) bool { return h.Delegates }, play: onlyWhatStaysReady},
		{name: "FailedRevisionNeverReplaces", play: failedRevision},
		{name: "SamePodRestartsNothing", play: samePod},
		{name: "RefreshReplacesEveryReplica", play: refresh},
		{name: "WatchSeesPresentThenChanges", play: watches},
		{name: "RefusesWhatCannotRun", play: refuses},
	}
}

func startsAndBecomesReady(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 2)
	st := s.settled("iris", 2)
	if st.Replicas[0].Address == st.Replicas[1].Address {
		s.Errorf("two replicas share the address %s", st.Replicas[0].Address)
	}
	for _, r := range st.Replicas {
		s.mustGet(r, "/health")
		if r.APIID != "r1" || r.DeploymentID != "deployment" || r.MaxConcurrency != 4 || r.MaxQueueLength != 10 || !r.UpToDate || r.Reason != nil || r.Restarts != 0 {
			s.Errorf("replica = %+v, want it to carry its revision and limits and no reason", r)
		}
	}
	if st.Revision != "r1" || st.Failed != nil {
		s.Errorf("Status = %+v, want revision r1, not failed", st)
	}
}

func scales(s *scene) {
	rev := s.revision("iris", "r1", nil)
	s.apply(rev, 1)
	first := s.settled("iris", 1).Replicas[0]
	identity := s.identity(first)
	s.apply(rev, 3)
	st := s.settled("iris", 3)
	if st.Replicas[0].ID != first.ID {
		s.Errorf("the first replica is %s after scaling up, want %s", st.Replicas[0].ID, first.ID)
	}
	s.apply(rev, 1)
	if st = s.settled("iris", 1); st.Replicas[0].ID != first.ID && !s.Delegates {
		s.Errorf("replica %s stayed on scaling in, want the oldest, %s", st.Replicas[0].ID, first.ID)
	}
	s.apply(rev, 0)
	s.settled("iris", 0)
	if s.answers(first, identity) {
		s.Error("a replica still answers after scaling to zero")
	}
	s.apply(rev, 1)
	s.settled("iris", 1)
}

func oneIsBusy(s *scene) {
	s.busy = new(atomic.Value)
	s.busy.Store("")
	s.options.InFlight = func(string) map[string]int { return map[string]int{s.busy.Load().(string): 1} }
}

func sparesTheBusy(s *scene) {
	rev := s.revision("iris", "r1", nil)
	s.apply(rev, 3)
	newest := s.settled("iris", 3).Replicas[2]
	s.busy.Store(newest.ID)
	s.apply(rev, 1)
	if st := s.settled("iris", 1); st.Replicas[0].ID != newest.ID {
		s.Errorf("replica %s stayed on scaling in, want the one that is busy, %s", st.Replicas[0].ID, newest.ID)
	}
	s.busy.Store("")
	s.apply(rev, 0)
	s.settled("iris", 0)
}

func neverSteady(s *scene) { s.options.Steady = time.Hour }

// onlyWhatStaysReady has a new replica become ready, twice, without staying so.
func onlyWhatStaysReady(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 1)
	old := s.settled("iris", 1).Replicas[0]
	s.apply(s.revision("iris", "r2", env("REVISION", "2")), 1)
	for restarts := range 2 {
		st := s.until("both ready", "iris", func(st engine.Status) bool {
			ready, upToDate := st.Ready()
			return ready == 2 && upToDate == 1 && st.Replicas[1].Restarts == restarts
		})
		if st.Replicas[0].ID != old.ID {
			s.Fatalf("replica %s is the oldest, want %s", st.Replicas[0].ID, old.ID)
		}
		_, _, _ = s.get(st.Replicas[1], "/exit?code=1")
	}
}

func updates(s *scene) {
	s.apply(s.revision("iris", "r1", env("REVISION", "1")), 4)
	s.settled("iris", 4)
	s.forget()
	s.apply(s.revision("iris", "r2", env("REVISION", "2")), 4)
	for _, r := range s.settled("iris", 4).Replicas {
		if got := s.environment(r)["REVISION"]; got != "2" {
			s.Errorf("a replica has REVISION=%s after the update, want 2", got)
		}
	}
	outOfDate := false
	for _, st := range s.statuses("iris") {
		ready, _ := st.Ready()
		present := 0
		for _, r := range st.Replicas {
			if r.State != workload.Terminating {
				present++
			}
			outOfDate = outOfDate || r.State == workload.ReadyOutOfDate
		}
		if ready < 3 || present > 5 && !s.Delegates {
			s.Errorf("during the update %d were ready and %d present, want at least 3 and at most 5", ready, present)
		}
	}
	if !outOfDate {
		s.Error("no replica was ever ready_out_of_date during the update")
	}
}

func failedRevision(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 2)
	s.settled("iris", 2)
	s.forget()
	s.apply(s.revision("iris", "r2", env("SERVER_EXIT", "1")), 2)
	st := s.until("the failure of the revision", "iris", func(st engine.Status) bool { return st.Failed != nil })
	if st.Revision != "r2" || st.Failed.Code != engine.CodeCrashLoop {
		s.Errorf("Failed = %+v of %s, want crash_loop of r2", st.Failed, st.Revision)
	}
	s.apply(s.revision("iris", "r3", nil), 2)
	if st = s.settled("iris", 2); st.Failed != nil {
		s.Errorf("Failed = %+v after a good revision, want nil", st.Failed)
	}
	for _, st := range s.statuses("iris") {
		if ready, _ := st.Ready(); ready < 2 {
			s.Errorf("%d replicas were ready at some time, want 2 always: %+v", ready, st.Replicas)
		}
	}
}

func samePod(s *scene) {
	first := s.revision("iris", "r1", nil)
	s.apply(first, 2)
	before := s.settled("iris", 2)
	second := *first
	second.ID = "r2"
	s.apply(&second, 2)
	after := s.until("the new revision", "iris", func(st engine.Status) bool {
		return st.Revision == "r2" && len(st.Replicas) == 2 && st.Replicas[0].APIID == "r2"
	})
	for i := range before.Replicas {
		if before.Replicas[i].ID != after.Replicas[i].ID || !after.Replicas[i].UpToDate || after.Replicas[i].State != workload.Ready {
			s.Errorf("replica %+v became %+v, want the same one, ready and up to date", before.Replicas[i], after.Replicas[i])
		}
	}
}

func refresh(s *scene) {
	first := s.revision("iris", "r1", nil)
	s.apply(first, 2)
	before := s.settled("iris", 2)
	second := *first
	second.ID, second.DeploymentID = "r2", "refreshed"
	s.apply(&second, 2)
	for _, r := range s.settled("iris", 2).Replicas {
		if slices.ContainsFunc(before.Replicas, func(b engine.Replica) bool { return b.ID == r.ID }) || r.DeploymentID != "refreshed" {
			s.Errorf("replica %+v survived a refresh", r)
		}
	}
}

func watches(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 1)
	s.apply(s.revision("rose", "r1", nil), 1)
	s.settled("iris", 1)
	s.settled("rose", 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	got := make(chan engine.Status, 1000)
	result := make(chan error, 1)
	go func() { result <- s.Engine.Watch(ctx, func(st engine.Status) { got <- st }) }()
	names := map[string]bool{}
	for range 2 {
		st := <-got
		names[st.Name] = true
		if ready, _ := st.Ready(); ready != 1 || len(st.Events) != 0 {
			s.Errorf("the first status of %s has %d ready replicas and %d events, want 1 and none", st.Name, ready, len(st.Events))
		}
	}
	if !names["iris"] || !names["rose"] {
		s.Errorf("a new watcher saw %v first, want iris and rose", names)
	}
	s.apply(s.revision("iris", "r2", nil), 1)
	var reasons []string
	deadline := time.After(patience)
	for updated := false; !updated; {
		select {
		case st := <-got:
			for _, e := range st.Events {
				reasons = append(reasons, e.Reason)
			}
			_, upToDate := st.Ready()
			updated = st.Name == "iris" && st.Revision == "r2" && upToDate == 1 && len(st.Replicas) == 1
		case <-deadline:
			s.Fatal("the watcher never saw the update")
		}
	}
	for _, want := range []string{"ReplicaStarting", "ReplicaReady", "ReplicaStopping"} {
		if !slices.Contains(reasons, want) {
			s.Errorf("the events of an update are %v, want %s among them", reasons, want)
		}
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		s.Errorf("Watch = %v, want the error of its context", err)
	}
}

func refuses(s *scene) {
	rev := s.revision("iris", "r1", nil)
	for what, d := range map[string]engine.Deployment{
		"no revision":       {},
		"no pod":            {Revision: &workload.Revision{Spec: workload.Spec{Name: "split"}}, Replicas: 1},
		"negative replicas": {Revision: rev, Replicas: -1},
	} {
		if err := s.Engine.Apply(context.Background(), d); !fault.Is(err, fault.Invalid) {
			s.Errorf("Apply with %s = %v, want invalid", what, err)
		}
	}
	err := s.Engine.Logs(context.Background(), workload.LogQuery{Name: "../../etc"}, func(workload.LogLine) error { return nil })
	if !fault.Is(err, fault.NotFound) {
		s.Errorf("Logs of a name that is a path = %v, want not found", err)
	}
}
