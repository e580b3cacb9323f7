package eks

import (
	"strings"
	"testing"
	"testing/synctest"
)

// A whole life of a cluster with nothing but the published minimum policy.
func TestLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			w.tell()
			t.Fatalf("up: %v", err)
		}
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.Info(ctx, "iris")
		if err != nil {
			t.Fatalf("info: %v", err)
		}
		if len(s.Drift) > 0 || s.State != "ACTIVE" || len(s.Groups) != 2 || s.Cost == nil || len(s.Notes) > 0 {
			t.Errorf("Info = %+v, want an active cluster of two groups, with its price and without drift", s)
		}
		found, err := w.down(ctx)
		if err != nil {
			w.tell()
			t.Fatalf("down: %v", err)
		}
		if l := left(found); len(l) > 0 {
			t.Errorf("verify finds %q", l)
		}
		if l := w.aws.Left(); len(l) > 0 {
			t.Errorf("left: %q", l)
		}
		// The endpoint of S3 is the one thing whose handler asks for more than the policy has.
		for _, c := range w.aws.Calls() {
			if !c.Implied && (strings.Contains(c.Result, "AccessDenied") || strings.Contains(c.Result, "Unauthorized")) {
				t.Errorf("refused: %+v", c)
			}
		}
	})
}

// tell logs what happened, for a test that has failed.
func (w *world) tell() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		w.t.Log(e.At.Format("15:04:05"), e.Step, e.State, e.Text, e.Took)
	}
}
