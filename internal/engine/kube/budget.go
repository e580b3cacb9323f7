package kube

import (
	"context"
	"encoding/json"

	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"cortex.dev/cortex/internal/engine"
)

// maxEvicted is how many replicas of an API may be evicted at once, as whoever drains
// nodes does. It rounds up, so one always may: a budget that allows none would keep a
// node from ever being drained.
const maxEvicted = "25%"

// budget makes sure, once in a life, that the replicas of d are not all evicted at once.
// One replica alone has nothing to be kept for it. The budget ends with the Deployment.
func (e *Engine) budget(ctx context.Context, d engine.Deployment, of *appsv1.Deployment) error {
	if d.Replicas < 2 || e.applied.hasBudget(d.Revision.Name, of.UID) {
		return nil
	}
	text, err := json.Marshal(budgetOf(of))
	if err != nil {
		return err
	}
	force := true
	_, err = e.client.PolicyV1().PodDisruptionBudgets(of.Namespace).Patch(ctx, of.Name, types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	if err == nil {
		e.applied.setBudget(d.Revision.Name, of.UID)
	}
	return err
}

func budgetOf(d *appsv1.Deployment) *policyv1.PodDisruptionBudget {
	most := intstr.FromString(maxEvicted)
	// A replica that is not ready serves nobody, and may well be why the node is drained.
	unready := policyv1.AlwaysAllow
	return &policyv1.PodDisruptionBudget{
		TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: metav1.ObjectMeta{
			Name: d.Name, Namespace: d.Namespace,
			Labels:          map[string]string{labelAPI: "true", labelName: d.Labels[labelName], labelKind: d.Labels[labelKind]},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &most, Selector: d.Spec.Selector.DeepCopy(), UnhealthyPodEvictionPolicy: &unready},
	}
}
