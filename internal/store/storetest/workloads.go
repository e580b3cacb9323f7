package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// equal compares workloads as users see them: quantities by their text. Where a
// workload is kept is the store's own.
var equal = cmp.Options{
	cmp.Comparer(func(a, b workload.Quantity) bool { return a.String() == b.String() }),
	cmpopts.IgnoreFields(store.Workload{}, "Owner", "Created"),
}

func testRoundTrip(t *testing.T, s store.Store) {
	want := mustPut(t, s, Sample("iris", 3))
	got, err := s.Get(t.Context(), "iris")
	if err != nil {
		t.Fatalf("Get(iris) = %v", err)
	}
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("Get(iris) differs from what was put (-want +got):\n%s", diff)
	}
	_, err = s.Get(t.Context(), "iri")
	wantFault(t, "Get(iri)", err, fault.NotFound, "resources.api_not_deployed")
}

func testLegalNames(t *testing.T, s store.Store) {
	names := []string{"a", "z9", "abcdefghijklmnopqrstuvwxyz-0123456789", "a--b", "a-b", "a-b-c"}
	for i, name := range names {
		mustPut(t, s, Sample(name, i))
	}
	for i, name := range names {
		w, err := s.Get(t.Context(), name)
		if err != nil || w.Name() != name || w.Replicas != i {
			t.Errorf("Get(%s) = %v with %d replicas, %v, want %d replicas", name, w.Revision, w.Replicas, err, i)
		}
	}
}

func testIllegalNames(t *testing.T, s store.Store) {
	kept := mustPut(t, s, Sample("kept", 1))
	if err := s.Remember(t.Context(), store.Past{Revision: kept.Revision}); err != nil {
		t.Fatalf("Remember(kept) = %v", err)
	}
	for _, name := range []string{"", "*", ">", "a.b", "kept.*", "a b", "Ä", "a/../b", "a\x00", "$SYS"} {
		if _, err := s.Put(t.Context(), Sample(name, 1)); !fault.Is(err, fault.Invalid) {
			t.Errorf("Put(%q) = %v, want an invalid fault", name, err)
		}
		_, err := s.Get(t.Context(), name)
		wantFault(t, fmt.Sprintf("Get(%q)", name), err, fault.NotFound, "resources.api_not_deployed")
		if err := s.Delete(t.Context(), name, kept.Version, false); !fault.Is(err, fault.NotFound) {
			t.Errorf("Delete(%q) = %v, want not found", name, err)
		}
		if h, err := s.History(t.Context(), name); err != nil || len(h) != 0 {
			t.Errorf("History(%q) = %d entries, %v, want none", name, len(h), err)
		}
		if err := s.Record(t.Context(), workload.Event{API: name}); !fault.Is(err, fault.Invalid) {
			t.Errorf("Record(%q) = %v, want an invalid fault", name, err)
		}
	}
}

func testConflict(t *testing.T, s store.Store) {
	missing := Sample("iris", 1)
	missing.Version = 7
	_, err := s.Put(t.Context(), missing)
	wantFault(t, "Put(iris at 7) before it exists", err, fault.Conflict, store.CodeVersionConflict)
	first := mustPut(t, s, Sample("iris", 1))
	_, err = s.Put(t.Context(), Sample("iris", 2))
	wantFault(t, "Put(iris at 0) though it exists", err, fault.Conflict, store.CodeVersionConflict)
	second := first
	second.Replicas = 5
	second = mustPut(t, s, second)
	if second.Version <= first.Version {
		t.Errorf("Put(iris) = version %d after %d, want a greater one", second.Version, first.Version)
	}
	_, err = s.Put(t.Context(), first)
	wantFault(t, "Put(iris at an old version)", err, fault.Conflict, store.CodeVersionConflict)
	if w, err := s.Get(t.Context(), "iris"); err != nil || w.Replicas != 5 || w.Version != second.Version {
		t.Errorf("Get(iris) = %d replicas at %d, %v, want 5 at %d", w.Replicas, w.Version, err, second.Version)
	}
}

func testManyWriters(t *testing.T, s store.Store) {
	const writers, writes = 8, 20
	mustPut(t, s, Sample("iris", 0))
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < writes; {
				w, err := s.Get(t.Context(), "iris")
				if err != nil {
					t.Errorf("Get(iris) = %v", err)
					return
				}
				w.Replicas++
				switch _, err := s.Put(t.Context(), w); {
				case err == nil:
					done++
				case fault.Code(err) != store.CodeVersionConflict:
					t.Errorf("Put(iris) = %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if w, err := s.Get(t.Context(), "iris"); err != nil || w.Replicas != writers*writes {
		t.Errorf("Get(iris) = %d replicas, %v, want %d: one for each write", w.Replicas, err, writers*writes)
	}
}

func testList(t *testing.T, s store.Store) {
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List() of nothing = %d, %v, want none", len(list), err)
	}
	var want []string
	for i := range 600 { // more than an implementation reads at once
		name := fmt.Sprintf("w%d", (i*7)%600)
		want = append(want, name)
		mustPut(t, s, Sample(name, i))
	}
	slices.Sort(want)
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatalf("List() = %v", err)
	}
	var got []string
	for _, w := range list {
		got = append(got, w.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List() names differ (-want +got):\n%s", diff)
	}
}

func testDeleteVersion(t *testing.T, s store.Store) {
	err := s.Delete(t.Context(), "iris", 1, false)
	wantFault(t, "Delete(iris) before it exists", err, fault.NotFound, "resources.api_not_deployed")
	first := mustPut(t, s, Sample("iris", 1))
	second := mustPut(t, s, first)
	for _, version := range []store.Version{first.Version, second.Version + 1} {
		err := s.Delete(t.Context(), "iris", version, false)
		wantFault(t, fmt.Sprintf("Delete(iris at %d)", version), err, fault.Conflict, store.CodeVersionConflict)
	}
	if err := s.Delete(t.Context(), "iris", second.Version, false); err != nil {
		t.Errorf("Delete(iris) = %v", err)
	}
	_, err = s.Get(t.Context(), "iris")
	wantFault(t, "Get(iris) after its deletion", err, fault.NotFound, "resources.api_not_deployed")
	err = s.Delete(t.Context(), "iris", second.Version, false)
	wantFault(t, "Delete(iris) again", err, fault.NotFound, "resources.api_not_deployed")
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List() = %d, %v, want none", len(list), err)
	}
}

// remembered deploys, remembers and records one of each name.
func remembered(t *testing.T, s store.Store, names ...string) map[string]store.Workload {
	t.Helper()
	all := make(map[string]store.Workload)
	for _, name := range names {
		w := mustPut(t, s, Sample(name, 1))
		if err := s.Remember(t.Context(), store.Past{Revision: w.Revision, Cause: "deploy"}); err != nil {
			t.Fatalf("Remember(%s) = %v", name, err)
		}
		if err := s.Record(t.Context(), workload.Event{API: name, Reason: "Deployed"}); err != nil {
			t.Fatalf("Record(%s) = %v", name, err)
		}
		all[name] = w
	}
	return all
}

func wantKept(t *testing.T, s store.Store, name string, want int) {
	t.Helper()
	if h, err := s.History(t.Context(), name); err != nil || len(h) != want {
		t.Errorf("History(%s) = %d entries, %v, want %d", name, len(h), err, want)
	}
	if got := events(t, s, workload.EventQuery{Name: name}); len(got) != want {
		t.Errorf("Events(%s) = %d, want %d", name, len(got), want)
	}
}

func testDeleteForgets(t *testing.T, s store.Store) {
	all := remembered(t, s, "a", "a-b", "b")
	if err := s.Delete(t.Context(), "a", all["a"].Version, false); err != nil {
		t.Fatalf("Delete(a) = %v", err)
	}
	wantKept(t, s, "a", 0)
	wantKept(t, s, "a-b", 1)
	wantKept(t, s, "b", 1)
	remembered(t, s, "a")
	wantKept(t, s, "a", 1)
}

func testDeleteKeeps(t *testing.T, s store.Store) {
	all := remembered(t, s, "a", "b")
	if err := s.Delete(t.Context(), "a", all["a"].Version, true); err != nil {
		t.Fatalf("Delete(a) = %v", err)
	}
	wantKept(t, s, "a", 1)
	wantKept(t, s, "b", 1)
	again := mustPut(t, s, Sample("a", 2))
	mustRemember(t, s, store.Past{Revision: again.Revision, Cause: "deploy"})
	if h, err := s.History(t.Context(), "a"); err != nil || len(h) != 2 || h[0].Revision.ID != again.Revision.ID {
		t.Errorf("History(a) = %d entries, %v, want the kept one and then the new one", len(h), err)
	}
}

func testVersionsGrow(t *testing.T, s store.Store) {
	old := mustPut(t, s, Sample("iris", 1))
	if err := s.Delete(t.Context(), "iris", old.Version, false); err != nil {
		t.Fatalf("Delete(iris) = %v", err)
	}
	next := mustPut(t, s, Sample("iris", 2))
	if next.Version <= old.Version {
		t.Errorf("Put(iris) after its deletion = version %d, want more than %d", next.Version, old.Version)
	}
	_, err := s.Put(t.Context(), old)
	wantFault(t, "Put(iris) at the version of the deleted one", err, fault.Conflict, store.CodeVersionConflict)
	err = s.Delete(t.Context(), "iris", old.Version, false)
	wantFault(t, "Delete(iris) at the version of the deleted one", err, fault.Conflict, store.CodeVersionConflict)
}

func testHistory(t *testing.T, s store.Store) {
	if h, err := s.History(t.Context(), "iris"); err != nil || len(h) != 0 {
		t.Errorf("History(iris) of nothing = %d, %v, want none and no error", len(h), err)
	}
	remembered(t, s, "other")
	const n = store.MaxHistory + 5
	for i := range n {
		past := store.Past{Revision: Sample("iris", i).Revision, Cause: fmt.Sprint(i)}
		if err := s.Remember(t.Context(), past); err != nil {
			t.Fatalf("Remember(%d) = %v", i, err)
		}
	}
	h, err := s.History(t.Context(), "iris")
	if err != nil || len(h) != store.MaxHistory {
		t.Fatalf("History(iris) = %d, %v, want %d", len(h), err, store.MaxHistory)
	}
	for i, p := range h {
		if want := fmt.Sprint(n - 1 - i); p.Cause != want {
			t.Fatalf("History(iris)[%d].Cause = %s, want %s", i, p.Cause, want)
		}
	}
	if diff := cmp.Diff(Sample("iris", n-1).Revision, h[0].Revision, equal); diff != "" {
		t.Errorf("History(iris)[0] differs (-want +got):\n%s", diff)
	}
	wantKept(t, s, "other", 1)
}

func testHistoryOnce(t *testing.T, s store.Store) {
	for i := range 3 {
		mustRemember(t, s, store.Past{Revision: Sample("iris", i).Revision, Cause: fmt.Sprint(i)})
	}
	outcome := workload.BecameLive(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	mustRemember(t, s, store.Past{Revision: Sample("iris", 1).Revision, Cause: "told again", Outcome: outcome})
	mustRemember(t, s, store.Past{Revision: Sample("iris", 3).Revision, Cause: "3", Outcome: outcome})
	h, err := s.History(t.Context(), "iris")
	if err != nil {
		t.Fatalf("History(iris) = %v", err)
	}
	var got []string
	for _, p := range h {
		got = append(got, fmt.Sprintf("v%d %s %t", p.Revision.Number, p.Cause, p.Outcome.Live.Equal(outcome.Live)))
	}
	want := []string{"v5 3 true", "v4 2 false", "v3 told again true", "v2 0 false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("History(iris) differs (-want +got):\n%s", diff)
	}
}

func mustRemember(t *testing.T, s store.Store, p store.Past) {
	t.Helper()
	if err := s.Remember(t.Context(), p); err != nil {
		t.Fatalf("Remember(%s) = %v", p.Revision.ID, err)
	}
}

func testReopen(t *testing.T, open Open) {
	s := open(t)
	want := remembered(t, s, "a", "b", "c", "gone")
	gone := want["gone"]
	delete(want, "gone")
	if err := s.Delete(t.Context(), "gone", gone.Version, false); err != nil {
		t.Fatalf("Delete(gone) = %v", err)
	}
	kept := want["c"]
	delete(want, "c")
	if err := s.Delete(t.Context(), "c", kept.Version, true); err != nil {
		t.Fatalf("Delete(c) = %v", err)
	}
	for range 3 {
		closeStore(t, s)
		s = open(t)
		list, err := s.List(t.Context())
		if err != nil || len(list) != 2 {
			t.Fatalf("List() = %d, %v, want 2", len(list), err)
		}
		for _, got := range list {
			if diff := cmp.Diff(want[got.Name()], got, equal); diff != "" {
				t.Errorf("%s differs after reopening (-want +got):\n%s", got.Name(), diff)
			}
			wantKept(t, s, got.Name(), 1)
		}
		wantKept(t, s, "gone", 0)
		wantKept(t, s, "c", 1)
	}
	for _, before := range []store.Workload{want["a"], gone} {
		again := before
		if before.Name() == "gone" {
			again.Version = 0
		}
		if again = mustPut(t, s, again); again.Version <= before.Version {
			t.Errorf("Put(%s) after reopening = version %d, want more than %d", again.Name(), again.Version, before.Version)
		}
	}
	closeStore(t, s)
}
