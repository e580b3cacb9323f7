package kube

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
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
		"terminating":         "fewer replicas are wanted",
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
