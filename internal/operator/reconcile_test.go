package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

func TestRunAppliesWhatIsStoredAndRemovesTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("a", "") + realtime("b", "") + splitter("s", "a"))
	stray := revisionOf("1")
	stray.Name = "stray"
	w.feed.tell(engine.Status{Name: "stray", Revision: "1", Replicas: []engine.Replica{replica(stray, 0, workload.Ready, nil)}})
	w.feed.tell(engine.Status{Name: "s"}) // a splitter runs nothing
	w.run()
	w.consistent()
	eventually(t, "what is not stored is removed", func() bool {
		w.feed.mu.Lock()
		defer w.feed.mu.Unlock()
		return len(w.feed.statuses) == 2
	})
	w.feed.mu.Lock()
	removed := slices.Sorted(slices.Values(w.feed.removed))
	w.feed.mu.Unlock()
	if diff := cmp.Diff([]string{"s", "stray"}, removed); diff != "" {
		t.Errorf("Run() removed other things (-want +got):\n%s", diff)
	}
	// Something that shows up later is removed as well.
	w.feed.tell(engine.Status{Name: "late", Revision: "1"})
	eventually(t, "late is removed", func() bool {
		w.feed.mu.Lock()
		defer w.feed.mu.Unlock()
		return slices.Contains(w.feed.removed, "late")
	})
}

func TestRunFollowsTheStoreAcrossLives(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.run()
	w.deploy(realtime("a", "") + realtime("b", ""))
	w.live("a")
	if err := w.Scale(t.Context(), "a", 3, "test"); err != nil {
		t.Fatal(err)
	}
	w.consistent()
	stop()
	if _, err := w.Delete(t.Context(), "b", workload.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.deploy(realtime("c", ""))
	if _, ok := w.feed.deployment("c"); ok {
		t.Error("the engine was asked for c while Run was not running")
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	again := openWorld(t, w.dir, newFeed()) // an engine that knows nothing
	again.run()
	again.consistent()
	if d := mustDeployment(t, again, "a"); d.Replicas != 3 {
		t.Errorf("a comes back with %d replicas, want 3", d.Replicas)
	}
}

func TestRunTriesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	refusals := map[string]int{}
	w.feed.refuse = func(name string) error {
		mu.Lock()
		defer mu.Unlock()
		if refusals[name]++; refusals[name] <= 3 {
			return errors.New("not now")
		}
		return nil
	}
	w.run()
	w.deploy(realtime("a", ""))
	w.consistent()
	if _, err := w.Delete(t.Context(), "a", workload.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.consistent()
}

func TestRunWritesTheEnginesEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed.obey = func(d engine.Deployment) engine.Status {
		s := allReady(d)
		s.Events = []workload.Event{{Time: time.Now(), API: d.Revision.Name, Type: "normal", Reason: "ReplicaReady", Message: "r0"}, {Reason: "Anonymous"}}
		return s
	}
	stop := w.run()
	eventually(t, "the engine is watched", func() bool { // whoever begins later hears of no event
		w.feed.mu.Lock()
		defer w.feed.mu.Unlock()
		return len(w.feed.watchers) > 0
	})
	w.deploy(realtime("iris", ""))
	want := []string{"Anonymous", "Deployed", "ReplicaReady", "Live"}
	eventually(t, "the events are there", func() bool { return len(reasons(t, w.Operator, "iris")) == len(want) })
	s := noneReady(mustDeployment(t, w, "iris"))
	s.Failed = &workload.Reason{Message: "it ends"}
	w.feed.tell(s)
	want = append(want, "Failed")
	eventually(t, "the failure is there", func() bool { return len(reasons(t, w.Operator, "iris")) == len(want) })
	got := reasons(t, w.Operator, "iris")
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
	stop()
}

// dying is a store that lets through a number of writes and dies at the next one,
// before or after it is done.
type dying struct {
	store.Store
	mu    sync.Mutex
	left  int
	after bool
}

var errDied = errors.New("the process has died")

func (d *dying) write(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left < 0 {
		return errDied
	}
	if d.left--; d.left >= 0 {
		return do()
	}
	if d.after {
		_ = do() // done, and nobody will know
	}
	return errDied
}

func (d *dying) Put(ctx context.Context, w store.Workload) (v store.Version, err error) {
	err = d.write(func() error { v, err = d.Store.Put(ctx, w); return err })
	return v, err
}

func (d *dying) Delete(ctx context.Context, name string, v store.Version, keep bool) error {
	return d.write(func() error { return d.Store.Delete(ctx, name, v, keep) })
}

func (d *dying) Remember(ctx context.Context, p store.Past) error {
	return d.write(func() error { return d.Store.Remember(ctx, p) })
}

func (d *dying) Record(ctx context.Context, e workload.Event) error {
	return d.write(func() error { return d.Store.Record(ctx, e) })
}

// TestDeathAtEveryCut kills the operator at every write of every change, and wants
// the next life to find the old state or the new one, and nothing forgotten.
func TestDeathAtEveryCut(t *testing.T) {
	t.Parallel()
	const cuts = 5 // more than any change writes for one API
	for _, tt := range []struct {
		name   string
		change func(o *Operator) error
		// what may be deployed afterwards: endpoints of iris, "" for nothing
		old, next string
	}{
		{"create", func(o *Operator) error { return deployOn(o, realtime("other", "")) }, "/two", "/two"},
		{"update", func(o *Operator) error { return deployOn(o, endpointAt("/three")) }, "/two", "/three"},
		{"rollback", func(o *Operator) error { _, err := o.Rollback(context.Background(), "iris", ""); return err }, "/two", "/one"},
		{"refresh", func(o *Operator) error { _, err := o.Refresh(context.Background(), "iris", true); return err }, "/two", "/two"},
		{"scale", func(o *Operator) error { return o.Scale(context.Background(), "iris", 7, "test") }, "/two", "/two"},
		{"delete", func(o *Operator) error {
			_, err := o.Delete(context.Background(), "iris", workload.DeleteOptions{})
			return err
		}, "/two", ""},
		{"delete, keeping history", func(o *Operator) error {
			_, err := o.Delete(context.Background(), "iris", workload.DeleteOptions{KeepCache: true})
			return err
		}, "/two", ""},
	} {
		for cut := range cuts {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/%v", tt.name, cut, after), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.deploy(endpointAt("/one"))
					w.deployAs(workload.DeployRequest{Config: endpointAt("/two"), Force: true})
					before := w.record("iris").Revision
					_ = tt.change(operatorOver(t, &dying{Store: w.store, left: cut, after: after}, w.feed)) // it may have died
					reborn := &world{Operator: operatorOver(t, w.store, w.feed), t: t, feed: w.feed, store: w.store}
					reborn.survived(before, tt.old, tt.next)
				})
			}
		}
	}
}

func deployOn(o *Operator, config string) error {
	_, err := o.Deploy(context.Background(), workload.DeployRequest{FileName: "cortex.yaml", Directory: "/srv/iris", Config: config, Force: true})
	return err
}

// survived wants iris to be at one of two endpoints, and its history whole: now,
// after the repairs of Run, and after the next change.
func (w *world) survived(before *workload.Revision, old, next string) {
	w.t.Helper()
	w.run()
	w.consistent()
	now, err := w.store.Get(w.t.Context(), "iris")
	if err != nil {
		if next != "" {
			w.t.Errorf("Get(iris) = %v, want %s or %s", err, old, next)
		}
		return
	}
	if got := now.Revision.Networking.Endpoint; got != old && got != next {
		w.t.Errorf("iris is at %s, want %s or %s", got, old, next)
	}
	eventually(w.t, "the history is whole", func() bool {
		past, err := w.store.History(w.t.Context(), "iris")
		return err == nil && slices.ContainsFunc(past, func(p store.Past) bool { return p.Revision.ID == now.Revision.ID }) &&
			slices.ContainsFunc(past, func(p store.Past) bool { return p.Revision.ID == before.ID })
	})
	versions := causes(w.t, w.Operator, "iris")
	if n := len(slices.DeleteFunc(slices.Clone(versions), func(c string) bool { return !strings.HasSuffix(c, "*") })); n != 1 {
		w.t.Errorf("History(iris) = %v, want one current version", versions)
	}
	w.deployAs(workload.DeployRequest{Config: endpointAt("/four"), Force: true})
	w.consistent()
	if got := causes(w.t, w.Operator, "iris"); len(got) != len(versions)+1 {
		w.t.Errorf("History(iris) after the next deploy = %v, want one more than %v", got, versions)
	}
}

// TestADeployRemembersWhatADeadOneDidNot changes a workload whose current version
// is not in its history, without Run having repaired it.
func TestADeployRemembersWhatADeadOneDidNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(endpointAt("/one"))
	_ = deployOn(operatorOver(t, &dying{Store: w.store, left: 1}, w.feed), endpointAt("/two")) // dies after the record, before the history
	if got := w.record("iris").Revision.Networking.Endpoint; got != "/two" {
		t.Fatalf("iris is at %s, want /two", got)
	}
	o := operatorOver(t, w.store, w.feed)
	if _, err := o.Rollback(t.Context(), "iris", "v1"); err != nil {
		t.Fatalf("Rollback() = %v", err)
	}
	if diff := cmp.Diff([]string{"rollback*", "deploy", "deploy"}, causes(t, o, "iris")); diff != "" {
		t.Errorf("History() differs (-want +got):\n%s", diff)
	}
}

func TestKeyedTriesAgainWithLongerPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var tries []time.Duration
		began := time.Now()
		k := newWorkqueue(func(context.Context, string) error {
			tries = append(tries, time.Since(began))
			return errors.New("no")
		}, func(string, error) {})
		k.add(ctx, "a")
		time.Sleep(100 * time.Second)
		synctest.Wait()
		cancel()
		k.wait()
		ms := time.Millisecond
		want := []time.Duration{
			0, 50 * ms, 150 * ms, 350 * ms, 750 * ms, 1550 * ms, 3150 * ms, 6350 * ms, 12750 * ms, 25550 * ms, 51150 * ms, 81150 * ms,
		}
		if diff := cmp.Diff(want, tries); diff != "" {
			t.Errorf("tries differ (-want +got):\n%s", diff)
		}
	})
}

func TestKeyedWorksOnNewsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		running, done, fail := map[string]int{}, map[string]int{}, true
		k := newWorkqueue(func(_ context.Context, key string) error {
			mu.Lock()
			running[key]++
			if running[key] > 1 {
				t.Errorf("%s is worked on twice at once", key)
			}
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			running[key]--
			done[key]++
			if fail {
				return errors.New("no")
			}
			return nil
		}, func(string, error) {})
		for range 5 {
			k.add(ctx, "a") // while it runs: once more is enough
			k.add(ctx, "b")
		}
		time.Sleep(10 * time.Second) // it fails, and pauses longer and longer
		synctest.Wait()
		mu.Lock()
		fail = false
		before := done["a"]
		mu.Unlock()
		k.add(ctx, "a")
		time.Sleep(time.Second)
		synctest.Wait()
		mu.Lock()
		if done["a"] != before+1 {
			t.Errorf("news during a pause: %d runs, want %d", done["a"], before+1)
		}
		mu.Unlock()
		cancel()
		k.wait()
	})
}

func TestKeyedRunsOnceMoreForNewsWhileItRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		k := newWorkqueue(func(context.Context, string) error {
			runs++
			time.Sleep(time.Second)
			return nil
		}, func(string, error) {})
		k.add(t.Context(), "a")
		time.Sleep(500 * time.Millisecond)
		for range 5 {
			k.add(t.Context(), "a")
		}
		k.wait()
		if runs != 2 {
			t.Errorf("%d runs, want 2: what was seen may have been old", runs)
		}
	})
}

func TestKeyedIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		running, most, done := 0, 0, 0
		k := newWorkqueue(func(context.Context, string) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			done++
			mu.Unlock()
			return nil
		}, func(string, error) {})
		for i := range 100 {
			k.add(ctx, fmt.Sprint(i))
		}
		k.wait()
		cancel()
		if most != atOnce || done != 100 {
			t.Errorf("%d keys at once and %d in all, want %d and 100", most, done, atOnce)
		}
	})
}

// What somebody else changed in the engine, or removed from it, is asked for again.
func TestDriftIsPutRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("iris", ""))
	w.run()
	w.live("iris")
	applies := func() int {
		w.feed.mu.Lock()
		defer w.feed.mu.Unlock()
		return len(w.feed.applied)
	}
	d, _ := w.feed.deployment("iris")
	changed := allReady(d)
	changed.Drifted = true
	for _, s := range []engine.Status{changed, {Name: "iris", Removed: true, Drifted: true}} {
		before := applies()
		w.feed.tell(s)
		eventually(t, "it is applied again", func() bool { return applies() > before })
	}
}

// Why there are fewer replicas than wanted is kept, also while some of them serve.
func TestAShortageIsExplained(t *testing.T) {
	t.Parallel()
	r := revisionOf("1")
	w := store.Workload{Revision: r, Replicas: 3, Outcome: workload.BecameLive(time.Now())}
	es := &engine.Status{Name: r.Name, Revision: r.ID, Desired: 3, Shortage: &workload.Reason{Code: "quota", Message: "the quota is used up", Fix: "raise it"}}
	for i := range 2 {
		es.Replicas = append(es.Replicas, replica(r, i, workload.Ready, nil))
	}
	if s := statusOf(w, es); s.Phase != workload.PhaseUpdating || s.Reason != "2 of 3 replicas ready: the quota is used up" {
		t.Errorf("statusOf() = %+v, want the quota among its reasons", s)
	}
	if e := explain(w, es, nil, "", time.Now()); e.Cause == nil || e.Cause.Code != "quota" {
		t.Errorf("explain() = %+v, want the quota", e.Cause)
	}
}
