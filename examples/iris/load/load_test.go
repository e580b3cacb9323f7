package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Every third request fails; the program counts them, names the cause and exits 1.
func TestCountsFailures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		failEvery int64
		exit      int
		want      string
	}{
		"none fails": {1 << 40, 0, ", 0 failed, "},
		"some fail":  {3, 1, " × status 503: pending request queue full"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			ctx, enough := context.WithCancel(t.Context()) // by what was asked, not by time
			defer enough()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked := n.Add(1)
				if asked == 6 {
					enough()
				}
				if asked%tt.failEvery == 0 {
					http.Error(w, "pending request queue full", http.StatusServiceUnavailable)
					return
				}
				_, _ = w.Write([]byte(`[{"model": "v1"}]`)) // counted by the caller
			}))
			t.Cleanup(server.Close)
			var out, errs strings.Builder
			exit := run(ctx, []string{"-connections", "2", "-for", "1m", "-flowers", "../flowers.json", server.URL}, &out, &errs)
			if exit != tt.exit || !strings.Contains(out.String(), tt.want) || !strings.Contains(out.String(), "answered by model v1") {
				t.Errorf("run = %d, want %d; it printed %s%s, want %q", exit, tt.exit, out.String(), errs.String(), tt.want)
			}
		})
	}
}

func TestWrongUsageExitsTwo(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	if exit := run(t.Context(), nil, &out, &errs); exit != 2 || !strings.Contains(errs.String(), "usage: load") {
		t.Errorf("run() = %d with %q, want 2 and the usage", exit, errs.String())
	}
}
