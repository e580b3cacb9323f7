package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/workload"
)

// A line is said once, and again when nothing has been said for a while.
func TestWaitingIsNotSilent(t *testing.T) {
	t.Parallel()
	a := testApp(t)
	var out bytes.Buffer
	a.streams.Out = &out
	now := time.Unix(1000, 0)
	w := &waiter{app: a, now: func() time.Time { return now }, started: now}
	f := &followed{name: "iris", status: &workload.Status{}, fix: "wait or mend it"}
	for _, after := range []time.Duration{0, 10, 29, 30, 45, 61} {
		now = time.Unix(1000, 0).Add(after * time.Second)
		w.tell(f, "iris: updating")
	}
	f.done = true
	w.tell(f, "iris: live")
	now = now.Add(time.Hour)
	w.tell(f, "iris: live")
	want := "iris: updating\n  what to do: wait or mend it\niris: updating (for 30s)\niris: updating (for 1m1s)\niris: live\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("it said (-want +got):\n%s", diff)
	}
}
