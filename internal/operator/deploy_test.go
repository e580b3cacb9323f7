package operator

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

func TestDeployCreatesThenUpdatesThenDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	for _, tt := range []struct {
		name, config, message string
		action                workload.Action
		changes               []string
	}{
		{"first", realtime("iris", ""), "creating iris (RealtimeAPI)", workload.ActionCreate, nil},
		{"again", realtime("iris", ""), "iris (RealtimeAPI) is up to date", workload.ActionNone, nil},
		{"changed", realtime("iris", "  autoscaling:\n    max_replicas: 7\n"), "updating iris (RealtimeAPI)", workload.ActionUpdate, []string{"autoscaling.max_replicas"}},
		{"changed, again", realtime("iris", "  autoscaling:\n    max_replicas: 7\n"), "iris (RealtimeAPI) is up to date", workload.ActionNone, nil},
	} {
		results := w.deploy(tt.config)
		if len(results) != 1 {
			t.Fatalf("%s: Deploy() = %d results, want 1", tt.name, len(results))
		}
		r := results[0]
		if r.Message != tt.message || r.Action != tt.action || r.Error != "" {
			t.Errorf("%s: Deploy() = %q %q %q, want %q %q", tt.name, r.Action, r.Message, r.Error, tt.action, tt.message)
		}
		if diff := cmp.Diff(tt.changes, r.Changes); diff != "" {
			t.Errorf("%s: changes differ (-want +got):\n%s", tt.name, diff)
		}
		if r.API == nil || r.API.Spec.Name != "iris" || r.API.Endpoint != "http://localhost:8888/iris" {
			t.Errorf("%s: Deploy().API = %+v, want iris with its endpoint", tt.name, r.API)
		}
		w.live("iris")
	}
}

func TestDeployOfAnotherFolderIsAnUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.deploy(realtime("iris", ""))
	w.live("iris")
	r := w.deployAs(workload.DeployRequest{Config: realtime("iris", ""), Directory: "/srv/other"})[0]
	if r.Action != workload.ActionUpdate || !cmp.Equal(r.Changes, []string{"directory"}) {
		t.Errorf("Deploy() from another folder = %q with changes %v, want an update of directory", r.Action, r.Changes)
	}
}

// What a process runs is decided where it is deployed from, kept, and brought back.
func TestDeployKeepsTheProgramsOfItsCaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.locate = func(pod *workload.Pod, dir, path string) *workload.Programs {
		return &workload.Programs{Path: path, Found: map[string]string{pod.Containers[0].Name: dir}}
	}
	w.run()
	deploy := func(path string) workload.DeployResult {
		return w.deployAs(workload.DeployRequest{Config: realtime("iris", ""), Directory: "/srv", Path: path})[0]
	}
	one := deploy("/one/bin").API.Spec
	w.live("iris")
	if one.Programs == nil || one.Programs.Path != "/one/bin" {
		t.Fatalf("Programs = %+v, want those of the caller", one.Programs)
	}
	if r := deploy("/one/bin"); r.Action != workload.ActionNone {
		t.Errorf("Deploy() with the same PATH = %q, want nothing to do", r.Action)
	}
	if r := deploy("/two/bin"); r.Action != workload.ActionUpdate || !cmp.Equal(r.Changes, []string{"programs"}) {
		t.Errorf("Deploy() with another PATH = %q with changes %v, want an update of programs", r.Action, r.Changes)
	}
	back, err := w.Rollback(t.Context(), "iris", one.ID)
	if err != nil || !cmp.Equal(back.API.Spec.Programs, one.Programs) {
		t.Errorf("Rollback() = %+v, %v, want the programs of the first version", back.API, err)
	}
}

// A server's callers are elsewhere: their PATH names folders of another machine.
func TestServerTakesNoPathOfItsCallers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.deployAs(workload.DeployRequest{Config: realtime("iris", ""), Path: "/their/bin"})[0]
	if r.API.Spec.Programs != nil {
		t.Errorf("Programs = %+v without a Locate, want none", r.API.Spec.Programs)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("old", ""))
	before := w.record("old")
	results := w.deployAs(workload.DeployRequest{DryRun: true, Force: true, Config: realtime("old", "  networking:\n    endpoint: /other\n") + realtime("new", "") + splitter("split", "new")})
	var got []string
	for _, r := range results {
		got = append(got, string(r.Action)+": "+r.Message+": "+strings.Join(r.Changes, " "))
	}
	want := []string{
		"update: would update old (RealtimeAPI): networking.endpoint",
		"create: would create new (RealtimeAPI): ",
		"create: would create split (TrafficSplitter): ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Deploy(dry run) differs (-want +got):\n%s", diff)
	}
	if after := w.record("old"); after.Version != before.Version {
		t.Errorf("Deploy(dry run) wrote version %d, want %d", after.Version, before.Version)
	}
	if list, err := w.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("List() = %d, %v, want the one of before", len(list), err)
	}
}

func TestDeployRefusesTheWholeFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, deployed, config string
		kind                   fault.Kind
		want                   []string // code, line and path of each problem
	}{
		{
			"kind of a deployed API", realtime("a", ""), splitter("a", "b") + realtime("b", ""), fault.Invalid,
			[]string{"resources.cannot_change_kind_of_deployed_api 2 kind"},
		},
		{
			"endpoint of a deployed API", realtime("a", "  networking:\n    endpoint: /x\n"), realtime("b", "  networking:\n    endpoint: /x/\n"), fault.Invalid,
			[]string{"spec.duplicate_endpoint 8 networking.endpoint"},
		},
		{
			"default endpoint of a deployed API", realtime("a", "  networking:\n    endpoint: /b\n"), realtime("b", ""), fault.Invalid,
			[]string{"spec.duplicate_endpoint 1 networking.endpoint"},
		},
		{
			"targets", realtime("a", "") + splitter("s", "a"), splitter("t", "a", "s", "missing"), fault.Invalid,
			[]string{"resources.apis_not_deployed 6 apis[1].name", "resources.apis_not_deployed 8 apis[2].name"},
		},
		{
			"kinds that do not run here", "",
			"- name: job\n  kind: TaskAPI\n  pod:\n    containers:\n      - name: c\n        image: x\n        command: [y]\n" + realtime("a", "") +
				"- name: async\n  kind: AsyncAPI\n  pod:\n    containers:\n      - name: c\n        image: x\n",
			fault.Unsupported,
			[]string{"resources.kind_not_supported_here 2 kind", "resources.kind_not_supported_here 15 kind"},
		},
		{
			"everything at once", realtime("a", ""),
			realtime("b", "  networking:\n    endpoint: /a\n") + splitter("s", "zzzzzz") + "- name: async\n  kind: AsyncAPI\n  pod:\n    containers:\n      - name: c\n        image: x\n",
			fault.Invalid,
			[]string{"spec.duplicate_endpoint 8 networking.endpoint", "resources.apis_not_deployed 12 apis[0].name", "resources.kind_not_supported_here 15 kind"},
		},
		{"not YAML", "", "{", fault.Malformed, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if tt.deployed != "" {
				w.deploy(tt.deployed)
			}
			before, err := w.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.tryDeploy(workload.DeployRequest{Config: tt.config})
			f := fault.From(err)
			if f == nil || f.Kind != tt.kind {
				t.Fatalf("Deploy() = %v, want a fault of kind %s", err, tt.kind)
			}
			var got []string
			for _, p := range f.Problems {
				got = append(got, p.Code+" "+itoa(p.Line)+" "+p.Path)
				if p.File != "cortex.yaml" || p.Message == "" {
					t.Errorf("problem %+v has no file or message", p)
				}
			}
			if diff := cmp.Diff(tt.want, got); tt.want != nil && diff != "" {
				t.Errorf("problems differ (-want +got):\n%s\n%v", diff, err)
			}
			after, err := w.List(t.Context())
			if err != nil || len(after) != len(before) {
				t.Errorf("List() = %d, %v, want the %d of before", len(after), err, len(before))
			}
		})
	}
}

// Whoever asks for a kind that does not run here is told what does: here, not elsewhere.
func TestUnsupportedKindsAreToldWhatRuns(t *testing.T) {
	t.Parallel()
	batch := func(name string) string {
		return "- name: " + name + "\n  kind: BatchAPI\n  pod:\n    containers:\n      - name: c\n        image: x\n        command: [y]\n"
	}
	for _, tt := range []struct{ name, config, want string }{
		{"one", batch("a"), "nothing was deployed; take this API out of the file: this environment runs only RealtimeAPI, TrafficSplitter"},
		{"two among others", batch("a") + realtime("b", "") + batch("c"), "nothing was deployed; take these APIs out of the file: this environment runs only RealtimeAPI, TrafficSplitter"},
	} {
		_, err := newWorld(t).tryDeploy(workload.DeployRequest{Config: tt.config})
		if f := fault.From(err); f == nil || f.Hint != tt.want {
			t.Errorf("%s: Deploy() = %+v, want the hint %q", tt.name, f, tt.want)
		} else if p := f.Problems[0]; p.Found != "BatchAPI" || p.Allowed != "RealtimeAPI, TrafficSplitter" {
			t.Errorf("%s: the problem is %+v, want what was found and what is allowed", tt.name, p)
		}
	}
}

func TestDeployAppliesSplittersLastAndAnswersInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	results := w.deploy(splitter("split", "a", "b") + realtime("a", "") + realtime("b", ""))
	var got []string
	for _, r := range results {
		got = append(got, r.Message)
	}
	want := []string{"created split (TrafficSplitter)", "creating a (RealtimeAPI)", "creating b (RealtimeAPI)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Deploy() messages differ (-want +got):\n%s", diff)
	}
	if split, b := w.record("split"), w.record("b"); split.Version < b.Version {
		t.Errorf("the splitter was written at version %d, before b at %d", split.Version, b.Version)
	}
	results = w.deploy(splitter("split", "b"))
	if got := results[0].Message; got != "updated split (TrafficSplitter)" {
		t.Errorf("Deploy() of the changed splitter = %q", got)
	}
}

// crowdedStore lets writes wait until several are under way.
type crowdedStore struct {
	store.Store
	several   int32
	under     atomic.Int32
	splitters atomic.Int32 // written before everything else was
	crowd     chan struct{}
}

func (s *crowdedStore) Put(ctx context.Context, w store.Workload) (store.Version, error) {
	n := s.under.Add(1)
	if w.Revision.Kind == workload.Splitter {
		if n <= s.several {
			s.splitters.Add(1)
		}
		return s.Store.Put(ctx, w)
	}
	if n == s.several {
		close(s.crowd)
	}
	select {
	case <-s.crowd:
	case <-time.After(time.Minute):
		return 0, fault.New(fault.Unavailable, "store.alone", "one minute, and %d writes", n)
	}
	if w.Name() == "refused" {
		return 0, fault.New(fault.Unavailable, "store.refused", "no")
	}
	return s.Store.Put(ctx, w)
}

func TestDeployAppliesAPIsAtOnceAndSplittersAfterThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	crowded := &crowdedStore{Store: w.store, several: 6, crowd: make(chan struct{})}
	w.Operator = operatorOver(t, crowded, w.feed)
	results := w.deploy(splitter("good", "a", "b") + splitter("bad", "refused") +
		realtime("a", "") + realtime("b", "") + realtime("c", "") + realtime("d", "") + realtime("e", "") + realtime("refused", ""))
	var got []string
	for _, r := range results {
		got = append(got, r.Message+r.Error)
	}
	want := []string{
		"created good (TrafficSplitter)", "error: refused could not be deployed, so bad cannot send it traffic",
		"creating a (RealtimeAPI)", "creating b (RealtimeAPI)", "creating c (RealtimeAPI)", "creating d (RealtimeAPI)", "creating e (RealtimeAPI)", "error: no",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Deploy() differs (-want +got):\n%s", diff)
	}
	if n := crowded.splitters.Load(); n > 0 {
		t.Errorf("%d splitters were written before the APIs were", n)
	}
}

func TestDeployDuringAnUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed.obey = noneReady
	w.run()
	w.deploy(realtime("iris", ""))
	changed := realtime("iris", "  networking:\n    endpoint: /flowers\n")
	results := w.deploy(changed + realtime("other", ""))
	if r := results[0]; r.Code != "realtimeapi.api_updating" || !strings.HasPrefix(r.Error, "error: ") || r.API != nil || !strings.Contains(r.Error, "--force") {
		t.Errorf("Deploy() during an update = %+v, want the error realtimeapi.api_updating that names --force", r)
	}
	if r := results[1]; r.Error != "" || r.Action != workload.ActionCreate {
		t.Errorf("Deploy() of the other API = %+v, want it created", r)
	}
	if r := w.deploy(realtime("iris", ""))[0]; r.Message != "iris (RealtimeAPI) is already updating" {
		t.Errorf("Deploy() of what is updating = %q", r.Message)
	}
	if r := w.deployAs(workload.DeployRequest{Config: changed, Force: true})[0]; r.Message != "updating iris (RealtimeAPI)" {
		t.Errorf("Deploy(force) = %q %q", r.Message, r.Error)
	}
}

func TestDeployReplacesAFailedUpdateWithoutForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.deploy(realtime("iris", ""))
	w.live("iris")
	s := allReady(mustDeployment(t, w, "iris"))
	s.Replicas = nil
	s.Failed = &workload.Reason{Code: "crash_loop", Message: "it ends again and again"}
	w.feed.tell(s)
	if r := w.deploy(realtime("iris", "  networking:\n    endpoint: /x\n"))[0]; r.Message != "updating iris (RealtimeAPI)" {
		t.Errorf("Deploy() over a failed version = %q %q, want an update", r.Message, r.Error)
	}
}

func TestReplicasOfARevision(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		min, max, initial int32
		now, want         int
	}{
		{1, 100, 1, 0, 1},
		{1, 100, 5, 0, 5},
		{1, 100, 5, 3, 3},
		{4, 100, 5, 3, 4},
		{1, 2, 2, 3, 2},
		{0, 10, 0, 0, 0},
		{0, 10, 2, 0, 2},
	} {
		s := &workload.Spec{Autoscaling: &workload.Autoscaling{MinReplicas: tt.min, MaxReplicas: tt.max, InitReplicas: tt.initial}}
		if got := replicasFor(s, tt.now); got != tt.want {
			t.Errorf("replicasFor(min %d, max %d, init %d; now %d) = %d, want %d", tt.min, tt.max, tt.initial, tt.now, got, tt.want)
		}
	}
}
