package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// watching tells everything to whoever has no line, and then one thing after the other,
// one every second.
type watching struct {
	workload.Service
	all   workload.Watched
	later []workload.Watched
	asked []string
}

func (s *watching) Watch(ctx context.Context, q workload.WatchQuery, fn func(workload.Watched) error) error {
	s.asked = append(s.asked, q.After)
	if q.After == "" {
		if err := fn(s.all); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		if len(s.later) > 0 {
			line := s.later[0]
			s.later = s.later[1:]
			if err := fn(line); err != nil {
				return err
			}
		}
	}
}

func api(name string, kind workload.Kind) workload.WatchedAPI {
	return workload.WatchedAPI{Metadata: workload.Metadata{Name: name, Kind: kind}}
}

// watchFor follows the stream for a while, and returns its lines but the End in short:
// "snapshot a b -gone".
func watchFor(t *testing.T, h http.Handler, d time.Duration, header http.Header) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/watch", nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("GET /v1/watch = %d %s", w.Code, w.Body)
	}
	var lines []string
	for text := range strings.Lines(w.Body.String()) {
		var line workload.Watched
		if err := json.Unmarshal([]byte(text), &line); err != nil || line.ID == "" {
			continue // a sign of life, or the End
		}
		words := []string{}
		if line.Snapshot {
			words = append(words, "snapshot")
		}
		for _, a := range line.APIs {
			words = append(words, a.Name)
		}
		for _, name := range line.Gone {
			words = append(words, "-"+name)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return lines
}

// moody is a gate that changes its mind.
type moody struct {
	gate
	mu      sync.Mutex
	refused map[string]bool
}

// refuses has it refuse an API, or not any more.
func (m *moody) refuses(api string, does bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refused == nil {
		m.refused = map[string]bool{}
	}
	m.refused[api] = does
}

func (m *moody) Identify(ctx context.Context, from auth.Origin, token string) (context.Context, error) {
	ctx, err := m.gate.Identify(ctx, from, token)
	if err != nil {
		return ctx, err
	}
	caller, _ := auth.CallerOf(ctx)
	caller.ExpiresAt = time.Now().Add(time.Hour)
	return auth.WithCaller(ctx, caller), nil
}

func (m *moody) May(_ context.Context, a auth.Action, r auth.Resource) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return a == auth.ActionGet && !m.refused[r.API] && m.gate.May(context.Background(), a, r)
}

// Nobody hears of an API that they may not get: not of its changes, and not of its end.
func TestWatchShowsWhatMayBeSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &watching{
			all: workload.Watched{ID: "e-3", Snapshot: true, APIs: []workload.WatchedAPI{api("a", workload.Realtime), api("hidden", workload.Realtime), api("job", workload.Task)}},
			later: []workload.Watched{
				{ID: "e-4", APIs: []workload.WatchedAPI{api("hidden", workload.Realtime)}},
				{ID: "e-5", APIs: []workload.WatchedAPI{api("hidden", workload.Realtime), api("b", workload.Realtime)}},
				{ID: "e-6", Gone: []string{"a", "hidden"}},
				{ID: "e-7", APIs: []workload.WatchedAPI{api("b", workload.Task)}}, // deleted, and deployed as another kind
			},
		}
		g := &moody{}
		got := watchFor(t, httpapi.NewHandler(svc, httpapi.Options{Guard: g}), 7*time.Second, http.Header{"Authorization": {"Bearer good"}, "Last-Event-Id": {"e-3"}})
		want := []string{"snapshot a", "b", "-a", "-b"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"identify good", "visible GetAPI"}, g.asked, cmp.Transformer("action", func(s string) string {
			return strings.ReplaceAll(s, string(auth.ActionGet), "GetAPI")
		})); diff != "" {
			t.Errorf("the guard was asked (-want +got):\n%s", diff)
		}
	})
}

// What a policy forbids is not shown any more, without anything having changed.
func TestWatchAsksAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := &watching{all: workload.Watched{ID: "e-1", Snapshot: true, APIs: []workload.WatchedAPI{api("a", workload.Realtime), api("b", workload.Realtime)}}}
		g := &moody{}
		time.AfterFunc(15*time.Second, func() { g.refuses("b", true) })
		time.AfterFunc(35*time.Second, func() { g.refuses("b", false) })
		got := watchFor(t, httpapi.NewHandler(svc, httpapi.Options{Guard: g}), 55*time.Second, http.Header{"Authorization": {"Bearer good"}})
		if diff := cmp.Diff([]string{"snapshot a b", "snapshot a", "snapshot a b"}, got); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"", "e-1", "", "e-1", "", "e-1"}, svc.asked); diff != "" {
			t.Errorf("the service was asked for what comes after (-want +got):\n%s", diff)
		}
	})
}

// For a page in a browser, which has EventSource.
func TestWatchAsServerSentEvents(t *testing.T) {
	t.Parallel()
	svc := &double{lines: []any{
		workload.Watched{ID: "e-1", Snapshot: true, APIs: []workload.WatchedAPI{}},
		workload.Watched{ID: "e-2", APIs: []workload.WatchedAPI{}, Gone: []string{"a\nb"}},
	}}
	w := send(t, httpapi.NewHandler(svc, httpapi.Options{}), http.MethodGet, "/v1/watch", "", http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {"e-0"}})
	want := "id: e-1\ndata: " + `{"id":"e-1","snapshot":true,"apis":[]}` + "\n\n" +
		"id: e-2\ndata: " + `{"id":"e-2","snapshot":false,"apis":[],"gone":["a\nb"]}` + "\n\n" +
		"event: end\ndata: " + `{"end":true}` + "\n\n"
	if diff := cmp.Diff(want, w.Body.String()); diff != "" || w.Header().Get("Content-Type") != "text/event-stream" {
		t.Errorf("Content-Type %q and (-want +got):\n%s", w.Header().Get("Content-Type"), diff)
	}
	if diff := cmp.Diff([]string{"Watch[{After:e-0}]"}, svc.questions()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	for _, other := range []string{"/v1/events", "/v1/apis/iris/logs"} {
		w := send(t, httpapi.NewHandler(&double{}, httpapi.Options{}), http.MethodGet, other, "", http.Header{"Accept": {"text/event-stream"}})
		if got := w.Header().Get("Content-Type"); got != "application/x-ndjson" {
			t.Errorf("GET %s answers %q, want lines as it says in the document", other, got)
		}
	}
}

func TestWatchRefusesWhatIsNoLine(t *testing.T) {
	t.Parallel()
	w := send(t, httpapi.NewHandler(untouched{}, httpapi.Options{}), http.MethodGet, "/v1/watch", "", http.Header{"Last-Event-Id": {strings.Repeat("9", 300)}})
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "endpoints.header_malformed") {
		t.Errorf("= %d %s, want 400 endpoints.header_malformed", w.Code, w.Body)
	}
}
