package kube

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/workload"
)

// volumeOf is a volume of a file.
func volumeOf(v *workload.Volume) corev1.Volume {
	out := corev1.Volume{Name: v.Name}
	switch {
	case v.PersistentVolumeClaim != "":
		out.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: v.PersistentVolumeClaim}
	case v.ConfigMap != "":
		out.ConfigMap = &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: v.ConfigMap}}
	case v.Secret != "":
		out.Secret = &corev1.SecretVolumeSource{SecretName: v.Secret}
	case v.EmptyDir != nil:
		out.EmptyDir = &corev1.EmptyDirVolumeSource{}
		if v.EmptyDir.Memory {
			out.EmptyDir.Medium = corev1.StorageMediumMemory
		}
		if v.EmptyDir.Size != nil {
			limit := bytesOf(v.EmptyDir.Size)
			out.EmptyDir.SizeLimit = &limit
		}
	}
	return out
}

func mountsOf(c *workload.Container) []corev1.VolumeMount {
	var out []corev1.VolumeMount
	for _, m := range c.VolumeMounts {
		out = append(out, corev1.VolumeMount{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly})
	}
	return out
}

// claimName is of the claim of a container for its j-th template; names of templates may
// be too long for it.
func claimName(container, j int) string {
	return "claim-" + strconv.Itoa(container) + "-" + strconv.Itoa(j)
}

// claimsOf are the claims that the pod has for one of its containers.
func claimsOf(c *workload.Compute, container int) []corev1.PodResourceClaim {
	if c == nil {
		return nil
	}
	var out []corev1.PodResourceClaim
	for j, template := range c.ResourceClaimTemplates {
		out = append(out, corev1.PodResourceClaim{Name: claimName(container, j), ResourceClaimTemplateName: &template})
	}
	return out
}

// spreadOf prefers the zone with the fewest replicas of the same pods. The scheduler does
// so by itself, but not what adds nodes: without a constraint it packs replicas that
// wait onto one node. Of nodes nothing is said: one that is added for each replica costs
// more than it is worth.
//
// Where a pod has constraints the scheduler's own are off, and it gives up on nodes
// without a zone; so this is only for clusters that have zones.
func spreadOf(r *workload.Revision) []corev1.TopologySpreadConstraint {
	return []corev1.TopologySpreadConstraint{{
		MaxSkew: 1, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{
			labelName: r.Name, labelPodID: r.PodID, labelDeployment: r.DeploymentID,
		}},
	}}
}
