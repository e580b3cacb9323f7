package operator

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/async"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// itemWorld is an operator with who keeps items, for whom no replica has a place.
func itemWorld(t *testing.T) (*world, *async.Service) {
	t.Helper()
	w := newWorld(t)
	items, err := bolt.OpenItems(t.Context(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	work, err := async.New(async.Config{
		Ledger: items, Blobs: async.NewFolder(t.TempDir()), Deployed: w.store,
		Acquire: func(context.Context, string, bool) (async.Place, error) { return nil, errors.New("nobody is there") },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- work.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
		_ = items.Close() // what was written is on the disk
	})
	w.items = work
	return w, work
}

const transcribe = `
- name: transcribe
  kind: AsyncAPI
  pod: {containers: [{name: api, command: [serve]}]}
`

// Items of an AsyncAPI are listed, cancelled and tried again; another kind has none, and
// where nobody keeps items such an API is refused.
func TestItems(t *testing.T) {
	t.Parallel()
	w, work := itemWorld(t)
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: transcribe + realtime("iris", "")}); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 2 {
		var location string
		eventually(t, "an item to be accepted", func() bool {
			rec := httptest.NewRecorder()
			work.Serve("transcribe", "/transcribe", rec, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x")))
			location = rec.Header().Get("Location")
			return rec.Code == http.StatusOK
		})
		ids = append(ids, strings.TrimPrefix(location, "/transcribe/"))
	}
	list, err := w.Items(t.Context(), workload.ItemQuery{Name: "transcribe", States: []string{"queued", "running"}})
	if err != nil || len(list) != 2 || list[0].ID != ids[1] || list[1].ID != ids[0] {
		t.Errorf("Items() = %+v, %v, want both, the newest first", list, err)
	}
	if e, err := w.Explain(t.Context(), "transcribe"); err != nil || !strings.Contains(e.Steps[len(e.Steps)-1].Detail, "; 2 items queued, the oldest for ") {
		t.Errorf("Explain() = %+v, %v, want what waits", e.Steps, err)
	}
	changed, err := w.CancelItems(t.Context(), "transcribe", workload.ItemSelection{IDs: ids[:1]})
	if err != nil || len(changed.Changed) != 1 {
		t.Errorf("CancelItems() = %+v, %v", changed, err)
	}
	if i, err := w.Item(t.Context(), "transcribe", ids[0]); err != nil || i.State != "cancelled" || i.Status != "failed" {
		t.Errorf("Item() = %+v, %v, want it cancelled", i, err)
	}
	changed, err = w.RetryItems(t.Context(), "transcribe", workload.ItemSelection{States: []string{"cancelled", "succeeded"}})
	if err != nil || len(changed.Changed) != 1 || changed.More {
		t.Errorf("RetryItems() = %+v, %v", changed, err)
	}
	for _, tt := range []struct {
		name string
		err  error
		code string
	}{
		{"items of a RealtimeAPI", second(w.Items(t.Context(), workload.ItemQuery{Name: "iris"})), "resources.operation_is_only_supported_for_kind"},
		{"items of nobody", second(w.Items(t.Context(), workload.ItemQuery{Name: "lily"})), "resources.api_not_deployed"},
		{"an item that there is not", second(w.Item(t.Context(), "transcribe", "x")), "items.not_found"},
		{"a state that there is not", second(w.Items(t.Context(), workload.ItemQuery{Name: "transcribe", States: []string{"done"}})), codeSelection},
		{"nothing selected", second(w.CancelItems(t.Context(), "transcribe", workload.ItemSelection{})), codeSelection},
		{"both selected", second(w.RetryItems(t.Context(), "transcribe", workload.ItemSelection{IDs: ids, States: []string{"failed"}})), codeSelection},
		{"too many", second(w.RetryItems(t.Context(), "transcribe", workload.ItemSelection{IDs: make([]string, workload.MaxItems+1)})), codeSelection},
		{"to try again what has not ended", second(w.RetryItems(t.Context(), "transcribe", workload.ItemSelection{IDs: ids})), "items.not_in_state"},
	} {
		if fault.Code(tt.err) != tt.code {
			t.Errorf("%s: %v, want %s", tt.name, tt.err, tt.code)
		}
	}
	w.items = nil
	if _, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: strings.ReplaceAll(transcribe, "transcribe", "other")}); fault.Code(err) != codeKindNotRunning {
		t.Errorf("Deploy() without who keeps items = %v, want %s", err, codeKindNotRunning)
	}
}
