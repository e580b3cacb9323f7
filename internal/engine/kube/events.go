package kube

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// sight is what the events about one replica are told from.
type sight struct {
	id          string
	pod         types.UID
	ready       bool
	terminating bool
	why         string // it is not ready, or is being stopped
	preStop     string // what went wrong with a pre_stop hook
	containers  []containerSight
}

type containerSight struct {
	name       string
	ended      string // the run that ended last; empty when none did
	words      string // how it ended
	liveness   string // the failing answer for which it was ended
	notStarted string // why it cannot be started; empty when it can
	forced     bool   // it had to be killed
}

// sightOf picks from a pod what events are told from.
func sightOf(pod *corev1.Pod, v verdict, r engine.Replica, o observation) sight {
	s := sight{id: r.ID, pod: pod.UID, ready: r.Ready(), terminating: v.state == workload.Terminating}
	switch {
	case s.terminating:
		s.why = stopReason(pod, r, o.deployment)
	case v.reason != nil:
		s.why = v.reason.Message
	}
	s.preStop = hookFailure(o.warnings[pod.UID])
	for i := range pod.Status.ContainerStatuses {
		s.containers = append(s.containers, containerSightOf(pod, &pod.Status.ContainerStatuses[i], o))
	}
	return s
}

// hookFailure is what was reported of a pre_stop hook; empty when nothing was.
func hookFailure(reported []warning) (message string) {
	for _, w := range reported {
		if w.reason == "FailedPreStopHook" {
			message = w.message
		}
	}
	return message
}

func containerSightOf(pod *corev1.Pod, s *corev1.ContainerStatus, o observation) containerSight {
	c := containerSight{name: s.Name}
	if w := s.State.Waiting; w != nil {
		switch {
		case slices.Contains(pullReasons, w.Reason):
			c.notStarted = imageReason(s).Message
		case slices.Contains(startReasons, w.Reason):
			c.notStarted = startReason(s.Name, w.Reason, w.Message).Message
		}
	}
	last := lastRun(s)
	if last == nil {
		return c
	}
	if slices.Contains(startReasons, last.Reason) {
		c.notStarted = startReason(s.Name, last.Reason, last.Message).Message
		return c
	}
	c.ended, c.words, c.liveness = last.ContainerID, exitWords(last), o.livenessFailure(pod, s)
	c.forced = pod.DeletionTimestamp != nil && s.State.Terminated != nil && last.ExitCode == 137 && !outOfMemory(last)
	return c
}

// stopReason says why a pod is being stopped. Kubernetes tells that only when it
// was not asked to.
func stopReason(pod *corev1.Pod, r engine.Replica, d *appsv1.Deployment) string {
	if c := condition(pod, corev1.DisruptionTarget); c != nil && c.Status == corev1.ConditionTrue {
		return firstLine(c.Message)
	}
	switch {
	case d == nil || d.DeletionTimestamp != nil:
		return "the API was deleted"
	case !r.UpToDate:
		return "it is of an older revision"
	}
	return "the number of replicas was reduced, or its pod was deleted"
}

// eventsBetween tells what happened between two pictures of a workload.
func eventsBetween(before, after picture, now time.Time) []workload.Event {
	t := teller{api: after.status.Name, now: now}
	was := map[string]*sight{}
	for i := range before.sights {
		was[before.sights[i].id] = &before.sights[i]
	}
	for i := range after.sights {
		s := &after.sights[i]
		t.replica(was[s.id], s)
		delete(was, s.id)
	}
	for i := range before.sights {
		if s := was[before.sights[i].id]; s != nil && !s.terminating {
			t.tell("normal", "ReplicaStopping", s.id, "replica %s is gone", s.id)
		}
	}
	if after.refused != "" && before.refused == "" {
		t.tell("warning", "ReplicaRefused", "", "%s", refusedReason(after.refused).Message)
	}
	return t.events
}

// A node reports what went wrong with a hook while it stops a pod, and the two news
// come apart: the pod may be gone first.
const (
	hooksReported = 30 * time.Second // how long after a pod its hook is listened for
	hooksAwaited  = 100              // of how many pods of a workload
)

// goneReplica is one of whose pre_stop hook nothing was reported yet.
type goneReplica struct {
	id  string
	pod types.UID
	at  time.Time
}

// goneBetween are the replicas that are gone after, and of whose hooks nothing was
// told.
func goneBetween(before, after picture, now time.Time) (gone []goneReplica) {
	there := map[types.UID]bool{}
	for i := range after.sights {
		there[after.sights[i].pod] = true
	}
	for _, g := range before.gone {
		if now.Sub(g.at) < hooksReported {
			gone = append(gone, g)
		}
	}
	for i := range before.sights {
		if s := &before.sights[i]; !there[s.pod] && s.preStop == "" {
			gone = append(gone, goneReplica{s.id, s.pod, now})
		}
	}
	return gone[max(0, len(gone)-hooksAwaited):]
}

// lateHooks tells what was reported of the hooks of replicas that are gone, and
// returns the others.
func lateHooks(api string, gone []goneReplica, reported func(types.UID) []warning, now time.Time) (silent []goneReplica, told []workload.Event) {
	t := teller{api: api, now: now}
	for _, g := range gone {
		if message := hookFailure(reported(g.pod)); message != "" {
			t.preStopFailed(g.id, message)
			continue
		}
		silent = append(silent, g)
	}
	return silent, t.events
}

// teller collects events.
type teller struct {
	api    string
	now    time.Time
	events []workload.Event
}

func (t *teller) tell(kind, reason, replica, format string, args ...any) {
	t.events = append(t.events, workload.Event{
		Time: t.now, API: t.api, Type: kind, Reason: reason, Message: fmt.Sprintf(format, args...), Replica: replica,
	})
}

// replica tells what happened to one replica; before is nil for a new one.
func (t *teller) replica(before, after *sight) {
	if before == nil {
		before = &sight{}
		t.tell("normal", "ReplicaStarting", after.id, "starting replica %s", after.id)
	}
	for i := range after.containers {
		c := &after.containers[i]
		was := containerSight{}
		if i < len(before.containers) && before.containers[i].name == c.name {
			was = before.containers[i]
		}
		t.container(was, *c, after)
	}
	if after.preStop != "" && before.preStop == "" {
		t.preStopFailed(after.id, after.preStop)
	}
	switch {
	case after.terminating:
		if !before.terminating {
			t.tell("normal", "ReplicaStopping", after.id, "stopping replica %s: %s", after.id, after.why)
		}
	case after.ready && !before.ready:
		t.tell("normal", "ReplicaReady", after.id, "replica %s is ready", after.id)
	case before.ready && !after.ready:
		t.tell("warning", "ReplicaNotReady", after.id, "replica %s is not ready any more: %s", after.id, after.why)
	}
}

func (t *teller) preStopFailed(replica, message string) {
	t.tell("warning", "PreStopFailed", replica, "pre_stop of replica %s failed: %s", replica, message)
}

func (t *teller) container(before, after containerSight, s *sight) {
	switch {
	case after.forced && !before.forced:
		t.tell("warning", "TerminationForced", s.id, "container %s of replica %s ignored SIGTERM and was killed at the end of its grace", after.name, s.id)
	case s.terminating:
	case after.notStarted != "" && before.notStarted == "":
		t.tell("warning", "ContainerNotStarted", s.id, "container %s of replica %s did not start: %s", after.name, s.id, after.notStarted)
	case after.ended == "" || after.ended == before.ended && (after.liveness == "" || before.liveness != ""):
	case after.liveness != "": // which a busy node may report after the end itself
		t.tell("warning", "ContainerRestarting", s.id, "restarting container %s of replica %s: its liveness probe fails: %s", after.name, s.id, after.liveness)
	default:
		t.tell("warning", "ContainerExited", s.id, "container %s of replica %s %s", after.name, s.id, after.words)
	}
}
