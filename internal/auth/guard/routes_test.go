package guard_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/httpapi"
)

// open is all that is answered to nobody in particular.
var open = map[string]bool{
	"GET /v1/auth/challenge": true, "POST /v1/auth/session": true, "GET /healthz": true, "GET /openapi.json": true,
}

// operations is every operation of the contract, as METHOD path.
func operations(t *testing.T) []string {
	t.Helper()
	data, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	all := []string{"GET /healthz", "GET /openapi.json", "GET /metrics"}
	for path, methods := range doc.Paths {
		path = strings.NewReplacer("{name}", "iris", "{id}", "0123456789").Replace(path)
		for method := range methods {
			if known := []string{"get", "post", "put", "delete", "patch"}; strings.Contains(strings.Join(known, " "), method) {
				all = append(all, strings.ToUpper(method)+" "+path)
			}
		}
	}
	if len(all) < 15 {
		t.Fatalf("the document has %d operations: %v", len(all), all)
	}
	return all
}

// TestEveryRouteIsGuarded asks for every operation without a token, and with one
// that is worth nothing: nothing but the four open ones answers, and nothing runs.
func TestEveryRouteIsGuarded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) {
		s.metrics = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "cortex_secret 1") })
	})
	for _, op := range operations(t) {
		method, path, _ := strings.Cut(op, " ")
		methods := []string{method}
		if method == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
		for _, m := range methods {
			for _, token := range []string{"", "x", "cx1.1.e30.AAAA"} {
				resp, body := w.do(t, m, path, token)
				if !open[op] {
					w.seen.answer(op, resp, body, "")
				}
				if op == "GET /metrics" && resp.StatusCode == http.StatusNotFound {
					continue // is served elsewhere
				}
				if (resp.StatusCode == http.StatusUnauthorized) == open[op] || resp.StatusCode == http.StatusNotFound {
					t.Errorf("%s %s with token %q = %d, open is %v", m, path, token, resp.StatusCode, open[op])
				}
				if !open[op] && m != http.MethodHead && !strings.HasPrefix(string(body), refusals[auth.CodeNotProven]) {
					t.Errorf("%s %s with token %q = %s, want the one text", m, path, token, body)
				}
			}
		}
	}
	if got := w.service.calls.Load(); got != 0 {
		t.Errorf("%d operations ran, want none", got)
	}
}

// TestProvenIsNotAllowed asks for every operation as the nodes' role, from which
// the containers of users could call: it may know who it is, and nothing else.
func TestProvenIsNotAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.login(t, "node").Token
	for _, op := range operations(t) {
		// A deploy is asked about for each API of its file, once that is read; what is done to
		// a key for each API that it is good for.
		if open[op] || op == "GET /v1/whoami" || op == "GET /metrics" || op == "POST /v1/deploy" || op == "POST /v1/call-sessions" || strings.Contains(op, "/v1/keys") && op != "GET /v1/keys" {
			continue
		}
		method, path, _ := strings.Cut(op, " ")
		w.newLines(t)
		resp, body := w.do(t, method, path, token)
		w.seen.answer(op, resp, body, "")
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(string(body), nodeRole) {
			t.Errorf("%s = %d %s, want 403 and who was refused", op, resp.StatusCode, body)
		}
		lines := w.newLines(t)
		if len(lines) != 1 || !strings.Contains(string(lines[0]), `"decision":"deny"`) || !strings.Contains(string(lines[0]), nodeRole) {
			t.Errorf("%s is in the audit as %s, want one line that denies it to %s", op, lines, nodeRole)
		}
	}
	// A list is made first, and then cut down to what may be seen of it: nothing.
	if got := w.service.calls.Load(); got > 6 {
		t.Errorf("%d operations ran, want none but the six lists", got)
	}
	if !w.works(t, w.login(t, "alice").Token) {
		t.Error("GET /v1/info of alice was refused")
	}
}

// TestHintsInRequests has headers and queries that some servers take a token or
// another route from: ours takes neither.
func TestHintsInRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.login(t, "alice").Token
	for name, change := range map[string]func(*http.Request){
		"a cookie":              header("Cookie", "token="+token+"; Authorization=Bearer "+token),
		"a proxy's header":      header("Proxy-Authorization", "Bearer "+token),
		"another header":        header("X-Authorization", "Bearer "+token),
		"an access token":       header("X-Amz-Security-Token", token),
		"a query":               func(r *http.Request) { r.URL.RawQuery = "access_token=" + token },
		"a user in front":       func(r *http.Request) { r.SetBasicAuth("Bearer", token) },
		"the method overridden": header("X-Http-Method-Override", "GET"),
		"the path overridden":   header("X-Original-Url", "/healthz"),
		"the path rewritten":    header("X-Rewrite-Url", "/healthz"),
		"from this machine":     header("X-Forwarded-For", "127.0.0.1"),
		"by a trusted proxy":    header("X-Forwarded-User", aliceARN),
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/v1/info", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(req)
		resp, body := w.roundTrip(t, req)
		w.seen.answer(name, resp, body, "")
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("GET /v1/info with %s = %d, want 401", name, resp.StatusCode)
		}
	}
	if got := w.service.calls.Load(); got != 0 {
		t.Errorf("%d operations ran, want none", got)
	}
}

// TestPathsAroundTheGuard spells guarded paths in other ways.
func TestPathsAroundTheGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, path := range []string{
		"/v1/info", "/v1/info?", "/v1/%69nfo", "//v1/info", "/v1//info", "/v1/./info", "/v1/x/../info", "/v1/auth/../info",
		"/v1/auth/challenge/../../info", "/v1/auth/challenge/%2e%2e/%2e%2e/info", "/v1/auth/challenge%2f..%2f..%2finfo", "/healthz/../v1/info",
		"/healthz/..;/v1/info", "/v1/info/", "/V1/info", "/v1/info;x=y", "/v1/info%20", "/v1/info%00", "/v1/info%0a", "/v1/apis/..%2finfo",
		"/v1/apis/iris/../../info", "/v1/apis/%2e%2e/info", "\\v1\\info", "/v1\\info", "/.%2e/v1/info", "/v1/auth/challenge?x=/v1/info",
	} {
		resp, body := w.bytes(t, "GET "+path+" HTTP/1.1\r\nHost: "+w.address+"\r\nConnection: close\r\n\r\n", false)
		w.seen.answer(path, resp, body, "")
		if resp.StatusCode < 400 {
			t.Errorf("GET %s = %d %s, want a refusal", path, resp.StatusCode, body)
		}
	}
	// Whole URLs, and a method that ServeMux knows no paths for.
	for _, line := range []string{
		"GET https://evil.example.com/v1/info HTTP/1.1", "GET http://127.0.0.1/healthz/../v1/info HTTP/1.1",
		"CONNECT /v1/info HTTP/1.1", "CONNECT evil.example.com:443 HTTP/1.1", "OPTIONS * HTTP/1.1", "TRACE /v1/info HTTP/1.1",
	} {
		resp, body := w.bytes(t, line+"\r\nHost: "+w.address+"\r\nConnection: close\r\n\r\n", false)
		w.seen.answer(line, resp, body, "")
		if resp.StatusCode < 400 && !strings.HasPrefix(line, "OPTIONS *") {
			t.Errorf("%s = %d %s, want a refusal", line, resp.StatusCode, body)
		}
	}
	if got := w.service.calls.Load(); got != 0 {
		t.Errorf("%d operations ran, want none", got)
	}
}
