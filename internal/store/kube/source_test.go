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

// declaredAs is a workload that was made from a declaration.
func declaredAs(t *testing.T, d store.Declaration) store.Workload {
	t.Helper()
	w := storetest.Sample(d.Name, 1)
	var submitted []any
	if err := json.Unmarshal([]byte(d.Config), &submitted); err != nil {
		t.Fatal(err)
	}
	w.Revision.SubmittedAPISpec = submitted[0]
	return w
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
	if e, _ := entryOf(read(t, s, workload.Realtime, "before")); e.pending == nil || e.pending.version != second.Version {
		t.Errorf("Resolve() of what was overtaken left %+v, want the second writing to be resolved", e)
	}
	if err := s.Resolve(within(t), second, nil); err != nil {
		t.Fatalf("Resolve() = %v", err)
	}
	if e, _ := entryOf(read(t, s, workload.Realtime, "before")); e.pending != nil || e.refused != nil {
		t.Errorf("Resolve(accepted) left %+v, want that it is accepted", e)
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
	w := put(t, s, declaredAs(t, d))
	o := read(t, s, workload.Realtime, "iris")
	if got, want := string(o.Spec), minimal; hashOf(t, got) != hashOf(t, want) {
		t.Errorf("Put() left the specification %s, want it as its author wrote it: %s", got, want)
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
	if !strings.Contains(string(o.Spec), "8081") || statusOf(o).ObservedGeneration == o.Generation {
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

// replace writes a resource as kubectl replace does, and Argo CD with Replace=true: all
// of it, as its author knows it.
func replace(t *testing.T, s *Store, name, spec string) {
	t.Helper()
	version := read(t, s, workload.Realtime, name).ResourceVersion
	body := `{"apiVersion":"cortex.dev/v1","kind":"RealtimeAPI","metadata":{"name":"` + name + `","resourceVersion":"` + version + `"},"spec":` + spec + `}`
	if _, err := new(object).into(within(t), workload.Realtime, s.client.rest.Put().Namespace(s.cfg.Namespace).Resource(crd.Plural(workload.Realtime)).
		Name(name).Param("fieldManager", "somebody").Body([]byte(body))); err != nil {
		t.Fatalf("replacing %s = %v", name, err)
	}
}

func TestReplacingKeepsWhatIsDeployed(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	apply(t, s, workload.Realtime, "iris", minimal)
	list := declared(t, s)
	d := next(t, list)
	w := put(t, s, declaredAs(t, d))

	before := read(t, s, workload.Realtime, "iris")
	replace(t, s, "iris", minimal)
	if e, err := entryOf(read(t, s, workload.Realtime, "iris")); err != nil || e.pending != nil || e.work == nil || e.work.Version != w.Version {
		t.Errorf("a replacement by the same left %+v, %v, want what was deployed and nothing to resolve", e, err)
	}
	if after := read(t, s, workload.Realtime, "iris"); after.Generation != before.Generation {
		t.Errorf("a replacement by the same has generation %d, want %d", after.Generation, before.Generation)
	}
	replace(t, s, "iris", strings.Replace(minimal, "8080", "8081", 1))
	if d := next(t, list); !strings.Contains(d.Config, "8081") {
		t.Errorf("Pending() told %+v, want the replacement", d)
	}
	if got, err := s.Get(within(t), "iris"); err != nil || got.Version != w.Version {
		t.Errorf("Get() after a replacement = %+v, %v, want what was deployed until it is resolved", got, err)
	}
}

// Whoever may write APIs cannot have one deployed past the operator: not with the record
// of another, not in the place where an earlier definition kept it.
func TestNothingThatUsersWriteIsARecord(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	put(t, s, storetest.Sample("victim", 1))
	var stolen map[string]json.RawMessage
	if err := json.Unmarshal(read(t, s, workload.Realtime, "victim").Status, &stolen); err != nil {
		t.Fatal(err)
	}
	record := strings.ReplaceAll(string(stolen["deployed"]), `"victim"`, `"thief"`)
	body := `{"apiVersion":"cortex.dev/v1","kind":"RealtimeAPI","metadata":{"name":"thief"},"spec":` + minimal +
		`,"deployed":` + record + `,"status":{"observedGeneration":1,"deployed":` + record + `}}`
	err := s.client.rest.Post().Namespace(s.cfg.Namespace).Resource(crd.Plural(workload.Realtime)).Body([]byte(body)).Do(within(t)).Error()
	if err != nil {
		t.Fatalf("creating = %v", err)
	}
	if d := next(t, declared(t, s)); d.Name != "thief" {
		t.Errorf("Pending() told %+v, want that what was created waits to be resolved", d)
	}
	if _, err := s.Get(within(t), "thief"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Get(thief) = %v, want not found", err)
	}
}

// Who dies between the two writes of a deploy leaves what the next leader deploys.
func TestADeployThatIsCutInHalfIsPending(t *testing.T) {
	t.Parallel()
	cfg := config(t, cluster(t))
	straight := open(t, cfg)
	first := put(t, straight, storetest.Sample("iris", 1))
	cut, l := over(cfg)
	l.refuse = "/status"
	s := open(t, cut)
	second := first
	second.Revision = storetest.Sample("iris", 2).Revision
	if _, err := s.Put(within(t), second); err == nil {
		t.Fatal("Put() = nil though its record could not be written")
	}
	if d := next(t, declared(t, straight)); d.Name != "iris" {
		t.Errorf("Pending() told %+v, want iris", d)
	}
	if got, err := straight.Get(within(t), "iris"); err != nil || got.Version != first.Version {
		t.Errorf("Get() = %+v, %v, want the record as it was", got, err)
	}
	l.refuse = ""
	if _, err := s.Put(within(t), second); err != nil {
		t.Errorf("Put() again = %v", err)
	}
	if e, err := entryOf(read(t, s, workload.Realtime, "iris")); err != nil || e.pending != nil {
		t.Errorf("the resource reads as %+v, %v, want nothing to resolve", e, err)
	}
}

func TestRefusalsAreTold(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	apply(t, s, workload.Realtime, "iris", minimal)
	d := next(t, declared(t, s))
	if err := s.Resolve(within(t), d, fault.New(fault.Invalid, "spec.endpoint_taken", "the endpoint is taken")); err != nil {
		t.Fatal(err)
	}
	list := s.Refusals()
	if len(list) != 1 || list[0].Name != "iris" || list[0].Message != "the endpoint is taken" || list[0].Resource != d.Resource || list[0].Waiting || list[0].Since.IsZero() {
		t.Errorf("Refusals() = %+v, want that of iris", list)
	}
	if err := s.Resolve(within(t), d, nil); err != nil {
		t.Fatal(err)
	}
	if list := s.Refusals(); len(list) != 0 {
		t.Errorf("Refusals() after it was accepted = %+v, want none", list)
	}
}
