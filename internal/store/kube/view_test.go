package kube

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
	"cortex.dev/cortex/internal/workload"
)

// at is a resource of iris with a record, as it is at a version.
func at(uid string, version uint64) entry {
	w := storetest.Sample("iris", 1)
	w.Version = store.Version(version)
	return entry{key: iris, uid: types.UID(uid), version: version, work: &w}
}

var iris = key{name: "iris", kind: workload.Realtime}

// What a write and a watch bring of the same resource may arrive in either order.
func TestViewKeepsTheNewest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		do   func(v *view)
		want store.Version // 0: not deployed
	}{
		{"the watch is late", func(v *view) { v.set(at("a", 5)); v.set(at("a", 4)) }, 5},
		{"the write is late", func(v *view) { v.set(at("a", 4)); v.set(at("a", 5)) }, 5},
		{"deleted here, and a late change", func(v *view) { v.set(at("a", 5)); v.forget(iris, "a"); v.set(at("a", 6)) }, 0},
		{"deleted here, and a late list", func(v *view) {
			v.set(at("a", 5))
			v.forget(iris, "a")
			v.replace(workload.Realtime, []entry{at("a", 5)}, 5)
			v.set(at("a", 6))
		}, 0},
		{"made anew before the end of the old was told", func(v *view) {
			v.set(at("a", 5))
			v.forget(iris, "a")
			v.set(at("b", 8))
			v.set(at("a", 6))
			v.gone(iris, "a")
		}, 8},
		{"the end of another", func(v *view) { v.set(at("b", 5)); v.gone(iris, "a") }, 5},
		{"gone", func(v *view) { v.set(at("a", 5)); v.gone(iris, "a") }, 0},
		{"not in the list", func(v *view) { v.set(at("a", 5)); v.replace(workload.Realtime, nil, 9) }, 0},
		{"not in a list that is older", func(v *view) { v.set(at("a", 5)); v.replace(workload.Realtime, nil, 4) }, 5},
		{"not in the list of another kind", func(v *view) { v.set(at("a", 5)); v.replace(workload.Task, nil, 9) }, 5},
		{"anew in a list", func(v *view) {
			v.set(at("a", 5))
			v.replace(workload.Realtime, []entry{at("b", 8)}, 9)
		}, 8},
	} {
		v := newView()
		tt.do(v)
		got := store.Version(0)
		if e, ok := v.deployed("iris"); ok {
			got = e.work.Version
		}
		if got != tt.want {
			t.Errorf("%s: iris is at version %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestViewTellsOnlyNews(t *testing.T) {
	t.Parallel()
	v := newView()
	v.set(at("a", 5))
	l, present, stop := v.listen()
	if !slices.Equal(present, []string{"iris"}) {
		t.Errorf("listen() = %v, want iris", present)
	}
	status := at("a", 6)
	status.work.Version = 5
	v.set(status)
	if got := v.take(l); len(got) != 0 {
		t.Errorf("a change of the status told %v, want nothing", got)
	}
	for n := range uint64(3) {
		v.set(at("a", 7+n))
	}
	if got := v.take(l); !slices.Equal(got, []string{"iris"}) {
		t.Errorf("three writes told %v, want iris once", got)
	}
	stop()
	v.gone(iris, "a")
	if got := v.take(l); len(got) != 0 {
		t.Errorf("a listener that has ended was told %v, want nothing", got)
	}
}

func TestViewIsReadyWhenEveryKindWasRead(t *testing.T) {
	t.Parallel()
	v := newView()
	for i, kind := range workload.Kinds() {
		select {
		case <-v.ready:
			t.Fatalf("the view is ready after %d kinds, want all", i)
		default:
		}
		v.replace(kind, nil, 1)
	}
	select {
	case <-v.ready:
	default:
		t.Error("the view is not ready after all kinds")
	}
	v.replace(workload.Task, nil, 2) // again, as after a long silence
}

// What a caller does with its workload must not reach others.
func TestViewHandsOutCopies(t *testing.T) {
	t.Parallel()
	v := newView()
	v.set(at("a", 5))
	for range 2 {
		list, _ := v.workloads()
		if len(list) != 1 || list[0].Revision.PodID != "4567" {
			t.Fatalf("workloads() = %+v, want iris as it was set", list)
		}
		list[0].Revision.PodID = "changed"
	}
}
