package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// Who may list secrets does not thereby learn which APIs there are.
func TestSecretsAreToldWithWhatTheCallerMaySee(t *testing.T) {
	t.Parallel()
	kind := func(context.Context, string) workload.Kind { return workload.Realtime }
	h := httpapi.NewHandler(secretive{}, httpapi.Options{Guard: &reader{may: []auth.Action{auth.ActionList}}, Kind: kind})
	bearer := http.Header{"Authorization": {"Bearer good"}, "Content-Type": {"application/octet-stream"}}
	list := send(t, h, http.MethodGet, "/v1/secrets", "", bearer).Body.String()
	if !strings.Contains(list, `"used_by":["iris"]`) || strings.Contains(list, "hidden") {
		t.Errorf("GET /v1/secrets = %s, want hf-token used by iris, and nothing else", list)
	}
	set := send(t, h, http.MethodPut, "/v1/secrets/hf-token", password, bearer).Body.String()
	if !strings.Contains(set, `"run_with_old":["iris"]`) {
		t.Errorf("PUT /v1/secrets/hf-token = %s, want iris only", set)
	}
}

// A value is the body as it is, bounded, and no answer repeats what was sent.
func TestValueOfASecret(t *testing.T) {
	t.Parallel()
	double := &double{}
	h := httpapi.NewHandler(double, httpapi.Options{})
	const value = "{\"a\": 1}\r\n hunter2\n"
	for _, tt := range []struct {
		name, value, content string
		status               int
	}{
		{"as it is", value, "application/octet-stream", http.StatusOK},
		{"a form", value, "application/x-www-form-urlencoded", http.StatusUnsupportedMediaType},
		{"no type", value, "", http.StatusUnsupportedMediaType},
		{"the largest", strings.Repeat("x", workload.MaxSecretBytes), "application/octet-stream", http.StatusOK},
		{"larger", strings.Repeat("hunter2 ", workload.MaxSecretBytes), "application/octet-stream", http.StatusRequestEntityTooLarge},
	} {
		w := send(t, h, http.MethodPut, "/v1/secrets/hf-token", tt.value, http.Header{"Content-Type": {tt.content}})
		if w.Code != tt.status || strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%s: PUT = %d %s, want %d without the value", tt.name, w.Code, w.Body, tt.status)
		}
	}
	if got := double.questions(); len(got) != 2 || got[0] != "SetSecret[hf-token "+value+"]" {
		t.Errorf("the service was asked %q, want the two values as they are", got)
	}
}

// The client and the handler cancel out.
func TestSecretsOverTheWire(t *testing.T) {
	t.Parallel()
	double := &double{}
	srv := httptest.NewServer(httpapi.NewHandler(double, httpapi.Options{}))
	defer srv.Close()
	c, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.SetSecret(t.Context(), "hf-token", []byte("a\x80\n")); err != nil {
		t.Fatal(err)
	}
	if all, err := c.Secrets(t.Context()); err != nil || all == nil {
		t.Errorf("Secrets() = %v, %v, want an empty list", all, err)
	}
	if _, err := c.DeleteSecret(t.Context(), "hf-token", true); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(double.questions(), " "), "SetSecret[hf-token a\x80\n] Secrets[] DeleteSecret[hf-token true]"; got != want {
		t.Errorf("the service was asked %q, want %q", got, want)
	}
	for _, name := range []string{"", "..", "a/b"} {
		if _, err := c.SetSecret(t.Context(), name, []byte("x")); err == nil {
			t.Errorf("SetSecret(%q) = nil, want a refusal", name)
		}
	}
}
