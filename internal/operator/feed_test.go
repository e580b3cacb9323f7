package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// feed is an engine whose statuses the test writes. It runs nothing: on Apply it
// becomes what obey makes of the deployment.
type feed struct {
	mu       sync.Mutex
	statuses map[string]engine.Status
	desired  map[string]engine.Deployment
	applied  []string // name, revision and replicas of each Apply, in order
	removed  []string
	watchers map[int]chan engine.Status
	watched  int
	obey     func(engine.Deployment) engine.Status
	refuse   func(name string) error // asked before Apply and Remove
}

var _ engine.Engine = (*feed)(nil)

func newFeed() *feed {
	return &feed{
		statuses: map[string]engine.Status{}, desired: map[string]engine.Deployment{}, watchers: map[int]chan engine.Status{},
		obey: allReady, refuse: func(string) error { return nil },
	}
}

// allReady is a status in which every replica is there and ready.
func allReady(d engine.Deployment) engine.Status {
	s := engine.Status{Name: d.Revision.Name, Revision: d.Revision.ID, Desired: d.Replicas}
	for i := range d.Replicas {
		s.Replicas = append(s.Replicas, replica(d.Revision, i, workload.Ready, nil))
	}
	return s
}

// noneReady is a status in which every replica is being started.
func noneReady(d engine.Deployment) engine.Status {
	s := engine.Status{Name: d.Revision.Name, Revision: d.Revision.ID, Desired: d.Replicas}
	for i := range d.Replicas {
		s.Replicas = append(s.Replicas, replica(d.Revision, i, workload.Creating, &workload.Reason{Code: "starting", Message: "is being started"}))
	}
	return s
}

func replica(r *workload.Revision, i int, state workload.ReplicaState, reason *workload.Reason) engine.Replica {
	return engine.Replica{
		Replica: workload.Replica{
			ID: fmt.Sprintf("r%d", i), APIID: r.ID, UpToDate: true, State: state, Reason: reason,
			Address: fmt.Sprintf("127.0.0.1:%d", 10000+i),
		},
		DeploymentID: r.DeploymentID,
	}
}

func (f *feed) Apply(_ context.Context, d engine.Deployment) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refuse(d.Revision.Name); err != nil {
		return err
	}
	before, ok := f.desired[d.Revision.Name]
	f.desired[d.Revision.Name] = d
	f.applied = append(f.applied, fmt.Sprintf("%s %s %d", d.Revision.Name, d.Revision.ID, d.Replicas))
	if ok && before.Revision.ID == d.Revision.ID && before.Replicas == d.Replicas && before.Trial == d.Trial {
		return nil // nothing changes by asking for the same again
	}
	f.set(f.obey(d))
	return nil
}

func (f *feed) Remove(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refuse(name); err != nil {
		return err
	}
	if _, ok := f.statuses[name]; !ok {
		return nil
	}
	f.removed = append(f.removed, name)
	delete(f.desired, name)
	f.set(engine.Status{Name: name, Removed: true})
	return nil
}

// set tells the watchers; f.mu is held.
func (f *feed) set(s engine.Status) {
	kept := s
	kept.Events = nil
	f.statuses[s.Name] = kept
	if s.Removed {
		delete(f.statuses, s.Name)
	}
	for _, w := range f.watchers {
		w <- s
	}
}

// tell makes s the status of its workload.
func (f *feed) tell(s engine.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set(s)
}

func (f *feed) Status(_ context.Context, name string) (engine.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s, ok := f.statuses[name]; ok {
		return s, nil
	}
	return engine.Status{}, fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name)
}

func (f *feed) Watch(ctx context.Context, fn func(engine.Status)) error {
	f.mu.Lock()
	changes := make(chan engine.Status, 10_000)
	id := f.watched
	f.watched++
	f.watchers[id] = changes
	for _, s := range f.statuses {
		changes <- s
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, id)
	}()
	for {
		select {
		case s := <-changes:
			fn(s)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *feed) Logs(_ context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	return fn(workload.LogLine{Replica: "r0", Text: "line of " + q.Name})
}

func (f *feed) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (f *feed) deployment(name string) (engine.Deployment, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.desired[name]
	return d, ok
}

// world is an operator over a real store and a feed.
type world struct {
	*Operator
	t     *testing.T
	feed  *feed
	store *bolt.Store
	dir   string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return openWorld(t, t.TempDir(), newFeed())
}

func openWorld(t *testing.T, dir string, f *feed) *world {
	t.Helper()
	s, err := bolt.Open(t.Context(), bolt.Config{Dir: dir})
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	t.Cleanup(func() { _ = s.Close() }) // never fails, and harmless when it was closed before
	return &world{Operator: operatorOver(t, s, f), t: t, feed: f, store: s, dir: dir}
}

func operatorOver(t *testing.T, s store.Store, f *feed) *Operator {
	t.Helper()
	return operatorWith(t, Config{Store: s, Engine: f})
}

func operatorWith(t *testing.T, c Config) *Operator {
	t.Helper()
	c.Info = workload.Info{Environment: "local", APIEndpoint: "http://localhost:8888"}
	o, err := New(c)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	return o
}

// run runs the operator until the returned function is called.
func (w *world) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.t.Errorf("Run() = %v, want %v", err, context.Canceled)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func (w *world) deploy(config string) []workload.DeployResult {
	w.t.Helper()
	return w.deployAs(workload.DeployRequest{Config: config})
}

func (w *world) deployAs(req workload.DeployRequest) []workload.DeployResult {
	w.t.Helper()
	results, err := w.tryDeploy(req)
	if err != nil {
		w.t.Fatalf("Deploy() = %v", err)
	}
	return results
}

func (w *world) tryDeploy(req workload.DeployRequest) ([]workload.DeployResult, error) {
	req.FileName = "cortex.yaml"
	if req.Directory == "" {
		req.Directory = "/srv/iris"
	}
	return w.Deploy(w.t.Context(), req)
}

// live waits until a workload is live.
func (w *world) live(name string) {
	w.t.Helper()
	eventually(w.t, name+" is live", func() bool {
		r, err := w.Get(w.t.Context(), name)
		return err == nil && r.Status.Phase == workload.PhaseLive
	})
}

func (w *world) record(name string) store.Workload {
	w.t.Helper()
	r, err := w.store.Get(w.t.Context(), name)
	if err != nil {
		w.t.Fatalf("Get(%s) = %v", name, err)
	}
	return r
}

// realtime is the YAML of a RealtimeAPI; more is added below it.
func realtime(name, more string) string {
	return fmt.Sprintf("- name: %s\n  kind: RealtimeAPI\n  pod:\n    containers:\n      - name: api\n        command: [./serve]\n%s", name, more)
}

func splitter(name string, targets ...string) string {
	text := fmt.Sprintf("- name: %s\n  kind: TrafficSplitter\n  apis:\n", name)
	for i, t := range targets {
		weight := 0
		if i == 0 {
			weight = 100
		}
		text += fmt.Sprintf("    - name: %s\n      weight: %d\n", t, weight)
	}
	return text
}

func itoa(n int) string { return fmt.Sprint(n) }

// mustDeployment waits until the engine was asked for a workload.
func mustDeployment(t *testing.T, w *world, name string) engine.Deployment {
	t.Helper()
	eventually(t, name+" is applied", func() bool {
		_, ok := w.feed.deployment(name)
		return ok
	})
	d, _ := w.feed.deployment(name)
	return d
}
