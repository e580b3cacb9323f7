package operator

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// revisionOf is a revision of iris with the given id.
func revisionOf(id string) *workload.Revision {
	return &workload.Revision{
		ID: id, DeploymentID: "d", SpecID: "s" + id, FileName: "cortex.yaml",
		Spec: workload.Spec{
			Name: "iris", Kind: workload.Realtime, Networking: &workload.Networking{Endpoint: "/iris"},
			Autoscaling: &workload.Autoscaling{MinReplicas: 1, MaxReplicas: 10, InitReplicas: 1},
		},
	}
}

// says is a status of the engine at a revision, with one replica for each state; those with
// an old one begin with "-".
func says(id string, states ...string) *engine.Status {
	s := &engine.Status{Name: "iris", Revision: id}
	for i, state := range states {
		name, old := strings.CutPrefix(state, "-")
		r := replica(revisionOf(id), i, workload.ReplicaState(name), nil)
		r.UpToDate = !old
		if !r.Ready() {
			r.Reason = &workload.Reason{Code: "because", Message: "because " + name}
		}
		s.Replicas = append(s.Replicas, r)
	}
	return s
}

func failing(s *engine.Status, message string) *engine.Status {
	s.Failed = &workload.Reason{Code: "crash_loop", Message: message}
	return s
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		replicas int
		engine   *engine.Status
		want     workload.Status
	}{
		{"unknown to the engine", 2, nil, workload.Status{Requested: 2, Phase: "updating", Reason: "2 replicas about to be started"}},
		{"live", 2, says("1", "ready", "ready"), workload.Status{Ready: 2, UpToDate: 2, Requested: 2, Phase: "live"}},
		{"more than wanted", 1, says("1", "ready", "ready"), workload.Status{Ready: 2, UpToDate: 2, Requested: 1, Phase: "live"}},
		{"live beside one that goes", 1, says("1", "ready", "terminating"), workload.Status{Ready: 1, UpToDate: 1, Requested: 1, Phase: "live"}},
		{"ready beside an old one", 1, says("1", "ready", "-ready_out_of_date"), workload.Status{
			Ready: 2, UpToDate: 1, Requested: 1, Phase: "updating", Reason: "1 of 1 replica ready; 1 replica of an earlier version still answers requests",
		}},
		{"starting", 2, says("1", "ready", "creating"), workload.Status{Ready: 1, UpToDate: 1, Requested: 2, Phase: "updating", Reason: "1 of 2 replicas ready: because creating"}},
		{
			"rolling", 1, says("1", "not_ready", "-ready_out_of_date"),
			workload.Status{Ready: 1, Requested: 1, Phase: "updating", Reason: "0 of 1 replica ready: because not_ready; 1 replica of an earlier version still answers requests"},
		},
		{"the engine is behind", 1, says("0", "ready"), workload.Status{Ready: 1, Requested: 1, Phase: "updating", Reason: "1 replica about to be started"}},
		{"a failure of the version before", 1, failing(says("0", "failed"), "gone"), workload.Status{Requested: 1, Phase: "updating", Reason: "1 replica about to be started"}},
		{"failed", 1, failing(says("1", "failed"), "it ends"), workload.Status{Requested: 1, Phase: "failed", Reason: "it ends"}},
		{
			"failed beside an old one", 1, failing(says("1", "failed", "-ready"), "it ends"),
			workload.Status{Ready: 1, Requested: 1, Phase: "degraded", Reason: "it ends; 1 replica of an earlier version still answers requests"},
		},
		{"idle", 0, says("1"), workload.Status{Phase: "idle", Reason: "scaled to zero; the first request starts a replica"}},
		{"idle before the engine knows", 0, nil, workload.Status{Phase: "idle", Reason: "scaled to zero; the first request starts a replica"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := statusOf(store.Workload{Revision: revisionOf("1"), Replicas: tt.replicas}, tt.engine)
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("statusOf() differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCountsOfEveryState(t *testing.T) {
	t.Parallel()
	w := store.Workload{Revision: revisionOf("1"), Replicas: 3}
	es := says("1", "pending", "creating", "not_ready", "ready", "-ready", "err_image_pull", "terminating", "failed", "killed", "killed_oom", "stalled", "unknown", "of tomorrow")
	want := workload.Counts{
		Requested: 3, Pending: 1, Creating: 1, NotReady: 1, Ready: 1, ReadyOutOfDate: 1, ErrImagePull: 1, Terminating: 1,
		Failed: 1, Killed: 1, KilledOOM: 1, Stalled: 1, Unknown: 2,
	}
	if diff := cmp.Diff(want, *countsOf(w, es)); diff != "" {
		t.Errorf("countsOf() differs (-want +got):\n%s", diff)
	}
}

func TestIsUpdating(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		min  int32
		es   *engine.Status
		want bool
	}{
		{"not started", 1, nil, true},
		{"nothing is needed", 0, nil, false},
		{"ready", 1, says("1", "ready", "creating"), false},
		{"one short", 2, says("1", "ready", "creating"), true},
		{"one short, and one has failed", 2, says("1", "ready", "failed"), false},
		{"an old one has failed", 2, says("1", "ready", "-failed"), true},
		{"failed", 1, failing(says("1", "creating"), "x"), false},
		{"the engine is behind", 1, failing(says("0", "ready"), "x"), true},
	} {
		w := store.Workload{Revision: revisionOf("1"), Replicas: 2}
		w.Revision.Autoscaling.MinReplicas = tt.min
		if got := isUpdating(w, tt.es); got != tt.want {
			t.Errorf("%s: isUpdating() = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestListGetAndDescribe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.deploy(splitter("a-split", "z", "b") + realtime("z", "  autoscaling:\n    min_replicas: 2\n") + realtime("b", ""))
	w.live("z")
	w.live("b")
	list, err := w.List(t.Context())
	if err != nil {
		t.Fatalf("List() = %v", err)
	}
	var got []string
	for _, r := range list {
		line := r.Metadata.Name
		if r.Status != nil {
			line += " " + string(r.Status.Phase)
		}
		if r.NumTrafficSplitterTargets != nil {
			line += " targets " + itoa(*r.NumTrafficSplitterTargets)
		}
		if r.Spec != nil || r.Endpoint != "" || r.APIVersions != nil {
			line += " and more than a list shows"
		}
		got = append(got, line)
	}
	if diff := cmp.Diff([]string{"b live", "z live", "a-split targets 2"}, got); diff != "" {
		t.Errorf("List() differs (-want +got):\n%s", diff)
	}

	r, err := w.Get(t.Context(), "z")
	if err != nil || r.Spec == nil || r.Endpoint != "http://localhost:8888/z" || len(r.APIVersions) != 1 || r.Status.UpToDate != 2 {
		t.Errorf("Get(z) = %+v, %v, want spec, endpoint, one version and 2 replicas", r, err)
	}
	r, err = w.Describe(t.Context(), "z")
	if err != nil || r.Spec != nil || r.Status.ReplicaCounts.Ready != 2 || len(r.Status.Replicas) != 2 {
		t.Errorf("Describe(z) = %+v, %v, want counts and 2 replicas, and no spec", r, err)
	}
	_, err = w.Describe(t.Context(), "a-split")
	wantFault(t, "Describe(a-split)", err, fault.Invalid, "resources.operation_is_only_supported_for_kind")
	for name, call := range map[string]func() error{
		"Get":      func() error { _, err := w.Get(t.Context(), "no"); return err },
		"Describe": func() error { _, err := w.Describe(t.Context(), "no"); return err },
		"Version":  func() error { _, err := w.Version(t.Context(), "no", "123456"); return err },
		"History":  func() error { _, err := w.History(t.Context(), "no"); return err },
		"Rollback": func() error { _, err := w.Rollback(t.Context(), "no", ""); return err },
		"Refresh":  func() error { _, err := w.Refresh(t.Context(), "no", false); return err },
		"Delete":   func() error { _, err := w.Delete(t.Context(), "no", workload.DeleteOptions{}); return err },
		"Explain":  func() error { _, err := w.Explain(t.Context(), "no"); return err },
		"Events":   func() error { return w.Events(t.Context(), workload.EventQuery{Name: "no"}, nil) },
		"Scale":    func() error { return w.Scale(t.Context(), "no", 1, "") },
		"Wake":     func() error { return w.Wake(t.Context(), "no") },
	} {
		wantFault(t, name+"(no)", call(), fault.NotFound, "resources.api_not_deployed")
	}
}

func TestInfoCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.deploy(realtime("a", "  autoscaling:\n    min_replicas: 3\n") + splitter("s", "a"))
	w.live("a")
	info, err := w.Info(t.Context())
	if err != nil || info.APIs != 2 || info.Replicas != 3 || info.Environment != "local" {
		t.Errorf("Info() = %+v, %v, want 2 APIs, 3 replicas, environment local", info, err)
	}
}

func wantFault(t *testing.T, what string, err error, kind fault.Kind, code string) {
	t.Helper()
	if !fault.Is(err, kind) || fault.Code(err) != code {
		t.Errorf("%s = %v (code %q), want a %s fault with code %s", what, err, fault.Code(err), kind, code)
	}
}
