package enginetest

import (
	"context"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// servingScenes are about the last revision that was live while the wanted one is not.
func servingScenes() []test {
	return []test{
		{name: "WhatServesComesBackAfterARestart", play: servingAfterRestart},
		{name: "WhatServesComesBackFromZero", play: servingFromZero},
		{name: "WhatServesStaysThroughTwoBadRevisions", play: servingThroughTwo},
		{name: "WhatServesIsScaled", play: servingIsScaled},
		{name: "WithoutSurgeWhatServesComesBack", play: servingWithoutSurge},
		{name: "TrialAtZero", play: trialAtZero},
	}
}

func (s *scene) deploy(d engine.Deployment) {
	s.T.Helper()
	if err := s.Engine.Apply(context.Background(), d); err != nil {
		s.Fatalf("Apply(%+v) = %v", d, err)
	}
}

// broken is a revision that never becomes ready.
func (s *scene) broken(id string) *workload.Revision {
	return s.revision("iris", id, env("SERVER_EXIT", "1"))
}

// failed waits until the wanted revision has failed and n replicas of an earlier one
// serve, and returns why.
func (s *scene) failed(n int) *workload.Reason {
	s.T.Helper()
	return s.until("the failure, with what served before", "iris", func(st engine.Status) bool {
		ready, upToDate := st.Ready()
		return st.Failed != nil && ready == n && upToDate == 0
	}).Failed
}

// served waits until n replicas of the revision serve, which is not the wanted one.
func (s *scene) served(rev *workload.Revision, n int) {
	s.T.Helper()
	s.until("what served before", "iris", func(st engine.Status) bool {
		ready, upToDate := st.Ready()
		if ready != n || upToDate != 0 {
			return false
		}
		for _, r := range st.Replicas {
			if r.Ready() && r.APIID != rev.ID {
				s.Errorf("replica %+v serves, want only those of %s", r, rev.ID)
			}
		}
		return true
	})
}

// failedUpdate updates a good revision, which keeps serving, to a bad one that fails.
func (s *scene) failedUpdate() (good, bad *workload.Revision, why *workload.Reason) {
	s.T.Helper()
	good, bad = s.revision("iris", "r1", nil), s.broken("r2")
	s.apply(good, 1)
	s.settled("iris", 1)
	s.deploy(engine.Deployment{Revision: bad, Replicas: 1, Serving: good})
	return good, bad, s.failed(1)
}

func servingAfterRestart(s *scene) {
	good, bad, why := s.failedUpdate()
	if err := s.shutDown(); err != nil {
		s.Fatalf("Run() = %v, want nil", err)
	}
	s.launch()
	s.deploy(engine.Deployment{Revision: bad, Replicas: 1, Serving: good, Failed: why})
	s.served(good, 1)
}

func servingFromZero(s *scene) {
	good, bad, why := s.failedUpdate()
	s.deploy(engine.Deployment{Revision: bad, Serving: good, Failed: why})
	s.until("nothing", "iris", func(st engine.Status) bool { return len(st.Replicas) == 0 })
	s.deploy(engine.Deployment{Revision: bad, Replicas: 1, Serving: good, Failed: why})
	s.served(good, 1)
}

func servingThroughTwo(s *scene) {
	good := s.revision("iris", "r1", nil)
	s.apply(good, 1)
	s.settled("iris", 1)
	s.forget()
	for _, id := range []string{"r2", "r3"} {
		s.deploy(engine.Deployment{Revision: s.broken(id), Replicas: 1, Serving: good})
		s.failed(1)
	}
	for _, st := range s.statuses("iris") {
		if ready, _ := st.Ready(); ready < 1 {
			s.Errorf("%d replicas were ready at some time, want 1 always: %+v", ready, st.Replicas)
		}
	}
	s.apply(good, 1)
	s.settled("iris", 1)
}

func servingIsScaled(s *scene) {
	good, bad, why := s.failedUpdate()
	s.deploy(engine.Deployment{Revision: bad, Replicas: 4, Serving: good, Failed: why})
	s.served(good, 4)
	s.deploy(engine.Deployment{Revision: bad, Replicas: 1, Serving: good, Failed: why})
	s.served(good, 1)
}

func servingWithoutSurge(s *scene) {
	bounds := &workload.UpdateStrategy{MaxSurge: "0", MaxUnavailable: "1"}
	good, bad := s.revision("iris", "r1", nil), s.broken("r2")
	good.UpdateStrategy, bad.UpdateStrategy = bounds, bounds
	s.apply(good, 1)
	s.settled("iris", 1)
	s.deploy(engine.Deployment{Revision: bad, Replicas: 1, Serving: good})
	why := s.until("the failure", "iris", func(st engine.Status) bool { return st.Failed != nil }).Failed
	s.deploy(engine.Deployment{Revision: bad, Replicas: 1, Serving: good, Failed: why})
	s.served(good, 1)
}

func trialAtZero(s *scene) {
	good, better := s.revision("iris", "r1", nil), s.revision("iris", "r3", env("REVISION", "3"))
	s.apply(good, 0)
	s.deploy(engine.Deployment{Revision: s.broken("r2"), Serving: good, Trial: true})
	st := s.until("the failure of the trial", "iris", func(st engine.Status) bool { return st.Failed != nil })
	if st.Desired != 0 || len(st.Replicas) != 1 {
		s.Errorf("a trial has %d of %d replicas, want 1 of 0", len(st.Replicas), st.Desired)
	}
	s.deploy(engine.Deployment{Revision: better, Serving: good, Trial: true})
	s.until("the trial", "iris", func(st engine.Status) bool {
		_, upToDate := st.Ready()
		return upToDate == 1 && len(st.Replicas) == 1
	})
	s.apply(better, 0)
	s.settled("iris", 0)
}
