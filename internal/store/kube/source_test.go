package kube

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
	"cortex.dev/cortex/internal/workload"
)

// declared follows what is declared until the test ends.
func declared(t *testing.T, s *Store) <-chan store.Declaration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	list, done := make(chan store.Declaration, 10), make(chan error, 1)
	go func() { done <- s.Pending(ctx, func(d store.Declaration) { list <- d }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Pending() = %v, want that its context has ended", err)
		}
	})
	return list
}

func TestAppliedIsPendingAndResolved(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	apply(t, s, workload.Realtime, "before", minimal)
	list := declared(t, s)
	d := next(t, list)
	if d.Name != "before" || d.Kind != workload.Realtime || d.Resource != "realtimeapis.cortex.dev/before" {
		t.Errorf("Pending() told %+v, want the resource that was applied before", d)
	}
	var config []map[string]any
	if err := json.Unmarshal([]byte(d.Config), &config); err != nil || len(config) != 1 || config[0]["name"] != "before" || config[0]["kind"] != "RealtimeAPI" || config[0]["pod"] == nil {
		t.Errorf("Pending() told the configuration %s, %v, want one RealtimeAPI with its pod", d.Config, err)
	}
	if _, err := s.Get(within(t), "before"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Get(before) = %v, want not found: it is only declared", err)
	}

	why := fault.New(fault.Invalid, "spec.endpoint_taken", "the endpoint is taken").WithHint("take another")
	if err := s.Resolve(within(t), d, why); err != nil {
		t.Fatalf("Resolve() = %v", err)
	}
	o := read(t, s, workload.Realtime, "before")
	c := meta.FindStatusCondition(statusOf(o).Conditions, crd.Accepted)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason != "SpecEndpointTaken" || c.Message != "the endpoint is taken (take another)" || c.ObservedGeneration != o.Generation {
		t.Errorf("Resolve(refused) wrote %+v, want the fault at generation %d", c, o.Generation)
	}

	// Only the next writing is declared, and an outcome of the last one is not its.
	apply(t, s, workload.Realtime, "before", strings.Replace(minimal, "8080", "8081", 1))
	second := next(t, list)
	if second.Version == d.Version || !strings.Contains(second.Config, "8081") {
		t.Errorf("Pending() told %+v, want the second writing", second)
	}
	if err := s.Resolve(within(t), d, nil); err != nil {
		t.Fatalf("Resolve() of what was overtaken = %v", err)
	}
	if status := statusOf(read(t, s, workload.Realtime, "before")); !isRefused(status) || status.ObservedHash != d.Version {
		t.Errorf("Resolve() of what was overtaken wrote %+v, want nothing", status)
	}
	if err := s.Resolve(within(t), second, nil); err != nil {
		t.Fatalf("Resolve() = %v", err)
	}
	if status := statusOf(read(t, s, workload.Realtime, "before")); isRefused(status) || status.ObservedHash != second.Version {
		t.Errorf("Resolve(accepted) wrote %+v, want that %s is accepted", status, second.Version)
	}
	apply(t, s, workload.Task, "marker", `{"pod":{"containers":[{"name":"api","image":"a","command":["x"]}]}}`)
	if d := next(t, list); d.Name != "marker" {
		t.Errorf("Pending() told %+v, want nothing of what was resolved", d)
	}
}

func TestDeployOfAnAppliedResource(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	apply(t, s, workload.Realtime, "iris", minimal)
	list := declared(t, s)
	d := next(t, list)
	w := storetest.Sample("iris", 1)
	var submitted []any
	if err := json.Unmarshal([]byte(d.Config), &submitted); err != nil {
		t.Fatal(err)
	}
	w.Revision.SubmittedAPISpec = submitted[0]
	w = put(t, s, w)
	o := read(t, s, workload.Realtime, "iris")
	if got, want := string(o.Spec), minimal; hashOf(t, got) != hashOf(t, want) {
		t.Errorf("Put() left the specification %s, want it as its author wrote it: %s", got, want)
	}
	if o.Labels[labelName] != "iris" || o.Labels[labelKind] != "RealtimeAPI" || o.Labels[labelAPI] != "true" {
		t.Errorf("Put() left the labels %v, want those of iris", o.Labels)
	}
	if e, err := entryOf(o); err != nil || e.pending != nil {
		t.Errorf("the resource reads as %+v, %v, want nothing to resolve: it is what was deployed", e, err)
	}
	// What is applied while the autoscaler writes is not lost.
	apply(t, s, workload.Realtime, "iris", strings.Replace(minimal, "8080", "8081", 1))
	w.Replicas = 7
	w = put(t, s, w)
	if d := next(t, list); !strings.Contains(d.Config, "8081") {
		t.Errorf("Pending() told %s, want what was applied before the replicas changed", d.Config)
	}
	// Nor what is applied while another revision is deployed.
	w.Revision = storetest.Sample("iris", 9).Revision
	w = put(t, s, w)
	o = read(t, s, workload.Realtime, "iris")
	if !strings.Contains(string(o.Spec), "8081") || statusOf(o).ObservedHash != "" {
		t.Errorf("Put() of another revision left the specification %s, want what was applied", o.Spec)
	}
	if e, err := entryOf(o); err != nil || e.pending == nil || e.work.Version != w.Version {
		t.Errorf("the resource reads as %+v, %v, want version %d and a declaration", e, err, w.Version)
	}
	apply(t, s, workload.Realtime, "marker", minimal)
	if d := next(t, list); d.Name != "marker" {
		t.Errorf("Pending() told %+v again, want each writing once", d)
	}
}

// A deploy of the command line writes a specification that is one.
func TestDeployWritesTheSpecification(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	w := put(t, s, storetest.Sample("iris", 1))
	o := read(t, s, workload.Realtime, "iris")
	want, err := crd.SpecOf(&w.Revision.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if hashOf(t, string(o.Spec)) != hashOf(t, string(want)) {
		t.Errorf("Put() left the specification %s, want %s", o.Spec, want)
	}
	if e, err := entryOf(o); err != nil || e.pending != nil {
		t.Errorf("what was deployed reads as %+v, %v, want nothing to resolve", e, err)
	}
}
