package operator

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// reasons returns the events of a workload that the operator itself records.
func reasons(t *testing.T, o *Operator, name string) (list []string) {
	t.Helper()
	if err := o.store.Events(t.Context(), workload.EventQuery{Name: name}, func(e workload.Event) error {
		list = append(list, e.Reason)
		return nil
	}); err != nil {
		t.Fatalf("Events(%s) = %v", name, err)
	}
	return list
}

func TestDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.deploy(realtime("a", "") + realtime("b", "") + splitter("s", "a") + splitter("s2", "b", "a"))
	w.live("a")
	_, err := w.Delete(t.Context(), "a", workload.DeleteOptions{})
	wantFault(t, "Delete(a)", err, fault.Conflict, "resources.realtime_api_used_by_traffic_splitter")
	if !strings.Contains(err.Error(), "s, s2") {
		t.Errorf("Delete(a) = %v, want both splitters named", err)
	}
	for _, name := range []string{"s2", "s", "a"} {
		m, err := w.Delete(t.Context(), name, workload.DeleteOptions{})
		if err != nil || m.Message != "deleting "+name {
			t.Errorf("Delete(%s) = %q, %v", name, m.Message, err)
		}
	}
	eventually(t, "the engine has forgotten a", func() bool {
		_, ok := w.feed.deployment("a")
		return !ok
	})
	_, err = w.History(t.Context(), "a")
	wantFault(t, "History(a)", err, fault.NotFound, "resources.api_not_deployed")
	if _, ok := w.feed.deployment("b"); !ok {
		t.Error("b was removed from the engine too")
	}
	if r := w.deploy(realtime("a", ""))[0]; r.Action != workload.ActionCreate {
		t.Errorf("Deploy(a) after its deletion = %q %q", r.Action, r.Error)
	}
}

func TestDeleteKeepsHistoryWhenAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(endpointAt("/one"))
	w.deployAs(workload.DeployRequest{Config: endpointAt("/two"), Force: true})
	if _, err := w.Delete(t.Context(), "iris", workload.DeleteOptions{KeepCache: true}); err != nil {
		t.Fatalf("Delete(keep) = %v", err)
	}
	if diff := cmp.Diff([]string{"deploy", "deploy"}, causes(t, w.Operator, "iris")); diff != "" {
		t.Errorf("History() after Delete(keep) differs (-want +got):\n%s", diff)
	}
	var events []string
	if err := w.Events(t.Context(), workload.EventQuery{Name: "iris"}, func(e workload.Event) error {
		events = append(events, e.Reason)
		return nil
	}); err != nil {
		t.Errorf("Events() = %v", err)
	}
	if diff := cmp.Diff([]string{"Deployed", "Updated", "Deleted"}, events); diff != "" {
		t.Errorf("Events() after Delete(keep) differ (-want +got):\n%s", diff)
	}
	w.deploy(endpointAt("/three"))
	if diff := cmp.Diff([]string{"deploy*", "deploy", "deploy"}, causes(t, w.Operator, "iris")); diff != "" {
		t.Errorf("History() of the next one differs (-want +got):\n%s", diff)
	}
}

func TestEveryChangeIsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(endpointAt("/one"))
	w.deployAs(workload.DeployRequest{Config: endpointAt("/two"), Force: true})
	if _, err := w.Rollback(t.Context(), "iris", "v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Refresh(t.Context(), "iris", true); err != nil {
		t.Fatal(err)
	}
	if err := w.Scale(t.Context(), "iris", 5, "much to do"); err != nil {
		t.Fatal(err)
	}
	if err := w.Scale(t.Context(), "iris", 2, "little to do"); err != nil {
		t.Fatal(err)
	}
	if err := w.Scale(t.Context(), "iris", 2, "again"); err != nil {
		t.Fatal(err)
	}
	want := []string{"Deployed", "Updated", "RolledBack", "Refreshed", "ScaledUp", "ScaledDown"}
	if diff := cmp.Diff(want, reasons(t, w.Operator, "iris")); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"refresh*", "rollback", "deploy", "deploy"}, causes(t, w.Operator, "iris")); diff != "" {
		t.Errorf("History() differs (-want +got):\n%s", diff)
	}
}

func TestScaleStaysWithinBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("iris", "  autoscaling:\n    min_replicas: 2\n    max_replicas: 4\n") + splitter("s", "iris"))
	for ask, want := range map[int]int{0: 2, 3: 3, 9: 4, -1: 2} {
		if err := w.Scale(t.Context(), "iris", ask, "test"); err != nil {
			t.Errorf("Scale(%d) = %v", ask, err)
		}
		if got := w.record("iris").Replicas; got != want {
			t.Errorf("Scale(%d) asks for %d replicas, want %d", ask, got, want)
		}
	}
	err := w.Scale(t.Context(), "s", 1, "test")
	wantFault(t, "Scale(s)", err, fault.Invalid, "resources.operation_is_only_supported_for_kind")
	list, err := w.Workloads(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "iris" || list[0].Autoscaling.MaxReplicas != 4 || list[0].Requested != w.record("iris").Replicas {
		t.Errorf("Workloads() = %+v, %v, want iris", list, err)
	}
}

const atZero = "  autoscaling:\n    min_replicas: 0\n"

func TestWakeIsOneWriteForAThousandRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("iris", atZero))
	before := w.record("iris")
	if before.Replicas != 0 {
		t.Fatalf("it begins with %d replicas, want 0", before.Replicas)
	}
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if err := w.Wake(t.Context(), "iris"); err != nil {
				t.Errorf("Wake() = %v", err)
			}
		})
	}
	wg.Wait()
	after := w.record("iris")
	if after.Replicas != 1 {
		t.Errorf("Wake() asks for %d replicas, want 1", after.Replicas)
	}
	if diff := cmp.Diff([]string{"Deployed", "ScaledUp"}, reasons(t, w.Operator, "iris")); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
	if err := w.Scale(t.Context(), "iris", 3, "test"); err != nil {
		t.Fatal(err)
	}
	if err := w.Wake(t.Context(), "iris"); err != nil || w.record("iris").Replicas != 3 {
		t.Errorf("Wake() of what is awake = %v with %d replicas, want 3 as before", err, w.record("iris").Replicas)
	}
}

// slowStore lets a write wait until it is told to go on.
type slowStore struct {
	store.Store
	began, goOn chan struct{}
}

func (s *slowStore) Put(ctx context.Context, w store.Workload) (store.Version, error) {
	close(s.began)
	<-s.goOn
	return s.Store.Put(ctx, w)
}

func TestWakeOutlivesTheRequestThatBeganIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("iris", atZero))
	slow := &slowStore{Store: w.store, began: make(chan struct{}), goOn: make(chan struct{})}
	o := operatorOver(t, slow, w.feed)
	first, hangUp := context.WithCancel(t.Context())
	results := make(chan error, 2)
	go func() { results <- o.Wake(first, "iris") }()
	<-slow.began
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Wake(impatient, "iris"); err == nil {
		t.Error("Wake() of a request that hung up waited for the write")
	}
	go func() { results <- o.Wake(t.Context(), "iris") }()
	hangUp()
	close(slow.goOn)
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("Wake() = %v", err)
		}
	}
	if got := w.record("iris").Replicas; got != 1 {
		t.Errorf("Wake() asks for %d replicas, want 1", got)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("iris", "") + splitter("s", "iris"))
	var lines []string
	collect := func(l workload.LogLine) error { lines = append(lines, l.Text); return nil }
	if err := w.Logs(t.Context(), workload.LogQuery{Name: "iris"}, collect); err != nil || len(lines) != 1 {
		t.Errorf("Logs(iris) = %v with %d lines, want one", err, len(lines))
	}
	err := w.Logs(t.Context(), workload.LogQuery{Name: "s"}, collect)
	wantFault(t, "Logs(s)", err, fault.Invalid, "resources.operation_is_only_supported_for_kind")
}

// TestChangesAtOnce lets deploys of one file, deletions, scaling and wake-ups run
// against each other, and wants the engine to arrive at what the store says.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	configs := []string{
		realtime("a", atZero) + realtime("b", "") + splitter("s", "a", "b"),
		realtime("b", "  autoscaling:\n    max_replicas: 3\n") + splitter("s", "b") + realtime("a", ""),
		realtime("a", "  networking:\n    endpoint: /s\n"),
		realtime("c", "  networking:\n    endpoint: /a\n"),
	}
	allowed := []string{
		store.CodeVersionConflict, "resources.api_not_deployed", "resources.realtime_api_used_by_traffic_splitter",
		"spec.duplicate_endpoint", "resources.apis_not_deployed", "resources.no_previous_version", "realtimeapi.api_updating",
	}
	ok := func(what string, err error) {
		if code := fault.Code(err); err != nil && !contains(allowed, code) {
			t.Errorf("%s = %v (code %q)", what, err, code)
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 12 {
				name := []string{"a", "b", "c", "s"}[(i+n)%4]
				switch (i + n) % 6 {
				case 0, 1:
					results, err := w.tryDeploy(workload.DeployRequest{Config: configs[(i*5+n)%len(configs)], Force: n%2 == 0})
					ok("Deploy()", err)
					for _, r := range results {
						if r.Error != "" && !contains(allowed, r.Code) {
							t.Errorf("Deploy() = %q (code %q)", r.Error, r.Code)
						}
					}
				case 2:
					_, err := w.Delete(t.Context(), name, workload.DeleteOptions{KeepCache: n%2 == 0})
					ok("Delete()", err)
				case 3:
					ok("Wake()", w.Wake(t.Context(), "a"))
				case 4:
					ok("Scale()", w.Scale(t.Context(), "b", n%4, "test"))
				default:
					_, err := w.Rollback(t.Context(), name, "")
					ok("Rollback()", err)
				}
			}
		})
	}
	wg.Wait()
	w.consistent()
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// consistent wants no two workloads at one endpoint, no splitter to what is not
// there, the current version in every history, and the engine at what the store says.
func (w *world) consistent() {
	w.t.Helper()
	list, err := w.store.List(w.t.Context())
	if err != nil {
		w.t.Fatalf("List() = %v", err)
	}
	endpoints, deployed := map[string]string{}, map[string]store.Workload{}
	for _, r := range list {
		if other, taken := endpoints[r.Revision.Networking.Endpoint]; taken {
			w.t.Errorf("%s and %s have the endpoint %s", r.Name(), other, r.Revision.Networking.Endpoint)
		}
		endpoints[r.Revision.Networking.Endpoint] = r.Name()
		deployed[r.Name()] = r
	}
	for _, r := range list {
		for _, target := range r.Revision.APIs {
			if _, ok := deployed[target.Name]; !ok {
				w.t.Errorf("%s sends requests to %s, which is not deployed", r.Name(), target.Name)
			}
		}
		versions, err := w.History(w.t.Context(), r.Name())
		if err != nil || len(versions) == 0 || !versions[0].Current {
			w.t.Errorf("History(%s) = %+v, %v, want the current version first", r.Name(), versions, err)
		}
	}
	eventually(w.t, "the engine does what the store says", func() bool { return w.settledOn(deployed) })
}

func (w *world) settledOn(deployed map[string]store.Workload) bool {
	w.feed.mu.Lock()
	defer w.feed.mu.Unlock()
	n := 0
	for name, r := range deployed {
		if !r.Revision.Kind.Scales() {
			continue
		}
		n++
		d, ok := w.feed.desired[name]
		if !ok || d.Revision.ID != r.Revision.ID || d.Replicas != r.Replicas {
			return false
		}
	}
	return n == len(w.feed.desired)
}
