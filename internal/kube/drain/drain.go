// Package drain empties nodes: it keeps new pods away, and has those that are there go by the
// eviction API, which asks their budgets.
//
// It promises to touch neither pods that belong to the node itself nor any node but the one it
// was told, and to be gone on with by whoever calls it again.
package drain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Options say how a node is emptied.
type Options struct {
	// Namespace is that of the pods that are asked to go; empty: all.
	Namespace string
	// Force is when pods are no longer asked: those that are left then are deleted. Zero: never.
	Force time.Time
	// Grace is what pods are given at most once they are not asked; 0: what they want.
	Grace time.Duration
	// Say is told, in words, how far it is; it may be nil.
	Say func(string)
}

// lookAgain is how long it is between two looks at what is left.
const lookAgain = 2 * time.Second

// Node empties a node, and returns when no pod is left but those of the node itself, or with
// what is in the way when ctx ends.
func Node(ctx context.Context, client kubernetes.Interface, name string, o Options) error {
	closed, last := false, ""
	for {
		var left []string
		var err error
		if !closed {
			err = Cordon(ctx, client, name)
			closed = err == nil
		}
		if closed {
			left, err = sweep(ctx, client, name, o)
		}
		if err == nil && len(left) == 0 {
			return nil
		}
		text := fmt.Sprintf("node %s: %s", name, strings.Join(left, ", "))
		if err != nil {
			text = fmt.Sprintf("node %s: %v", name, err)
		}
		if o.Say != nil && text != last {
			o.Say(text)
		}
		last = text
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not empty: %s", text)
		case <-time.After(lookAgain):
		}
	}
}

// Cordon keeps new pods away from a node.
func Cordon(ctx context.Context, client kubernetes.Interface, name string) error {
	_, err := client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("keeping pods away from node %s: %w", name, err)
	}
	return nil
}

// mostNamed is how many pods that are left are named.
const mostNamed = 5

// sweep has every pod of a node go that may, and says which are left, and why.
func sweep(ctx context.Context, client kubernetes.Interface, node string, o Options) (left []string, err error) {
	pods, err := client.CoreV1().Pods(o.Namespace).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String()})
	if err != nil {
		return nil, fmt.Errorf("listing its pods: %w", err)
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.Spec.NodeName == node && goes(p) {
			if why := release(ctx, client, p, o); why != "" {
				left = append(left, p.Namespace+"/"+p.Name+" "+why)
			}
		}
	}
	slices.Sort(left)
	if n := len(left); n > mostNamed {
		left = append(left[:mostNamed], fmt.Sprintf("and %d more", n-mostNamed))
	}
	return left, nil
}

// goes reports whether a pod has to leave a node that is to be emptied.
func goes(p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	if _, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return false
	}
	owner := metav1.GetControllerOf(p)
	return owner == nil || owner.Kind != "DaemonSet"
}

// release has one pod go, and returns why it is still there; "" when it is not.
func release(ctx context.Context, client kubernetes.Interface, p *corev1.Pod, o Options) string {
	if p.DeletionTimestamp != nil {
		return "is ending"
	}
	uid := &metav1.Preconditions{UID: &p.UID} // a namesake on another node stays
	err := client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}, DeleteOptions: &metav1.DeleteOptions{Preconditions: uid},
	})
	why := "is ending"
	if apierrors.IsTooManyRequests(err) {
		why = "is held by a budget"
		if !o.Force.IsZero() && !time.Now().Before(o.Force) {
			how := metav1.DeleteOptions{Preconditions: uid}
			if seconds := int64(o.Grace / time.Second); seconds > 0 {
				how.GracePeriodSeconds = &seconds
			}
			why, err = "is ending unasked", client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, how)
		} else {
			err = nil
		}
	}
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		return ""
	case err != nil:
		return "does not go: " + err.Error()
	}
	return why
}
