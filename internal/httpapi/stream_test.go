package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

func logLine(text string) workload.LogLine {
	return workload.LogLine{Time: noon, Replica: "iris-1", Container: "api", Stream: "stdout", Text: text}
}

// collect reads logs of iris until they end or n lines have come, then cancels.
func collect(ctx context.Context, s workload.Service, n int) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var texts []string
	err := s.Logs(ctx, workload.LogQuery{Name: "iris", Follow: true}, func(l workload.LogLine) error {
		if texts = append(texts, l.Text); len(texts) == n {
			cancel()
		}
		return nil
	})
	return texts, err
}

func TestLinesArriveWhileTheStreamGoesOn(t *testing.T) {
	t.Parallel()
	d := &double{lines: []any{logLine("one"), logLine("two")}, hold: true}
	client := overTheWire(t, httpapi.NewHandler(d, httpapi.Options{}))
	texts, err := collect(t.Context(), client, 2)
	if err != nil || strings.Join(texts, " ") != "one two" {
		t.Errorf("Logs() = %q, %v; want one two and no error after its context ended", texts, err)
	}
}

func TestACallersOwnErrorComesBack(t *testing.T) {
	t.Parallel()
	own := fault.New(fault.Unsupported, "my.own", "enough")
	d := &double{lines: []any{logLine("one"), logLine("two")}, hold: true}
	client := overTheWire(t, httpapi.NewHandler(d, httpapi.Options{}))
	calls := 0
	err := client.Logs(t.Context(), workload.LogQuery{Name: "iris"}, func(workload.LogLine) error { calls++; return own })
	if err != error(own) || calls != 1 {
		t.Errorf("Logs() = %v after %d calls, want the caller's error after 1", err, calls)
	}
}

// A stream that the operator does not end itself must not look like one that it did.
func TestABrokenStreamIsNoEnd(t *testing.T) {
	t.Parallel()
	line := `{"time":"2026-03-14T12:00:00Z","text":"one"}` + "\n"
	for name, body := range map[string]string{
		"no end": line, "half a line": line + `{"time":`, "nothing": "", "no JSON": line + "oops\n",
		"half an end": line + `{"end":true`, "another type": line + `{"text":7}` + "\n",
	} {
		client := overTheWire(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-ndjson")
			_, _ = io.WriteString(w, body)
		}))
		_, err := collect(t.Context(), client, -1)
		if !fault.Is(err, fault.Disconnected) || fault.Code(err) != "cli.operator_connection_lost" {
			t.Errorf("%s: Logs() = %v, want that the connection is lost", name, err)
		}
	}
}

func TestAnOperatorThatStopsSaysSo(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	d := &double{lines: []any{logLine("one")}, hold: true}
	h := httpapi.NewHandler(d, httpapi.Options{})
	client := overTheWire(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r.WithContext(ctx)) }))
	err := client.Logs(t.Context(), workload.LogQuery{Name: "iris", Follow: true}, func(workload.LogLine) error { stop(); return nil })
	if !fault.Is(err, fault.Unavailable) || fault.Code(err) != "operator.stopping" {
		t.Errorf("Logs() = %v, want that the operator is stopping", err)
	}
}

func TestAPanicInTheMiddleCutsTheStreamOff(t *testing.T) {
	t.Parallel()
	d := &double{}
	h := httpapi.NewHandler(&panicking{Service: d}, httpapi.Options{})
	client := overTheWire(t, h)
	texts, err := collect(t.Context(), client, -1)
	if !fault.Is(err, fault.Disconnected) {
		t.Errorf("Logs() = %v, want that the connection is lost", err)
	}
	if len(texts) == 0 || slices.ContainsFunc(texts, func(s string) bool { return s != "one" }) {
		t.Errorf("%d lines came, the last of them %q; want only what was told", len(texts), texts[len(texts)-1])
	}
}

type panicking struct{ workload.Service }

func (p *panicking) Logs(_ context.Context, _ workload.LogQuery, fn func(workload.LogLine) error) error {
	for range 10_000 { // more than what waits in buffers
		if err := fn(logLine("one")); err != nil {
			return err
		}
	}
	panic("in the middle")
}

func TestManyLinesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	var lines []any
	want := make([]string, 20_000)
	for i := range want {
		want[i] = strings.Repeat("x", i%100) + string(rune('a'+i%26))
		lines = append(lines, logLine(want[i]))
	}
	want = append(want, strings.Repeat("long", 300_000)) // over the reader's and the writer's buffers
	lines = append(lines, logLine(want[len(want)-1]))
	client := overTheWire(t, httpapi.NewHandler(&double{lines: lines}, httpapi.Options{}))
	got, err := collect(t.Context(), client, -1)
	if err != nil || len(got) != len(want) {
		t.Fatalf("Logs() gave %d lines, %v; want %d", len(got), err, len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("line %d = %.40q, want %.40q", i, got[i], want[i])
		}
	}
}

func TestALineThatIsTooLongIsRefused(t *testing.T) {
	t.Parallel()
	client := overTheWire(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		_, _ = io.Copy(w, &repeat{'x'})
	}))
	_, err := collect(t.Context(), client, -1)
	if !fault.Is(err, fault.Disconnected) || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("Logs() = %v, want that a line is too long", err)
	}
}

// The service stops telling as soon as nobody listens.
func TestAReaderThatLeavesEndsTheService(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	h := httpapi.NewHandler(&endless{ended: ended}, httpapi.Options{})
	client := overTheWire(t, h)
	if _, err := collect(t.Context(), client, 3); err != nil {
		t.Errorf("Logs() = %v, want no error after its context ended", err)
	}
	<-ended // the test's own deadline is the bound
}

// endless tells until it is stopped.
type endless struct {
	workload.Service
	ended chan error
}

func (e *endless) Logs(ctx context.Context, _ workload.LogQuery, fn func(workload.LogLine) error) error {
	for {
		if err := fn(logLine("again")); err != nil {
			e.ended <- err
			return err
		}
		if ctx.Err() != nil {
			e.ended <- nil
			return nil
		}
	}
}

// A stream in which nothing happens stays alive, and its header is not held back.
func TestQuietStreamsHaveAHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &pipedRecorder{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequestWithContext(ctx, "GET", "/v1/events?follow=true", nil)
		var wg sync.WaitGroup
		wg.Go(func() { httpapi.NewHandler(&double{hold: true}, httpapi.Options{}).ServeHTTP(w, r) })
		time.Sleep(14 * time.Second)
		synctest.Wait()
		if got := w.text(); got != "" {
			t.Errorf("after 14s the body is %q, want nothing", got)
		}
		time.Sleep(32 * time.Second)
		synctest.Wait()
		if got := w.text(); got != "\n\n\n" {
			t.Errorf("after 46s the body is %q, want three empty lines", got)
		}
		cancel()
		wg.Wait()
		if got := w.text(); !strings.Contains(got, "operator.stopping") {
			t.Errorf("at the end the body is %q, want the reason of the end", got)
		}
	})
}

// turncoat permits logs until the policy changes.
type turncoat struct {
	gate
	changed time.Time
}

func (g *turncoat) Identify(ctx context.Context, from auth.Origin, token string) (context.Context, error) {
	ctx, err := g.gate.Identify(ctx, from, token)
	caller, _ := auth.CallerOf(ctx)
	caller.ExpiresAt = time.Now().Add(time.Hour)
	return auth.WithCaller(ctx, caller), err
}

func (g *turncoat) May(context.Context, auth.Action, auth.Resource) bool {
	return time.Now().Before(g.changed)
}

func (g *turncoat) Permit(ctx context.Context, a auth.Action, r auth.Resource) error {
	g.deny = !g.May(ctx, a, r)
	return g.gate.Permit(ctx, a, r)
}

// A log that is followed ends when a policy forbids it, with the refusal, which is in
// the audit.
func TestAFollowedLogEndsWhenItIsForbidden(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		g := &turncoat{changed: began.Add(time.Minute)}
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/apis/iris/logs?follow=true", nil)
		r.Header.Set("Authorization", "Bearer good")
		httpapi.NewHandler(&double{hold: true}, httpapi.Options{Guard: g}).ServeHTTP(w, r)
		if took := time.Since(began); took < time.Minute || took > time.Minute+20*time.Second {
			t.Errorf("the stream ended after %v, want it soon after the minute in which it was permitted", took)
		}
		if got := w.Body.String(); !strings.Contains(got, auth.CodeForbidden) {
			t.Errorf("at the end the body is %q, want the refusal", got)
		}
		want := []string{"identify good", "permit logs iris", "permit logs iris"}
		if diff := cmp.Diff(want, g.asked); diff != "" {
			t.Errorf("asked of the guard (-want +got):\n%s", diff)
		}
	})
}

// pipedRecorder can be read while it is written.
type pipedRecorder struct {
	*httptest.ResponseRecorder
	mu sync.Mutex
}

func (p *pipedRecorder) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ResponseRecorder.Write(b)
}

func (p *pipedRecorder) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Body.String()
}

// A reader that accepts nothing does not hold the service for ever: a failed
// write ends it, and no second line is tried.
func TestAFailedWriteEndsTheService(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	w := &brokenWriter{header: http.Header{}}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/apis/iris/logs", nil)
	httpapi.NewHandler(&endless{ended: ended}, httpapi.Options{}).ServeHTTP(w, r)
	if err := <-ended; !errors.Is(err, errBroken) && err != nil {
		t.Errorf("the service ended with %v, want the failed write or its context", err)
	}
}

// The same when it is not the write that fails but the flush, and the service
// looks at nothing but what it is answered.
func TestAFailedFlushEndsTheService(t *testing.T) {
	t.Parallel()
	w := &brokenFlusher{httptest.NewRecorder()}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/apis/iris/logs", nil)
	s := &deaf{}
	httpapi.NewHandler(s, httpapi.Options{}).ServeHTTP(w, r)
	if !errors.Is(s.err, errBroken) {
		t.Errorf("the service ended with %v, want the failed flush", s.err)
	}
}

// deaf tells until a line is refused.
type deaf struct {
	workload.Service
	err error
}

func (d *deaf) Logs(_ context.Context, _ workload.LogQuery, fn func(workload.LogLine) error) error {
	for d.err == nil {
		d.err = fn(logLine("again"))
	}
	return d.err
}

type brokenFlusher struct{ *httptest.ResponseRecorder }

func (b *brokenFlusher) FlushError() error { return errBroken }

var errBroken = errors.New("broken pipe")

type brokenWriter struct{ header http.Header }

func (b *brokenWriter) Header() http.Header       { return b.header }
func (b *brokenWriter) WriteHeader(int)           {}
func (b *brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestEmptyLinesAreNoLines(t *testing.T) {
	t.Parallel()
	client := overTheWire(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson; charset=utf-8")
		b := bufio.NewWriter(w)
		_, _ = b.WriteString("\n\r\n" + `{"text":"one"}` + "\r\n\n" + `{"end":true}` + "\n")
		_ = b.Flush()
	}))
	texts, err := collect(t.Context(), client, -1)
	if err != nil || len(texts) != 1 || texts[0] != "one" {
		t.Errorf("Logs() = %q, %v; want one", texts, err)
	}
}
