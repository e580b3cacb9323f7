package jetstream

import (
	"testing"

	"cortex.dev/cortex/internal/jobs/jobstest"
	"cortex.dev/cortex/internal/ledger/jetstream/jetstreamtest"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	for _, servers := range []int{1, 3} {
		l, _ := open(t, jetstreamtest.Start(t, servers), "items", servers)
		jobstest.Records(t, l.Records())
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	l, _ := open(t, jetstreamtest.Start(t, 1), "items", 1)
	f := l.Files()
	jobstest.Files(t, f)
	if err := f.RemoveAll(t.Context(), "iris", "a11"); err != nil {
		t.Fatal(err)
	}
	// What is dropped leaves nothing behind, its name neither.
	stream, err := l.js.Stream(t.Context(), "OBJ_items-jobs")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 0 {
		t.Errorf("%d messages are left, %v", info.State.Msgs, err)
	}
}
