package kube

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
	"cortex.dev/cortex/internal/workload"
)

func cluster(t *testing.T) *rest.Config {
	t.Helper()
	r := kubetest.Config(t)
	kubetest.InstallCRDs(t, r)
	return r
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

const minimal = `{"pod":{"port":8080,"containers":[{"name":"api","image":"quay.io/team/iris:1.0"}]}}`

// apply writes a resource as kubectl apply --server-side does: its specification only.
func apply(t *testing.T, s *Store, kind workload.Kind, name, spec string) *object {
	t.Helper()
	body := `{"apiVersion":"cortex.dev/v1","kind":"` + string(kind) + `","metadata":{"name":"` + name + `"},"spec":` + spec + `}`
	o, err := new(object).into(within(t), kind, s.client.rest.Patch(types.ApplyYAMLPatchType).Namespace(s.cfg.Namespace).Resource(crd.Plural(kind)).
		Name(name).Param("fieldManager", "somebody").Param("force", "true").Body([]byte(body)))
	if err != nil {
		t.Fatalf("applying %s = %v", name, err)
	}
	return o
}

func read(t *testing.T, s *Store, kind workload.Kind, name string) *object {
	t.Helper()
	o, err := s.client.get(within(t), kind, name)
	if err != nil {
		t.Fatalf("reading %s = %v", name, err)
	}
	return o
}

func put(t *testing.T, s *Store, w store.Workload) store.Workload {
	t.Helper()
	version, err := s.Put(within(t), w)
	if err != nil {
		t.Fatalf("Put(%s at %d) = %v", w.Name(), w.Version, err)
	}
	w.Version = version
	return w
}

func next[T any](t *testing.T, list <-chan T) T {
	t.Helper()
	select {
	case v := <-list:
		return v
	case <-within(t).Done():
		t.Fatal("nothing was told within a minute")
		panic("unreachable")
	}
}

func TestStatusIsNoConflict(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	w := put(t, s, storetest.Sample("iris", 1))
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	changes := make(chan store.Change, 100)
	watching := make(chan error, 1)
	go func() { watching <- s.Watch(ctx, func(c store.Change) { changes <- c }) }()
	next(t, changes) // iris
	next(t, changes) // the marker

	// Between a Get and the Put, and during it.
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 10 {
				status := workload.Status{Ready: n*10 + i, Phase: workload.PhaseUpdating}
				// Five at once may be too many for one of them, who would try again.
				if err := s.Publish(ctx, "iris", status, "http://localhost/iris"); err != nil && fault.Code(err) != "store.busy" {
					t.Errorf("Publish() = %v", err)
				}
			}
		})
	}
	const writes = 20
	for i := range writes {
		w.Replicas = i
		w = put(t, s, w)
	}
	wg.Wait()
	if err := s.Publish(ctx, "iris", workload.Status{Ready: 1, Requested: 1, UpToDate: 1, Phase: workload.PhaseLive}, "http://localhost/iris"); err != nil {
		t.Fatalf("Publish() = %v", err)
	}
	before := read(t, s, workload.Realtime, "iris")
	status := statusOf(before)
	if c := meta.FindStatusCondition(status.Conditions, crd.Ready); c == nil || c.Status != metav1.ConditionTrue || c.Reason != "Live" || c.ObservedGeneration != before.Generation {
		t.Errorf("Publish(live) wrote the condition %+v, want true at generation %d", c, before.Generation)
	}
	if meta.FindStatusCondition(status.Conditions, crd.Accepted) == nil || status.Endpoint != "http://localhost/iris" || status.Ready != 1 {
		t.Errorf("Publish(live) wrote %+v, want an accepted specification, its endpoint and one ready replica", status)
	}
	if err := s.Publish(ctx, "iris", workload.Status{Ready: 1, Requested: 1, UpToDate: 1, Phase: workload.PhaseLive}, "http://localhost/iris"); err != nil {
		t.Fatalf("Publish() again = %v", err)
	}
	if after := read(t, s, workload.Realtime, "iris"); after.ResourceVersion != before.ResourceVersion {
		t.Error("Publish() of the same wrote it again")
	}
	if err := s.Publish(ctx, "nobody", workload.Status{}, ""); err != nil {
		t.Errorf("Publish(nobody) = %v, want nil", err)
	}
	cancel()
	<-watching
	close(changes)
	last := store.Version(0)
	for c := range changes {
		if c.Workload == nil || c.Workload.Version <= last {
			t.Errorf("Watch() told %+v after version %d; a status is no change", c, last)
			continue
		}
		last = c.Workload.Version
	}
	if last != w.Version {
		t.Errorf("Watch() told version %d last, want %d", last, w.Version)
	}
}

func TestARecordThatCannotBeReadBlindsNobody(t *testing.T) {
	t.Parallel()
	cfg := config(t, cluster(t))
	s := open(t, cfg)
	good, bad := put(t, s, storetest.Sample("good", 1)), put(t, s, storetest.Sample("bad", 1))
	err := s.client.rest.Patch(types.MergePatchType).Namespace(cfg.Namespace).Resource(crd.Plural(workload.Realtime)).Name("bad").
		SubResource("status").Body([]byte(`{"status":{"deployed":{"revision":{"pod":7}}}}`)).Do(within(t)).Error()
	if err != nil {
		t.Fatalf("patching = %v", err)
	}
	again := open(t, cfg)
	if list, err := again.List(within(t)); err != nil || len(list) != 1 || list[0].Name() != "good" {
		t.Errorf("List() = %v, %v, want the good one", list, err)
	}
	for what, do := range map[string]func() error{
		"Get":    func() error { _, err := again.Get(within(t), "bad"); return err },
		"Put":    func() error { _, err := again.Put(within(t), bad); return err },
		"Delete": func() error { return again.Delete(within(t), "bad", bad.Version, false) },
	} {
		if err := do(); fault.Code(err) != "store.corrupt" || !strings.Contains(err.Error(), "realtimeapis.cortex.dev/bad") {
			t.Errorf("%s(bad) = %v, want store.corrupt with the name of the resource", what, err)
		}
	}
	put(t, again, good)
}

func TestOneNameHasOneKind(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	w := put(t, s, storetest.Sample("iris", 1))
	other := storetest.Sample("iris", 1)
	other.Revision.Kind, other.Revision.Pod.MaxQueueLength = workload.Async, 0
	if _, err := s.Put(within(t), other); fault.Code(err) != store.CodeVersionConflict {
		t.Errorf("Put(iris) of another kind = %v, want store.version_conflict", err)
	}
	// A declaration of another kind is nothing but that.
	apply(t, s, workload.Async, "iris", minimal)
	if d := next(t, declared(t, s)); d.Kind != workload.Async {
		t.Errorf("Pending() told %+v, want the AsyncAPI", d)
	}
	if got, err := s.Get(within(t), "iris"); err != nil || got.Revision.Kind != workload.Realtime {
		t.Errorf("Get(iris) = %v, %v, want the RealtimeAPI", got.Revision, err)
	}
	put(t, s, w)
}

func TestHistoryBelongsToItsResource(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	owners := func() (list []types.UID) {
		t.Helper()
		entries, err := s.client.metadata(within(t), crd.RevisionPlural, selector("iris"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if len(e.OwnerReferences) == 0 {
				list = append(list, "")
				continue
			}
			list = append(list, e.OwnerReferences[0].UID)
		}
		return list
	}
	remember := func(w store.Workload) {
		t.Helper()
		if err := s.Remember(within(t), store.Past{Revision: w.Revision, Cause: "deploy"}); err != nil {
			t.Fatalf("Remember() = %v", err)
		}
	}
	w := put(t, s, storetest.Sample("iris", 1))
	remember(w)
	first := read(t, s, workload.Realtime, "iris").UID
	if got := owners(); len(got) != 1 || got[0] != first {
		t.Errorf("the history belongs to %v, want the resource %s", got, first)
	}
	if err := s.Delete(within(t), "iris", w.Version, true); err != nil {
		t.Fatalf("Delete() = %v", err)
	}
	if got := owners(); len(got) != 1 || got[0] != "" {
		t.Errorf("the history that was kept belongs to %v, want nobody: it would be collected", got)
	}
	s = open(t, s.cfg)
	put(t, s, storetest.Sample("iris", 2))
	remember(storetest.Sample("iris", 2))
	second := read(t, s, workload.Realtime, "iris").UID
	if got := owners(); len(got) != 2 || got[0] != second || got[1] != second {
		t.Errorf("the history belongs to %v, want the resource %s", got, second)
	}
}

func TestEventsAreThoseOfKubectl(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	put(t, s, storetest.Sample("iris", 1))
	at := time.Now().UTC()
	if err := s.Record(within(t), workload.Event{Time: at, API: "iris", Type: "warning", Reason: "ReplicaFailed", Message: "it failed"}); err != nil {
		t.Fatalf("Record() = %v", err)
	}
	uid := read(t, s, workload.Realtime, "iris").UID
	list, err := s.core.Events(s.cfg.Namespace).List(within(t), metav1.ListOptions{FieldSelector: "involvedObject.kind=RealtimeAPI,involvedObject.name=iris,involvedObject.uid=" + string(uid)})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("the events of the resource are %v, %v, want one", list, err)
	}
	if e := list.Items[0]; e.Type != core.EventTypeWarning || e.Reason != "ReplicaFailed" || e.Message != "it failed" || !e.LastTimestamp.Time.Equal(at.Truncate(time.Second)) {
		t.Errorf("the event is %+v, want what was recorded", e)
	}
}

func TestReadOnlyWritesNothing(t *testing.T) {
	t.Parallel()
	cfg := config(t, cluster(t))
	s := open(t, cfg)
	w := put(t, s, storetest.Sample("iris", 1))
	cfg.ReadOnly = true
	r := open(t, cfg)
	if got, err := r.Get(within(t), "iris"); err != nil || got.Version != w.Version {
		t.Errorf("Get() = version %d, %v, want %d", got.Version, err, w.Version)
	}
	_, setErr := r.SetValue(within(t), "v", nil, 0)
	_, putErr := r.Put(within(t), w)
	for what, err := range map[string]error{
		"Put": putErr, "SetValue": setErr, "Delete": r.Delete(within(t), "iris", w.Version, false),
		"Remember": r.Remember(within(t), store.Past{Revision: w.Revision}), "Record": r.Record(within(t), workload.Event{API: "iris"}),
		"Claim":      r.Claim(within(t), "key", time.Minute),
		"Resolve":    r.Resolve(within(t), store.Declaration{Name: "iris", Kind: workload.Realtime}, nil),
		"ResolveJob": r.ResolveJob(within(t), store.Submission{ID: "a1", Kind: workload.TaskJob}, nil),
		"Publish":    r.Publish(within(t), "iris", workload.Status{}, ""),
	} {
		if fault.Code(err) != "store.read_only" {
			t.Errorf("%s() = %v, want store.read_only", what, err)
		}
	}
}

func TestClaimsAreBoundedAndSwept(t *testing.T) {
	t.Parallel()
	cfg := config(t, cluster(t))
	cfg.claims = 3
	s := open(t, cfg)
	for _, key := range []string{"short", "b", "c"} {
		ttl := time.Minute
		if key == "short" {
			ttl = time.Second
		}
		if err := s.Claim(within(t), key, ttl); err != nil {
			t.Fatalf("Claim(%s) = %v", key, err)
		}
	}
	if err := s.Claim(within(t), "d", time.Minute); fault.Code(err) != store.CodeClaimsFull || !fault.Is(err, fault.Unavailable) {
		t.Errorf("Claim() of one too many = %v, want store.claims_full", err)
	}
	other := open(t, cfg) // counts anew, and makes room when it can
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx := within(t); ; {
		other.claims.set(0, time.Time{})
		err := other.Claim(ctx, "d", time.Minute)
		if err == nil {
			break
		}
		if fault.Code(err) != store.CodeClaimsFull {
			t.Fatalf("Claim(d) = %v, want store.claims_full until one is over", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("Claim(d) is refused a minute after another was over")
		}
	}
	if _, err := other.leases.Get(within(t), nameOfKey(prefixClaim, "short"), metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the claim that was over reads as %v, want not found", err)
	}
	if err := other.Claim(within(t), "b", time.Minute); fault.Code(err) != store.CodeClaimsFull && fault.Code(err) != store.CodeAlreadyClaimed {
		t.Errorf("Claim(b) = %v, want that it is claimed still", err)
	}
}
