package operator

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// board is a store on which others declare workloads.
type board struct {
	*bolt.Store
	mu        sync.Mutex
	news      chan struct{} // closed when something was declared
	notes     map[string]*note
	pending   map[string]string // version by resource
	published map[string][]string
	// What happens before a verdict is kept, and why it or a status is not kept.
	resolving  func(store.Declaration)
	unresolved func() error
	unshown    func() error
	listed     func() // after every List
}

type note struct {
	store.Declaration
	resolved bool // not to be told again
	verdict  error
	count    int // of verdicts
}

var _ store.Source = (*board)(nil)

func newBoard(t *testing.T) (*board, *world) {
	t.Helper()
	w := newWorld(t)
	b := &board{
		Store: w.store, news: make(chan struct{}), notes: map[string]*note{}, pending: map[string]string{}, published: map[string][]string{},
		resolving: func(store.Declaration) {}, unresolved: func() error { return nil }, unshown: func() error { return nil },
		listed: func() {},
	}
	w.Operator = operatorWith(t, Config{Store: b, Source: b, Engine: w.feed})
	return b, w
}

// declare is kubectl apply.
func (b *board) declare(k workload.Kind, name, mark, spec string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	source := strings.ToLower(string(k)) + "s.cortex.dev/" + name
	config := `[{"name": "` + name + `", "kind": "` + string(k) + `"` + strings.Replace(spec, "{", ", ", 1) + "]"
	b.notes[source] = &note{Declaration: store.Declaration{Name: name, Kind: k, Config: config, Resource: source, Version: mark}}
	close(b.news)
	b.news = make(chan struct{})
	return source
}

// withdraw is kubectl delete.
func (b *board) withdraw(source string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.notes, source)
}

func (b *board) List(ctx context.Context) ([]store.Workload, error) {
	defer b.listed()
	return b.Store.List(ctx)
}

func (b *board) Pending(ctx context.Context, fn func(store.Declaration)) error {
	told := map[string]string{}
	for {
		b.mu.Lock()
		var tell []store.Declaration
		for source, n := range b.notes {
			if !n.resolved && told[source] != n.Version {
				told[source] = n.Version
				tell = append(tell, n.Declaration)
			}
		}
		news := b.news
		b.mu.Unlock()
		for _, d := range tell {
			fn(d)
			b.mu.Lock()
			b.pending[d.Resource] = d.Version
			b.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		}
	}
}

func (b *board) Resolve(_ context.Context, d store.Declaration, err error) error {
	b.resolving(d)
	if err := b.unresolved(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.notes[d.Resource]; n != nil && n.Version == d.Version {
		n.resolved, n.verdict = !fault.Is(err, fault.Conflict), err
		n.count++
	}
	return nil
}

func (b *board) Publish(_ context.Context, name string, s workload.Status, endpoint string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.unshown(); err != nil {
		return err
	}
	b.published[name] = append(b.published[name], string(s.Phase)+" "+itoa(s.Ready)+"/"+itoa(s.Requested)+" "+endpoint)
	return nil
}

func (b *board) Refusals() (list []store.Refusal) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.notes {
		if n.count > 0 && n.verdict != nil {
			list = append(list, store.Refusal{
				Name: n.Name, Kind: n.Kind, Resource: n.Resource, Message: n.verdict.Error(), Waiting: fault.Is(n.verdict, fault.Conflict),
			})
		}
	}
	return list
}

// verdict waits for what becomes of a declaration.
func (b *board) verdict(t *testing.T, source string) (verdict error) {
	t.Helper()
	eventually(t, source+" is resolved", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		n := b.notes[source]
		if n != nil {
			verdict = n.verdict
		}
		return n != nil && n.count > 0
	})
	return verdict
}

const (
	imageOnly = `{"pod": {"containers": [{"name": "api", "image": "iris"}]}}`
	seven     = `{"pod": {"containers": [{"name": "api", "image": "iris"}]}, "autoscaling": {"max_replicas": 7}}`
	atX       = `{"pod": {"containers": [{"name": "api", "image": "iris"}]}, "networking": {"endpoint": "/x"}}`
	toA       = `{"apis": [{"name": "a", "weight": 100}]}`
)

func TestDeclarationsAreDeployedOrRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, deployed string
		kind           workload.Kind
		spec           string
		code, message  string // of the refusal
		forNow         bool
	}{
		{name: "new", kind: workload.Realtime, spec: imageOnly},
		{name: "changed", deployed: realtime("iris", ""), kind: workload.Realtime, spec: seven},
		{
			name: "against a rule", deployed: realtime("iris", ""), kind: workload.Realtime, spec: strings.Replace(seven, "7", "0", 1),
			code: "configreader.must_be_greater_than", message: "spec.autoscaling.max_replicas: must be greater than 0; found 0; allowed: more than 0",
		},
		{
			name: "an unknown key", kind: workload.Realtime, spec: strings.Replace(seven, "max_replicas", "maxReplicas", 1),
			code: "configreader.unsupported_key", message: `spec.autoscaling.maxReplicas: the key "maxReplicas" is not supported (did you mean "max_replicas"?)`,
		},
		{
			name: "another kind", deployed: realtime("a", "") + splitter("iris", "a"), kind: workload.Realtime, spec: imageOnly, forNow: true,
			code: codeKindChange, message: "kind: iris is deployed as a TrafficSplitter, and the kind of a deployed API cannot change; found RealtimeAPI; allowed: TrafficSplitter (delete it first (cortex delete iris), or give this one another name)",
		},
		{
			name: "an endpoint that is taken", deployed: realtime("rose", "  networking: {endpoint: /x}\n"), kind: workload.Realtime, spec: atX, forNow: true,
			code: codeEndpointTaken, message: "spec.networking.endpoint: the endpoint /x is already used by rose (RealtimeAPI); found /x (choose another endpoint, or delete rose first)",
		},
		{
			name: "a missing target", kind: workload.Splitter, spec: toA, forNow: true,
			code: codeTargetMissing, message: "spec.apis[0].name: a is not deployed; found a; allowed: a RealtimeAPI that is deployed (this is tried again as soon as it is)",
		},
		{
			name: "a kind that does not run yet", kind: workload.Async, spec: imageOnly, forNow: true,
			code: codeKindNotRunning, message: "kind: AsyncAPIs cannot run in this environment yet; found AsyncAPI; allowed: RealtimeAPI, TrafficSplitter" +
				" (something has to keep its items: set items.servers of the chart, or items.url)",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, w := newBoard(t)
			w.feed.obey = noneReady // an update under way is replaced
			var before store.Workload
			if tt.deployed != "" {
				w.deploy(tt.deployed)
				before, _ = b.Get(t.Context(), "iris")
			}
			w.run()
			source := b.declare(tt.kind, "iris", "1", tt.spec)
			err := b.verdict(t, source)
			after, _ := b.Get(t.Context(), "iris")
			if tt.code == "" {
				if err != nil {
					t.Fatalf("Resolve(%s) = %v, want it accepted", source, err)
				}
				r := after.Revision
				if r == nil || after.Cause != "kubectl apply" || r.FileName != source || r.Kind != tt.kind {
					t.Errorf("deployed %+v, want the declaration, by kubectl apply", after)
				}
				if submitted, _ := r.SubmittedAPISpec.(map[string]any); submitted["pod"] == nil {
					t.Errorf("the submitted spec is %v, want what was declared", r.SubmittedAPISpec)
				}
				return
			}
			f := fault.From(err)
			if f == nil || f.Code != tt.code || f.Message != tt.message || fault.Is(f, fault.Conflict) != tt.forNow {
				t.Errorf("Resolve(%s) = %+v, want %s (for now: %t)\n%s", source, f, tt.code, tt.forNow, tt.message)
			}
			if after.Version != before.Version {
				t.Errorf("a refused declaration brought iris from version %d to %d", before.Version, after.Version)
			}
		})
	}
}

func TestDeclarationsWaitForWhatElseIsDeployed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, deployed string
		kind           workload.Kind
		spec           string
		then           func(*board, *world)
	}{
		{"a splitter for its target", "", workload.Splitter, toA, func(_ *board, w *world) { w.deploy(realtime("a", "")) }},
		{"a splitter for its declared target", "", workload.Splitter, toA, func(b *board, _ *world) { b.declare(workload.Realtime, "a", "1", imageOnly) }},
		{"an endpoint that becomes free", realtime("rose", "  networking: {endpoint: /x}\n"), workload.Realtime, atX, func(_ *board, w *world) {
			if _, err := w.Delete(w.t.Context(), "rose", workload.DeleteOptions{}); err != nil {
				w.t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, w := newBoard(t)
			if tt.deployed != "" {
				w.deploy(tt.deployed)
			}
			stop := w.run()
			source := b.declare(tt.kind, "iris", "1", tt.spec)
			if err := b.verdict(t, source); !fault.Is(err, fault.Conflict) {
				t.Fatalf("Resolve(%s) = %v, want it refused for now", source, err)
			}
			// Another operator waits on, as the declaration is the store's.
			stop()
			w.Operator = operatorWith(t, Config{Store: b, Source: b, Engine: w.feed})
			w.run()
			tt.then(b, w)
			eventually(t, source+" is accepted", func() bool { return b.verdict(t, source) == nil })
			if got := w.record("iris"); got.Cause != "kubectl apply" {
				t.Errorf("iris is deployed by %q, want kubectl apply", got.Cause)
			}
		})
	}
}

// A target that comes after it was looked for, and before the splitter waits.
func TestDeclarationsDoNotMissWhatTheyWaitFor(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	var once sync.Once
	b.resolving = func(store.Declaration) {
		once.Do(func() {
			w.deploy(realtime("a", ""))
			eventually(t, "a is seen", func() bool { _, ok := w.feed.deployment("a"); return ok })
		})
	}
	w.run()
	source := b.declare(workload.Splitter, "iris", "1", toA)
	eventually(t, source+" is accepted", func() bool { return b.verdict(t, source) == nil })
}

// What was withdrawn while it waited does not come back.
func TestDeclarationsThatAreWithdrawnAreForgotten(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	w.run()
	source := b.declare(workload.Splitter, "iris", "1", toA)
	other := b.declare(workload.Splitter, "other", "1", toA)
	for _, s := range []string{source, other} {
		if err := b.verdict(t, s); !fault.Is(err, fault.Conflict) {
			t.Fatalf("Resolve(%s) = %v, want it refused for now", s, err)
		}
	}
	b.withdraw(source)
	w.deploy(realtime("a", ""))
	eventually(t, other+" is accepted", func() bool { return b.verdict(t, other) == nil })
	if _, err := b.Get(t.Context(), "iris"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Get(iris) = %v, want it not deployed", err)
	}
}

func TestDeclarationsThatChangeWhileTheyAreResolved(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	var once sync.Once
	b.resolving = func(store.Declaration) {
		once.Do(func() {
			source := b.declare(workload.Realtime, "iris", "2", seven)
			eventually(t, "the second one is told", func() bool {
				b.mu.Lock()
				defer b.mu.Unlock()
				return b.pending[source] == "2"
			})
		})
	}
	w.run()
	source := b.declare(workload.Realtime, "iris", "1", imageOnly)
	if err := b.verdict(t, source); err != nil {
		t.Fatalf("Resolve(%s) = %v, want it accepted", source, err)
	}
	if got := w.record("iris").Revision.Autoscaling.MaxReplicas; got != 7 {
		t.Errorf("iris has at most %d replicas, want 7, which was declared last", got)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := b.notes[source]; n.Version != "2" || n.count != 1 {
		t.Errorf("the declaration %s was resolved %d times, want once, and the first one never", n.Version, n.count)
	}
}

// Who deletes a resource while it is deployed does not get it back.
func TestDeclarationsThatAreDeletedWhileTheyAreDeployed(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	w.deploy(realtime("iris", ""))
	source := b.declare(workload.Realtime, "iris", "1", seven)
	b.listed = func() {
		if err := b.Delete(t.Context(), "iris", w.record("iris").Version, false); err != nil {
			t.Error(err)
		}
	}
	a := newSourceController(w.Operator)
	a.pending[source] = b.notes[source].Declaration
	if err := a.resolve(t.Context(), source); err != nil || len(a.pending) != 0 {
		t.Errorf("resolve(%s) = %v with %d declarations left, want it forgotten", source, err, len(a.pending))
	}
	if n := b.notes[source].count; n != 0 {
		t.Errorf("resolve(%s) resolved it %d times, want it left", source, n)
	}
}

// A verdict that could not be kept is found again, and so is one that the moment,
// not the declaration, is to blame for.
func TestDeclarationsAreResolvedAgain(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	var mu sync.Mutex
	failures := 0
	b.unresolved = func() error {
		mu.Lock()
		defer mu.Unlock()
		if failures++; failures <= 2 {
			return errors.New("not now")
		}
		return nil
	}
	w.run()
	if err := b.verdict(t, b.declare(workload.Realtime, "iris", "1", imageOnly)); err != nil {
		t.Errorf("Resolve() = %v, want it accepted", err)
	}
	if history, err := b.History(t.Context(), "iris"); err != nil || len(history) != 1 {
		t.Errorf("the history has %d entries (%v), want 1", len(history), err)
	}
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, true},
		{fault.New(fault.Invalid, "a", "a"), true},
		{fault.New(fault.Conflict, "a", "a"), true},
		{fault.New(fault.Conflict, store.CodeVersionConflict, "a"), false},
		{fault.New(fault.Unavailable, "a", "a"), false},
		{errors.New("a"), false},
	} {
		if got := isFinal(tt.err); got != tt.want {
			t.Errorf("isFinal(%v) = %t, want %t", tt.err, got, tt.want)
		}
	}
}

func TestStatusesArePublished(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	tries := 0
	b.unshown = func() error {
		if tries++; tries <= 2 {
			return errors.New("not now")
		}
		return nil
	}
	w.feed.obey = noneReady
	w.run()
	shows := func(name, want string) {
		t.Helper()
		eventually(t, name+" is "+want, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			list := b.published[name]
			return len(list) > 0 && list[len(list)-1] == want
		})
	}
	w.deploy(realtime("iris", "") + splitter("split", "iris"))
	shows("iris", "updating 0/1 http://localhost:8888/iris")
	shows("split", "live 0/0 http://localhost:8888/split")
	w.feed.tell(allReady(mustDeployment(t, w, "iris")))
	shows("iris", "live 1/1 http://localhost:8888/iris")
	w.feed.tell(allReady(mustDeployment(t, w, "iris"))) // no news
	if err := w.Scale(t.Context(), "iris", 2, "test"); err != nil {
		t.Fatal(err)
	}
	shows("iris", "updating 0/2 http://localhost:8888/iris")
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, got := range b.published["iris"] {
		if i > 0 && got == b.published["iris"][i-1] {
			t.Errorf("%q was published twice in a row", got)
		}
	}
}

// A life that has just begun knows no replicas; it must not say that there are none.
func TestStatusesAreNotPublishedBeforeTheyAreKnown(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	w.deploy(realtime("iris", ""))
	w.feed.refuse = func(string) error { return errors.New("the engine is not there yet") }
	stop := w.run()
	b.declare(workload.Realtime, "other", "1", imageOnly)
	b.verdict(t, "realtimeapis.cortex.dev/other")
	stop()
	if diff := cmp.Diff(map[string][]string{}, b.published); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	w.feed.refuse = func(string) error { return nil }
	w.feed.tell(engine.Status{Name: "iris", Revision: w.record("iris").Revision.ID})
	w.run()
	eventually(t, "iris is shown", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.published["iris"]) > 0
	})
}

// What was applied and refused is seen by who asks the operator: in the list, by name, in
// the explanation and among the events, whether something was deployed before or not.
func TestRefusalsAreSeen(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	w.deploy(realtime("rose", ""))
	w.run()
	bad := strings.Replace(seven, "7", "0", 1)
	for _, name := range []string{"iris", "rose"} {
		if err := b.verdict(t, b.declare(workload.Realtime, name, "1", bad)); err == nil {
			t.Fatalf("%s was accepted", name)
		}
	}
	list, err := w.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("List() = %+v, %v, want rose, and iris that was never deployed", list, err)
	}
	for _, api := range list {
		if api.Refused == nil || api.Refused.Resource != "realtimeapis.cortex.dev/"+api.Metadata.Name || !strings.Contains(api.Refused.Message, "max_replicas") {
			t.Errorf("List() says of %s that it was refused for %+v, want the rule", api.Metadata.Name, api.Refused)
		}
		if deployed := api.Status != nil; deployed != (api.Metadata.Name == "rose") {
			t.Errorf("List() has the status %+v of %s", api.Status, api.Metadata.Name)
		}
	}
	if api, err := w.Get(t.Context(), "rose"); err != nil || api.Refused == nil {
		t.Errorf("Get(rose) = %+v, %v, want that a newer specification was refused", api, err)
	}
	if _, err := w.Get(t.Context(), "iris"); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "max_replicas") {
		t.Errorf("Get(iris) = %v, want that it is not deployed, and why", err)
	}
	for _, name := range []string{"iris", "rose"} {
		eventually(t, name+" is explained", func() bool {
			e, err := w.Explain(t.Context(), name)
			return err == nil && !e.Healthy && (e.Cause.Code == codeRefused || strings.Contains(e.Steps[0].Detail, "was refused"))
		})
		var refusals int
		eventually(t, "the refusal of "+name+" is among its events", func() bool {
			refusals = 0
			_ = w.Events(t.Context(), workload.EventQuery{Name: name}, func(e workload.Event) error {
				if e.Reason == "Refused" && e.Type == warning && strings.Contains(e.Message, "max_replicas") {
					refusals++
				}
				return nil
			})
			return refusals > 0
		})
		if refusals != 1 {
			t.Errorf("Events(%s) tells of %d refusals, want 1", name, refusals)
		}
	}
	if _, err := w.Explain(t.Context(), "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Explain(nobody) = %v, want not found", err)
	}
}

// A splitter whose target was deleted past the operator does not look live.
func TestASplitterWithoutItsTargetIsNotLive(t *testing.T) {
	t.Parallel()
	b, w := newBoard(t)
	w.deploy(realtime("a", "") + realtime("b", "") + splitter("both", "a", "b"))
	w.run()
	shows := func(what, prefix string) {
		t.Helper()
		eventually(t, what, func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			list := b.published["both"]
			return len(list) > 0 && strings.HasPrefix(list[len(list)-1], prefix)
		})
	}
	shows("both is live", "live")
	eventually(t, "a is deleted", func() bool { // as kubectl delete does, whatever is written meanwhile
		target, err := b.Get(t.Context(), "a")
		return err == nil && b.Delete(t.Context(), "a", target.Version, false) == nil
	})
	shows("both has failed", "failed")
	w.deploy(realtime("a", ""))
	shows("both is live again", "live")
}
