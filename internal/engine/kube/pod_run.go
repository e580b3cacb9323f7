package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// A run is a pod that is not restarted, and a ConfigMap of the same name with its files.
// The pod says by its labels which run it is, so that whoever leads next finds it. Its
// sidecar stays after the containers have ended, for as long as the pod's grace: so what
// they left, and what they wrote, can be fetched before the pod is gone.

// labelRun is on the pod of a run: its id among those of its job.
const labelRun = "cortex.dev/run"

// Bounds of runs.
const (
	holdFor     = 5 * time.Minute  // that a pod stays for its result after its containers ended
	unmadeAfter = 20 * time.Second // that what keeps a pod from starting has to stand
	endWithin   = time.Minute      // for a pod that nobody takes over

	lastLinesWithin = 10 * time.Second // after the end of its containers
)

// runPodName is the pod of a run.
func runPodName(r engine.RunName) string {
	sum := sha256.Sum256([]byte(r.Name + "\x00" + r.ID))
	text := "job-" + strings.ReplaceAll(r.Name, ".", "-") + "-" + r.ID
	return strings.TrimRight(text[:min(len(text), 50)], "-") + "-" + hex.EncodeToString(sum[:5])
}

// runOfPod says which run a pod is.
func runOfPod(p *corev1.Pod) (engine.RunName, bool) {
	l := p.Labels
	return engine.RunName{Name: l[labelName] + "." + l[labelJob], ID: l[labelRun]}, l[labelName] != "" && l[labelJob] != "" && l[labelRun] != ""
}

// runPod returns the pod of a run, and what it has its files in.
func runPod(cfg PodConfig, run engine.Run) (*corev1.Pod, *corev1.ConfigMap) {
	api, job, _ := strings.Cut(run.Name, ".")
	revision := *run.Revision
	pod := *revision.Pod
	pod.MaxConcurrency = max(pod.MaxConcurrency, 1)
	revision.Pod = &pod
	template := templateOf(cfg, &revision)
	maps.Copy(template.Labels, map[string]string{labelName: api, labelJob: job, labelRun: run.ID})
	meta := metav1.ObjectMeta{Name: runPodName(run.RunName), Namespace: cfg.Namespace, Labels: template.Labels}
	if run.Owner != "" {
		owner := &metav1.ObjectMeta{Name: api, UID: types.UID(run.Owner)}
		meta.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, crd.GroupVersion.WithKind(string(revision.Kind)))}
	}
	files := &corev1.ConfigMap{ObjectMeta: *meta.DeepCopy(), BinaryData: map[string][]byte{}}
	out := &corev1.Pod{ObjectMeta: meta, Spec: template.Spec}
	out.Annotations = template.Annotations
	out.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "false" // it would begin again
	out.Annotations["karpenter.sh/do-not-disrupt"] = "true"
	spec := &out.Spec
	spec.RestartPolicy = corev1.RestartPolicyNever
	spec.TopologySpreadConstraints = nil // a job's pods need not be apart
	sidecar := &spec.InitContainers[0]
	if portOf(&revision) == 0 {
		keepOnly(sidecar)
	}
	hold := max(holdFor, time.Duration(*spec.TerminationGracePeriodSeconds)*time.Second)
	grace := int64(hold / time.Second)
	spec.TerminationGracePeriodSeconds = &grace
	sidecar.Env = append(sidecar.Env, corev1.EnvVar{Name: "CORTEX_HOLD", Value: fmt.Sprint(grace)})
	env, mounts := []corev1.EnvVar{}, []corev1.VolumeMount{}
	for _, name := range slices.Sorted(maps.Keys(run.Env)) {
		env = append(env, corev1.EnvVar{Name: name, Value: run.Env[name]})
	}
	for i, f := range run.Files {
		key := fmt.Sprint(i)
		files.BinaryData[key] = f.Data
		env = append(env, corev1.EnvVar{Name: f.Variable, Value: f.Target})
		mounts = append(mounts, corev1.VolumeMount{Name: volumeFiles, MountPath: f.Target, SubPath: key, ReadOnly: true})
	}
	if len(files.BinaryData) > 0 {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: volumeFiles, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: files.Name}},
		}})
	}
	if run.Result != nil {
		env = append(env, corev1.EnvVar{Name: run.Result.Variable, Value: run.Result.Target})
		sidecar.Env = append(sidecar.Env, corev1.EnvVar{Name: "CORTEX_RESULT", Value: run.Result.Target})
		sidecar.VolumeMounts = append(sidecar.VolumeMounts, corev1.VolumeMount{Name: volumeCortex, MountPath: "/cortex"})
	}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		c.Env = append(slices.DeleteFunc(c.Env, func(v corev1.EnvVar) bool {
			return slices.ContainsFunc(env, func(ours corev1.EnvVar) bool { return ours.Name == v.Name })
		}), env...)
		c.VolumeMounts = append(c.VolumeMounts, mounts...)
	}
	return out, files
}

// volumeFiles has the files of a run.
const volumeFiles = "cortex-files"

// keepOnly makes of a sidecar one that forwards nothing: a task receives no requests, and
// what it leaves is all that there is to do.
func keepOnly(c *corev1.Container) {
	c.Ports = slices.DeleteFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort != workload.AdminPort })
	c.Env = slices.DeleteFunc(c.Env, func(v corev1.EnvVar) bool {
		return v.Name == envTargetPort || v.Name == envProbePort
	})
	c.Env = append(c.Env, corev1.EnvVar{Name: envTargetPort, Value: "0"})
	c.ReadinessProbe = nil // it is ready when its container runs
}
