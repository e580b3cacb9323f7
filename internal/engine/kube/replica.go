package kube

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// stallAfter is how long a replica may be unschedulable before it counts as
// stalled (REFERENCE 4.5).
const stallAfter = 15 * time.Minute

// verdict is what a replica, or one container of it, is doing.
type verdict struct {
	state  workload.ReplicaState
	since  time.Time
	reason *workload.Reason // nil when ready
	fatal  bool             // the revision has proven unable to become ready
	next   time.Time        // when the passing of time alone changes it; zero for never
}

// judge decides the state of a pod. A pod that is asked to end is terminating
// whatever else it is; then what its node says decides, then its place, then the
// worst of its containers.
func judge(pod *corev1.Pod, o observation) verdict {
	v := judgePlaced(pod, o)
	if v.state == workload.Ready || v.state == workload.Terminating || isOver(pod) {
		return v
	}
	due := pod.CreationTimestamp.Add(o.deadline)
	if neverReady(pod) && (isLate(o.deployment) || !o.now.Before(due)) {
		v.fatal = true
		if v.reason.Code == codeStarting {
			v.reason.Message = "the replica was not ready in time: " + v.reason.Message
			v.reason.Fix = "cortex describe and the events of its pod say what takes so long"
		}
	} else if v.next.IsZero() || due.Before(v.next) && due.After(o.now) {
		v.next = due
	}
	return v
}

func judgePlaced(pod *corev1.Pod, o observation) verdict {
	ready := condition(pod, corev1.PodReady)
	switch {
	case pod.DeletionTimestamp != nil:
		return terminating(pod, o.now)
	case pod.Status.Phase == corev1.PodUnknown || pod.Status.Reason == "NodeLost" || forsaken(pod, ready):
		since := pod.CreationTimestamp.Time
		if ready != nil {
			since = ready.LastTransitionTime.Time
		}
		return verdict{state: workload.Unknown, since: since, reason: nodeLost(pod)}
	case isOver(pod):
		return over(pod)
	case ready != nil && ready.Status == corev1.ConditionTrue:
		return verdict{state: workload.Ready, since: ready.LastTransitionTime.Time}
	case pod.Spec.NodeName == "":
		return unplaced(pod, o.now)
	}
	return judgeContainers(pod, o)
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// forsaken reports whether somebody else than the node says that pod is not ready:
// when a node does not answer any more, Kubernetes takes the pod's readiness away
// and leaves what the node said of its containers.
func forsaken(pod *corev1.Pod, ready *corev1.PodCondition) bool {
	containers := condition(pod, corev1.ContainersReady)
	return len(pod.Spec.ReadinessGates) == 0 && ready != nil && ready.Status != corev1.ConditionTrue &&
		containers != nil && containers.Status == corev1.ConditionTrue
}

// neverReady reports whether pod was never ready, as far as can be told: that it
// is not ready is then as old as its place. A few seconds lie between the two.
func neverReady(pod *corev1.Pod) bool {
	ready, placed := condition(pod, corev1.PodReady), condition(pod, corev1.PodScheduled)
	if ready == nil || placed == nil {
		return true
	}
	return ready.Status != corev1.ConditionTrue && ready.LastTransitionTime.Sub(placed.LastTransitionTime.Time) <= 10*time.Second
}

// overstay is how long after its time a pod may still be there before that is
// worth a word.
const overstay = 30 * time.Second

func terminating(pod *corev1.Pod, now time.Time) verdict {
	end := pod.DeletionTimestamp.Time // the grace is in it
	since := end
	if pod.DeletionGracePeriodSeconds != nil {
		since = end.Add(-time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second)
	}
	v := verdict{state: workload.Terminating, since: since, next: end.Add(overstay)}
	v.reason = &workload.Reason{Code: "terminating", Message: "the replica is being stopped"}
	if !now.Before(v.next) {
		v.reason.Message = fmt.Sprintf("the replica should have ended at %s; its node %s may not answer", end.UTC().Format(time.RFC3339), pod.Spec.NodeName)
		v.reason.Fix = "look at the node: kubectl describe node " + pod.Spec.NodeName
		if len(pod.Finalizers) > 0 {
			v.reason.Message = "the replica has ended, and is kept by the finalizers " + strings.Join(pod.Finalizers, ", ")
			v.reason.Fix = "remove them from the pod " + pod.Name
		}
	}
	return v
}

// unplaced is a pod that no node runs yet.
func unplaced(pod *corev1.Pod, now time.Time) verdict {
	c := condition(pod, corev1.PodScheduled)
	if c == nil || c.Status != corev1.ConditionFalse {
		return verdict{state: workload.Pending, since: pod.CreationTimestamp.Time, reason: &workload.Reason{
			Code: codeStarting, Message: "the replica waits for a node to be chosen",
		}}
	}
	v := verdict{state: workload.Pending, since: pod.CreationTimestamp.Time, reason: unschedulable(pod, c)}
	if c.Reason != corev1.PodReasonUnschedulable {
		return v
	}
	stalled := c.LastTransitionTime.Add(stallAfter)
	if now.Before(stalled) {
		v.next = stalled
	} else {
		v.state, v.since = workload.Stalled, stalled
	}
	return v
}

// over is a pod that its node has given up for good.
func over(pod *corev1.Pod) verdict {
	since := pod.CreationTimestamp.Time
	for _, c := range pod.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && t.FinishedAt.After(since) {
			since = t.FinishedAt.Time
		}
	}
	for _, kind := range []corev1.PodConditionType{corev1.DisruptionTarget, corev1.PodReady} {
		if c := condition(pod, kind); c != nil && c.LastTransitionTime.After(since) {
			since = c.LastTransitionTime.Time
		}
	}
	state := workload.Failed
	reason := givenUp(pod)
	if reason.Code == engine.CodeOOM {
		state = workload.KilledOOM
	}
	return verdict{state: state, since: since, reason: reason}
}

// judgeContainers lets the worst container speak for the pod.
func judgeContainers(pod *corev1.Pod, o observation) verdict {
	placed := pod.CreationTimestamp.Time
	if c := condition(pod, corev1.PodScheduled); c != nil {
		placed = c.LastTransitionTime.Time
	}
	worst := verdict{state: workload.Creating, since: placed, reason: &workload.Reason{
		Code: codeStarting, Message: "the node " + pod.Spec.NodeName + " starts the containers of the replica",
	}}
	serving := true // every container of the user runs, as far as it can tell
	rank := 0
	for i := range pod.Status.ContainerStatuses {
		s := &pod.Status.ContainerStatuses[i]
		v := judgeContainer(pod, s, placed, o)
		serving = serving && v.state == workload.Ready
		if severity(v) > rank {
			worst, rank = v, severity(v)
		}
	}
	for i := range pod.Status.InitContainerStatuses {
		s := &pod.Status.InitContainerStatuses[i]
		v := judgeContainer(pod, s, placed, o)
		if v.state == workload.NotReady && s.State.Running != nil && v.reason.Code != engine.CodeCrashLoop {
			if !serving {
				continue // it waits for them, as it should
			}
			v = silent(pod, s, o.now)
		}
		if severity(v) > rank {
			worst, rank = v, severity(v)
		}
	}
	if ready := condition(pod, corev1.PodReady); ready != nil && worst.state == workload.NotReady && ready.LastTransitionTime.After(worst.since) {
		worst.since = ready.LastTransitionTime.Time
	}
	return worst
}

// severity orders what containers of one replica say: the worst speaks for it.
func severity(v verdict) int {
	switch {
	case v.fatal:
		return 4
	case v.state == workload.Ready:
		return 0
	case v.state == workload.Creating:
		return 1
	case v.state == workload.NotReady:
		return 2
	}
	return 3
}

// silence is how long a server may take to listen before its silence is called
// that: a healthy start should alarm nobody.
const silence = 1500 * time.Millisecond

// silent is a sidecar that says that nothing answers behind it.
func silent(pod *corev1.Pod, s *corev1.ContainerStatus, now time.Time) verdict {
	since := s.State.Running.StartedAt.Time
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil && c.State.Running.StartedAt.After(since) {
			since = c.State.Running.StartedAt.Time
		}
	}
	v := verdict{state: workload.NotReady, since: since, reason: &workload.Reason{
		Code: codeStarting, Message: "the containers run; the sidecar has not found them listening yet",
	}}
	if loud := since.Add(silence); now.Before(loud) {
		v.next = loud
		return v
	}
	if port := sidecarEnv(pod, s.Name, envTargetPort); port != "" && sidecarEnv(pod, s.Name, envProbePort) == "true" {
		v.reason = neverListened(pod, port)
	}
	return v
}

// What the sidecar is told of the port behind it.
const (
	envTargetPort = "CORTEX_TARGET_PORT"
	envProbePort  = "CORTEX_PROBE_PORT" // "true": it looks whether that is open
)

func sidecarEnv(pod *corev1.Pod, container, name string) string {
	for _, c := range pod.Spec.InitContainers {
		if c.Name != container {
			continue
		}
		for _, e := range c.Env {
			if e.Name == name {
				return e.Value
			}
		}
	}
	return ""
}

// addressOf is where requests for a pod go; empty as long as it has no address.
func addressOf(pod *corev1.Pod) string {
	if pod.Status.PodIP == "" {
		return ""
	}
	return net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(int(workload.SidecarPort)))
}

// killedCodes are exit codes of a program that somebody ended with a signal
// (REFERENCE 4.5): SIGHUP, SIGINT, SIGKILL, SIGTERM.
var killedCodes = map[int32]string{129: "SIGHUP", 130: "SIGINT", 137: "SIGKILL", 143: "SIGTERM"}

// lastRun returns the run of a container that ended last; nil when none did.
func lastRun(s *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if s.State.Terminated != nil {
		return s.State.Terminated
	}
	return s.LastTerminationState.Terminated
}

// during reports whether t lies in a run, give or take the second to which
// Kubernetes rounds.
func during(t, from, to time.Time) bool {
	return !t.Before(from.Add(-time.Second)) && (to.IsZero() || !t.After(to.Add(time.Second)))
}

// probeFailure returns the last failing answer to a probe (Readiness, Liveness,
// Startup) of a container between two moments; to may be zero.
func (o observation) probeFailure(pod *corev1.Pod, container, probe string, from metav1.Time, to time.Time) string {
	prefix := probe + " probe "
	for _, w := range slices.Backward(o.warnings[pod.UID]) {
		if w.reason == "Unhealthy" && w.container == container && strings.HasPrefix(w.message, prefix) && during(w.at, from.Time, to) {
			_, detail, found := strings.Cut(w.message, ": ")
			if !found {
				detail = w.message
			}
			return strings.TrimSpace(detail)
		}
	}
	return ""
}
