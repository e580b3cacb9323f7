package kube

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// The indexes of what is cached.
const (
	byWorkload = "workload"
	byPod      = "pod"
	byUID      = "uid"
)

// labelJob is on everything that belongs to one job.
const labelJob = "jobID"

// lister is the part of a typed client that a cache needs.
type lister[L runtime.Object] interface {
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
	Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// informerOf returns a cache of what client lists within restrict, reduced by trim.
func informerOf[L runtime.Object](client lister[L], example runtime.Object, restrict metav1.ListOptions, trim toolscache.TransformFunc, indexers toolscache.Indexers) (toolscache.SharedIndexInformer, error) {
	narrow := func(o metav1.ListOptions) metav1.ListOptions {
		o.LabelSelector, o.FieldSelector = restrict.LabelSelector, restrict.FieldSelector
		return o
	}
	i := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, narrow(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, narrow(o))
		},
	}, example, 0, indexers)
	return i, i.SetTransform(trim)
}

// informers watch the cluster.
type informers struct {
	deployments, sets, pods toolscache.SharedIndexInformer
	warnings, jobs          toolscache.SharedIndexInformer // nil when read only
}

func (e *Engine) newInformers() (*informers, error) {
	// Pods of jobs carry the name of their API too; they are no replicas of it.
	ours := metav1.ListOptions{LabelSelector: labels.Set{labelAPI: "true"}.String() + ",!" + labelJob}
	index := toolscache.Indexers{byWorkload: workloadsOf}
	namespace := e.cfg.Pods.Namespace
	var i informers
	var err error
	if i.deployments, err = informerOf(e.streams.AppsV1().Deployments(namespace), &appsv1.Deployment{}, ours, trimmed(trimDeployment), index); err != nil {
		return nil, err
	}
	if i.pods, err = informerOf(e.streams.CoreV1().Pods(namespace), &corev1.Pod{}, ours, trimmed(trimPod), index); err != nil {
		return nil, err
	}
	sets := e.meta.Resource(appsv1.SchemeGroupVersion.WithResource("replicasets")).Namespace(namespace)
	byIdentity := func(o any) ([]string, error) {
		if m, ok := o.(metav1.Object); ok {
			return []string{string(m.GetUID())}, nil
		}
		return nil, nil
	}
	if i.sets, err = informerOf(sets, &metav1.PartialObjectMetadata{}, ours, trimmed(trimSet), toolscache.Indexers{byUID: byIdentity}); err != nil {
		return nil, err
	}
	if e.cfg.ReadOnly {
		return &i, nil
	}
	if i.jobs, err = informerOf(e.streams.CoreV1().Pods(namespace), &corev1.Pod{}, metav1.ListOptions{LabelSelector: jobPods}, trimmed(trimPod), toolscache.Indexers{}); err != nil {
		return nil, err
	}
	complaints := metav1.ListOptions{FieldSelector: fields.Set{"involvedObject.kind": "Pod", "type": corev1.EventTypeWarning}.String()}
	i.warnings, err = informerOf(e.streams.CoreV1().Events(namespace), &corev1.Event{}, complaints, trimmed(trimEvent),
		toolscache.Indexers{byPod: func(o any) ([]string, error) {
			if ev, ok := o.(*corev1.Event); ok {
				return []string{string(ev.InvolvedObject.UID)}, nil
			}
			return nil, nil
		}})
	return &i, err
}

func (i *informers) all() []toolscache.SharedIndexInformer {
	if i.warnings == nil {
		return i.needed()
	}
	return append(i.needed(), i.jobs, i.warnings)
}

// needed are those without which nothing is known. Warnings are evidence only.
func (i *informers) needed() []toolscache.SharedIndexInformer {
	return []toolscache.SharedIndexInformer{i.deployments, i.sets, i.pods}
}

// workloadsOf names the workload that an object belongs to.
func workloadsOf(o any) ([]string, error) {
	if name := workloadOf(o); name != "" {
		return []string{name}, nil
	}
	return nil, nil
}

func workloadOf(o any) string {
	if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	if m, ok := o.(metav1.Object); ok {
		return m.GetLabels()[labelName]
	}
	return ""
}

// trimmed makes a cache keep only what trim leaves. What a cache of thousands of
// pods holds is memory of the operator and of every gateway.
func trimmed[T any](trim func(*T) *T) toolscache.TransformFunc {
	return func(o any) (any, error) {
		if t, ok := o.(*T); ok {
			return trim(t), nil
		}
		return o, nil
	}
}

// trimMeta keeps what identifies an object, and the annotations that are read here.
func trimMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	var notes map[string]string
	for _, key := range []string{annotationAPIID, annotationConcurrency, annotationQueue} {
		if v, ok := m.Annotations[key]; ok {
			if notes == nil {
				notes = map[string]string{}
			}
			notes[key] = v
		}
	}
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		Labels: m.Labels, Annotations: notes, Finalizers: m.Finalizers, CreationTimestamp: m.CreationTimestamp,
		DeletionTimestamp: m.DeletionTimestamp, DeletionGracePeriodSeconds: m.DeletionGracePeriodSeconds, OwnerReferences: m.OwnerReferences,
	}
}

func trimSet(s *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{TypeMeta: s.TypeMeta, ObjectMeta: trimMeta(s.ObjectMeta)}
}

func trimDeployment(d *appsv1.Deployment) *appsv1.Deployment {
	out := &appsv1.Deployment{ObjectMeta: trimMeta(d.ObjectMeta), Status: d.Status}
	out.Spec.Replicas = d.Spec.Replicas
	out.Spec.Template.Labels = d.Spec.Template.Labels
	return out
}

func trimPod(p *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: trimMeta(p.ObjectMeta)}
	out.Spec.NodeName, out.Spec.ReadinessGates = p.Spec.NodeName, p.Spec.ReadinessGates
	// What it asks for is of interest as long as it has no node.
	unplaced := p.Spec.NodeName == ""
	if unplaced {
		out.Spec.Affinity = p.Spec.Affinity
	}
	keep := func(c *corev1.Container) corev1.Container {
		kept := corev1.Container{Name: c.Name}
		if unplaced {
			kept.Resources.Requests = c.Resources.Requests
		}
		return kept
	}
	for i := range p.Spec.Containers {
		out.Spec.Containers = append(out.Spec.Containers, keep(&p.Spec.Containers[i]))
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		kept := keep(c)
		for _, v := range c.Env {
			if v.Name == envTargetPort || v.Name == envProbePort {
				kept.Env = append(kept.Env, v)
			}
		}
		out.Spec.InitContainers = append(out.Spec.InitContainers, kept)
	}
	s := &p.Status
	out.Status = corev1.PodStatus{
		Phase: s.Phase, Reason: s.Reason, Message: s.Message, PodIP: s.PodIP,
		ContainerStatuses: s.ContainerStatuses, InitContainerStatuses: s.InitContainerStatuses,
	}
	for _, c := range s.Conditions {
		switch c.Type {
		case corev1.PodReady, corev1.PodScheduled, corev1.ContainersReady, corev1.DisruptionTarget:
			out.Status.Conditions = append(out.Status.Conditions, c)
		}
	}
	return out
}

func trimEvent(ev *corev1.Event) *corev1.Event {
	out := &corev1.Event{ObjectMeta: trimMeta(ev.ObjectMeta)}
	out.Labels = nil
	out.InvolvedObject = corev1.ObjectReference{
		Name: ev.InvolvedObject.Name, UID: ev.InvolvedObject.UID, Namespace: ev.InvolvedObject.Namespace, FieldPath: ev.InvolvedObject.FieldPath,
	}
	out.Reason, out.Message = ev.Reason, ev.Message
	out.LastTimestamp = metav1.NewTime(reportedAt(ev))
	out.Count = max(ev.Count, 1)
	if ev.Series != nil {
		out.Count = max(out.Count, ev.Series.Count)
	}
	return out
}

// reportedAt is when an event was last seen; there are three ways to say so.
func reportedAt(ev *corev1.Event) time.Time {
	at := ev.LastTimestamp.Time
	if ev.EventTime.After(at) {
		at = ev.EventTime.Time
	}
	if ev.Series != nil && ev.Series.LastObservedTime.After(at) {
		at = ev.Series.LastObservedTime.Time
	}
	return at
}
