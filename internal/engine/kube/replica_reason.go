package kube

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// The stable codes of reasons given here only; those of engine are given too.
const (
	codeStarting      = "starting"
	codeUnschedulable = "unschedulable"
	codeNodeLost      = "node_lost"
	codeEvicted       = "evicted"
	codeQuota         = "quota_exceeded"
	codeRefused       = "pod_refused"
	codeNoImage       = "image_not_found"
	codeImagePull     = "image_pull"
	codeMissing       = "missing_executable"
	codeNotExecutable = "not_executable"
)

func engineSays(text string) []workload.Evidence {
	if text == "" {
		return nil
	}
	return []workload.Evidence{{Kind: "engine", Text: text}}
}

// exitWords says how a run ended, as the end of a sentence.
func exitWords(t *corev1.ContainerStateTerminated) string {
	switch signal := killedCodes[t.ExitCode]; {
	case outOfMemory(t):
		return "was killed because memory ran out"
	case signal != "":
		return fmt.Sprintf("was ended by %s (exit code %d)", signal, t.ExitCode)
	}
	return fmt.Sprintf("ended with exit code %d", t.ExitCode)
}

// exitReason says why a container that ended is not ready.
func exitReason(pod *corev1.Pod, s *corev1.ContainerStatus, ends int, o observation) *workload.Reason {
	last := lastRun(s)
	lines := o.logs[run{pod.UID, s.Name, last.ContainerID}]
	end := engine.End{
		Container: s.Name, Words: exitWords(last), Lines: lines, Liveness: o.livenessFailure(pod, s), OOM: outOfMemory(last),
		PortTaken: engine.PortInUse(lines), Killed: killedCodes[last.ExitCode] != "", Times: ends,
		Fixes: engine.Fixes{
			OOM:    "let the container use less memory, or ask for more (compute.mem)",
			Port:   "listen on the port in CORTEX_PORT; 8888 and 15000 are the sidecar's, and the containers of a pod share their ports",
			Killed: "something other than Cortex ended it; look at the events of its node",
		},
	}
	if pause := backOff(s); pause != "" {
		end.Again = "after " + pause
	}
	return end.Reason()
}

// livenessFailure is the failing answer for which a container was ended.
func (o observation) livenessFailure(pod *corev1.Pod, s *corev1.ContainerStatus) string {
	last := lastRun(s)
	if last == nil {
		return ""
	}
	detail := o.probeFailure(pod, s.Name, "Liveness", last.StartedAt, last.FinishedAt.Time)
	if detail == "" && toldToEnd(last) && o.isSilenced(pod) {
		// Of an earlier run: nobody would have heard of the latest.
		detail = o.probeFailure(pod, s.Name, "Liveness", pod.CreationTimestamp, last.StartedAt.Time)
	}
	return detail
}

// toldToEnd reports whether a run ended as one does that the node ends.
func toldToEnd(t *corev1.ContainerStateTerminated) bool {
	return !outOfMemory(t) && (t.ExitCode == 0 || killedCodes[t.ExitCode] != "")
}

// backOffWords are those of the kubelet: "back-off 40s restarting failed container".
var backOffWords = regexp.MustCompile(`back-off (\S+) restarting`)

func backOff(s *corev1.ContainerStatus) string {
	if s.State.Waiting == nil {
		return ""
	}
	if m := backOffWords.FindStringSubmatch(s.State.Waiting.Message); m != nil {
		return m[1]
	}
	return ""
}

func containsAny(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// imageReason says why the image of a container cannot be had.
func imageReason(s *corev1.ContainerStatus) *workload.Reason {
	w := s.State.Waiting
	text := strings.ToLower(w.Message)
	r := &workload.Reason{
		Code: codeImagePull, Message: fmt.Sprintf("image %s of container %s cannot be pulled", s.Image, s.Name), Evidence: engineSays(w.Message),
		Fix: "the evidence has the registry's words; check the name, and the credentials that the cluster pulls with",
	}
	switch {
	case w.Reason == "InvalidImageName":
		r.Code, r.Message, r.Fix = codeNoImage, fmt.Sprintf("%q of container %s is not an image name", s.Image, s.Name), "correct image"
	case w.Reason == "ErrImageNeverPull":
		r.Code, r.Message = codeNoImage, fmt.Sprintf("image %s of container %s is not on the node, and is not to be pulled", s.Image, s.Name)
		r.Fix = "load the image onto the node, or let it be pulled"
	case containsAny(text, "not found", "notfound", "manifest unknown", "name unknown", "does not exist"):
		r.Code, r.Message = codeNoImage, fmt.Sprintf("image %s of container %s does not exist", s.Image, s.Name)
		r.Fix = "correct the name, or push the image; a private registry may say so to whom it does not know"
	}
	return r
}

// startReason says why a container could not be started.
func startReason(container, reason, message string) *workload.Reason {
	text := strings.ToLower(message)
	r := &workload.Reason{
		Code: engine.CodeStartFailed, Message: fmt.Sprintf("container %s could not be started: %s", container, firstLine(message)),
		Evidence: engineSays(message), Fix: "the evidence has the words of the node",
	}
	switch {
	case reason == "CreateContainerConfigError" && containsAny(text, "runasnonroot"):
		r.Message = fmt.Sprintf("the image of container %s runs as root, or as a user without a number, and it must not run as root", container)
		r.Fix = "say a user that the image can run as (security_context.run_as_user), or build it with a numeric USER; it must not be root because the file says so, or the installation (apis.podSecurity: restricted)"
	case reason == "CreateContainerConfigError":
		r.Fix = "create what it refers to; it is started by itself then"
	case containsAny(text, "no such file or directory", "executable file not found"):
		r.Code, r.Message = codeMissing, fmt.Sprintf("the program that container %s is to run does not exist in its image", container)
		r.Fix = "correct command, or the image"
	case containsAny(text, "permission denied", "exec format error"):
		r.Code, r.Message = codeNotExecutable, fmt.Sprintf("the program that container %s is to run cannot be executed", container)
		r.Fix = "make it executable, name its interpreter in command, or build it for the architecture of the node"
	}
	if message == "" {
		r.Message = fmt.Sprintf("container %s could not be started: %s", container, reason)
	}
	return r
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

func probeReason(container, detail string) *workload.Reason {
	return &workload.Reason{
		Code: engine.CodeProbe, Message: fmt.Sprintf("container %s runs, but its readiness probe fails: %s", container, firstLine(detail)),
		Evidence: []workload.Evidence{{Kind: "probe", Text: detail}},
		Fix:      "make the server answer the probe, or correct readiness_probe",
	}
}

func neverListened(pod *corev1.Pod, port string) *workload.Reason {
	who := "the containers of the replica run"
	if len(pod.Spec.Containers) == 1 {
		who = "container " + pod.Spec.Containers[0].Name + " runs"
	}
	return &workload.Reason{
		Code: engine.CodeNeverListened, Message: fmt.Sprintf("%s, but nothing listens on port %s", who, port),
		Evidence: []workload.Evidence{{Kind: "port", Text: "the sidecar cannot connect to port " + port + " of the pod"}},
		Fix:      fmt.Sprintf("let the server listen on the port in CORTEX_PORT (%s), on localhost or on every address", port),
	}
}

func nodeLost(pod *corev1.Pod) *workload.Reason {
	r := &workload.Reason{
		Code: codeNodeLost, Message: "the node " + pod.Spec.NodeName + " does not answer, so the state of the replica is unknown",
		Evidence: engineSays(pod.Status.Message), Fix: "look at the node: kubectl describe node " + pod.Spec.NodeName,
	}
	return r
}

// givenUp says why a node has given up a pod.
func givenUp(pod *corev1.Pod) *workload.Reason {
	text := pod.Status.Message
	for _, c := range pod.Status.ContainerStatuses {
		if t := c.State.Terminated; text == "" && t != nil {
			text = "container " + c.Name + " " + exitWords(t)
		}
	}
	r := &workload.Reason{
		Code: codeEvicted, Message: strings.TrimSpace("the node " + pod.Spec.NodeName + " gave up the replica: " + pod.Status.Reason),
		Evidence: engineSays(text), Fix: "another replica takes its place; if that lasts, look at what the node is short of",
	}
	if pod.Status.Reason == "Evicted" && strings.Contains(text, "memory") {
		r.Code, r.Message = engine.CodeOOM, "the replica was evicted because memory ran out on the node "+pod.Spec.NodeName
		r.Fix = "let the container use less memory, or ask for what it needs (compute.mem)"
	}
	return r
}

// refusedReason says why there are fewer pods than there should be.
func refusedReason(words string) *workload.Reason {
	if strings.Contains(words, "exceeded quota") {
		return &workload.Reason{
			Code: codeQuota, Message: "the quota of the namespace is used up: " + firstLine(words), Evidence: engineSays(words),
			Fix: "ask for less (compute), stop something else, or raise the quota",
		}
	}
	return &workload.Reason{
		Code: codeRefused, Message: "Kubernetes refuses to create the replica: " + firstLine(words), Evidence: engineSays(words),
		Fix: "the evidence has the words of the API server; an admission policy of the cluster may forbid such pods",
	}
}
