package kube

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

const (
	// healthyRun is how long a run lasts that makes the ends before it forgotten:
	// the kubelet forgets its back-off then too.
	healthyRun = 10 * time.Minute
	// shortRun is how long a run in a crash loop proves nothing: without a probe a
	// container counts as ready from its start to its next end.
	shortRun = time.Minute
	// logsWithin is how long a failure waits for the last log lines, which are asked
	// for separately, so that it is told together with them.
	logsWithin = 10 * time.Second
)

// judgeContainer decides what one container is doing.
func judgeContainer(pod *corev1.Pod, s *corev1.ContainerStatus, placed time.Time, o observation) verdict {
	ends := endsInARow(s, o.now)
	switch last := lastRun(s); {
	case s.State.Running != nil && s.Ready && (ends < engine.CrashLoop || o.now.Sub(s.State.Running.StartedAt.Time) >= shortRun):
		return verdict{state: workload.Ready, since: s.State.Running.StartedAt.Time}
	case s.State.Running != nil:
		return notReady(pod, s, ends, o)
	case s.State.Waiting != nil && slices.Contains(pullReasons, s.State.Waiting.Reason):
		return verdict{state: workload.ErrImagePull, since: placed, reason: imageReason(s), fatal: true}
	case s.State.Waiting != nil && slices.Contains(startReasons, s.State.Waiting.Reason):
		return verdict{state: workload.Failed, since: placed, reason: startReason(s.Name, s.State.Waiting.Reason, s.State.Waiting.Message), fatal: true}
	case last != nil && slices.Contains(startReasons, last.Reason):
		return verdict{state: workload.Failed, since: last.FinishedAt.Time, reason: startReason(s.Name, last.Reason, last.Message), fatal: true}
	case last != nil:
		return ended(pod, s, ends, o)
	}
	return verdict{state: workload.Creating, since: placed, reason: &workload.Reason{
		Code: codeStarting, Message: "container " + s.Name + " is being started",
	}}
}

// The words of the kubelet for a container that waits.
var (
	pullReasons = []string{
		"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
		"RegistryUnavailable", "SignatureValidationFailed",
	}
	// StartError and ContainerCannotRun are of runs that ended before they began.
	startReasons = []string{
		"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError",
		"PreStartHookError", "PostStartHookError", "StartError", "ContainerCannotRun",
	}
)

// endsInARow is how often a container ended without a healthy run in between.
func endsInARow(s *corev1.ContainerStatus, now time.Time) int {
	if s.State.Running != nil && now.Sub(s.State.Running.StartedAt.Time) >= healthyRun {
		return 0
	}
	ends := int(s.RestartCount)
	if s.State.Running == nil && lastRun(s) != nil {
		// While it waits for its next start the count is still that of the starts
		// before.
		ends++
	}
	if last := lastRun(s); last != nil && last.FinishedAt.Sub(last.StartedAt.Time) >= healthyRun {
		return min(ends, 1)
	}
	return ends
}

// notReady is a container that runs and does not answer as it should.
func notReady(pod *corev1.Pod, s *corev1.ContainerStatus, ends int, o observation) verdict {
	started := s.State.Running.StartedAt
	v := verdict{state: workload.NotReady, since: started.Time}
	if ends >= engine.CrashLoop && lastRun(s) != nil {
		v.fatal, v.reason, v.next = true, exitReason(pod, s, ends, o), started.Add(shortRun)
		return v
	}
	detail := o.probeFailure(pod, s.Name, "Readiness", started, time.Time{})
	if detail == "" {
		detail = o.probeFailure(pod, s.Name, "Startup", started, time.Time{})
	}
	if detail == "" {
		v.reason = &workload.Reason{Code: codeStarting, Message: "container " + s.Name + " runs; its probes have not answered yet"}
	} else {
		v.reason = probeReason(s.Name, detail)
	}
	return v
}

// ended is a container that ended and is not started again yet.
func ended(pod *corev1.Pod, s *corev1.ContainerStatus, ends int, o observation) verdict {
	last := lastRun(s)
	v := verdict{state: workload.Failed, since: last.FinishedAt.Time, reason: exitReason(pod, s, ends, o), fatal: ends >= engine.CrashLoop}
	_, known := o.logs[run{pod.UID, s.Name, last.ContainerID}]
	if due := last.FinishedAt.Add(logsWithin); ends == engine.CrashLoop && !known && o.now.Before(due) {
		v.fatal, v.next = false, due
	}
	switch {
	case v.reason.Code == engine.CodeLiveness:
		v.state = workload.NotReady
	case outOfMemory(last):
		v.state = workload.KilledOOM
	case killedCodes[last.ExitCode] != "":
		v.state = workload.Killed
	}
	return v
}

func outOfMemory(t *corev1.ContainerStateTerminated) bool { return t.Reason == "OOMKilled" }
