package install

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"cortex.dev/cortex/internal/fault"
)

// The programs. Of the operator's pods one has to lead, besides.
var programs = []program{
	{"operator", "operator does not come up", "cortex-operator", true},
	{"gateways", "gateways do not come up", "cortex-gateway", false},
}

// ledger is what keeps items, where the chart runs servers for them: a StatefulSet.
var ledger = program{"ledger", "servers of items do not come up", "cortex-ledger", false}

// leaderLabel is on the pod that leads, and that services select.
const leaderLabel = "cortex.dev/leader"

type program struct {
	name       string
	notUp      string // in words
	deployment string // or StatefulSet
	led        bool   // by one of its pods
}

// awaitPrograms returns when every program of the new version works, or the reason
// why one does not.
func (w *work) awaitPrograms(ctx context.Context) error {
	all := programs
	switch _, err := w.clients.AppsV1().StatefulSets(w.cfg.Namespace).Get(ctx, ledger.deployment, metav1.GetOptions{}); {
	case err == nil: // after the operator, which makes its credentials
		all = slices.Insert(slices.Clone(programs), 1, ledger)
	case !apierrors.IsNotFound(err):
		return asFault("looking at the "+ledger.name, err)
	}
	for _, p := range all {
		started := w.now()
		if err := w.await(ctx, p); err != nil {
			return err
		}
		w.done(p.name, started, "available")
	}
	return nil
}

func (w *work) await(ctx context.Context, p program) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var last progress
	for {
		now, err := w.progress(ctx, p)
		switch {
		case err != nil && ctx.Err() == nil:
			return asFault("looking at the "+p.name, err)
		case err == nil:
			last = now
		}
		if last.done {
			return nil
		}
		if last.hopeless || ctx.Err() != nil {
			f := fault.New(fault.Unavailable, "install.not_available", "the %s: %s", p.notUp, last.why)
			if context.Cause(ctx) == context.Canceled { //nolint:errorlint // the cause itself
				return ctx.Err()
			}
			return f.WithHint("what was installed stays; %s", last.do)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// progress is how far a rollout is.
type progress struct {
	done     bool
	hopeless bool   // waiting longer will not help
	why      string // it is not done
	do       string
}

func (w *work) progress(ctx context.Context, p program) (progress, error) {
	if p == ledger {
		return w.ledgerProgress(ctx)
	}
	d, err := w.clients.AppsV1().Deployments(w.cfg.Namespace).Get(ctx, p.deployment, metav1.GetOptions{})
	if err != nil {
		return progress{}, err
	}
	pods, err := w.clients.CoreV1().Pods(w.cfg.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(d.Spec.Selector.MatchLabels).String()})
	if err != nil {
		return progress{}, err
	}
	sets, err := w.clients.AppsV1().ReplicaSets(w.cfg.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(d.Spec.Selector.MatchLabels).String()})
	if err != nil {
		return progress{}, err
	}
	return judge(p, d, newest(d, sets.Items, pods.Items)), nil
}

// revisionKey is the annotation by which Kubernetes says which replica set a Deployment
// wants now.
const revisionKey = "deployment.kubernetes.io/revision"

// newest are the pods of what the Deployment wants now: those of an earlier rollout, which
// may be what this one repairs, say nothing about it. While Kubernetes has not looked at
// the Deployment there are none.
func newest(d *appsv1.Deployment, sets []appsv1.ReplicaSet, pods []corev1.Pod) []corev1.Pod {
	if d.Status.ObservedGeneration < d.Generation {
		return nil
	}
	var found []corev1.Pod
	for _, set := range sets {
		if !metav1.IsControlledBy(&set, d) || set.Annotations[revisionKey] != d.Annotations[revisionKey] {
			continue
		}
		for i := range pods {
			if metav1.IsControlledBy(&pods[i], &set) {
				found = append(found, pods[i])
			}
		}
	}
	return found
}

// renew deletes the pods that were broken before this work, so that they start with what
// was written now: a container that ended again and again would only be tried minutes
// later, and what it said last is about what was there before.
func (w *work) renew(ctx context.Context) error {
	for _, p := range programs {
		d, err := w.clients.AppsV1().Deployments(w.cfg.Namespace).Get(ctx, p.deployment, metav1.GetOptions{})
		if err != nil {
			return asFault("looking at the "+p.name, err)
		}
		pods := w.clients.CoreV1().Pods(w.cfg.Namespace)
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(d.Spec.Selector.MatchLabels).String()})
		if err != nil {
			return asFault("looking at the "+p.name, err)
		}
		for i := range list.Items {
			pod := &list.Items[i]
			if !broken(pod) {
				continue
			}
			only := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}}
			if err := pods.Delete(ctx, pod.Name, only); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return asFault("deleting the broken pod "+pod.Name, err)
			}
		}
	}
	return nil
}

// broken says whether a container of the pod waits to be tried again.
func broken(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		waits := c.State.Waiting
		return waits != nil && (waits.Reason == "CrashLoopBackOff" || waits.Reason == "ImagePullBackOff")
	})
}

// judge says how far a rollout is, from the Deployment and its pods.
func judge(p program, d *appsv1.Deployment, pods []corev1.Pod) progress {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	s := d.Status
	if s.ObservedGeneration >= d.Generation && s.UpdatedReplicas >= want && s.Replicas <= want && s.AvailableReplicas >= want {
		if p.led && !slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return pod.Labels[leaderLabel] == "true" }) {
			return progress{why: "no replica leads yet", do: "wait some seconds for one to take over; then see its log"}
		}
		return progress{done: true}
	}
	unclear := judgePods(pods, fmt.Sprintf("%d of %d are available", s.AvailableReplicas, want))
	if unclear.hopeless {
		return unclear
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return progress{why: c.Message, do: "the cluster refuses the pods; `kubectl describe` the replica set in the namespace", hopeless: false}
		}
	}
	return unclear
}

// judgePods names what keeps one of several pods from being ready, the oldest of them, or
// one for which waiting will not help. Otherwise it says what is known of all.
func judgePods(pods []corev1.Pod, all string) progress {
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	unclear := progress{why: all, do: "`cortex cluster health` shows how they are doing"}
	for i := range pods {
		if pods[i].DeletionTimestamp != nil {
			continue
		}
		if found, ok := judgePod(&pods[i]); ok {
			if found.hopeless {
				return found
			}
			unclear = found
		}
	}
	return unclear
}

// ledgerProgress is how far that of the servers of items is.
func (w *work) ledgerProgress(ctx context.Context) (progress, error) {
	set, err := w.clients.AppsV1().StatefulSets(w.cfg.Namespace).Get(ctx, ledger.deployment, metav1.GetOptions{})
	if err != nil {
		return progress{}, err
	}
	pods, err := w.clients.CoreV1().Pods(w.cfg.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(set.Spec.Selector.MatchLabels).String()})
	if err != nil {
		return progress{}, err
	}
	return judgeLedger(set, pods.Items), nil
}

// judgeLedger says how far it is, from the StatefulSet and its pods. Those of an earlier
// version, which are replaced one after another, say nothing.
func judgeLedger(set *appsv1.StatefulSet, pods []corev1.Pod) progress {
	want := int32(1)
	if set.Spec.Replicas != nil {
		want = *set.Spec.Replicas
	}
	s := set.Status
	if s.ObservedGeneration < set.Generation {
		return judgePods(nil, "Kubernetes has not looked at them yet")
	}
	if s.UpdatedReplicas >= want && s.ReadyReplicas >= want {
		return progress{done: true}
	}
	pods = slices.DeleteFunc(pods, func(pod corev1.Pod) bool { return pod.Labels[appsv1.StatefulSetRevisionLabel] != s.UpdateRevision })
	return judgePods(pods, fmt.Sprintf("%d of %d are ready, and %d of this version", s.ReadyReplicas, want, s.UpdatedReplicas))
}

// judgePod names what keeps a pod from being ready, if that can be said.
func judgePod(pod *corev1.Pod) (progress, bool) {
	about := "pod " + pod.Name + ": "
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			do := "add nodes or room on them; it goes on by itself"
			if strings.Contains(c.Message, "PersistentVolumeClaim") {
				do = "the cluster makes it no volume: items.storage.class names the storage class that does"
			}
			return progress{why: about + "no node takes it: " + c.Message, do: do}, true
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		switch waiting, logs := c.State.Waiting, fmt.Sprintf("`kubectl logs -n %s %s` has its last words", pod.Namespace, pod.Name); {
		case waiting == nil && c.RestartCount > 0 && !c.Ready && c.LastTerminationState.Terminated != nil:
			return progress{why: about + ended(c), do: logs}, true
		case waiting == nil:
		case waiting.Reason == "ErrImagePull" || waiting.Reason == "ImagePullBackOff" || waiting.Reason == "InvalidImageName" || waiting.Reason == "ErrImageNeverPull":
			return progress{hopeless: waiting.Reason != "ErrImagePull", why: fmt.Sprintf("%simage %s cannot be pulled: %s", about, c.Image, waiting.Message),
				do: "image.registry, image.tag and image.pullSecrets say where images come from; then `cortex upgrade`"}, true
		case waiting.Reason == "CrashLoopBackOff":
			return progress{hopeless: c.RestartCount >= 2, why: about + ended(c), do: logs}, true
		case waiting.Reason == "CreateContainerConfigError":
			return progress{why: about + waiting.Message, do: "make what it names"}, true
		}
	}
	return progress{}, false
}

// ended says how a container's last run went.
func ended(c corev1.ContainerStatus) string {
	t := c.LastTerminationState.Terminated
	switch {
	case t == nil:
		return fmt.Sprintf("the program ends again and again (%d restarts)", c.RestartCount)
	case t.Reason == "OOMKilled":
		return fmt.Sprintf("the program was killed for its memory (%d restarts)", c.RestartCount)
	}
	text := fmt.Sprintf("the program ended with exit code %d (%d restarts)", t.ExitCode, c.RestartCount)
	if message := strings.TrimSpace(t.Message); message != "" {
		text += ": " + message
	}
	return text
}
