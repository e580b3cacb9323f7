package async

import (
	"io"
	"net/http"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/schedule"
	"cortex.dev/cortex/internal/workload"
)

// A run of a schedule is one item, however often it is begun and whatever its payload has
// become in between.
func TestScheduled(t *testing.T) {
	t.Parallel()
	type seen struct{ schedule, due, contentType, body string }
	saw := make(chan seen, 8)
	r := start(t, workload.NewAsynchronous(), func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body) // of a buffer
		saw <- seen{req.Header.Get("X-Cortex-Schedule"), req.Header.Get("X-Cortex-Scheduled-Time"), req.Header.Get("Content-Type"), string(body)}
		if string(body) == "no" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	runner := r.s.Scheduled()
	begin := func(id string, p workload.Payload) string {
		t.Helper()
		item, err := runner.Begin(t.Context(), "iris", schedule.Run{
			ID: id, Time: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), Schedule: &workload.Schedule{Name: "nightly", Payload: &p}, KeepID: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		return item
	}
	first := begin("a", workload.Payload{JSON: `{"n":1}`})
	if again := begin("a", workload.Payload{Text: "other"}); again != first {
		t.Errorf("begun twice it is %s and %s", first, again)
	}
	failing := begin("b", workload.Payload{Text: "no"})
	for id, want := range map[string]schedule.State{first: schedule.Succeeded, failing: schedule.Failed} {
		r.until("the item to end", func() bool {
			state, err := runner.State(t.Context(), "iris", id)
			return err == nil && state == want
		})
	}
	got := map[seen]bool{<-saw: true, <-saw: true}
	for _, want := range []seen{
		{"nightly", "2026-01-02T03:00:00Z", "application/json", `{"n":1}`},
		{"nightly", "2026-01-02T03:00:00Z", "text/plain; charset=utf-8", "no"},
	} {
		if !got[want] {
			t.Errorf("the container got %v, want %v", got, want)
		}
	}
	if state, err := runner.State(t.Context(), "iris", "0"); err != nil || state != schedule.Gone {
		t.Errorf("State() of what is not there = %s, %v, want gone", state, err)
	}
	if err := runner.Cancel(t.Context(), "iris", first); err != nil {
		t.Errorf("Cancel() of what has ended = %v, want nil", err)
	}
	if _, err := runner.Begin(t.Context(), "lily", schedule.Run{ID: "c", Schedule: &workload.Schedule{Payload: &workload.Payload{Text: "x"}}}); !fault.Is(err, fault.NotFound) {
		t.Errorf("Begin() of an API that is not deployed = %v, want that it is not", err)
	}
}
