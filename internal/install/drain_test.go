package install

import (
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

const drains = "cortex.dev/drains-itself"

func machine(id string, labels map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-" + id, Labels: labels}, Spec: corev1.NodeSpec{ProviderID: "aws:///us-west-2a/" + id}}
}

// Nodes are emptied by the ids of their machines, those of other groups never, and what a
// budget holds is told.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours := map[string]string{drains: "true"}
		on := func(id string) *corev1.Pod {
			return &corev1.Pod{ObjectMeta: metaOf("apis", "pod-"+id), Spec: corev1.PodSpec{NodeName: "node-" + id}}
		}
		clients := fake.NewClientset(machine("i-1", ours), machine("i-2", ours), machine("i-3", nil), on("i-1"), on("i-2"), on("i-3"))
		held := ""
		clients.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
			e := a.(k8stesting.CreateAction).GetObject().(*policyv1.Eviction)
			if e.Name == held {
				return true, nil, apierrors.NewTooManyRequests("budget", 0)
			}
			return true, nil, clients.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), e.Namespace, e.Name)
		})
		w := &work{clients: clients}
		if err := w.drain(t.Context(), drains, []string{"i-1", "i-3", "i-gone"}, nil); err != nil {
			t.Fatal(err)
		}
		pods, err := clients.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(pods.Items) != 2 {
			t.Errorf("%d pods are left, %v; want those of i-2 and i-3", len(pods.Items), err)
		}
		held = "pod-i-2"
		if err := w.drain(t.Context(), drains, []string{"i-2"}, nil); err == nil || !strings.Contains(err.Error(), "apis/pod-i-2 is held by a budget") {
			t.Errorf("drain = %v, want the pod that a budget holds", err)
		}
		for name, cordoned := range map[string]bool{"node-i-1": true, "node-i-2": true, "node-i-3": false} {
			if n, err := clients.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{}); err != nil || n.Spec.Unschedulable != cordoned {
				t.Errorf("%s is closed to pods: %v, %v; want %v", name, n.Spec.Unschedulable, err, cordoned)
			}
		}
	})
}
