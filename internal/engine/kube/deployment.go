package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// objectName is the Deployment of a workload.
func objectName(api string) string { return objectPrefix + api }

const objectPrefix = "api-"

// apiOfPod names the API of a pod that may be gone, by what Kubernetes calls the pods
// of a Deployment: its name, a hash, and a few random letters.
func apiOfPod(pod string) (string, bool) {
	rest, ok := strings.CutPrefix(pod, objectPrefix)
	for range 2 {
		at := strings.LastIndexByte(rest, '-')
		ok = ok && at > 0
		rest = rest[:max(at, 0)]
	}
	return rest, ok
}

// progressDeadline is when Kubernetes itself says that a rollout stands still, in
// seconds. It is only said: nothing is rolled back.
const progressDeadline = 600

// templateRevision returns the revision whose pods the Deployment is to ask for, as it
// can ask for those of one only. That is the wanted one whenever Kubernetes itself
// keeps what serves beside it: it does as long as there are pods of it. Serving is how
// many there are. What serves comes first
//   - at zero and on the way from there, so that there is something to keep,
//   - and once the wanted one has failed and more is to run than is left of what
//     serves: Kubernetes does not add to the pods of earlier templates. It stays then,
//     or the two would take turns.
func templateRevision(d engine.Deployment, before *appsv1.Deployment, serving int) *workload.Revision {
	switch {
	case d.Serving == nil || d.Trial:
		return d.Revision
	case d.Replicas == 0, serving == 0:
		return d.Serving
	case d.Failed != nil && (serving < d.Replicas || samePod(before, d.Serving)):
		return d.Serving
	}
	return d.Revision
}

// deploymentOf returns the Deployment for d, ready for server-side apply: its labels
// say what is wanted, its template what runs (templateRevision). Before is the one
// there is, or nil: when its pods are those of runs (samePod), they stay exactly as
// they are, so that neither a new revision nor a newer operator restarts what did not
// change. It changes neither d nor before, and shares nothing with them.
func deploymentOf(cfg PodConfig, d engine.Deployment, runs *workload.Revision, before *appsv1.Deployment) *appsv1.Deployment {
	r := d.Revision
	replicas, history, deadline := int32(min(max(d.Replicas, 0), math.MaxInt32)), int32(1), int32(progressDeadline)
	if d.Trial {
		replicas = max(replicas, 1)
	}
	out := &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{
			Name: objectName(r.Name), Namespace: cfg.Namespace,
			Labels: map[string]string{
				labelAPI: "true", labelName: r.Name, labelKind: string(r.Kind), labelAPIID: r.ID, labelSpecID: r.SpecID,
				labelPodID: r.PodID, labelDeployment: r.DeploymentID, labelFirst: strconv.FormatInt(r.InitialDeploymentTime, 10),
			},
		},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			// Earlier revisions are the store's to remember. But a ReplicaSet goes before its
			// pods have ended, and pods without one are a warning for a disruption budget.
			RevisionHistoryLimit:    &history,
			ProgressDeadlineSeconds: &deadline,
			MinReadySeconds:         int32(engine.SteadyAfter / time.Second),
			// It cannot be changed once there is a Deployment, in no version of Cortex.
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{labelAPI: "true", labelName: r.Name}},
			Strategy: strategyOf(r.UpdateStrategy),
		},
	}
	if d.Trial && d.Replicas == 0 {
		out.Labels[labelTrial] = "true"
	}
	if d.Owner != "" {
		owner := &metav1.ObjectMeta{Name: r.Name, UID: types.UID(d.Owner)}
		out.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, crd.GroupVersion.WithKind(string(r.Kind)))}
		metav1.SetMetaDataAnnotation(&out.ObjectMeta, annotationOwner, d.Owner)
	}
	if samePod(before, runs) {
		out.Spec.Template = *templateIn(before).DeepCopy()
	} else {
		out.Spec.Template = templateOf(cfg, runs)
	}
	remember(out)
	return out
}

// remember writes into d what is applied. From it the next Apply takes the pods that
// stay as they are, whatever somebody has made of them since, and tells a change of ours
// from a change of others.
func remember(d *appsv1.Deployment) {
	text, err := json.Marshal(d.Spec)
	if err != nil || len(text) > maxApplied {
		return
	}
	metav1.SetMetaDataAnnotation(&d.ObjectMeta, annotationApplied, string(text))
}

// maxApplied keeps what is remembered well within the 256 KiB that the annotations of
// an object may have. Pods that are larger than that are taken as they are found.
const maxApplied = 200 << 10

// templateIn returns the pods that were last applied to d.
func templateIn(d *appsv1.Deployment) *corev1.PodTemplateSpec {
	var applied appsv1.DeploymentSpec
	if json.Unmarshal([]byte(d.Annotations[annotationApplied]), &applied) != nil || !isTemplateFor(&applied.Template, d) {
		return &d.Spec.Template
	}
	return &applied.Template
}

// isTemplateFor reports whether t can be what was applied to d, and not what somebody
// copied to it from elsewhere.
func isTemplateFor(t *corev1.PodTemplateSpec, d *appsv1.Deployment) bool {
	now := d.Spec.Template.Labels
	return len(t.Spec.Containers) > 0 && t.Labels[labelName] == now[labelName] && t.Labels[labelPodID] == now[labelPodID] && t.Labels[labelDeployment] == now[labelDeployment]
}

// isOurs reports whether the Deployment d is that of a workload: Kubernetes says that
// it belongs to the workload's resource, or it belongs to nobody and looks as if it was
// made here, as one does whose resource was deleted without it. Those of others are
// neither changed nor deleted.
func isOurs(d *appsv1.Deployment, name string) bool {
	if d.Labels[labelAPI] != "true" || d.Labels[labelName] != name {
		return false
	}
	owner := metav1.GetControllerOf(d)
	return owner == nil || isWorkload(owner, name)
}

// isOrphan reports whether the resource that d belonged to was deleted without it, which
// is what kubectl delete --cascade=orphan is for: it goes on until somebody deploys that
// workload again.
func isOrphan(d *appsv1.Deployment) bool {
	return metav1.GetControllerOf(d) == nil && (d.Annotations[annotationOwner] != "" || d.Annotations[annotationApplied] == "")
}

func isWorkload(owner *metav1.OwnerReference, name string) bool {
	return owner != nil && strings.HasPrefix(owner.APIVersion, crd.Group+"/") && owner.Name == name
}

// changedBy says what somebody made of before, which after put right again.
func changedBy(before, after *appsv1.Deployment) string {
	var changes []string
	if was, is := replicasOf(before), replicasOf(after); was != is {
		changes = append(changes, fmt.Sprintf("%d replicas instead of %d", was, is))
	}
	images := func(d *appsv1.Deployment) map[string]string {
		all := map[string]string{}
		for _, c := range slices.Concat(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers) {
			all[c.Name] = c.Image
		}
		return all
	}
	was, is := images(before), images(after)
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if was[name] != is[name] {
			changes = append(changes, fmt.Sprintf("the image %s of %s instead of %s", was[name], name, is[name]))
		}
	}
	if len(changes) == 0 {
		return "its specification"
	}
	return strings.Join(changes, ", ")
}

func replicasOf(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1 // the API server's default
	}
	return *d.Spec.Replicas
}

// samePod reports whether the pods of before are interchangeable with those of r.
func samePod(before *appsv1.Deployment, r *workload.Revision) bool {
	if before == nil || before.DeletionTimestamp != nil {
		return false
	}
	labels := before.Spec.Template.Labels
	return labels[labelPodID] == r.PodID && labels[labelDeployment] == r.DeploymentID && len(before.Spec.Template.Spec.Containers) > 0
}

// strategyOf is the same rule as on one machine: Kubernetes rounds percentages as
// workload.UpdateStrategy does. Where neither surge nor unavailability is left it
// would refuse, and one replica may be missing.
func strategyOf(u *workload.UpdateStrategy) appsv1.DeploymentStrategy {
	if u == nil {
		u = workload.NewUpdateStrategy()
	}
	surge, unavailable := intstr.Parse(u.MaxSurge), intstr.Parse(u.MaxUnavailable)
	if isNone(u.MaxSurge) && isNone(u.MaxUnavailable) {
		unavailable = intstr.FromInt32(1)
	}
	return appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
	}
}

func isNone(share string) bool { return strings.Trim(strings.TrimSuffix(share, "%"), "0") == "" }

// runsImages reports whether every container has an image; Kubernetes has no other
// way to run one.
func runsImages(r *workload.Revision) (container string, ok bool) {
	for _, c := range r.Pod.Containers {
		if c.Image == "" {
			return c.Name, false
		}
	}
	return "", true
}
