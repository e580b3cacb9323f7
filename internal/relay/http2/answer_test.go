package http2

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/relay"
)

func TestIsGRPC(t *testing.T) {
	t.Parallel()
	for mediaType, want := range map[string]bool{
		"application/grpc":               true,
		"application/grpc+proto":         true,
		"application/grpc;charset=utf-8": true,
		"application/grpc-web":           false, // answers its status in the body
		"application/grpcs":              false,
		"application/json":               false,
		"":                               false,
	} {
		if got := IsGRPC(&http.Request{Header: http.Header{"Content-Type": {mediaType}}}); got != want {
			t.Errorf("IsGRPC(%q) = %v, want %v", mediaType, got, want)
		}
	}
}

// fieldsOf are the fields of an answer that it has by its contract.
func fieldsOf(h http.Header) map[string]string {
	fields := map[string]string{}
	for _, name := range []string{"Content-Type", "X-Cortex-Reason", "X-Cortex-Origin", "X-Request-Id", "Retry-After", "Grpc-Status", "Grpc-Message"} {
		if values := h.Values(name); len(values) > 0 {
			fields[name] = strings.Join(values, ", ")
		}
	}
	return fields
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	answers := map[string]*relay.Answer{
		"/json":  {Status: 404, Code: "endpoint_not_found", Message: `no "API"`},
		"/text":  {Status: 503, Code: "queue_full", Message: "full", Text: true, RetryAfter: 1500 * time.Millisecond, Origin: "api"},
		"/inner": {Status: 400, Code: "malformed_target", Message: "50% of ünser\npath"},
	}
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) { Answer(w, r, answers[r.URL.Path]) })
	client := priorKnowledge(t)
	for _, tt := range []struct {
		path, mediaType string
		status          int
		body            string
		fields          map[string]string
	}{
		{"/json", "text/plain", 404, `{"code":"endpoint_not_found","message":"no \"API\""}` + "\n", map[string]string{
			"Content-Type": "application/json", "X-Cortex-Reason": "endpoint_not_found", "X-Request-Id": "me",
		}},
		{"/text", "application/json", 503, "full\n", map[string]string{
			"Content-Type": "text/plain; charset=utf-8", "X-Cortex-Reason": "queue_full", "X-Request-Id": "me", "X-Cortex-Origin": "api", "Retry-After": "2",
		}},
		// A call that ends before its first message has its trailers in the head.
		{"/json", "application/grpc", 200, "", map[string]string{
			"Content-Type": "application/grpc", "X-Cortex-Reason": "endpoint_not_found", "X-Request-Id": "me",
			"Grpc-Status": "12", "Grpc-Message": url.PathEscape(`no "API"`),
		}},
		{"/text", "application/grpc+proto", 200, "", map[string]string{
			"Content-Type": "application/grpc", "X-Cortex-Reason": "queue_full", "X-Request-Id": "me", "X-Cortex-Origin": "api",
			"Grpc-Status": "14", "Grpc-Message": "full",
		}},
		{"/inner", "application/grpc", 200, "", map[string]string{
			"Content-Type": "application/grpc", "X-Cortex-Reason": "malformed_target", "X-Request-Id": "me",
			"Grpc-Status": "13", "Grpc-Message": "50%25%20of%20%C3%BCnser%0Apath",
		}},
	} {
		resp, body := exchange(t, client, "POST", "http://"+addr+tt.path, tt.mediaType, "")
		if resp.StatusCode != tt.status || body != tt.body {
			t.Errorf("%s for %s = %d %q, want %d %q", tt.path, tt.mediaType, resp.StatusCode, body, tt.status, tt.body)
		}
		if diff := cmp.Diff(tt.fields, fieldsOf(resp.Header)); diff != "" {
			t.Errorf("%s for %s: fields (-want +got):\n%s", tt.path, tt.mediaType, diff)
		}
	}
}

func TestFail(t *testing.T) {
	t.Parallel()
	refused := &relay.Answer{Status: 404, Code: "endpoint_not_found", Message: "nothing is there", Origin: "else"}
	closed := &relay.Answer{Status: 502, Code: "upstream_closed", Origin: "api", Message: "the API's server closed the connection before it answered; see its logs"}
	for name, tt := range map[string]struct {
		err    error
		want   *relay.Answer
		status string // of gRPC
	}{
		"refused":         {Refused{Answer: refused}, refused, "12"},
		"refused, inside": {fmt.Errorf("sending: %w", Refused{Answer: refused}), refused, "12"},
		"broken":          {io.ErrUnexpectedEOF, closed, "14"},
		"cancelled":       {context.Canceled, closed, "14"},
	} {
		told := make(chan *relay.Answer, 2)
		addr := serve(t, func(w http.ResponseWriter, r *http.Request) { told <- Fail(w, r, tt.err, "api") })
		client := priorKnowledge(t)
		resp, body := exchange(t, client, "POST", "http://"+addr, "text/plain", "")
		if diff := cmp.Diff(tt.want, <-told); diff != "" {
			t.Errorf("%s: Fail returned (-want +got):\n%s", name, diff)
		}
		if got := fieldsOf(resp.Header); resp.StatusCode != tt.want.Status || got["X-Cortex-Reason"] != tt.want.Code || got["X-Cortex-Origin"] != tt.want.Origin || !strings.Contains(body, tt.want.Message) {
			t.Errorf("%s = %d %v %q, want %+v", name, resp.StatusCode, got, body, tt.want)
		}
		resp, _ = exchange(t, client, "POST", "http://"+addr, "application/grpc", "")
		if got := resp.Header.Get("Grpc-Status"); got != tt.status {
			t.Errorf("%s: Grpc-Status = %q, want %s", name, got, tt.status)
		}
	}
	if got := (Refused{Answer: refused}).Error(); got != refused.Message {
		t.Errorf("Error() = %q, want %q", got, refused.Message)
	}
}

// body counts how often it was closed.
// flushes counts those of an answer.
type flushes struct {
	*httptest.ResponseRecorder
	n atomic.Int32
}

func (f *flushes) Flush() { f.n.Add(1) }

// answering is a transport that gives an answer.
type answering struct{ http.Response }

func (a *answering) RoundTrip(*http.Request) (*http.Response, error) { return &a.Response, nil }

func TestForwardAtOnce(t *testing.T) {
	t.Parallel()
	for text, flushed := range map[string]bool{"": false, "some": true} {
		for range 100 { // a proxy that is told to flush leaves it to a race with an empty answer's end
			proxy := httputil.ReverseProxy{
				Rewrite:        func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", "server" },
				ModifyResponse: func(r *http.Response) error { ForwardAtOnce(r); return nil },
				Transport: &answering{http.Response{
					StatusCode: 200, ContentLength: int64(len(text)), Header: http.Header{"Content-Length": {fmt.Sprint(len(text))}},
					Body: io.NopCloser(strings.NewReader(text)),
				}},
			}
			w := &flushes{ResponseRecorder: httptest.NewRecorder()}
			proxy.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "http://proxy/", nil))
			if got := w.n.Load() > 0; got != flushed {
				t.Fatalf("an answer of %d bytes was flushed: %v, want %v", len(text), got, flushed)
			}
			if got, want := w.Header().Get("Content-Length"), fmt.Sprint(len(text)); got != want || w.Body.String() != text {
				t.Fatalf("the answer is %q of the length %s, want %q", w.Body, got, text)
			}
		}
	}
}
