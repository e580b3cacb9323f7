package operator

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// because gives the replicas of es their reasons, by code; "" leaves one as it is.
func because(es *engine.Status, codes ...string) *engine.Status {
	for i, code := range codes {
		if code != "" {
			es.Replicas[i].Reason = &workload.Reason{
				Code: code, Message: "message of " + code, Fix: "fix of " + code,
				Evidence: []workload.Evidence{{Kind: "log", Text: "line"}},
			}
		}
	}
	return es
}

func TestExplain(t *testing.T) {
	t.Parallel()
	final := says("1", "failed")
	final.Failed = &workload.Reason{Code: "missing_executable", Message: "there is no ./serve", Fix: "build it"}
	for _, tt := range []struct {
		name     string
		replicas int
		es       *engine.Status
		healthy  bool
		cause    string   // its code
		steps    []string // layers, with ! where something is wrong and ? where waiting may do
		summary  string
	}{
		{"live", 2, says("1", "ready", "ready"), true, "", []string{"spec", "engine", "process", "port", "probe", "traffic"}, "iris is live: 2 of 2 replicas ready."},
		{"idle", 0, says("1"), true, "", []string{"spec", "engine", "process", "port", "probe", "traffic"}, "iris is scaled to zero on purpose; the first request starts a replica."},
		{"idle, unknown to the engine", 0, nil, true, "", []string{"spec", "engine", "process", "port", "probe", "traffic"}, "iris is scaled to zero on purpose; the first request starts a replica."},
		{"not taken over", 1, nil, false, "not_applied", []string{"spec", "?engine", "!traffic"}, "iris is not ready yet: this version is not being started yet."},
		{"image", 1, because(says("1", "err_image_pull"), "image_pull"), false, "image_pull", []string{"spec", "!engine", "!traffic"}, "iris is not ready yet: message of image_pull."},
		{"starting", 2, because(says("1", "creating", "ready"), "starting"), false, "starting", []string{"spec", "engine", "?process", "traffic"}, "iris is not ready yet: 1 of 2 replicas ready, the others are being started."},
		{"first probe", 1, because(says("1", "not_ready"), "starting"), false, "starting", []string{"spec", "engine", "process", "port", "?probe", "!traffic"}, "iris is not ready yet: 0 of 1 replica ready, the others are being started."},
		{"executable", 1, final, false, "missing_executable", []string{"spec", "engine", "!process", "!traffic"}, "iris has failed: there is no ./serve."},
		{"crash loop", 1, because(says("1", "failed"), "crash_loop"), false, "crash_loop", []string{"spec", "engine", "!process", "!traffic"}, "iris is not ready yet: message of crash_loop."},
		{"never listened", 1, because(says("1", "not_ready"), "never_listened"), false, "never_listened", []string{"spec", "engine", "process", "?port", "!traffic"}, "iris is not ready yet: message of never_listened; it was started 12s ago and may still be loading."},
		{"probe", 1, because(says("1", "not_ready"), "probe_failing"), false, "probe_failing", []string{"spec", "engine", "process", "port", "?probe", "!traffic"}, "iris is not ready yet: message of probe_failing; it was started 12s ago and may still be loading."},
		{
			"an older version answers", 1, because(says("1", "not_ready", "-ready"), "probe_failing"), false, "probe_failing",
			[]string{"spec", "engine", "process", "port", "?probe", "traffic"}, "iris is not ready yet: message of probe_failing; it was started 12s ago and may still be loading.",
		},
		{
			"the earliest layer of several replicas", 3, because(says("1", "not_ready", "failed", "not_ready"), "probe_failing", "exited", "never_listened"), false, "exited",
			[]string{"spec", "engine", "!process", "!traffic"}, "iris is not ready yet: message of exited.",
		},
		{
			"replicas that go do not count", 1, because(says("1", "terminating", "-failed", "not_ready"), "killed", "exited", "probe_failing"), false, "probe_failing",
			[]string{"spec", "engine", "process", "port", "?probe", "!traffic"}, "iris is not ready yet: message of probe_failing; it was started 12s ago and may still be loading.",
		},
		{"a code of tomorrow", 1, because(says("1", "not_ready"), "new_code"), false, "new_code", []string{"spec", "engine", "process", "port", "!probe", "!traffic"}, "iris is not ready yet: message of new_code."},
		{"a code of tomorrow, not placed", 1, because(says("1", "pending"), "new_code"), false, "new_code", []string{"spec", "!engine", "!traffic"}, "iris is not ready yet: message of new_code."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := store.Workload{Revision: revisionOf("1"), Replicas: tt.replicas}
			at := time.Now()
			if tt.es != nil {
				for i := range tt.es.Replicas {
					tt.es.Replicas[i].Since = at.Add(-12 * time.Second)
				}
			}
			e := explain(w, tt.es, nil, "http://localhost:8888/iris", at)
			var steps []string
			for _, s := range e.Steps {
				mark := ""
				switch {
				case s.Pending:
					mark = "?"
				case !s.OK:
					mark = "!"
				}
				steps = append(steps, mark+s.Layer)
				if s.Detail == "" {
					t.Errorf("step %s says nothing", s.Layer)
				}
			}
			if diff := cmp.Diff(tt.steps, steps); diff != "" {
				t.Errorf("steps differ (-want +got):\n%s", diff)
			}
			code := ""
			if e.Cause != nil {
				code = e.Cause.Code
				if e.Cause.Message == "" || e.Cause.Fix == "" {
					t.Errorf("cause %+v has no message or no fix", e.Cause)
				}
			}
			if code != tt.cause || e.Healthy != tt.healthy || e.Summary != tt.summary {
				t.Errorf("explain() = healthy %v, cause %q, %q; want %v, %q, %q", e.Healthy, code, e.Summary, tt.healthy, tt.cause, tt.summary)
			}
		})
	}
}

// A replica that listens on another port does not come to listen on this one by loading,
// and neither has one to load that is of a version which was live.
func TestLoadingIsNoExcuse(t *testing.T) {
	t.Parallel()
	w := store.Workload{Revision: revisionOf("1"), Replicas: 1}
	es := because(says("1", "not_ready"), "never_listened")
	loading := func() bool { return explain(w, es, nil, "", time.Now()).Steps[3].Pending }
	if !loading() {
		t.Error("a replica that was just started is not said to be loading")
	}
	w.Outcome = workload.BecameLive(time.Now())
	if loading() {
		t.Error("a version that was live is said to be loading")
	}
	w.Outcome = workload.Outcome{}
	es.Replicas[0].Reason.Evidence = append(es.Replicas[0].Reason.Evidence, workload.Evidence{Kind: "port", Text: "it listens on 0.0.0.0:80"})
	if loading() {
		t.Error("a server on another port is said to be loading")
	}
}

// What is lost while requests are answered is said, though nothing keeps the API from it.
func TestExplainWarns(t *testing.T) {
	t.Parallel()
	es := says("1", "ready")
	es.Replicas[0].Warning = "log lines are lost: no space left on device"
	w := store.Workload{Revision: revisionOf("1"), Replicas: 1}
	e := explain(w, es, nil, "", time.Now())
	if want := "iris is live: 1 of 1 replica ready. But log lines are lost: no space left on device."; e.Summary != want || !e.Healthy {
		t.Errorf("explain() = %q, healthy %v, want %q and healthy", e.Summary, e.Healthy, want)
	}
	if s := statusOf(w, es); s.Warning != es.Replicas[0].Warning || s.Phase != workload.PhaseLive {
		t.Errorf("statusOf() = %+v, want live with the warning", s)
	}
}

func TestExplainSaysWhatStandsInTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mended atomic.Bool
	w.feed.refuse = func(string) error {
		if mended.Load() {
			return nil
		}
		return fault.New(fault.Unavailable, "engine.being_removed", "the one before is still being deleted").WithHint("see who holds it")
	}
	w.run()
	w.deploy(realtime("iris", ""))
	eventually(t, "the explanation names the trouble", func() bool {
		e, err := w.Explain(t.Context(), "iris")
		return err == nil && e.Cause != nil && e.Cause.Code == codeNotApplied &&
			strings.HasSuffix(e.Cause.Message, "the one before is still being deleted") && e.Cause.Fix == "see who holds it"
	})
	mended.Store(true)
	eventually(t, "it is healthy", func() bool {
		e, err := w.Explain(t.Context(), "iris")
		return err == nil && e.Healthy && w.cache.why("iris") == nil
	})
}

func TestExplainCarriesTheEvidence(t *testing.T) {
	t.Parallel()
	w := store.Workload{Revision: revisionOf("1"), Replicas: 1}
	e := explain(w, because(says("1", "failed"), "exited"), nil, "", time.Now())
	want := []workload.Evidence{{Kind: "log", Text: "line"}}
	if diff := cmp.Diff(want, e.Cause.Evidence); diff != "" {
		t.Errorf("evidence differs (-want +got):\n%s", diff)
	}
}

func TestExplainSplitter(t *testing.T) {
	t.Parallel()
	live := &workload.Status{Ready: 2, UpToDate: 2, Requested: 2, Phase: workload.PhaseLive}
	idle := &workload.Status{Phase: workload.PhaseIdle}
	failed := &workload.Status{Requested: 1, Phase: workload.PhaseFailed, Reason: "it ends"}
	halfFailed := &workload.Status{Ready: 1, Requested: 1, Phase: workload.PhaseDegraded, Reason: "it ends"}
	starting := &workload.Status{Requested: 1, Phase: workload.PhaseUpdating, Reason: "0 of 1 replica ready"}
	for _, tt := range []struct {
		name    string
		a, b    *workload.Status
		weightB int32
		cause   string // a part of the message
		steps   string // of a and b
	}{
		{"both answer", live, live, 50, "", "ok ok"},
		{"one is at zero", live, idle, 50, "", "ok ok"},
		{"one has failed", live, failed, 50, "b has failed: it ends", "ok no"},
		{"one has failed, an older version answers", live, halfFailed, 50, "", "ok ok"},
		{"one has failed and gets nothing", live, failed, 0, "", "ok no"},
		{"one is starting", starting, live, 50, "a is updating", "no ok"},
		{"one is gone", live, nil, 50, "b is not deployed", "ok no"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := store.Workload{Revision: &workload.Revision{ID: "1", FileName: "cortex.yaml", Spec: workload.Spec{Name: "split", Kind: workload.Splitter}}}
			e := explainSplitter(w, []target{
				{workload.Target{Name: "a", Weight: 100 - tt.weightB}, tt.a},
				{workload.Target{Name: "b", Weight: tt.weightB}, tt.b},
			}, "http://localhost:8888/split", time.Now())
			var got []string
			for _, s := range e.Steps[1:] {
				got = append(got, map[bool]string{true: "ok", false: "no"}[s.OK])
			}
			if words := strings.Join(got, " "); words != tt.steps {
				t.Errorf("targets are %s, want %s", words, tt.steps)
			}
			message := ""
			if e.Cause != nil {
				message = e.Cause.Message
			}
			if e.Healthy != (tt.cause == "") || !strings.HasPrefix(message, tt.cause) || message == "" != e.Healthy {
				t.Errorf("explainSplitter() = healthy %v, %q, want cause %q", e.Healthy, message, tt.cause)
			}
		})
	}
}

func TestExplainOfWhatRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.deploy(realtime("iris", "") + splitter("split", "iris"))
	w.live("iris")
	for _, name := range []string{"iris", "split"} {
		e, err := w.Explain(t.Context(), name)
		if err != nil || !e.Healthy || e.Name != name || e.At.IsZero() {
			t.Errorf("Explain(%s) = %+v, %v, want it healthy", name, e, err)
		}
	}
	s := says("1", "failed")
	s.Revision = w.record("iris").Revision.ID
	w.feed.tell(*because(s, "exited"))
	e, err := w.Explain(t.Context(), "split")
	if err != nil || e.Healthy || !strings.Contains(e.Cause.Fix, "cortex explain iris") {
		t.Errorf("Explain(split) = %+v, %v, want iris as its cause", e, err)
	}
}
