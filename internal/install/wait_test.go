package install

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func ownedBy(uid types.UID) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{UID: uid, Controller: &yes}}
}

// The pods of an earlier rollout, which may be what this one repairs, say nothing.
func TestNewest(t *testing.T) {
	t.Parallel()
	set := func(uid types.UID, revision string, owner types.UID) appsv1.ReplicaSet {
		return appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{UID: uid, Annotations: map[string]string{revisionKey: revision}, OwnerReferences: ownedBy(owner)}}
	}
	pod := func(name string, owner types.UID) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: ownedBy(owner)}}
	}
	sets := []appsv1.ReplicaSet{set("old", "1", "d"), set("new", "2", "d"), set("foreign", "2", "other")}
	pods := []corev1.Pod{pod("a", "old"), pod("b", "new"), pod("c", "foreign"), pod("d", "new"), {ObjectMeta: metav1.ObjectMeta{Name: "nobody's"}}}
	for _, tt := range []struct {
		name                 string
		generation, observed int64
		want                 []string
	}{{"looked at", 2, 2, []string{"b", "d"}}, {"not looked at yet", 3, 2, nil}} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "d", Generation: tt.generation, Annotations: map[string]string{revisionKey: "2"}},
			Status: appsv1.DeploymentStatus{ObservedGeneration: tt.observed}}
		var got []string
		for _, p := range newest(d, sets, pods) {
			got = append(got, p.Name)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: newest (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestBroken(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{pulling: true, crash: true, first: false, oom: false, full: false, config: false, fine: false} {
		pod := podOf(t, text)
		if got := broken(&pod); got != want {
			t.Errorf("broken(%s) = %v, want %v", text, got, want)
		}
	}
}
