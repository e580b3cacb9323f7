package enginetest

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

func containerScenes() []test {
	return []test{
		{name: "Environment", options: func(s *scene) {
			s.options.Env = map[string]string{"AWS_REGION": "eu-west-1", "OVERRIDDEN": "by the engine"}
		}, play: environment},
		{name: "SecretsReachTheContainer", options: func(s *scene) {
			s.options.Secrets = map[string]string{"hf-token": "$(MODEL) $$ 'ä'\nend\n"}
		}, play: secrets},
		{name: "VolumesOutliveReplicas", unless: func(h Harness) bool { return h.DeleteVolume == nil }, play: keptVolumes},
		{name: "ScratchEndsWithTheReplica", play: scratchVolumes},
		{name: "FoldersOfTheMachine", unless: func(h Harness) bool { return h.DeleteVolume == nil }, play: hostFolders},
		{name: "ArgumentsAreExpanded", play: arguments},
		{name: "HTTPProbe", play: httpProbe},
		{name: "TCPProbe", play: tcpProbe},
		{name: "ExecProbe", play: execProbe},
		{name: "Exec", play: execScene},
		{name: "RunsToAnEnd", play: runScene},
		{name: "LivenessRestarts", play: liveness},
		{name: "SeveralContainers", play: several},
		{name: "PreStopRunsFirst", play: preStop},
		{name: "ChildrenEndToo", options: func(s *scene) { s.options.Grace = 2 * time.Second }, play: children},
		{name: "MemoryIsALimit", unless: func(h Harness) bool { return !h.BoundsMemory }, play: memoryLimit},
		{name: "SecurityContext", unless: func(h Harness) bool { return !h.OwnNetwork }, play: securityContext},
		{name: "IgnoringSIGTERM", options: func(s *scene) { s.options.Grace = time.Second }, play: ignoresSIGTERM},
		{name: "GraceOfTheFile", options: func(s *scene) { s.options.Grace = time.Hour }, play: graceOfTheFile},
	}
}

// The value reaches the container as it is, and what is made of it; what the engine tells
// of the replica does not have it.
func secrets(s *scene) {
	value := s.options.Secrets["hf-token"]
	s.apply(s.revision("iris", "r1", func(c *workload.Container) {
		c.Env = map[string]workload.Variable{"TOKEN": {Secret: "hf-token"}, "AUTH": {Value: "Bearer $(TOKEN)"}, "MODEL": {Value: "iris"}}
	}), 1)
	st := s.settled("iris", 1)
	got := s.environment(st.Replicas[0])
	for name, want := range map[string]string{"TOKEN": value, "AUTH": "Bearer " + value, "MODEL": "iris"} {
		if got[name] != want {
			s.Errorf("%s=%q in the container, want %q", name, got[name], want)
		}
	}
	if told := fmt.Sprintf("%+v", st); strings.Contains(told, "end\n") {
		s.Errorf("Status() = %s, want it without the value", told)
	}
}

func environment(s *scene) {
	s.apply(s.revision("iris", "r1", env("MODEL", "iris.json", "OVERRIDDEN", "by the user", "WHERE", "port $(CORTEX_PORT), $$(MODEL), $(NOBODY)")), 1)
	r := s.settled("iris", 1).Replicas[0]
	got := s.environment(r)
	_, port, _ := strings.Cut(r.Address, ":")
	if s.OwnNetwork {
		port = "8080"
	}
	for name, want := range map[string]string{
		"CORTEX_PORT": port, "CORTEX_VERSION": Version, "CORTEX_LOG_LEVEL": "INFO",
		"MODEL": "iris.json", "AWS_REGION": "eu-west-1", "OVERRIDDEN": "by the user",
		"WHERE": "port " + port + ", $(MODEL), $(NOBODY)",
	} {
		if got[name] != want {
			s.Errorf("%s=%q in the container, want %q", name, got[name], want)
		}
	}
	if got["CORTEX_CLI_CONFIG_DIR"] == "" {
		s.Error("the container has no CORTEX_CLI_CONFIG_DIR")
	}
	if _, seen := got[secretName]; seen {
		s.Error("the container sees the environment of the program that runs it")
	}
	if !s.OwnNetwork {
		if dir, _ := filepath.EvalSymlinks(s.dir); got["_dir"] != dir {
			s.Errorf("the process runs in %s, want the folder of its file, %s", got["_dir"], dir)
		}
	}
}

// securityContext has a container run as somebody, with one capability, on files that it
// cannot change.
func securityContext(s *scene) {
	user, group := int64(1234), int64(4321)
	rev := s.revision("iris", "r1", nil)
	rev.Pod.Containers[0].SecurityContext = &workload.SecurityContext{
		RunAsUser: &user, RunAsGroup: &group, ReadOnlyRootFilesystem: true,
	}
	s.apply(rev, 1)
	got := s.environment(s.settled("iris", 1).Replicas[0])
	for what, want := range map[string]string{"_user": "1234:4321", "_root_is_writable": "false"} {
		if got[what] != want {
			s.Errorf("%s = %q in the container, want %q", what, got[what], want)
		}
	}
	rev = s.revision("iris", "r2", nil)
	rev.Pod.Containers[0].SecurityContext = &workload.SecurityContext{Capabilities: &workload.Capabilities{
		Add: []string{"NET_BIND_SERVICE"}, Drop: []string{"ALL"},
	}}
	s.apply(rev, 1)
	const netBindService = "0000000000000400" // bit 10
	if got := s.environment(s.settled("iris", 1).Replicas[0])["_capabilities"]; got != netBindService {
		s.Errorf("the container may have the capabilities %s, want %s: all dropped but NET_BIND_SERVICE", got, netBindService)
	}
	if s.Delegates {
		return // the image of these tests is nobody's there, and it is the node that refuses one of root
	}
	rev = s.revision("root", "r1", nil)
	rev.Pod.Containers[0].SecurityContext = &workload.SecurityContext{RunAsNonRoot: true}
	s.apply(rev, 1)
	s.until("why an image of root is not started", "root", func(st engine.Status) bool {
		return len(st.Replicas) == 1 && st.Replicas[0].Reason != nil && st.Replicas[0].Reason.Code == engine.CodeStartFailed &&
			strings.Contains(st.Replicas[0].Reason.Message, "runs as root")
	})
}

func arguments(s *scene) {
	rev := s.revision("iris", "r1", env("MODEL", "iris.json"))
	rev.Pod.Containers[0].Args = append(rev.Pod.Containers[0].Args, "--model=$(MODEL)", "--price=$$(MODEL)", "$HOME", "--port", "$(CORTEX_PORT)")
	s.apply(rev, 1)
	got := s.environment(s.settled("iris", 1).Replicas[0])
	if want := "--model=iris.json --price=$(MODEL) $HOME --port " + got["CORTEX_PORT"]; got["_args"] != want {
		s.Errorf("the arguments are %q, want %q", got["_args"], want)
	}
}

// notReady waits until the only replica runs and says that it is not ready for
// the given reason.
func (s *scene) notReady(name, code string) engine.Replica {
	s.T.Helper()
	st := s.until("a replica not ready because of "+code, name, func(st engine.Status) bool {
		return len(st.Replicas) == 1 && st.Replicas[0].State == workload.NotReady && st.Replicas[0].Reason != nil && st.Replicas[0].Reason.Code == code
	})
	return st.Replicas[0]
}

func httpProbe(s *scene) {
	s.apply(s.revision("iris", "r1", func(c *workload.Container) {
		env("SERVER_SICK", "1")(c)
		c.ReadinessProbe = &workload.Probe{HTTPGet: &workload.HTTPGet{Path: "/health", Port: 8080}, PeriodSeconds: 1, FailureThreshold: 1}
	}), 1)
	// The probe fails with "connection refused" until the server listens.
	r := s.until("the answer of the server in the reason", "iris", func(st engine.Status) bool {
		return len(st.Replicas) == 1 && st.Replicas[0].Reason != nil && st.Replicas[0].Reason.Code == engine.CodeProbe &&
			strings.Contains(evidence(st.Replicas[0].Reason, "probe"), "500") &&
			(s.SeesLess || strings.Contains(evidence(st.Replicas[0].Reason, "probe"), "the model is not loaded"))
	}).Replicas[0]
	s.mustGet(r, "/well")
	s.settled("iris", 1)
	s.mustGet(r, "/sick")
	if r = s.notReady("iris", engine.CodeProbe); r.Restarts != 0 {
		s.Errorf("a failing readiness probe restarted the container %d times, want 0", r.Restarts)
	}
	s.event("ReplicaNotReady")
	s.mustGet(r, "/well")
	s.settled("iris", 1)
}

func evidence(r *workload.Reason, kind string) string {
	var all []string
	if r != nil {
		for _, e := range r.Evidence {
			if e.Kind == kind {
				all = append(all, e.Text)
			}
		}
	}
	return strings.Join(all, "\n")
}

func tcpProbe(s *scene) {
	s.apply(s.revision("iris", "r1", func(c *workload.Container) {
		env("SERVER_LISTEN_AFTER", "2s")(c) // long after a failing probe begins to count
		c.ReadinessProbe = &workload.Probe{TCPSocket: &workload.TCPSocket{Port: 8080}, PeriodSeconds: 1}
	}), 1)
	s.notReady("iris", engine.CodeProbe)
	s.settled("iris", 1)
}

func execProbe(s *scene) {
	s.apply(s.revision("iris", "r1", func(c *workload.Container) {
		c.ReadinessProbe = &workload.Probe{Exec: &workload.Exec{Command: append(slices.Clone(s.Self), "check", s.inside("ready"))}, PeriodSeconds: 1}
	}), 1)
	r := s.notReady("iris", engine.CodeProbe)
	if got := evidence(r.Reason, "probe"); !strings.Contains(got, "exit code 3") && !s.SeesLess || !strings.Contains(got, "no such file") {
		s.Errorf("evidence of a failing command = %q, want its exit code and output", got)
	}
	s.eventually("the server", func() bool {
		_, _, err := s.get(r, "/touch?file="+s.inside("ready"))
		return err == nil
	})
	s.settled("iris", 1)
}

// inside returns the path of a file in a container or process of this scene.
func (s *scene) inside(name string) string {
	if s.OwnNetwork {
		return "/mnt/" + name
	}
	return filepath.Join(s.dir, name)
}

func liveness(s *scene) {
	s.apply(s.revision("iris", "r1", func(c *workload.Container) {
		c.LivenessProbe = &workload.Probe{HTTPGet: &workload.HTTPGet{Path: "/health", Port: 8080}, PeriodSeconds: 1, FailureThreshold: 1, InitialDelaySeconds: 1}
	}), 1)
	first := s.settled("iris", 1).Replicas[0]
	s.mustGet(first, "/sick")
	s.event("ContainerRestarting")
	st := s.until("the restarted replica", "iris", func(st engine.Status) bool {
		ready, _ := st.Ready()
		return ready == 1 && st.Replicas[0].Restarts == 1
	})
	if st.Replicas[0].ID != first.ID {
		s.Errorf("replica %s took the place of %s, want the same one", st.Replicas[0].ID, first.ID)
	}
}

func several(s *scene) {
	rev := s.revision("iris", "r1", nil)
	second := s.Container()
	second.Name, second.Env = "second", map[string]workload.Variable{"SERVER_PORT": {Value: "none"}, "SERVER_PRINT": {Value: "I am second to $(CORTEX_PORT)"}}
	second.ReadinessProbe = &workload.Probe{Exec: &workload.Exec{Command: append(slices.Clone(s.Self), "check", s.inside("second"))}, PeriodSeconds: 1}
	rev.Pod.Containers = append(rev.Pod.Containers, second)
	s.apply(rev, 1)
	r := s.notReady("iris", engine.CodeProbe)
	if !strings.Contains(r.Reason.Message, "second") {
		s.Errorf("reason = %q, want it to name the container", r.Reason.Message)
	}
	s.eventually("the server", func() bool {
		st, err := s.Engine.Status(s.Context(), "iris") // its address may come later
		if err != nil || len(st.Replicas) != 1 {
			return false
		}
		_, _, err = s.get(st.Replicas[0], "/touch?file="+s.inside("second"))
		return err == nil
	})
	r = s.settled("iris", 1).Replicas[0]
	got := s.environment(r)
	if !s.OwnNetwork && got["CORTEX_MNT"] == "" {
		s.Error("a process has no CORTEX_MNT")
	}
	lines := s.logs(workload.LogQuery{Name: "iris"})
	if !slices.ContainsFunc(lines, func(l workload.LogLine) bool {
		return l.Container == "second" && l.Text == "I am second to "+got["CORTEX_PORT"]
	}) {
		s.Errorf("the log is %v, want the line of the second container, with the port of the first", lines)
	}
}

func preStop(s *scene) {
	for i, hook := range []workload.PreStop{
		{Exec: &workload.Exec{Command: append(slices.Clone(s.Self), "say", "the hook ran")}},
		{HTTPGet: &workload.HTTPGet{Path: "/print?text=the+hook+ran", Port: 8080}},
	} {
		rev := s.revision("iris", "r"+strconv.Itoa(i), func(c *workload.Container) { c.PreStop = &hook })
		s.apply(rev, 1)
		log := s.keepLog("iris", s.settled("iris", 1).Replicas[0])
		s.apply(rev, 0)
		s.settled("iris", 0)
		if hook.HTTPGet == nil {
			continue // what a command prints is not the container's log; its failure is an event
		}
		lines := log()
		ran, told := slices.Index(lines, "the hook ran"), slices.Index(lines, "server was told to end")
		if ran < 0 || told < ran {
			s.Errorf("the log is %q, want the hook before the signal", lines)
		}
	}
	rev := s.revision("iris", "r2", func(c *workload.Container) {
		c.PreStop = &workload.PreStop{Exec: &workload.Exec{Command: append(slices.Clone(s.Self), "check", "/never/there")}}
	})
	if strings.Contains(s.eventText(), "PreStopFailed") {
		s.Errorf("a hook that works is reported as failed:\n%s", s.eventText())
	}
	s.apply(rev, 1)
	s.settled("iris", 1)
	s.apply(rev, 0)
	s.settled("iris", 0)
	s.event("PreStopFailed")
}

func children(s *scene) {
	rev := s.revision("iris", "r1", env("SERVER_CHILD", "1"))
	s.apply(rev, 1)
	r := s.settled("iris", 1).Replicas[0]
	identity := s.identity(r)
	child := 0
	s.eventually("the child's number in the log", func() bool {
		for _, l := range s.logs(workload.LogQuery{Name: "iris"}) {
			if n, ok := strings.CutPrefix(l.Text, "child "); ok {
				child, _ = strconv.Atoi(n)
			}
		}
		return child != 0
	})
	if s.Alive != nil && !s.Alive(child) {
		s.Fatalf("the child %d does not run", child)
	}
	s.apply(rev, 0)
	s.settled("iris", 0)
	if s.Alive != nil && s.Alive(child) {
		s.Errorf("the child %d outlives its replica", child)
	}
	if s.answers(r, identity) {
		s.Error("the replica outlives its end")
	}
}

// memoryLimit lets a server take all the memory that it gets: it is ended at its limit,
// long before the machine runs short, and the reason says so.
func memoryLimit(s *scene) {
	s.apply(s.revision("iris", "r1", func(c *workload.Container) {
		env("SERVER_EAT", "1")(c)
		c.Compute = workload.NewCompute()
		limit := workload.MustQuantity("40Mi")
		c.Compute.Mem = &limit
	}), 1)
	st := s.until("that memory ran out", "iris", func(st engine.Status) bool { return st.Failed != nil })
	if st.Failed.Code != engine.CodeOOM {
		s.Errorf("Failed = %+v, want %s", st.Failed, engine.CodeOOM)
	}
}

func graceOfTheFile(s *scene) {
	rev, grace := s.revision("iris", "r1", env("SERVER_IGNORE_TERM", "1")), workload.Duration(time.Second)
	rev.Pod.TerminationGracePeriod = &grace
	endsByForce(s, rev)
}

func ignoresSIGTERM(s *scene) {
	endsByForce(s, s.revision("iris", "r1", env("SERVER_IGNORE_TERM", "1")))
}

func endsByForce(s *scene, rev *workload.Revision) {
	s.apply(rev, 1)
	log := s.keepLog("iris", s.settled("iris", 1).Replicas[0])
	s.apply(rev, 0)
	s.settled("iris", 0)
	s.event("TerminationForced")
	if lines := log(); !slices.Contains(lines, "server was told to end") {
		s.Errorf("the log is %q, want the polite signal to have come first", lines)
	}
}
