package controlapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// counting keeps calls in memory.
type counting struct {
	mu   sync.Mutex
	sums map[string]int64
	away bool
}

func (c *counting) AddCalls(_ context.Context, more []workload.Calls, _ time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return errors.New("away")
	}
	for _, row := range more {
		c.sums[row.Caller] += row.Requests
	}
	return nil
}

func (c *counting) EachCalls(_ context.Context, _ string, _ time.Time, fn func(workload.Calls) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for caller, n := range c.sums {
		if err := fn(workload.Calls{Caller: caller, CallCounts: workload.CallCounts{Requests: n}}); err != nil {
			return err
		}
	}
	return nil
}

// What a gateway has counted is kept once, whatever is lost on the way, and told to who asks.
func TestCallsAreKeptOnce(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	kept := &counting{sums: map[string]int64{}}
	var err error
	if p.server, err = NewServer(ServerConfig{Reviewer: p.cluster, Gateway: gatewayUser, Loads: p.loads, Waker: p.woken, Calls: kept, Now: p.clock.now}); err != nil {
		t.Fatal(err)
	}
	lose := false // the answer, after what was asked was done
	p.operator.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !lose {
			p.server.ServeHTTP(w, r)
			return
		}
		p.server.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusBadGateway)
	})
	calls := p.client.Calls()
	add := func(n int64) {
		t.Helper()
		rows := []workload.Calls{{Hour: time.Unix(1_790_000_000, 0).UTC(), API: "iris", Caller: "alice", CallCounts: workload.CallCounts{Requests: n}}}
		if err := calls.AddCalls(t.Context(), rows, time.Time{}); err != nil {
			t.Fatalf("AddCalls() = %v", err)
		}
	}
	add(1)
	lose = true
	add(2)
	lose, kept.away = false, true
	add(4)
	kept.away = false
	add(8)
	used := map[string]int64{}
	if err := calls.EachCalls(t.Context(), "iris", time.Time{}, func(c workload.Calls) error { used[c.Caller] += c.Requests; return nil }); err != nil {
		t.Fatal(err)
	}
	if used["alice"] != 15 || len(used) != 1 {
		t.Errorf("what is kept is %v, want 15 of alice", used)
	}
	for name, body := range map[string]string{
		"no gateway":             `{"seq": 1, "rows": []}`,
		"another gateway":        `{"gateway": "gateway-b", "seq": 1, "rows": []}`,
		"an API that cannot be":  `{"gateway": "gateway-a", "seq": 1, "rows": [{"api": "I/ris", "caller": "a", "hour": "2026-12-01T00:00:00Z"}]}`,
		"nobody":                 `{"gateway": "gateway-a", "seq": 1, "rows": [{"api": "iris", "hour": "2026-12-01T00:00:00Z"}]}`,
		"less than none of them": `{"gateway": "gateway-a", "seq": 1, "rows": [{"api": "iris", "caller": "a", "requests": -1, "hour": "2026-12-01T00:00:00Z"}]}`,
	} {
		if w := p.post(pathCalls, "good", strings.NewReader(body)); w.Code != 400 && w.Code != 403 {
			t.Errorf("%s: %d %s, want it refused", name, w.Code, w.Body)
		}
	}
}
