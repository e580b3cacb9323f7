package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// scene is one running engine with what the suite needs around it.
type scene struct {
	*testing.T
	build   func(o Options) (Harness, error)
	options Options
	Harness
	dir string // in which processes run

	stop    context.CancelFunc
	ended   chan error
	unwatch func() // ends the watch of the engine before; nil at first

	drained *drained      // of recordDrains
	busy    *atomic.Value // of oneIsBusy: the id of the replica

	mu     sync.Mutex
	events []workload.Event
	seen   []engine.Status
	wake   chan struct{}
}

// start makes an engine and runs it until the test ends.
func (s *scene) start() {
	s.Helper()
	s.dir = s.TempDir()
	s.launch()
	s.Cleanup(func() {
		if err := s.shutDown(); err != nil {
			s.Errorf("Run() = %v, want nil", err)
		}
	})
}

func (s *scene) launch() {
	if s.unwatch != nil {
		s.unwatch() // it may still tell of the engine that has ended
	}
	var err error
	if s.Harness, err = s.build(s.options); err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.ended, s.wake = cancel, make(chan error, 1), make(chan struct{}, 1)
	engineUnderTest, ended := s.Engine, s.ended
	go func() { ended <- engineUnderTest.Run(ctx) }()
	watching, stopWatching := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = engineUnderTest.Watch(watching, s.note)
	}()
	s.unwatch = func() {
		stopWatching()
		<-done
	}
	s.Cleanup(s.unwatch)
}

// shutDown ends the engine and returns what Run returned. Later calls return nil.
func (s *scene) shutDown() error {
	if s.ended == nil {
		return nil
	}
	s.stop()
	err := <-s.ended
	s.ended = nil
	return err
}

func (s *scene) note(st engine.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, st)
	s.events = append(s.events, st.Events...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// forget drops the statuses seen so far.
func (s *scene) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
}

// statuses returns what the watcher was told of a workload.
func (s *scene) statuses(name string) []engine.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []engine.Status
	for _, st := range s.seen {
		if st.Name == name {
			all = append(all, st)
		}
	}
	return all
}

// patience is how long anything may take before the test gives up. It is no
// timing assertion: nothing that works comes near it.
const patience = 3 * time.Minute

// until waits until the engine's watcher has seen what ok asks for and returns
// the last status of the workload.
func (s *scene) until(what string, name string, ok func(engine.Status) bool) engine.Status {
	s.T.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := s.Engine.Status(context.Background(), name)
		if err == nil && ok(st) {
			return st
		}
		select {
		case <-deadline.C:
			text, _ := json.MarshalIndent(st, "", "  ")
			s.Fatalf("never saw %s; the last status is %s (%v)\nevents:\n%s", what, text, err, s.eventText())
		case <-s.wake:
		case <-tick.C:
		}
	}
}

// eventually waits until ok holds.
func (s *scene) eventually(what string, ok func() bool) {
	s.T.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			s.Fatalf("never saw %s\nevents:\n%s", what, s.eventText())
		case <-tick.C:
		}
	}
}

func (s *scene) eventText() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, e := range s.events {
		fmt.Fprintf(&b, "%s %s %s\n", e.Type, e.Reason, e.Message)
	}
	return b.String()
}

// event waits for an event with this reason.
func (s *scene) event(reason string) workload.Event {
	s.T.Helper()
	var found workload.Event
	s.eventually("an event "+reason, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.events {
			if e.Reason == reason {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// revision is a deployable revision of one container.
func (s *scene) revision(name, id string, edit func(*workload.Container)) *workload.Revision {
	c := s.Container()
	c.Name = "main"
	if edit != nil {
		edit(&c)
	}
	port := int32(8080)
	return &workload.Revision{
		Spec: workload.Spec{
			Name: name, Kind: workload.Realtime,
			Pod:            &workload.Pod{Port: &port, MaxConcurrency: 4, MaxQueueLength: 10, Containers: []workload.Container{c}},
			UpdateStrategy: &workload.UpdateStrategy{MaxSurge: "25%", MaxUnavailable: "25%"},
		},
		ID: id, SpecID: "spec-" + id, PodID: "pod-" + id, DeploymentID: "deployment", Directory: s.dir,
	}
}

func env(pairs ...string) func(*workload.Container) {
	return func(c *workload.Container) {
		c.Env = maps.Clone(c.Env)
		if c.Env == nil {
			c.Env = map[string]workload.Variable{}
		}
		for i := 0; i < len(pairs); i += 2 {
			c.Env[pairs[i]] = workload.Variable{Value: pairs[i+1]}
		}
	}
}

func (s *scene) apply(rev *workload.Revision, replicas int) {
	s.T.Helper()
	s.deploy(engine.Deployment{Revision: rev, Replicas: replicas})
}

// settled waits until exactly n up-to-date replicas are ready and nothing else is there.
func (s *scene) settled(name string, n int) engine.Status {
	s.T.Helper()
	return s.until(fmt.Sprintf("%d ready replicas and no other", n), name, func(st engine.Status) bool {
		ready, upToDate := st.Ready()
		return ready == n && upToDate == n && len(st.Replicas) == n && st.Desired == n
	})
}

// get asks a replica.
func (s *scene) get(r engine.Replica, path string) (int, string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get("http://" + r.Address + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func (s *scene) mustGet(r engine.Replica, path string) string {
	s.T.Helper()
	status, body, err := s.get(r, path)
	if err != nil || status != http.StatusOK {
		s.Fatalf("GET %s = %d, %q, %v", path, status, body, err)
	}
	return body
}

// environment returns what the test server says of itself.
func (s *scene) environment(r engine.Replica) map[string]string {
	s.T.Helper()
	env := map[string]string{}
	if err := json.Unmarshal([]byte(s.mustGet(r, "/env")), &env); err != nil {
		s.Fatal(err)
	}
	return env
}

// identity returns what tells the server of a replica from others that may get
// its address later.
func (s *scene) identity(r engine.Replica) string {
	s.T.Helper()
	return s.environment(r)["_identity"]
}

// answers reports whether the very server that had this identity still answers.
// An address that nobody has any more may swallow packets, so that nothing tells
// but the passing of time.
func (s *scene) answers(r engine.Replica, identity string) bool {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	resp, err := client.Get("http://" + r.Address + "/env")
	if err != nil {
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return err == nil && strings.Contains(string(body), identity)
}

func (s *scene) print(r engine.Replica, text string) {
	s.T.Helper()
	s.mustGet(r, "/print?text="+url.QueryEscape(text))
}

// logs returns what Logs gives for a query that does not follow.
func (s *scene) logs(q workload.LogQuery) []workload.LogLine {
	s.T.Helper()
	var lines []workload.LogLine
	err := s.Engine.Logs(context.Background(), q, func(l workload.LogLine) error {
		lines = append(lines, l)
		return nil
	})
	if err != nil {
		s.Fatalf("Logs(%+v) = %v", q, err)
	}
	return lines
}

// keepLog returns a function that returns the lines of a replica, also when that
// ends from now on.
func (s *scene) keepLog(name string, r engine.Replica) func() []string {
	s.T.Helper()
	if !s.LogsEndWithReplica {
		return func() []string { return texts(s.logs(workload.LogQuery{Name: name, Replica: r.ID})) }
	}
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var lines []workload.LogLine
	done := make(chan error, 1)
	follow := workload.LogQuery{Name: name, Replica: r.ID, Follow: true}
	e := s.Engine
	go func() {
		done <- e.Logs(ctx, follow, func(l workload.LogLine) error {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, l)
			return nil
		})
	}()
	s.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.Errorf("Logs(%+v) = %v, want nil", follow, err)
		}
	})
	kept := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return texts(lines)
	}
	s.eventually("the lines so far", func() bool { return len(kept()) > 0 })
	return kept
}

func texts(lines []workload.LogLine) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

var errEnough = errors.New("enough")
