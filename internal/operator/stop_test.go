package operator

import (
	"context"
	"slices"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

const alice = "arn:aws:iam::123456789012:user/alice"

func (w *world) must(what string) func(workload.DeployResult, error) workload.DeployResult {
	return func(r workload.DeployResult, err error) workload.DeployResult {
		w.t.Helper()
		if err != nil {
			w.t.Fatalf("%s = %v", what, err)
		}
		return r
	}
}

// A stopped API asks for nothing, whatever asks for more, in this life and the next; and
// then for what it asked before.
func TestStopHoldsUntilStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.caller = func(context.Context) string { return alice }
	stop := w.run()
	w.deploy(realtime("iris", ""))
	w.live("iris")
	w.must("Resize(3)")(w.Resize(t.Context(), "iris", 3))
	r := w.must("Stop()")(w.Stop(t.Context(), "iris"))
	if r.Action != workload.ActionUpdate || r.Message != "stopping iris (RealtimeAPI)" || r.API.Status.Phase != workload.PhaseStopped {
		t.Errorf("Stop() = %q %q, phase %s", r.Action, r.Message, r.API.Status.Phase)
	}
	if r := w.must("Stop() again")(w.Stop(t.Context(), "iris")); r.Action != workload.ActionNone || r.Message != "iris (RealtimeAPI) is stopped" {
		t.Errorf("Stop() again = %q %q, want nothing done", r.Action, r.Message)
	}
	if err := w.Wake(t.Context(), "iris"); err != nil {
		t.Errorf("Wake() of what is stopped = %v", err)
	}
	if err := w.Scale(t.Context(), "iris", 5, "much to do"); err != nil {
		t.Errorf("Scale() of what is stopped = %v", err)
	}
	if list, err := w.Workloads(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("Workloads() = %v, %v, want nothing for the autoscaler", list, err)
	}
	_, err := w.Resize(t.Context(), "iris", 2)
	wantFault(t, "Resize() of what is stopped", err, fault.Conflict, "resources.api_stopped")
	_, err = w.Refresh(t.Context(), "iris", false)
	wantFault(t, "Refresh() of what is stopped", err, fault.Conflict, "resources.api_stopped")
	w.consistent()
	stop()
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}

	again := openWorld(t, w.dir, newFeed())
	again.run()
	again.consistent()
	if d := mustDeployment(t, again, "iris"); d.Replicas != 0 || d.Trial {
		t.Errorf("iris comes back with %d replicas, trial %v, want none", d.Replicas, d.Trial)
	}
	s := again.phase("iris", workload.PhaseStopped)
	if s.Stopped.By != alice || !strings.Contains(s.Reason, "since 2") || !strings.Contains(s.Reason, "Z, by "+alice+"; ") || !strings.HasSuffix(s.Reason, "`cortex start iris` starts it again") {
		t.Errorf("its reason is %q, want who stopped it, when, and what to do", s.Reason)
	}
	again.must("Start()")(again.Start(t.Context(), "iris"))
	again.live("iris")
	if got := again.record("iris"); got.Replicas != 3 || got.Stopped != nil {
		t.Errorf("after Start() it has %d replicas, want the 3 of before", got.Replicas)
	}
	if r := again.must("Start() again")(again.Start(t.Context(), "iris")); r.Action != workload.ActionNone {
		t.Errorf("Start() again = %q %q, want nothing done", r.Action, r.Message)
	}
	for _, want := range []string{"ScaledUp", "Stopped", "Started"} {
		if got := reasons(t, again.Operator, "iris"); !slices.Contains(got, want) {
			t.Errorf("its events are %v, want %s among them", got, want)
		}
	}
}

// What deploys an API makes it what its specification says.
func TestADeployStartsWhatIsStopped(t *testing.T) {
	t.Parallel()
	other := "  autoscaling:\n    max_replicas: 7\n"
	off := "  stopped: true\n"
	for _, tt := range []struct {
		name, first string
		do          func(*world) string // its message
		want        string
		stopped     bool
	}{
		{"the same file", "", func(w *world) string { return w.deploy(realtime("iris", ""))[0].Message }, "starting iris (RealtimeAPI)", false},
		{"another one", "", func(w *world) string { return w.deploy(realtime("iris", other))[0].Message },
			"updating iris (RealtimeAPI), which was stopped, and is started", false},
		{"a rollback", other, func(w *world) string {
			return w.must("Rollback()")(w.Rollback(w.t.Context(), "iris", "v1")).Message
		}, "rolling back iris (RealtimeAPI) to v1, which was stopped, and is started", false},
		{"a file that says stopped", "", func(w *world) string { return w.deploy(realtime("iris", off))[0].Message }, "updating iris (RealtimeAPI)", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.run()
			w.deploy(realtime("iris", ""))
			w.live("iris")
			if tt.first != "" {
				w.deploy(realtime("iris", tt.first))
				w.live("iris")
			}
			w.must("Stop()")(w.Stop(t.Context(), "iris"))
			w.phase("iris", workload.PhaseStopped)
			if got := tt.do(w); got != tt.want {
				t.Errorf("it says %q, want %q", got, tt.want)
			}
			if tt.stopped {
				w.phase("iris", workload.PhaseStopped)
			} else {
				w.live("iris")
			}
		})
	}
}

// A file that says stopped deploys without starting, and again when it is deployed again.
func TestStoppedByItsSpecification(t *testing.T) {
	t.Parallel()
	off := realtime("iris", "  stopped: true\n  autoscaling:\n    min_replicas: 2\n")
	w := newWorld(t)
	w.run()
	w.deploy(off)
	s := w.phase("iris", workload.PhaseStopped)
	if !strings.Contains(s.Reason, ", by its specification; ") {
		t.Errorf("its reason is %q, want its specification", s.Reason)
	}
	w.consistent()
	if d := mustDeployment(t, w, "iris"); d.Replicas != 0 || d.Trial {
		t.Errorf("the engine is asked for %d replicas, trial %v, want none", d.Replicas, d.Trial)
	}
	if r := w.deploy(off)[0]; r.Action != workload.ActionNone {
		t.Errorf("Deploy() again = %q %q, want nothing done", r.Action, r.Message)
	}
	w.must("Start()")(w.Start(t.Context(), "iris"))
	w.live("iris")
	if got := w.record("iris").Replicas; got != 2 {
		t.Errorf("after Start() it has %d replicas, want its min_replicas of 2", got)
	}
	if r := w.deployAs(workload.DeployRequest{Config: off, DryRun: true})[0]; r.Message != "would stop iris (RealtimeAPI)" {
		t.Errorf("Deploy(dry run) says %q", r.Message)
	}
	w.live("iris")
	if r := w.deploy(off)[0]; r.Message != "stopping iris (RealtimeAPI)" {
		t.Errorf("Deploy() says %q, want that it is stopped again", r.Message)
	}
	w.phase("iris", workload.PhaseStopped)
}

// What has failed and was stopped is stopped, and not tried on.
func TestWhatFailedCanBeStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.feed.obey = byCommand
	w.run()
	w.deploy(running("bad", ""))
	w.phase("iris", workload.PhaseFailed)
	w.must("Stop()")(w.Stop(t.Context(), "iris"))
	w.phase("iris", workload.PhaseStopped)
	if r := w.deploy(running("bad", ""))[0]; r.Message != "trying iris (RealtimeAPI) again, which has failed" {
		t.Errorf("Deploy() says %q, want that it is tried again", r.Message)
	}
	w.phase("iris", workload.PhaseFailed)
}

func TestResizeStaysWithinBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("iris", "  autoscaling:\n    min_replicas: 1\n    max_replicas: 4\n") + splitter("s", "iris"))
	for n, want := range map[int]string{0: "min_replicas", -1: "min_replicas", 5: "max_replicas"} {
		_, err := w.Resize(t.Context(), "iris", n)
		wantFault(t, "Resize()", err, fault.Invalid, "resources.replicas_out_of_range")
		if !strings.Contains(err.Error(), want) || !strings.Contains(fault.From(err).Hint, "autoscaling."+want) {
			t.Errorf("Resize(%d) = %v (%s), want %s named", n, err, fault.From(err).Hint, want)
		}
	}
	if r := w.must("Resize(4)")(w.Resize(t.Context(), "iris", 4)); r.Message != "scaling iris (RealtimeAPI) from 1 to 4 replicas" {
		t.Errorf("Resize(4) says %q", r.Message)
	}
	if r := w.must("Resize(4)")(w.Resize(t.Context(), "iris", 4)); r.Action != workload.ActionNone {
		t.Errorf("Resize(4) again = %q %q, want nothing done", r.Action, r.Message)
	}
	for what, err := range map[string]error{
		"Stop(s)":   second(w.Stop(t.Context(), "s")),
		"Start(s)":  second(w.Start(t.Context(), "s")),
		"Resize(s)": second(w.Resize(t.Context(), "s", 1)),
	} {
		wantFault(t, what, err, fault.Invalid, "resources.operation_is_only_supported_for_kind")
	}
	_, err := w.Stop(t.Context(), "nothing")
	wantFault(t, "Stop(nothing)", err, fault.NotFound, "resources.api_not_deployed")
}

func second[T any](_ T, err error) error { return err }

// Explain says that somebody wants it so, and a splitter that a target does not answer.
func TestExplainWhatIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.deploy(realtime("iris", "") + splitter("s", "iris"))
	w.live("iris")
	w.must("Stop()")(w.Stop(t.Context(), "iris"))
	w.phase("iris", workload.PhaseStopped)
	e, err := w.Explain(t.Context(), "iris")
	if err != nil || e.Healthy || e.Cause == nil || e.Cause.Code != "stopped" || !strings.HasPrefix(e.Summary, "iris is stopped since ") {
		t.Errorf("Explain(iris) = %+v, %v, want that it is stopped", e, err)
	}
	if last := e.Steps[len(e.Steps)-1]; last.OK || !strings.Contains(last.Detail, "requests are refused") {
		t.Errorf("its traffic is %+v, want refused requests", last)
	}
	e, err = w.Explain(t.Context(), "s")
	if err != nil || e.Healthy || e.Cause == nil || !strings.HasPrefix(e.Cause.Message, "iris is stopped since ") || !strings.Contains(e.Cause.Fix, "cortex start iris") {
		t.Errorf("Explain(s) = %+v, %v, want the target that is stopped", e, err)
	}
}

// What an engine cannot do is refused before anything is asked of it, and so is what no
// command line can be.
func TestExecIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(realtime("iris", "") + splitter("s", "iris"))
	req := func(name string, tty *workload.TTY, words ...string) workload.ExecRequest {
		return workload.ExecRequest{Name: name, Command: words, TTY: tty}
	}
	for _, tt := range []struct {
		req  workload.ExecRequest
		code string
	}{
		{req("nothing", nil, "ls"), "resources.api_not_deployed"},
		{req("s", nil, "ls"), "resources.operation_is_only_supported_for_kind"},
		{req("iris", nil), "exec.invalid_command"},
		{req("iris", nil, ""), "exec.invalid_command"},
		{req("iris", nil, "a\x00b"), "exec.invalid_command"},
		{req("iris", nil, strings.Repeat("x", workload.MaxExecBytes)), "exec.invalid_command"},
		{req("iris", nil, slices.Repeat([]string{"x"}, workload.MaxExecWords+1)...), "exec.invalid_command"},
		{req("iris", &workload.TTY{Term: "x\n"}, "ls"), "exec.invalid_command"},
		{req("iris", &workload.TTY{Term: "xterm-256color"}, "ls"), "exec.not_here"}, // the feed runs nothing
	} {
		if _, err := w.Exec(t.Context(), tt.req, workload.ExecStreams{}); fault.Code(err) != tt.code {
			t.Errorf("Exec(%.40q) = %v, want %s", tt.req.Command, err, tt.code)
		}
	}
}
