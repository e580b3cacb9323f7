package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// called is a service whose APIs were called.
type called struct{ workload.Service }

func (called) Calls(context.Context, workload.CallsQuery) (all []workload.Calls, _ error) {
	for _, api := range []string{"hidden", "hidden", "iris", "other", "other"} {
		all = append(all, workload.Calls{API: api, Caller: "alice"})
	}
	return all, nil
}

func TestUsageIsListedByAPI(t *testing.T) {
	t.Parallel()
	bearer := http.Header{"Authorization": {"Bearer good"}}
	for _, tt := range []struct {
		guard auth.Guard
		want  []string
	}{
		{&gate{}, []string{"iris", "other", "other"}},
		{nil, []string{"hidden", "hidden", "iris", "other", "other"}},
	} {
		body := send(t, httpapi.NewHandler(called{}, httpapi.Options{Guard: tt.guard}), http.MethodGet, "/v1/usage", "", bearer).Body.String()
		var got []string
		for part := range strings.SplitSeq(body, `"api":"`) {
			if name, _, ok := strings.Cut(part, `"`); ok && name != "" && !strings.ContainsAny(name, "[{") {
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("GET /v1/usage = %s (-want +got):\n%s", body, diff)
		}
	}
}

func TestUsageOverTheWire(t *testing.T) {
	t.Parallel()
	rows := []workload.Calls{{Hour: time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC), API: "iris", Caller: "jwt:a b/c&d", CallCounts: workload.CallCounts{Requests: 3, Seconds: 0.25}}}
	double := &double{answer: rows}
	srv := httptest.NewServer(httpapi.NewHandler(double, httpapi.Options{}))
	defer srv.Close()
	c, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, q := range []workload.CallsQuery{{}, {API: "iris", Caller: "jwt:a b/c&d", Since: 36 * time.Hour}} {
		if got, err := c.Calls(t.Context(), q); err != nil || !cmp.Equal(got, rows) {
			t.Errorf("Calls(%+v) = %+v, %v; want %+v", q, got, err, rows)
		}
	}
	if got, want := strings.Join(double.questions(), " "), "Calls[{API: Caller: Since:0s}] Calls[{API:iris Caller:jwt:a b/c&d Since:36h0m0s}]"; got != want {
		t.Errorf("the service was asked %q, want %q", got, want)
	}
}
