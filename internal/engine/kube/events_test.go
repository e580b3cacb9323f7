package kube

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/workload"
)

// reasonsOf lists what is told when one observation of testdata/status follows
// another; "" is that nothing was there before.
func reasonsOf(t *testing.T, before, after string) []string {
	t.Helper()
	look := func(name string) picture {
		if name == "" {
			return picture{}
		}
		return statusOf(observed(t, filepath.Join("testdata/status", name+".yaml")))
	}
	var all []string
	for _, e := range eventsBetween(look(before), look(after), noon) {
		if e.API == "" && after != "" || e.Time != noon || e.Message == "" || e.Type != "normal" && e.Type != "warning" {
			t.Errorf("event %+v, want API, time, type and message", e)
		}
		all = append(all, e.Reason)
	}
	return all
}

func TestEventsBetween(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, before, after string
		want                []string
	}{
		{"nothing changes", "ready", "ready", nil},
		{"a replica appears", "idle", "creating", []string{"ReplicaStarting"}},
		{"it appears ready", "", "ready", []string{"ReplicaStarting", "ReplicaReady"}},
		{"it becomes ready", "creating", "ready", []string{"ReplicaReady"}},
		{"it is not ready any more", "ready", "probe_failing", []string{"ReplicaNotReady"}},
		{"it ends", "ready", "exited", []string{"ContainerExited", "ReplicaNotReady"}},
		{"it ended before", "exited", "exited", nil},
		{"its liveness fails", "ready", "liveness", []string{"ContainerRestarting", "ReplicaNotReady"}},
		{"it cannot be started", "creating", "missing_executable", []string{"ContainerNotStarted"}},
		{"its image cannot be pulled", "creating", "image_pull", []string{"ContainerNotStarted"}},
		{"it still cannot", "image_pull", "image_not_found", []string{"ReplicaStarting", "ReplicaReady"}}, // of the old one
		{"it is stopped", "ready", "terminating", []string{"ReplicaStopping"}},
		{"it is being stopped", "terminating", "terminating", nil},
		{"it is gone", "terminating", "idle", nil},
		{"it is gone at once", "ready", "idle", []string{"ReplicaStopping"}},
		{"it had to be killed", "terminating", "terminating_forced", []string{"TerminationForced"}},
		{"its hook failed", "terminating", "terminating_hook", []string{"PreStopFailed"}},
		{"a quota is used up", "idle", "quota", []string{"ReplicaRefused"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := reasonsOf(t, tt.before, tt.after); !slices.Equal(got, tt.want) {
				t.Errorf("eventsBetween(%s, %s) = %v, want %v", tt.before, tt.after, got, tt.want)
			}
		})
	}
}

func TestEventsSayWhyAReplicaStops(t *testing.T) {
	t.Parallel()
	ready := statusOf(observed(t, "testdata/status/ready.yaml"))
	for name, want := range map[string]string{
		"terminating":         "the number of replicas was reduced",
		"terminating_old":     "it is of an older revision",
		"removed":             "the API was deleted",
		"terminating_drained": "draining node node-1",
	} {
		events := eventsBetween(ready, statusOf(observed(t, filepath.Join("testdata/status", name+".yaml"))), noon)
		if len(events) != 1 || !strings.Contains(events[0].Message, want) {
			t.Errorf("eventsBetween(ready, %s) = %+v, want one that says %q", name, events, want)
		}
	}
}

// TestLateReports is a node that says what happened, and only then why.
func TestLateReports(t *testing.T) {
	t.Parallel()
	reasons := func(events []workload.Event) (all []string) {
		for _, e := range events {
			all = append(all, e.Reason)
		}
		return all
	}
	full := observed(t, "testdata/status/liveness.yaml")
	silent := full
	silent.warnings = nil
	ready, before, after := statusOf(observed(t, "testdata/status/ready.yaml")), statusOf(silent), statusOf(full)
	if got, want := reasons(eventsBetween(ready, before, noon)), []string{"ContainerExited", "ReplicaNotReady"}; !slices.Equal(got, want) {
		t.Errorf("its end: %v, want %v", got, want)
	}
	if got, want := reasons(eventsBetween(before, after, noon)), []string{"ContainerRestarting"}; !slices.Equal(got, want) {
		t.Errorf("and why: %v, want %v", got, want)
	}
	if got := eventsBetween(after, after, noon); len(got) > 0 {
		t.Errorf("once more: %+v, want nothing", got)
	}

	hook := observed(t, "testdata/status/terminating_hook.yaml")
	silent = hook
	silent.warnings = nil
	before = statusOf(silent)
	about := func(pod types.UID) []warning { return hook.warnings[pod] }
	nothing := func(types.UID) []warning { return nil }
	empty := statusOf(observed(t, "testdata/status/idle.yaml"))
	look := func(before picture, reported func(types.UID) []warning, at time.Time) (picture, []string) {
		p := empty
		var told []workload.Event
		p.gone, told = lateHooks("iris", goneBetween(before, p, at), reported, at)
		return p, reasons(told)
	}
	p, told := look(before, nothing, noon)
	if len(told) > 0 {
		t.Errorf("a hook of which nothing is known: %v", told)
	}
	p, told = look(p, about, noon.Add(hooksReported-time.Second))
	if want := []string{"PreStopFailed"}; !slices.Equal(told, want) {
		t.Errorf("a hook that is reported late: %v, want %v", told, want)
	}
	if _, told = look(p, about, noon.Add(hooksReported-time.Second)); len(told) > 0 {
		t.Errorf("it is told twice: %v", told)
	}
	p, _ = look(before, nothing, noon)
	if p, told = look(p, about, noon.Add(hooksReported)); len(told) > 0 || len(p.gone) > 0 {
		t.Errorf("it is remembered for ever: %v, %+v", told, p.gone)
	}
	if _, told = look(statusOf(hook), about, noon); len(told) > 0 {
		t.Errorf("a hook that was told while the pod was there: %v", told)
	}
}

func TestAPIOfPod(t *testing.T) {
	t.Parallel()
	for pod, want := range map[string]string{
		"api-iris-5d9f4b7c8-x2x4k": "iris", "api-text-to-image-5d9f4b7c8-x2x4k": "text-to-image",
		"iris-5d9f4b7c8-x2x4k": "", "api-iris-x2x4k": "", "api-": "", "api": "", "": "", "api---": "",
	} {
		if got, ok := apiOfPod(pod); ok != (want != "") || ok && got != want {
			t.Errorf("apiOfPod(%q) = %q, %v, want %q", pod, got, ok, want)
		}
	}
}
