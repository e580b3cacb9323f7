package sidecar

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// admin starts a sidecar and serves its administration.
func admin(t *testing.T, cfg Config, h http.Handler) (*replica, string) {
	t.Helper()
	r := start(t, cfg, h)
	s := httptest.NewServer(r.Admin(nil))
	t.Cleanup(s.Close)
	t.Cleanup(func() { // no gateway does it
		r.items.mu.Lock()
		ids := slices.Collect(maps.Keys(r.items.known))
		r.items.mu.Unlock()
		for _, id := range ids {
			r.items.drop(id)
		}
	})
	return r, s.URL + workload.ExecutionsPath
}

// inquire returns what a sidecar says of an execution.
func inquire(ctx context.Context, t *testing.T, method, url, body string) (how string, status int, text string, h http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return "", 0, "", nil
	}
	req.Header.Set("X-Cortex-Attempt", "1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		if ctx.Err() == nil {
			t.Error(err)
		}
		return "gone", 0, "", nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.Header.Get(workload.ExecutionHeader), resp.StatusCode, string(b), resp.Header
}

// An execution goes on when the gateway that sent it goes away, and happens once; its
// answer is kept as the container gave it, until somebody has it forgotten.
func TestExecutionsGoOnWithoutTheirGateway(t *testing.T) {
	t.Parallel()
	var runs atomic.Int64
	began, release := make(chan struct{}, 10), make(chan struct{})
	_, url := admin(t, quick(1, 10), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		runs.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/" || r.Header.Get("X-Cortex-Attempt") != "1" || r.Method != http.MethodPost {
			t.Errorf("the container got %s %s, %v, %v", r.Method, r.URL, r.Header, err)
		}
		began <- struct{}{}
		<-release
		w.Header().Set("Content-Type", "text/x")
		w.Header().Set(workload.ExecutionHeader, "refused") // which is not its to say
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(append([]byte("got "), body...))
	}))
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan string, 1)
	go func() { how, _, _, _ := inquire(ctx, t, http.MethodPost, url+"a.1", "x"); gone <- how }()
	<-began
	leave()
	if got := <-gone; got != "gone" {
		t.Fatalf("the gateway that left got %q", got)
	}
	again := make(chan string, 1)
	go func() {
		how, _, text, _ := inquire(t.Context(), t, http.MethodPost, url+"a.1", "y")
		again <- how + " " + text
	}()
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	how, status, text, h := inquire(t.Context(), t, http.MethodGet, url+"a.1", "")
	if how != workload.ExecutionAnswered || status != http.StatusTeapot || text != "got x" || h.Get("Content-Type") != "text/x" {
		t.Errorf("GET = %s %d %q, %v", how, status, text, h)
	}
	if got := <-again; got != "answered got x" || runs.Load() != 1 {
		t.Errorf("what was sent again = %q, and the container worked %d times, want once", got, runs.Load())
	}
	if _, status, _, _ := inquire(t.Context(), t, http.MethodDelete, url+"a.1", ""); status != http.StatusNoContent {
		t.Errorf("DELETE = %d", status)
	}
	if how, status, _, _ := inquire(t.Context(), t, http.MethodGet, url+"a.1", ""); how != workload.ExecutionUnknown || status != http.StatusNotFound {
		t.Errorf("GET of what was forgotten = %s %d", how, status)
	}
}

// What has no answer says why: only what has reached the container may be charged to it.
func TestExecutionsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	h := newHeld()
	none, closed := start(t, quick(1, 0), nil), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		panic(http.ErrAbortHandler)
	})
	cfg := quick(1, 0)
	cfg.Grace = 300 * time.Millisecond
	slow, slowURL := admin(t, cfg, h)
	_, abortURL := admin(t, quick(1, 0), closed)
	noneServer := httptest.NewServer(none.Admin(nil))
	t.Cleanup(noneServer.Close)
	if how, _, _, _ := inquire(t.Context(), t, http.MethodPost, noneServer.URL+workload.ExecutionsPath+"a.1", "x"); how != workload.ExecutionRefused {
		t.Errorf("nothing listens: %s", how)
	}
	if how, _, _, _ := inquire(t.Context(), t, http.MethodPost, abortURL+"a.1", "x"); how != workload.ExecutionLost {
		t.Errorf("the container closed the connection: %s", how)
	}
	first := make(chan string, 1)
	go func() { how, _, _, _ := inquire(t.Context(), t, http.MethodPost, slowURL+"a.1", "x"); first <- how }()
	<-h.inside
	if how, _, text, _ := inquire(t.Context(), t, http.MethodPost, slowURL+"b.1", "x"); how != workload.ExecutionRefused {
		t.Errorf("no place: %s %s", how, text)
	}
	slow.stop()
	if got := <-first; got != workload.ExecutionStopped {
		t.Errorf("the grace is over: %s", got)
	}
}

// An execution that is not wanted any more ends at the container.
func TestExecutionsAreEnded(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	_, url := admin(t, quick(1, 0), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // it is short
		close(began)
		<-r.Context().Done()
		close(ended)
	}))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	go inquire(ctx, t, http.MethodPost, url+"a.1", "x")
	<-began
	inquire(t.Context(), t, http.MethodDelete, url+"a.1", "")
	<-ended
}

// A large answer is in a file that has no name, and comes as it was.
func TestLargeAnswers(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789"), answerInMemory/4)
	cfg := quick(2, 0)
	cfg.Folder = t.TempDir()
	r, url := admin(t, cfg, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) }))
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		if how, _, text, _ := inquire(t.Context(), t, method, url+"a.1", "x"); how != workload.ExecutionAnswered || text != string(want) {
			t.Errorf("%s = %s with %d bytes, want %d as they were", method, how, len(text), len(want))
		}
	}
	if kept := r.items.find("a.1").body; kept.file == nil || kept.memory.Cap() > answerInMemory {
		t.Errorf("the answer is in memory: %d bytes", kept.memory.Cap())
	}
	if left, err := os.ReadDir(cfg.Folder); err != nil || len(left) > 0 {
		t.Errorf("the folder has %v, %v", left, err)
	}
}

// A drain waits for who may still come for an answer, until it is said to be written down.
func TestDrainWaitsForAnswers(t *testing.T) {
	t.Parallel()
	h := newHeld()
	r, url := admin(t, quick(1, 0), h)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	go inquire(ctx, t, http.MethodPost, url+"a.1", "x")
	<-h.inside
	leave()
	h.release <- struct{}{}
	waitFor(t, "it has ended", func() bool { running, _ := r.limit.InFlight(); return running == 0 })
	drained := make(chan error, 1)
	go func() { drained <- r.Drain(context.Background()) }()
	if how, _, _, _ := inquire(t.Context(), t, http.MethodGet, url+"a.1", ""); how != workload.ExecutionAnswered {
		t.Errorf("GET = %s", how)
	}
	select {
	case err := <-drained:
		t.Fatalf("Drain() = %v before the answer was written down", err)
	case <-time.After(500 * time.Millisecond):
	}
	inquire(t.Context(), t, http.MethodDelete, url+"a.1", "")
	if err := <-drained; err != nil {
		t.Errorf("Drain() = %v", err)
	}
}

// Nothing is kept for ever.
func TestAnswersAreForgotten(t *testing.T) {
	t.Parallel()
	r, url := admin(t, quick(1, 0), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	inquire(t.Context(), t, http.MethodPost, url+"a.1", "x")
	waitFor(t, "it is noted", func() bool { r.items.mu.Lock(); defer r.items.mu.Unlock(); return len(r.items.order) == 1 })
	r.items.sweep(time.Now().Add(answerKept / 2))
	if how, _, _, _ := inquire(t.Context(), t, http.MethodGet, url+"a.1", ""); how != workload.ExecutionAnswered {
		t.Errorf("GET = %s", how)
	}
	r.items.sweep(time.Now().Add(answerKept + time.Second))
	if how, _, _, _ := inquire(t.Context(), t, http.MethodGet, url+"a.1", ""); how != workload.ExecutionUnknown || len(r.items.known) > 0 {
		t.Errorf("GET = %s, and %d are known", how, len(r.items.known))
	}
}

// How far an execution is comes before its answer, to whoever waits for it now.
func TestProgress(t *testing.T) {
	t.Parallel()
	reported, release := make(chan string, 1), make(chan struct{})
	_, url := admin(t, quick(1, 0), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		to := r.Header.Get(workload.ProgressURLHeader)
		for body, want := range map[string]int{`{"percent": 40, "message": "a\nb"}`: 204, `{"percent": 140}`: 400, "": 400} {
			resp, err := http.Post(to, "application/json", strings.NewReader(body))
			if err != nil || resp.StatusCode != want {
				t.Errorf("POST %s to %s = %v, %v, want %d", body, to, resp, err, want)
			}
		}
		reported <- to
		<-release
	}))
	heard := make(chan string, 10)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		heard <- h.Get(workload.ExecutionProgress)
		return nil
	}})
	first, leave := context.WithCancel(ctx)
	go inquire(first, t, http.MethodPost, url+"a.1", "x")
	to := <-reported
	const want = `{"percent": 40, "message": "a\nb"}`
	if got := <-heard; got != want {
		t.Errorf("the gateway heard %q, want %q", got, want)
	}
	leave()
	ended := make(chan string, 1)
	go func() {
		how, _, _, h := inquire(ctx, t, http.MethodGet, url+"a.1", "")
		ended <- how + h.Get(workload.ExecutionProgress)
	}()
	if got := <-heard; got != want {
		t.Errorf("the gateway that took over heard %q, want %q", got, want)
	}
	close(release)
	if got := <-ended; got != workload.ExecutionAnswered {
		t.Errorf("the answer is %q, want it without what came before", got)
	}
	inquire(t.Context(), t, http.MethodDelete, url+"a.1", "")
	if _, status, _, _ := inquire(t.Context(), t, http.MethodPost, to, "late"); status != http.StatusNotFound {
		t.Errorf("a report of what is over = %d, want 404", status)
	}
}
