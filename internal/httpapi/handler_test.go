package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// do sends one raw request to h.
func do(t *testing.T, h http.Handler, method, target, contentType string, body io.Reader) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, body)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// readError fails unless w is an error of the one shape.
func readError(t *testing.T, w *httptest.ResponseRecorder) httpapi.Error {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type = %q, want application/json; body %s", got, w.Body)
	}
	dec := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	dec.DisallowUnknownFields()
	var e httpapi.Error
	if err := dec.Decode(&e); err != nil {
		t.Fatalf("the body is no error: %v: %s", err, w.Body)
	}
	if e.RequestID == "" || e.RequestID != w.Header().Get("X-Request-ID") {
		t.Errorf("request_id = %q, want the one of the header, %q", e.RequestID, w.Header().Get("X-Request-ID"))
	}
	return e
}

// Two Content-Types say nothing: of what stands before an operator some believe the
// first, some the last.
func TestTwoContentTypes(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/deploy", strings.NewReader(`{"config":""}`))
	r.Header["Content-Type"] = []string{"application/json", "text/yaml"}
	w := httptest.NewRecorder()
	httpapi.NewHandler(&double{}, httpapi.Options{}).ServeHTTP(w, r)
	if e := readError(t, w); w.Code != http.StatusUnsupportedMediaType || !strings.Contains(e.Message, "application/json, text/yaml") {
		t.Errorf("status, message = %d, %s; want 415, and both types", w.Code, e.Message)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	const js = "application/json"
	big := `{"config":"` + strings.Repeat("x", 2*(workload.MaxConfigBytes+workload.MaxEnvFiles*workload.MaxEnvFileBytes)+128<<10) + `"}`
	for _, tt := range []struct {
		name, method, target, contentType, body string
		status                                  int
		code, message, hint                     string
	}{
		{name: "unknown route", method: "GET", target: "/v1/apps", status: 404, code: "endpoints.no_such_route", message: "there is nothing at /v1/apps"},
		{name: "root", method: "GET", target: "/", status: 404, code: "endpoints.no_such_route"},
		{name: "trailing slash", method: "GET", target: "/v1/apis/", status: 404, code: "endpoints.no_such_route"},
		{name: "two slashes", method: "GET", target: "/v1//apis", status: 404, code: "endpoints.no_such_route"},
		{name: "dots", method: "GET", target: "/v1/x/../apis", status: 404, code: "endpoints.no_such_route"},
		{name: "method", method: "PUT", target: "/v1/apis/iris", status: 405, code: "endpoints.method_not_allowed", message: "PUT is not a method of /v1/apis/iris", hint: "use DELETE or GET"},
		{name: "method of healthz", method: "POST", target: "/healthz", status: 405, code: "endpoints.method_not_allowed"},
		{name: "no metrics", method: "GET", target: "/metrics", status: 404, code: "endpoints.no_such_route"},
		{name: "unknown parameter", method: "GET", target: "/v1/apis/iris/logs?folow=true", status: 400, code: "endpoints.query_param_unknown",
			message: `there is no query parameter "folow" here`, hint: "this operation takes follow, since, tail, previous, replica, job"},
		{name: "parameter of another route", method: "GET", target: "/v1/info?follow=true", status: 400, code: "endpoints.query_param_unknown", hint: "this operation takes none"},
		{name: "parameter twice", method: "GET", target: "/v1/events?since=1s&since=2s", status: 400, code: "endpoints.query_param_malformed", message: `the query parameter "since" is given 2 times`},
		{name: "not a bool", method: "GET", target: "/v1/events?follow=maybe", status: 400, code: "endpoints.query_param_malformed", message: `the query parameter "follow" cannot be "maybe"`, hint: "use true or false"},
		{name: "not a duration", method: "GET", target: "/v1/events?since=5", status: 400, code: "endpoints.query_param_malformed", hint: "use a duration such as 90s, 15m or 1h30m"},
		{name: "negative duration", method: "GET", target: "/v1/events?since=-5s", status: 400, code: "endpoints.query_param_malformed"},
		{name: "negative tail", method: "GET", target: "/v1/apis/iris/logs?tail=-1", status: 400, code: "endpoints.query_param_malformed"},
		{name: "great tail", method: "GET", target: "/v1/apis/iris/logs?tail=99999999999", status: 400, code: "endpoints.query_param_malformed"},
		{name: "long replica", method: "GET", target: "/v1/apis/iris/logs?replica=" + strings.Repeat("r", 300), status: 400, code: "endpoints.query_param_malformed"},
		{name: "broken escape", method: "GET", target: "/v1/events?since=%zz", status: 400, code: "endpoints.query_malformed"},
		{name: "long name", method: "GET", target: "/v1/apis/" + strings.Repeat("n", 300), status: 400, code: "endpoints.path_param_malformed"},
		{name: "no body", method: "POST", target: "/v1/deploy", contentType: js, status: 400, code: "endpoints.body_malformed", message: "the body is empty"},
		{name: "body type", method: "POST", target: "/v1/deploy", contentType: "text/yaml", body: "- name: iris", status: 415, code: "endpoints.content_type", message: `the body is of type "text/yaml"`, hint: "send Content-Type: application/json"},
		{name: "no body type", method: "POST", target: "/v1/deploy", body: "{}", status: 415, code: "endpoints.content_type"},
		{name: "unknown key", method: "POST", target: "/v1/deploy", contentType: js, body: `{"confg":""}`, status: 400, code: "endpoints.body_malformed", message: `the body cannot be read: there is no key "confg"`},
		{name: "wrong type", method: "POST", target: "/v1/deploy", contentType: js, body: `{"config":7}`, status: 400, code: "endpoints.body_malformed", message: "the body cannot be read: config cannot be a number"},
		{name: "not JSON", method: "POST", target: "/v1/deploy", contentType: js, body: `{"config":]`, status: 400, code: "endpoints.body_malformed"},
		{name: "half", method: "POST", target: "/v1/deploy", contentType: js, body: `{"config":"`, status: 400, code: "endpoints.body_malformed", message: "the body cannot be read: it ends in the middle"},
		{name: "a list", method: "POST", target: "/v1/deploy", contentType: js, body: `[]`, status: 400, code: "endpoints.body_malformed", message: "the body is not a JSON object"},
		{name: "null", method: "POST", target: "/v1/deploy", contentType: js, body: `null`, status: 400, code: "endpoints.body_malformed", message: "the body is not a JSON object"},
		{name: "two objects", method: "POST", target: "/v1/deploy", contentType: js, body: `{} {}`, status: 400, code: "endpoints.body_malformed", message: "the body has data after its JSON object, at byte 4"},
		{name: "not UTF-8", method: "POST", target: "/v1/deploy", contentType: js, body: "{\"config\":\"\xff\"}", status: 400, code: "endpoints.body_malformed", message: "the body is not valid UTF-8"},
		{name: "too large", method: "POST", target: "/v1/deploy", contentType: js, body: big, status: 413, code: "endpoints.body_too_large"},
		{name: "unknown key of rollback", method: "POST", target: "/v1/apis/iris/rollback", contentType: js, body: `{"version":""}`, status: 400, code: "endpoints.body_malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := &double{}
			w := do(t, httpapi.NewHandler(d, httpapi.Options{}), tt.method, tt.target, tt.contentType, strings.NewReader(tt.body))
			e := readError(t, w)
			if w.Code != tt.status || e.Code != tt.code {
				t.Errorf("status, code = %d, %s; want %d, %s", w.Code, e.Code, tt.status, tt.code)
			}
			if tt.message != "" && e.Message != tt.message {
				t.Errorf("message = %s\nwant      %s", e.Message, tt.message)
			}
			if tt.hint != "" && e.Hint != tt.hint {
				t.Errorf("hint = %s\nwant   %s", e.Hint, tt.hint)
			}
			if asked := d.questions(); len(asked) != 0 {
				t.Errorf("the service was asked %v, want nothing", asked)
			}
		})
	}
}

// A body whose length is not told is bounded too.
func TestBodiesOfUnknownLengthAreBounded(t *testing.T) {
	t.Parallel()
	endless := io.MultiReader(strings.NewReader(`{"config":"`), &repeat{'x'})
	w := do(t, httpapi.NewHandler(&double{}, httpapi.Options{}), "POST", "/v1/deploy", "application/json", endless)
	if e := readError(t, w); w.Code != http.StatusRequestEntityTooLarge || e.Code != "endpoints.body_too_large" {
		t.Errorf("status, code = %d, %s; want 413, endpoints.body_too_large", w.Code, e.Code)
	}
}

type repeat struct{ b byte }

func (r *repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.b
	}
	return len(p), nil
}

func TestWhatIsAccepted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, target, contentType, body string
		asked                                   string
	}{
		{"charset", "POST", "/v1/deploy", "application/json; charset=utf-8", `{"config":"x"}`, "Deploy[{FileName: Directory: Path: Config:x EnvFiles:map[] Force:false DryRun:false NoVerify:false}]"},
		{"rollback without body", "POST", "/v1/apis/iris/rollback", "", "", "Rollback[iris ]"},
		{"refresh without body", "POST", "/v1/apis/iris/refresh", "", "", "Refresh[iris false]"},
		{"stop", "POST", "/v1/apis/iris/stop", "", "", "Stop[iris]"},
		{"scale to zero", "POST", "/v1/apis/iris/scale", "application/json", `{"replicas": 0}`, "Resize[iris 0]"},
		{"items", "GET", "/v1/apis/iris/items?state=failed,expired&label=team=a&since=1h&limit=5&before=x", "", "", "Items[{Name:iris States:[failed expired] Labels:map[team:a] Since:1h0m0s Before:x Limit:5}]"},
		{"an item", "GET", "/v1/apis/iris/items/x", "", "", "Item[iris x]"},
		{"cancel items", "POST", "/v1/apis/iris/cancel-items", "application/json", `{"ids": ["x", "y"]}`, "CancelItems[iris {IDs:[x y] States:[]}]"},
		{"schedules", "GET", "/v1/apis/iris/schedules", "", "", "Schedules[iris]"},
		{"run schedule", "POST", "/v1/apis/iris/schedules/nightly/run", "", "", "RunSchedule[iris nightly]"},
		{"pause schedule", "POST", "/v1/apis/iris/schedules/nightly/pause", "", "", "PauseSchedule[iris nightly]"},
		{"resume schedule", "POST", "/v1/apis/iris/schedules/nightly/resume", "", "", "ResumeSchedule[iris nightly]"},
		{"backfill", "POST", "/v1/apis/iris/schedules/nightly/backfill", "application/json", `{"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "parallel": 3}`, "BackfillSchedule[iris nightly {From:2026-01-01 00:00:00 +0000 UTC To:2026-01-02 00:00:00 +0000 UTC Parallel:3}]"},
		{"retry items", "POST", "/v1/apis/iris/retry-items", "application/json", `{"states": ["failed"]}`, "RetryItems[iris {IDs:[] States:[failed]}]"},
		{"submit a job", "POST", "/v1/apis/iris/jobs", "application/json", `{"job": {"workers": 2}}`, "SubmitJob[iris {\"workers\": 2} false]"},
		{"jobs", "GET", "/v1/apis/iris/jobs?status=running,pending&since=1h&limit=5", "", "", "Jobs[{API:iris Statuses:[running pending] Since:1h0m0s Limit:5}]"},
		{"a job", "GET", "/v1/apis/iris/jobs/x", "", "", "Job[iris x]"},
		{"stop a job", "DELETE", "/v1/apis/iris/jobs/x", "", "", "StopJob[iris x]"},
		{"retry a job", "POST", "/v1/apis/iris/jobs/x/retry", "application/json", `{"only_failed": true}`, "RetryJob[iris x true]"},
		{"lines of a job", "GET", "/v1/apis/iris/jobs/x/lines?errors=1", "", "", "JobLines[{API:iris Job:x Errors:true}]"},
		{"an answer of a job", "GET", "/v1/apis/iris/jobs/x/answer?batch=3", "", "", "JobAnswer[{API:iris Job:x Batch:3}]"},
		{"logs of a job", "GET", "/v1/apis/iris/logs?job=x", "", "", "Logs[{Name:iris Follow:false Since:0s Tail:0 Previous:false Replica: Job:x}]"},
		{"purge items", "POST", "/v1/apis/iris/purge-items", "application/json", `{"ended_for": "24h"}`, "PurgeItems[iris {EndedFor:24h}]"},
		{"webhooks", "GET", "/v1/apis/iris/webhooks?state=pending&limit=5&before=x", "", "", "Webhooks[{Name:iris States:[pending] Before:x Limit:5}]"},
		{"redeliver webhooks", "POST", "/v1/apis/iris/redeliver-webhooks", "application/json", `{"ids": ["x.0"]}`, "RedeliverWebhooks[iris {IDs:[x.0]}]"},
		{"booleans", "DELETE", "/v1/apis/iris?keep_cache=1", "", "", "Delete[iris {KeepCache:true}]"},
		{"escaped name", "GET", "/v1/apis/a%2Db", "", "", "Get[a-b]"},
		{"head", "HEAD", "/v1/apis", "", "", "List[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := &double{}
			w := do(t, httpapi.NewHandler(d, httpapi.Options{}), tt.method, tt.target, tt.contentType, strings.NewReader(tt.body))
			if w.Code != http.StatusOK {
				t.Errorf("status = %d, want 200: %s", w.Code, w.Body)
			}
			if diff := cmp.Diff([]string{tt.asked}, d.questions()); diff != "" {
				t.Errorf("the service was asked (-want +got):\n%s", diff)
			}
		})
	}
}

// A body that does not arrive is not waited for, and one that has arrived does
// not hurry what is done with it.
func TestBodiesHaveAMinute(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, body string
		status             int
		after              time.Duration
	}{
		{"half", "POST", `{"config":`, http.StatusRequestTimeout, time.Minute},
		{"half that nobody reads", "PUT", `{"config":`, http.StatusMethodNotAllowed, time.Minute},
		{"whole", "POST", `{"config":"x"}`, http.StatusOK, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			srv := &http.Server{Handler: httpapi.NewHandler(&slow{}, httpapi.Options{})}
			l := &oneConn{conn: make(chan net.Conn, 1)}
			l.conn <- far
			var wg sync.WaitGroup
			wg.Go(func() { _ = srv.Serve(l) })
			start := time.Now()
			_, _ = io.WriteString(near, tt.method+" /v1/deploy HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"+tt.body)
			resp, err := http.ReadResponse(bufio.NewReader(near), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if got := time.Since(start); resp.StatusCode != tt.status || got != tt.after {
				t.Errorf("%s: status %d after %s, want %d after %s", tt.name, resp.StatusCode, got, tt.status, tt.after)
			}
			_ = near.Close()
			close(l.conn)
			_ = srv.Close()
			wg.Wait()
		})
	}
}

// slow takes an hour to deploy, unless its context ends.
type slow struct{ workload.Service }

func (s *slow) Deploy(ctx context.Context, _ workload.DeployRequest) ([]workload.DeployResult, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Hour):
		return nil, nil
	}
}

// oneConn is a listener that accepts what is put into conn.
type oneConn struct{ conn chan net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	c, ok := <-l.conn
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{} }

func TestListsAreListsWhenThereIsNothing(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/v1/apis", "/v1/apis/iris/history"} {
		w := do(t, httpapi.NewHandler(&double{}, httpapi.Options{}), "GET", target, "", nil)
		if got := w.Body.String(); got != "[]\n" {
			t.Errorf("GET %s = %q, want []", target, got)
		}
	}
}

func TestOtherRoutes(t *testing.T) {
	t.Parallel()
	h := httpapi.NewHandler(&double{}, httpapi.Options{
		Version: "1.2.3",
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "cortex_up 1\n") }),
	})
	for target, want := range map[string]string{"/healthz": "{\"status\":\"ok\"}\n", "/metrics": "cortex_up 1\n"} {
		w := do(t, h, "GET", target, "", nil)
		if w.Code != http.StatusOK || w.Body.String() != want {
			t.Errorf("GET %s = %d %q, want 200 %q", target, w.Code, w.Body, want)
		}
		if got := w.Header().Get("X-Cortex-Version"); got != "1.2.3" {
			t.Errorf("X-Cortex-Version of %s = %q, want 1.2.3", target, got)
		}
	}
	w := do(t, h, "DELETE", "/v1/apis", "", nil)
	if got := w.Header().Get("Allow"); got != "GET" {
		t.Errorf("Allow = %q, want GET", got)
	}
}

func TestRequestIDsAreKeptWhenTheyAreSafe(t *testing.T) {
	t.Parallel()
	h := httpapi.NewHandler(&double{}, httpapi.Options{})
	for given, kept := range map[string]bool{
		"abc-1_2.Z": true, "": false, "a b": false, "a\"b": false, "ü": false, strings.Repeat("a", 129): false,
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/healthz", nil)
		r.Header["X-Request-Id"] = []string{given}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("X-Request-ID"); (got == given) != kept || got == "" {
			t.Errorf("X-Request-ID for %.20q = %q, want it kept: %t", given, got, kept)
		}
	}
}

func TestPanicsBecomeAnswers(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	d := &double{crash: "index out of range"}
	h := httpapi.NewHandler(d, httpapi.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	w := do(t, h, "GET", "/v1/apis/iris", "", nil)
	e := readError(t, w)
	if w.Code != http.StatusInternalServerError || e.Code != "errors.unexpected" || !strings.Contains(e.Hint, e.RequestID) {
		t.Errorf("answer = %d %+v, want 500 with a hint that has the request id", w.Code, e)
	}
	if strings.Contains(w.Body.String(), "index out of range") {
		t.Errorf("the answer shows the panic: %s", w.Body)
	}
	for _, want := range []string{e.RequestID, "index out of range", "double_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not have %q: %s", want, &log)
		}
	}
}

func TestDefectsAreLoggedAndRefusalsAreNot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err    error
		logged bool
	}{
		{errors.New("disk full"), true},
		{fault.New(fault.NotFound, "resources.api_not_deployed", "iris is not deployed"), false},
	} {
		var log bytes.Buffer
		h := httpapi.NewHandler(&double{err: tt.err}, httpapi.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		w := do(t, h, "GET", "/v1/apis/iris", "", nil)
		e := readError(t, w)
		if got := strings.Contains(log.String(), e.RequestID); got != tt.logged {
			t.Errorf("%v is logged: %t, want %t: %s", tt.err, got, tt.logged, &log)
		}
	}
}

func TestStatusesSayWhatHappened(t *testing.T) {
	t.Parallel()
	for kind, want := range map[fault.Kind]int{
		fault.Malformed: 400, fault.Unproven: 401, fault.Forbidden: 403, fault.NotFound: 404, fault.Conflict: 409,
		fault.Invalid: 422, fault.TooMany: 429, fault.Unavailable: 503, fault.Unsupported: 501, fault.Unexpected: 500,
	} {
		d := &double{err: fault.New(kind, "a.code", "a message")}
		w := do(t, httpapi.NewHandler(d, httpapi.Options{}), "GET", "/v1/apis/iris", "", nil)
		if w.Code != want {
			t.Errorf("status of %s = %d, want %d", kind, w.Code, want)
		}
		if got := w.Header().Get("Retry-After") != ""; got != (want == 429 || want == 503) {
			t.Errorf("Retry-After of %s is there: %t", kind, got)
		}
	}
}
