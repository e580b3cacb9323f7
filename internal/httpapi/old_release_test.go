package httpapi

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
)

// playOldRelease answers as the operator of 0.42 does.
func playOldRelease(verify string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/verifycortex":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(verify))
		case r.Header.Get("X-Cortex-Authorization") == "" && r.URL.Path == "/get":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"kind": "endpoints.header_missing", "message": "missing"}`))
		default:
			http.NotFound(w, r)
		}
	})
}

// Who comes from 0.42 has its operator in cli.yaml. Its certificate is its own, and to be
// told to trust it would lead nowhere.
func TestOperatorOfAnOldReleaseIsRecognised(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, verify string
		trusted      bool
		code         string
	}{
		{"its certificate is not trusted", "{}", false, CodeOldRelease},
		{"its certificate is trusted", "{}", true, CodeOldRelease},
		{"a release that told its provider", `{"provider":"aws"}`, false, CodeOldRelease},
		{"another program, not trusted", `{"status":"ok"}`, false, CodeUntrusted},
		{"another program, trusted", "<html>", true, "cli.operator_response_unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewTLSServer(playOldRelease(tt.verify))
			t.Cleanup(server.Close)
			var trusted *tls.Config
			if tt.trusted {
				trusted = server.Client().Transport.(*http.Transport).TLSClientConfig
			}
			client, err := NewClient(ClientConfig{Endpoint: server.URL, TLS: trusted})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = client.List(t.Context()); fault.Code(err) != tt.code {
				t.Errorf("List = %v (%s), want code %s", err, fault.Code(err), tt.code)
			}
			if tt.code == CodeOldRelease && !strings.Contains(fault.From(err).Hint, "-e local") {
				t.Errorf("the hint is %q, want how to reach this machine", fault.From(err).Hint)
			}
		})
	}
}
