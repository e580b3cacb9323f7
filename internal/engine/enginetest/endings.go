package enginetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// endingScenes are about how a replica ends: removed, drained, and with its engine or
// beyond it.
func endingScenes() []test {
	return []test{
		{name: "RemoveEndsEverything", play: removeEndsEverything},
		{name: "RemovedAndAppliedAgain", play: removedAndApplied},
		{name: "DrainsBeforeTheSignal", options: recordDrains, unless: func(h Harness) bool { return h.DrainsItself }, play: drains},
		{name: "DrainsByItself", unless: func(h Harness) bool { return !h.DrainsItself }, play: drainsItself},
		{name: "EndOfRunEndsEverything", options: recordDrains, unless: func(h Harness) bool { return h.Outlives }, play: endOfRun},
		{name: "NextLifeTakesOver", unless: func(h Harness) bool { return !h.Outlives }, play: nextLife},
		{name: "NothingOutlivesAKilledDaemon", unless: func(h Harness) bool { return h.Outlives }, play: killedDaemon},
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
