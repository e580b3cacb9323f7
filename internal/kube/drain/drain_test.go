package drain

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

func pod(name, node string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "apis", UID: "uid-" + "1"}, Spec: corev1.PodSpec{NodeName: node}}
	if change != nil {
		change(p)
	}
	return p
}

// cluster is a client on which evictions take pods away, but for those that are held.
type cluster struct {
	*fake.Clientset
	mu      sync.Mutex
	held    map[string]bool
	evicted []string
}

func newCluster(objects ...runtime.Object) *cluster {
	c := &cluster{Clientset: fake.NewClientset(objects...), held: map[string]bool{}}
	c.PrependReactor("create", "pods", func(a k8stesting.Action) (bool, runtime.Object, error) {
		if a.GetSubresource() != "eviction" {
			return false, nil, nil
		}
		e := a.(k8stesting.CreateAction).GetObject().(*policyv1.Eviction)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.held[e.Name] {
			return true, nil, apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		}
		c.evicted = append(c.evicted, e.Name)
		return true, nil, c.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), e.Namespace, e.Name)
	})
	return c
}

func node() *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mine"}} }

func yes() *bool { v := true; return &v }

// What belongs to the node, has ended or is on another node stays; the rest is asked to go.
func TestNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(node(), pod("api", "mine", nil), pod("other", "theirs", nil),
			pod("log", "mine", func(p *corev1.Pod) {
				p.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: "log", Controller: yes()}}
			}),
			pod("static", "mine", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }),
			pod("done", "mine", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }))
		if err := Node(t.Context(), c, "mine", Options{}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.evicted, " "); got != "api" {
			t.Errorf("evicted %q, want api alone", got)
		}
		n, err := c.CoreV1().Nodes().Get(t.Context(), "mine", metav1.GetOptions{})
		if err != nil || !n.Spec.Unschedulable {
			t.Errorf("node %+v, %v; want it cordoned", n.Spec, err)
		}
	})
}

// A budget is respected until little time is left, and not beyond that.
func TestBudgetUntilLittleIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(node(), pod("api", "mine", nil))
		c.held["api"] = true
		began := time.Now()
		var said []string
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		err := Node(ctx, c, "mine", Options{Force: began.Add(90 * time.Second), Grace: 20 * time.Second, Say: func(s string) { said = append(said, s) }})
		if took := time.Since(began); err != nil || took < 90*time.Second || took > 95*time.Second {
			t.Errorf("after %s: %v; want it gone at 90 s", took, err)
		}
		grace := int64(0)
		for _, a := range c.Actions() {
			if d, is := a.(k8stesting.DeleteAction); is {
				grace = *d.GetDeleteOptions().GracePeriodSeconds
			}
		}
		if grace != 20 || len(said) == 0 || !strings.Contains(said[0], "held by a budget") {
			t.Errorf("grace of %d s, said %q; want 20, and that a budget holds the pod", grace, said)
		}
	})
}

// Whoever forces nothing is told what is in the way.
func TestHeldForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(node(), pod("api", "mine", nil))
		c.held["api"] = true
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := Node(ctx, c, "mine", Options{}); err == nil || !strings.Contains(err.Error(), "apis/api is held by a budget") {
			t.Errorf("Node = %v, want the pod and why", err)
		}
		if _, err := c.CoreV1().Pods("apis").Get(t.Context(), "api", metav1.GetOptions{}); err != nil {
			t.Errorf("the pod: %v; want it there", err)
		}
	})
}

// An API server that does not answer for a while is asked again.
func TestAnswersLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(node(), pod("api", "mine", nil))
		fails, refuses := 3, 2
		c.PrependReactor("patch", "nodes", func(k8stesting.Action) (bool, runtime.Object, error) {
			if refuses--; refuses >= 0 {
				return true, nil, fmt.Errorf("connection refused")
			}
			return false, nil, nil
		})
		c.PrependReactor("list", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
			if fails--; fails >= 0 {
				return true, nil, fmt.Errorf("connection refused")
			}
			return false, nil, nil
		})
		if err := Node(t.Context(), c, "mine", Options{}); err != nil || len(c.evicted) != 1 {
			t.Errorf("Node = %v, evicted %v", err, c.evicted)
		}
	})
}
