package kube

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// lingering is how long a pod that ended for good (evicted, say) is still told
// about. Kubernetes keeps thousands of them, which would bury the living.
const lingering = 10 * time.Minute

// observation is everything that the status of one workload follows from.
type observation struct {
	name       string
	deployment *appsv1.Deployment // nil when there is none any more
	pods       []*corev1.Pod
	logs       map[run][]string        // last lines of runs that have ended
	warnings   map[types.UID][]warning // what was reported about each pod
	deadline   time.Duration           // for a replica to become ready
	now        time.Time
}

// run is one start of a container.
type run struct {
	pod       types.UID
	container string
	id        string // as the container runtime names it
}

// warning is what Kubernetes reports about a pod beside its status.
type warning struct {
	reason    string // Unhealthy, FailedPreStopHook, …
	container string // empty for the pod as a whole
	message   string
	at        time.Time // when it was last reported
	times     int       // how often
}

// reportedOf is how often Kubernetes reports warnings about one pod before it falls
// silent for minutes: the burst of the filter of client-go, which nodes use.
const reportedOf = 25

// isSilenced reports whether more may have happened to pod than was reported.
func (o observation) isSilenced(pod *corev1.Pod) bool {
	times := 0
	for _, w := range o.warnings[pod.UID] {
		times += w.times
	}
	return times >= reportedOf
}

// picture is what follows from an observation.
type picture struct {
	status  engine.Status // without events
	sights  []sight       // of each replica, in the same order
	gone    []goneReplica // lately; oldest first
	refused string        // why the API server refuses more pods; else empty
	next    time.Time     // when the passing of time alone changes it; zero for never
}

// later asks for another look at t.
func (p *picture) later(t, now time.Time) {
	if t.After(now) && (p.next.IsZero() || t.Before(p.next)) {
		p.next = t
	}
}

// statusOf decides what o shows. It changes nothing in o and shares nothing
// with it that anybody changes.
func statusOf(o observation) picture {
	p := picture{status: engine.Status{Name: o.name}}
	if d := o.deployment; d != nil {
		p.status.Revision = revisionOf(d)
		p.status.Desired = desiredOf(d)
		p.refused = refusal(d)
	}
	pods := slices.Clone(o.pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	anyReady := false
	for _, pod := range pods {
		v := judge(pod, o)
		if ended := v.since.Add(lingering); isOver(pod) {
			if !o.now.Before(ended) {
				continue
			}
			p.later(ended, o.now)
		}
		p.later(v.next, o.now)
		r := replicaOf(pod, v, o.deployment)
		p.status.Replicas = append(p.status.Replicas, r)
		p.sights = append(p.sights, sightOf(pod, v, r, o))
		if !r.UpToDate || r.State == workload.Terminating || fallsBack(o.deployment) {
			continue // what is left of a revision that has failed says nothing new
		}
		anyReady = anyReady || r.Ready()
		if p.status.Failed == nil && v.fatal {
			p.status.Failed = r.Reason
		}
	}
	if p.status.Failed == nil && p.refused != "" && (p.status.Desired > 0 || isTrial(o.deployment)) {
		p.status.Failed = refusedReason(p.refused)
	}
	if anyReady {
		p.status.Failed = nil
	}
	if p.refused != "" && p.status.Failed == nil {
		p.status.Shortage = refusedReason(p.refused)
	}
	return p
}

// isOver reports whether a pod has ended and is not started again.
func isOver(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && (p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded)
}

func revisionOf(d *appsv1.Deployment) string { return d.Labels[labelAPIID] }

func desiredOf(d *appsv1.Deployment) int {
	if d.DeletionTimestamp != nil || isTrial(d) {
		return 0
	}
	return int(replicasOf(d))
}

// refusal returns why the API server refuses to create pods of d; else "".
func refusal(d *appsv1.Deployment) string {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	return ""
}

// isLate reports whether d has had the time that it is given to make progress.
func isLate(d *appsv1.Deployment) bool {
	if d == nil || d.Status.ObservedGeneration < d.Generation {
		return false
	}
	return slices.ContainsFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
		return c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ProgressDeadlineExceeded"
	})
}

// isUpToDate reports whether pod is of the revision that d is for. The template may be
// that of an earlier one, which serves in its place.
func isUpToDate(pod *corev1.Pod, d *appsv1.Deployment) bool {
	if d == nil || d.DeletionTimestamp != nil {
		return false
	}
	return pod.Labels[labelPodID] == d.Labels[labelPodID] && pod.Labels[labelDeployment] == d.Labels[labelDeployment]
}

// isTrial reports whether nobody asked for the replica of d: it is to prove that its
// revision can become ready.
func isTrial(d *appsv1.Deployment) bool { return d != nil && d.Labels[labelTrial] != "" }

// fallsBack reports whether d asks for pods of an earlier revision than it is for.
func fallsBack(d *appsv1.Deployment) bool {
	if d == nil {
		return false
	}
	runs := d.Spec.Template.Labels
	return runs[labelPodID] != d.Labels[labelPodID] || runs[labelDeployment] != d.Labels[labelDeployment]
}

// replicaOf is what watchers see of a pod.
func replicaOf(pod *corev1.Pod, v verdict, d *appsv1.Deployment) engine.Replica {
	r := engine.Replica{
		Replica: workload.Replica{
			ID: replicaID(pod), APIID: pod.Annotations[annotationAPIID], UpToDate: isUpToDate(pod, d),
			State: v.state, Reason: v.reason, Since: v.since.UTC(), Address: addressOf(pod),
		},
		DeploymentID:   pod.Labels[labelDeployment],
		MaxConcurrency: number(pod.Annotations[annotationConcurrency]),
		MaxQueueLength: number(pod.Annotations[annotationQueue]),
	}
	if r.UpToDate {
		// Revisions that differ in nothing that runs share their pods, which carry
		// the id of the first.
		r.APIID = revisionOf(d)
	} else if r.State == workload.Ready {
		r.State = workload.ReadyOutOfDate
	}
	for _, c := range pod.Status.ContainerStatuses {
		r.Restarts += int(c.RestartCount)
	}
	return r
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64) // what is not one means no limit was set
	return n
}

// replicaID is the name of a replica: its pod's without the name of the workload,
// and with the part that differs within a revision first, so that a few letters
// of it are enough.
func replicaID(pod *corev1.Pod) string {
	hash := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	i := strings.LastIndexByte(pod.Name, '-')
	if i < 0 || hash == "" {
		return pod.Name
	}
	return pod.Name[i+1:] + "-" + hash
}
