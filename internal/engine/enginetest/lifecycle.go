package enginetest

import "context"

func scenes() []test {
	return []test{
		{name: "StartsAndBecomesReady", play: startsAndBecomesReady},
		{name: "RemoveEndsEverything", play: removeEndsEverything},
	}
}

func startsAndBecomesReady(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 2)
	st := s.settled("iris", 2)
	if st.Replicas[0].Address == st.Replicas[1].Address {
		s.Errorf("two replicas share the address %s", st.Replicas[0].Address)
	}
	for _, r := range st.Replicas {
		if got := s.environment(r)["CORTEX_PORT"]; got == "" {
			s.Error("a container has no CORTEX_PORT")
		}
		if r.APIID != "r1" || r.DeploymentID != "deployment" || r.MaxConcurrency != 4 || r.MaxQueueLength != 10 || !r.UpToDate || r.Reason != nil {
			s.Errorf("replica = %+v, want it to carry its revision and limits and no reason", r)
		}
	}
}

func removeEndsEverything(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 2)
	s.settled("iris", 2)
	if err := s.Engine.Remove(context.Background(), "iris"); err != nil {
		s.Fatal(err)
	}
	s.eventually("the last status of a removed workload", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		last := s.seen[len(s.seen)-1]
		return last.Removed && last.Name == "iris" && len(last.Replicas) == 0
	})
	if _, err := s.Engine.Status(context.Background(), "iris"); err == nil {
		s.Error("Status of a removed workload is no error")
	}
	if err := s.Engine.Remove(context.Background(), "never-there"); err != nil {
		s.Errorf("Remove of an unknown workload = %v, want nil", err)
	}
}
