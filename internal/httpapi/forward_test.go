package httpapi_test

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

// What is forwarded carries the session of the client, which is renewed once with the body
// sent again, and is answered with whatever the operator says.
func TestForward(t *testing.T) {
	t.Parallel()
	var seen []string
	server, c := operatorAt(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.Header.Get("Authorization")+" "+r.Method+" "+r.URL.String()+" "+r.Header.Get("Last-Event-ID")+" "+string(body))
		if r.Header.Get("Authorization") != "Bearer good" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, "as it is")
	})
	sessions := &tokens{next: []string{"old", "good"}}
	r := httpapi.Forwarded{Method: "POST", Path: "/v1/apis/iris/stop", Query: url.Values{"a": {"b"}}, After: "e-1", Body: []byte(`{}`)}
	resp, err := c.WithSessions(sessions).Forward(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusConflict || string(body) != "as it is" {
		t.Errorf("the answer is %d %q", resp.StatusCode, body)
	}
	want := []string{"Bearer old POST /v1/apis/iris/stop?a=b e-1 {}", "Bearer good POST /v1/apis/iris/stop?a=b e-1 {}"}
	if !slices.Equal(seen, want) {
		t.Errorf("the operator saw %q, want %q", seen, want)
	}
	server.Close()
	gone, err := c.Forward(t.Context(), r)
	if err == nil {
		gone.Body.Close()
	}
	if !fault.Is(err, fault.Disconnected) {
		t.Errorf("of an operator that is gone: %v", err)
	}
}
