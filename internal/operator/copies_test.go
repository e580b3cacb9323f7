package operator

import (
	"testing"

	"cortex.dev/cortex/internal/workload"
)

// A splitter that is looked at says what its shadow did not get.
func TestGetTellsOfCopies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.copies = func(name string) (workload.Copies, bool) {
		return workload.Copies{Answered: 5, Dropped: 2}, name == "split"
	}
	w.deploy(realtime("a", "") + splitter("split", "a") + splitter("other", "a"))
	if r, err := w.Get(t.Context(), "split"); err != nil || r.Copies == nil || *r.Copies != (workload.Copies{Answered: 5, Dropped: 2}) {
		t.Errorf("Get(split) = %+v, %v, want the copies", r.Copies, err)
	}
	if r, err := w.Get(t.Context(), "other"); err != nil || r.Copies != nil {
		t.Errorf("Get(other) = %+v, %v, want none: it has no shadow", r.Copies, err)
	}
}
