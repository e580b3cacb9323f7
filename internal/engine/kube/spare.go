package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// spareWithin bounds how long a scale-in waits until the pods are annotated.
	spareWithin = 5 * time.Second
	// maxSpared is how many pods are annotated for one scale-in, and sparedAtOnce how
	// many at once. With more busy ones than that, the choice matters to few requests.
	maxSpared, sparedAtOnce = 200, 8
)

// spare has Kubernetes take replicas away that work on nothing before those that do:
// of the pods of a ReplicaSet that are ready, those with the lowest deletion cost go
// first. It is written before a scale-in and at no other time, because each write is
// one for the API server. That it fails is no reason to keep replicas that cost money.
func (e *Engine) spare(ctx context.Context, name string) {
	inFlight := e.cfg.InFlight(name)
	ctx, cancel := context.WithTimeout(ctx, spareWithin)
	defer cancel()
	if err := e.price(ctx, name, inFlight); err != nil {
		e.cfg.Log.Warn("which replicas work on requests could not be told to Kubernetes; it may take busy ones away", "api", name, "err", err)
	}
}

// price writes the deletion cost of each pod of an API for which it has changed.
func (e *Engine) price(ctx context.Context, name string, inFlight map[string]int) error {
	pods := e.client.CoreV1().Pods(e.cfg.Pods.Namespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: labels.Set{labelAPI: "true", labelName: name}.String() + ",!" + labelJob})
	if err != nil {
		return err
	}
	list.Items = slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool {
		return pod.DeletionTimestamp != nil || deletionCost(&pod) == inFlight[replicaID(&pod)]
	})
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(sparedAtOnce)
	for i := range min(len(list.Items), maxSpared) {
		pod := &list.Items[i]
		group.Go(func() error {
			text, err := json.Marshal(map[string]any{"metadata": map[string]any{
				"uid":         pod.UID,
				"annotations": map[string]string{corev1.PodDeletionCost: strconv.Itoa(inFlight[replicaID(pod)])},
			}})
			if err != nil {
				return err
			}
			if _, err = pods.Patch(ctx, pod.Name, types.MergePatchType, text, metav1.PatchOptions{FieldManager: fieldManager}); err != nil {
				return fmt.Errorf("annotating pod %s: %w", pod.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// deletionCost is the cost that a pod has; 0 when none is written.
func deletionCost(pod *corev1.Pod) int {
	cost, err := strconv.Atoi(pod.Annotations[corev1.PodDeletionCost])
	if err != nil {
		return 0
	}
	return cost
}
