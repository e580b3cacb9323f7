package install

import (
	"strings"
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

// Servers of items are there when all are ready and of this version; what keeps one of
// this version is named, and of an earlier one nothing.
func TestJudgeLedger(t *testing.T) {
	t.Parallel()
	set := func(replicas, observed, updated, ready int32) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Spec: appsv1.StatefulSetSpec{Replicas: &replicas},
			Status: appsv1.StatefulSetStatus{ObservedGeneration: int64(observed), UpdatedReplicas: updated, ReadyReplicas: ready, UpdateRevision: "new"}}
	}
	const volume = `status: {conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "pod has unbound immediate PersistentVolumeClaims"}]}`
	for _, tt := range []struct {
		name     string
		set      *appsv1.StatefulSet
		pod      string
		revision string
		done     bool
		hopeless bool
		why, do  string // parts
	}{
		{"all there", set(3, 2, 3, 3), fine, "new", true, false, "", ""},
		{"not looked at yet", set(3, 1, 3, 3), crash, "new", false, false, "has not looked", "cluster health"},
		{"one is not ready", set(3, 2, 3, 2), fine, "new", false, false, "2 of 3 are ready", "cluster health"},
		{"one is to be replaced", set(3, 2, 2, 3), fine, "new", false, false, "3 of 3 are ready, and 2 of this version", "cluster health"},
		{"no image", set(3, 2, 1, 2), pulling, "new", false, true, "cannot be pulled", "image.registry"},
		{"no image of an earlier version", set(3, 2, 1, 2), pulling, "old", false, false, "2 of 3 are ready", "cluster health"},
		{"no volume", set(1, 2, 1, 0), volume, "new", false, false, "unbound immediate", "items.storage.class"},
		{"no room", set(1, 2, 1, 0), full, "new", false, false, "no node takes it", "add nodes"},
	} {
		pod := podOf(t, tt.pod)
		pod.Labels = map[string]string{appsv1.StatefulSetRevisionLabel: tt.revision}
		got := judgeLedger(tt.set, []corev1.Pod{pod})
		if got.done != tt.done || got.hopeless != tt.hopeless || !strings.Contains(got.why, tt.why) || !strings.Contains(got.do, tt.do) {
			t.Errorf("%s: judgeLedger() = %+v, want done %v, hopeless %v, %q, %q", tt.name, got, tt.done, tt.hopeless, tt.why, tt.do)
		}
	}
}
