package storetest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A store may check what it is given.
func TestSampleCouldBeDeployed(t *testing.T) {
	t.Parallel()
	w := Sample("iris", 1)
	if got := w.Revision.Spec.Validate(); len(got) > 0 {
		t.Errorf("Validate() of the sample = %v, want nothing wrong", got)
	}
	want := Sample("iris", 1)
	w.Revision.Spec.Default()
	if diff := cmp.Diff(want, w, equal); diff != "" {
		t.Errorf("Default() changes the sample (-want +got):\n%s", diff)
	}
}
