package httpapi_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/httpapi"
)

// answersProperly fails unless w is a success or an error of the one shape.
func answersProperly(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code == 200 {
		return
	}
	var e httpapi.Error
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Kind == "" || e.Code == "" || e.Message == "" || e.RequestID == "" {
		t.Errorf("answer = %d %s, want an error of the one shape", w.Code, w.Body)
	}
	if w.Code >= 500 {
		t.Errorf("answer = %d %s, want that the request is to blame", w.Code, w.Body)
	}
}

func FuzzDeployBody(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `[]`, `{"config":"- name: iris"}`, `{"config":"x","force":true,"dry_run":true}`, `{"config":1}`,
		`{"Config":"x","config":"y"}`, `{"config":"\ud800"}`, `{"a":{"a":{"a":`, "{\"config\":\"\xff\"}", `{} {}`, `{"config":"x"}x`,
	} {
		f.Add([]byte(seed), "application/json")
	}
	f.Add([]byte(`{}`), "application/json; charset=\"")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		d := &double{}
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/deploy", strings.NewReader(string(body)))
		r.Header["Content-Type"] = []string{contentType}
		w := httptest.NewRecorder()
		httpapi.NewHandler(d, httpapi.Options{}).ServeHTTP(w, r)
		answersProperly(t, w)
		if w.Code == 200 && (!json.Valid(body) || len(d.questions()) != 1) {
			t.Errorf("%q was accepted, and the service was asked %d times", body, len(d.questions()))
		}
	})
}

func FuzzPathAndQuery(f *testing.F) {
	for _, seed := range []string{"/", "/v1/apis/iris", "/v1/apis//logs", "/v1/apis/../info", "/v1/apis/%2e%2e/logs", "/v1/apis/a%2Fb/history",
		"/v1/apis/iris/versions/abc", "/healthz", "/openapi.json/"} {
		f.Add(seed, "follow=true&since=1s&tail=5&previous=0&replica=x")
		f.Add(seed, "since=%zz&since=1;2&tail=-0")
	}
	f.Fuzz(func(t *testing.T, path, rawQuery string) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		u, err := r.URL.Parse("/")
		if err != nil {
			t.Fatal(err)
		}
		u.Path, u.RawQuery = path, rawQuery
		r.URL = u
		w := httptest.NewRecorder()
		httpapi.NewHandler(&double{}, httpapi.Options{}).ServeHTTP(w, r)
		answersProperly(t, w)
	})
}

func BenchmarkNewHandler(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		httpapi.NewHandler(&double{}, httpapi.Options{})
	}
}
