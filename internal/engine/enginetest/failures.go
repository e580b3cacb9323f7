package enginetest

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

func failureScenes() []test {
	return []test{
		{name: "CrashLoop", play: crashLoop},
		{name: "RestartsAfterACrash", play: restarts},
		{name: "Killed", play: killed},
		{name: "CannotStart", play: cannotStart},
		{name: "NeverListens", play: neverListens},
		{name: "ListensElsewhere", unless: func(h Harness) bool { return h.SeesLess }, play: listensElsewhere},
		{name: "ListensLate", play: listensLate},
		{name: "FixedPortInUse", play: portInUse},
		{name: "NotReadyInTime", options: func(s *scene) { s.options.Deadline = 200 * time.Millisecond }, play: overdue},
	}
}

func crashLoop(s *scene) {
	s.apply(s.revision("iris", "r1", env("SERVER_EXIT", "7")), 1)
	st := s.until("a crash loop", "iris", func(st engine.Status) bool { return st.Failed != nil })
	if st.Failed.Code != engine.CodeCrashLoop || st.Failed.Fix == "" {
		s.Errorf("Failed = %+v, want crash_loop with what to do", st.Failed)
	}
	if got := evidence(st.Failed, "exit"); !strings.Contains(got, "exit code 7") {
		s.Errorf("evidence of the exit = %q, want the code", got)
	}
	if got := evidence(st.Failed, "log"); !strings.Contains(got, "exiting with 7") {
		s.Errorf("evidence of the log = %q, want the last lines", got)
	}
	st = s.until("two restarts in state failed", "iris", func(st engine.Status) bool {
		return st.Replicas[0].Restarts >= 2 && st.Replicas[0].State == workload.Failed
	})
	if ready, _ := st.Ready(); ready != 0 {
		s.Errorf("%d replicas are ready in a crash loop", ready)
	}
	s.event("ContainerExited")
}

func restarts(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 1)
	r := s.settled("iris", 1).Replicas[0]
	for i, code := range []int{1, 0} { // a server that ends with 0 has ended too
		_, _, _ = s.get(r, "/exit?code="+strconv.Itoa(code))
		st := s.until("the replica ready again", "iris", func(st engine.Status) bool {
			ready, _ := st.Ready()
			return ready == 1 && st.Replicas[0].Restarts == i+1
		})
		if st.Replicas[0].ID != r.ID || st.Failed != nil {
			s.Errorf("Status = %+v, want the same replica, not failed", st)
		}
		r = st.Replicas[0]
		s.mustGet(r, "/health")
	}
}

func killed(s *scene) {
	s.apply(s.revision("iris", "r1", nil), 1)
	r := s.settled("iris", 1).Replicas[0]
	s.forget()
	_, _, _ = s.get(r, "/exit?code=143")
	s.until("the replica ready again", "iris", func(st engine.Status) bool {
		ready, _ := st.Ready()
		return ready == 1 && st.Replicas[0].Restarts == 1
	})
	if e := s.event("ContainerExited"); !strings.Contains(e.Message, "143") {
		s.Errorf("event = %q, want the exit code", e.Message)
	}
	s.apply(s.revision("rose", "r1", env("SERVER_EXIT", "137")), 1)
	st := s.until("the killed replica", "rose", func(st engine.Status) bool {
		return len(st.Replicas) == 1 && st.Replicas[0].State == workload.Killed
	})
	if got := st.Replicas[0].Reason; got == nil || got.Code != engine.CodeKilled {
		s.Errorf("reason = %+v, want killed", got)
	}
}

func cannotStart(s *scene) {
	for _, code := range slices.Sorted(maps.Keys(s.Broken)) {
		c := s.Broken[code]
		c.Name = "main"
		name := strings.ReplaceAll(code, "_", "-")
		good := s.revision(name, "r1", nil)
		s.apply(good, 1)
		s.settled(name, 1)
		rev := s.revision(name, "r2", nil)
		rev.Pod.Containers = []workload.Container{c}
		if code == "bad_working_directory" {
			rev.Directory = "/never/there"
		}
		s.apply(rev, 1)
		st := s.until(code, name, func(st engine.Status) bool { return st.Failed != nil })
		if st.Failed.Code != code || st.Failed.Message == "" || st.Failed.Fix == "" {
			s.Errorf("Failed = %+v, want %s with a message and what to do", st.Failed, code)
		}
		if ready, upToDate := st.Ready(); ready != 1 || upToDate != 0 {
			s.Errorf("%d replicas ready, %d of them up to date, after %s; want 1 old one", ready, upToDate, code)
		}
		want := workload.Failed
		if strings.HasPrefix(code, "image_") {
			want = workload.ErrImagePull
		}
		s.until(string(want), name, func(st engine.Status) bool {
			return slices.ContainsFunc(st.Replicas, func(r engine.Replica) bool { return r.State == want && r.UpToDate })
		})
		s.apply(good, 1)
		s.settled(name, 1)
	}
}

func neverListens(s *scene) {
	s.apply(s.revision("iris", "r1", env("SERVER_PORT", "none")), 1)
	r := s.notReady("iris", engine.CodeNeverListened)
	if r.Reason.Fix == "" || !strings.Contains(r.Reason.Message, "nothing listens on port") {
		s.Errorf("reason = %+v, want what is missing and what to do", r.Reason)
	}
	if st, err := s.Engine.Status(s.Context(), "iris"); err != nil || st.Failed != nil {
		s.Errorf("Status = %+v, %v; want it not to have failed yet", st, err)
	}
}

func listensElsewhere(s *scene) {
	port := freePort(s)
	s.apply(s.revision("iris", "r1", env("SERVER_PORT", port)), 1)
	st := s.until("where it listens instead", "iris", func(st engine.Status) bool {
		return len(st.Replicas) == 1 && strings.Contains(evidence(st.Replicas[0].Reason, "port"), ":"+port)
	})
	if got := st.Replicas[0].Reason; got.Code != engine.CodeNeverListened || !strings.Contains(got.Message, ":"+port) {
		s.Errorf("reason = %+v, want never_listened naming port %s", got, port)
	}
}

func freePort(s *scene) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func listensLate(s *scene) {
	s.apply(s.revision("iris", "r1", env("SERVER_LISTEN_AFTER", "2500ms")), 1)
	s.notReady("iris", engine.CodeNeverListened)
	r := s.settled("iris", 1).Replicas[0]
	if r.Restarts != 0 {
		s.Errorf("a server that listens late was restarted %d times, want 0", r.Restarts)
	}
	s.mustGet(r, "/health")
}

func portInUse(s *scene) {
	if s.OwnNetwork {
		s.apply(s.revision("iris", "r1", env("SERVER_PORT", "8080")), 2)
		s.settled("iris", 2) // the same port twice is no conflict there
		return
	}
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		s.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s.apply(s.revision("iris", "r1", env("SERVER_PORT", port)), 1)
	st := s.until("the failure", "iris", func(st engine.Status) bool { return st.Failed != nil })
	if st.Failed.Code != engine.CodePortInUse || !strings.Contains(evidence(st.Failed, "log"), port) {
		s.Errorf("Failed = %+v, want port_in_use with the log line that names port %s", st.Failed, port)
	}
}

func overdue(s *scene) {
	s.apply(s.revision("iris", "r1", env("SERVER_PORT", "none")), 1)
	st := s.until("the failure", "iris", func(st engine.Status) bool { return st.Failed != nil && st.Failed.Code == engine.CodeNeverListened })
	if st.Replicas[0].State != workload.NotReady {
		s.Errorf("state = %s, want not_ready", st.Replicas[0].State)
	}
}
