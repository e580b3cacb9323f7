package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func scenes() []test {
	return slices.Concat(lifecycleScenes(), containerScenes(), failureScenes(), logScenes())
}

func lifecycleScenes() []test {
	return []test{
		{name: "StartsAndBecomesReady", play: startsAndBecomesReady},
		{name: "ScalesUpDownAndToZero", play: scales},
		{name: "UpdatesWithinItsBounds", play: updates},
		{name: "FailedRevisionNeverReplaces", play: failedRevision},
		{name: "SamePodRestartsNothing", play: samePod},
		{name: "RefreshReplacesEveryReplica", play: refresh},
		{name: "RemoveEndsEverything", play: removeEndsEverything},
		{name: "RemovedAndAppliedAgain", play: removedAndApplied},
		{name: "DrainsBeforeTheSignal", options: recordDrains, unless: func(h Harness) bool { return h.DrainsItself }, play: drains},
		{name: "DrainsByItself", unless: func(h Harness) bool { return !h.DrainsItself }, play: drainsItself},
		{name: "EndOfRunEndsEverything", options: recordDrains, unless: func(h Harness) bool { return h.Outlives }, play: endOfRun},
		{name: "NextLifeTakesOver", unless: func(h Harness) bool { return !h.Outlives }, play: nextLife},
		{name: "WatchSeesPresentThenChanges", play: watches},
		{name: "RefusesWhatCannotRun", play: refuses},
		{name: "NothingOutlivesAKilledDaemon", unless: func(h Harness) bool { return h.Outlives }, play: killedDaemon},
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
	if st.Revision != "r2" || st.Failed.Code != "crash_loop" {
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

func removeEndsEverything(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 2)
	st := s.settled("iris", 2)
	identities := []string{s.identity(st.Replicas[0]), s.identity(st.Replicas[1])}
	if err := s.Engine.Remove(context.Background(), "iris"); err != nil {
		s.Fatal(err)
	}
	s.eventually("the last status of a removed workload", func() bool {
		all := s.statuses("iris")
		last := all[len(all)-1]
		return last.Removed && len(last.Replicas) == 0
	})
	if _, err := s.Engine.Status(context.Background(), "iris"); !fault.Is(err, fault.NotFound) {
		s.Errorf("Status of a removed workload = %v, want not found", err)
	}
	for i, r := range st.Replicas {
		if s.answers(r, identities[i]) {
			s.Errorf("replica %s of a removed workload answers", r.ID)
		}
	}
	if err := s.Engine.Remove(context.Background(), "never-there"); err != nil {
		s.Errorf("Remove of an unknown workload = %v, want nil", err)
	}
}

func removedAndApplied(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 1)
	first := s.settled("iris", 1).Replicas[0]
	if err := s.Engine.Remove(context.Background(), "iris"); err != nil {
		s.Fatal(err)
	}
	again := s.revision("iris", "r2", nil)
	s.apply(again, 1)
	if st := s.settled("iris", 1); st.Replicas[0].ID == first.ID || st.Revision != "r2" {
		s.Errorf("Status = %+v, want a new replica of r2", st)
	}
}

// drained is what recordDrains saw.
type drained struct {
	mu   sync.Mutex
	ids  []string
	held chan struct{} // a drain returns when this is closed
}

func recordDrains(s *scene) {
	d := &drained{held: make(chan struct{})}
	s.drained = d
	s.options.Drain = func(ctx context.Context, name, replica string) error {
		d.mu.Lock()
		d.ids = append(d.ids, name+"/"+replica)
		d.mu.Unlock()
		select {
		case <-d.held:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *drained) has(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.ids, id)
}

func drains(s *scene) {
	rev := s.revision("iris", "r1", nil)
	s.apply(rev, 1)
	r := s.settled("iris", 1).Replicas[0]
	s.apply(rev, 0)
	s.eventually("the call of Drain", func() bool { return s.drained.has("iris/" + r.ID) })
	st := s.until("the replica terminating", "iris", func(st engine.Status) bool {
		return len(st.Replicas) == 1 && st.Replicas[0].State == workload.Terminating
	})
	if ready, _ := st.Ready(); ready != 0 {
		s.Errorf("%d replicas are ready while it drains, want 0", ready)
	}
	s.mustGet(r, "/health") // an accepted request is still answered
	if lines := texts(s.logs(workload.LogQuery{Name: "iris"})); slices.Contains(lines, "server was told to end") {
		s.Error("the replica was told to end before it was drained")
	}
	close(s.drained.held)
	s.settled("iris", 0)
	if lines := texts(s.logs(workload.LogQuery{Name: "iris"})); !slices.Contains(lines, "server was told to end") {
		s.Errorf("the log is %q, want the replica to have been told to end", lines)
	}
}

func endOfRun(s *scene) {
	close(s.drained.held)
	s.apply(s.revision("iris", "r1", nil), 2)
	st := s.settled("iris", 2)
	identities := []string{s.identity(st.Replicas[0]), s.identity(st.Replicas[1])}
	if err := s.shutDown(); err != nil {
		s.Errorf("Run() = %v, want nil", err)
	}
	for i, r := range st.Replicas {
		if !s.drained.has("iris/" + r.ID) {
			s.Errorf("replica %s was not drained at the end", r.ID)
		}
		if s.answers(r, identities[i]) {
			s.Errorf("replica %s answers after the end", r.ID)
		}
	}
	err := s.Engine.Apply(context.Background(), engine.Deployment{Revision: s.revision("late", "r1", nil), Replicas: 1})
	if !fault.Is(err, fault.Unavailable) {
		s.Errorf("Apply after the end = %v, want unavailable", err)
	}
}

// drainsItself asks for an answer that takes a while and stops the replica
// meanwhile. The request goes where the gateway sends it.
func drainsItself(s *scene) {
	rev := s.revision("iris", "r1", nil)
	s.apply(rev, 1)
	r := s.settled("iris", 1).Replicas[0]
	log := s.keepLog("iris", r)
	answered := make(chan string, 1)
	go func() {
		status, body, err := s.get(r, "/slow?for=5s")
		answered <- fmt.Sprint(status, body, err)
	}()
	s.eventually("the request under way", func() bool { return slices.Contains(log(), "slow request begins") })
	s.apply(rev, 0)
	s.until("the replica terminating", "iris", func(st engine.Status) bool {
		return len(st.Replicas) == 1 && st.Replicas[0].State == workload.Terminating
	})
	s.mustGet(r, "/health") // one that comes late is still answered
	if got, want := <-answered, "200slow request ends\n<nil>"; got != want {
		s.Errorf("the request that was under way got %q, want %q", got, want)
	}
	s.settled("iris", 0)
	lines := log()
	ended, told := slices.Index(lines, "slow request ends"), slices.Index(lines, "server was told to end")
	if ended < 0 || told < ended {
		s.Errorf("the log is %q, want the end of the request before the signal", lines)
	}
}

// nextLife ends the engine, and finds everything as it was with the next.
func nextLife(s *scene) {
	rev := s.revision("iris", "r1", nil)
	s.apply(rev, 2)
	before := s.settled("iris", 2)
	identities := []string{s.identity(before.Replicas[0]), s.identity(before.Replicas[1])}
	if err := s.shutDown(); err != nil {
		s.Errorf("Run() = %v, want nil", err)
	}
	for i, r := range before.Replicas {
		if !s.answers(r, identities[i]) {
			s.Errorf("replica %s does not answer after the end of the engine", r.ID)
		}
	}
	err := s.Engine.Apply(context.Background(), engine.Deployment{Revision: s.revision("late", "r1", nil), Replicas: 1})
	if !fault.Is(err, fault.Unavailable) {
		s.Errorf("Apply after the end = %v, want unavailable", err)
	}
	s.launch()
	s.apply(rev, 2)
	after := s.settled("iris", 2)
	for i, r := range after.Replicas {
		if r.ID != before.Replicas[i].ID || r.Restarts != 0 || !s.answers(r, identities[i]) {
			s.Errorf("replica %+v of the next engine was %+v, want the very same", r, before.Replicas[i])
		}
	}
	s.apply(rev, 1)
	s.settled("iris", 1)
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

// killedDaemon kills the program that runs an engine and looks at what is left.
func killedDaemon(s *scene) {
	d := startDaemon(s)
	if d.address == "" {
		s.Fatal("the daemon did not say where its replica is")
	}
	r := engine.Replica{Replica: workload.Replica{Address: d.address}}
	identity := s.identity(r)
	d.kill()
	answers := func() bool { return s.answers(r, identity) }
	if s.DiesWithUs {
		s.eventually("the end of the replica", func() bool { return !answers() })
		if s.Alive != nil {
			s.eventually("the end of its child", func() bool { return !s.Alive(d.child) })
		}
	}
	// The next life on the same state ends what is left and works as ever.
	if err := s.shutDown(); err != nil {
		s.Fatal(err)
	}
	s.options.StateDir = d.stateDir
	s.launch()
	s.eventually("the end of what the dead daemon left", func() bool { return !answers() })
	s.apply(s.revision("iris", "r2", nil), 1)
	s.settled("iris", 1)
	var old []string
	for _, l := range s.logs(workload.LogQuery{Name: "iris"}) {
		if strings.HasPrefix(l.Text, "child ") {
			old = append(old, l.Text)
		}
	}
	if len(old) != 1 {
		s.Errorf("the log of the earlier life is %q, want its one line", old)
	}
}
