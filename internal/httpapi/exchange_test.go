package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

var update = flag.Bool("update", false, "write testdata anew from what the code does")

// exchange is one recorded question with what went over the wire for it. The
// Python client replays the same files.
type exchange struct {
	Call     question         `json:"call"`
	Request  recordedRequest  `json:"request"`
	Response recordedResponse `json:"response"`
}

type recordedRequest struct {
	Method      string              `json:"method"`
	Path        string              `json:"path"` // as it is sent, escaped
	Query       map[string][]string `json:"query"`
	ContentType string              `json:"content_type,omitempty"`
	Body        json.RawMessage     `json:"body,omitempty"`
}

type recordedResponse struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body,omitempty"`  // of an answer in one piece…
	Lines   []json.RawMessage `json:"lines,omitempty"` // …or of a stream
}

const recordedID = "recorded" // request ids are random otherwise

// record serves h and keeps the one exchange that goes through it.
func record(h http.Handler, x *exchange) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		x.Request = recordedRequest{
			Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(), ContentType: r.Header.Get("Content-Type"), Body: body,
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.Header.Set("X-Request-ID", recordedID)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		x.Response = recordedResponse{Status: rec.Code, Headers: map[string]string{}}
		for _, name := range []string{"Content-Type", "Retry-After", "X-Request-ID"} {
			if v := rec.Header().Get(name); v != "" {
				x.Response.Headers[name] = v
			}
		}
		if rec.Header().Get("Content-Type") == "application/x-ndjson" {
			for line := range strings.Lines(rec.Body.String()) {
				x.Response.Lines = append(x.Response.Lines, json.RawMessage(line))
			}
		} else {
			x.Response.Body = rec.Body.Bytes()
		}
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	})
}

// TestRecordedExchanges holds what goes over the wire still: a change here is a
// change for every client in the field.
func TestRecordedExchanges(t *testing.T) {
	t.Parallel()
	for _, sc := range scenes() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			x := exchange{Call: sc.ask}
			d := &double{answer: sc.answer, lines: sc.lines, err: sc.err}
			client := overTheWire(t, record(httpapi.NewHandler(d, httpapi.Options{}), &x))
			_, _ = ask(t.Context(), client, sc.ask) // the outcome is TestTheWireChangesNothing's

			got := []byte(toPlainJSON(t, x) + "\n")
			file := filepath.Join("testdata", "exchanges", sc.name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatalf("%v; run go test ./internal/httpapi -update", err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("the exchange differs from %s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// Most readers of JSON keep 53 bits of a number. What users submitted is theirs.
func TestNumbersOfAnswersAreExactEverywhere(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("testdata", "exchanges", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("Glob() = %v, %v", files, err)
	}
	seen := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		var x any
		if err := dec.Decode(&x); err != nil {
			t.Fatal(err)
		}
		var walk func(path string, v any)
		walk = func(path string, v any) {
			switch v := v.(type) {
			case map[string]any:
				for key, inner := range v {
					if key != "submitted_api_spec" {
						walk(path+"."+key, inner)
					}
				}
			case []any:
				for _, inner := range v {
					walk(path+"[]", inner)
				}
			case json.Number:
				seen++
				if f, err := v.Float64(); err != nil || math.Abs(f) > 1<<53 {
					t.Errorf("%s: %s is %s, which is more than 2^53", file, path, v)
				}
			}
		}
		walk("", x)
	}
	if seen < 50 {
		t.Errorf("%d numbers were looked at, want those of every exchange", seen)
	}
}

func TestEveryRecordedExchangeHasAScene(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, sc := range scenes() {
		known[sc.name+".json"] = true
	}
	entries, err := os.ReadDir(filepath.Join("testdata", "exchanges"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !known[e.Name()] {
			t.Errorf("testdata/exchanges/%s belongs to no scene", e.Name())
		}
	}
}

// TestClientUnderstandsTheRecordings replays what an operator of that version
// answered, as the clients of other languages do.
func TestClientUnderstandsTheRecordings(t *testing.T) {
	t.Parallel()
	for _, sc := range scenes() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			x := readExchange(t, sc.name)
			client := overTheWire(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != x.Request.Method || r.URL.EscapedPath() != x.Request.Path {
					t.Errorf("request = %s %s, want %s %s", r.Method, r.URL.EscapedPath(), x.Request.Method, x.Request.Path)
				}
				for name, v := range x.Response.Headers {
					w.Header().Set(name, v)
				}
				w.WriteHeader(x.Response.Status)
				_, _ = w.Write(x.Response.Body)
				for _, line := range x.Response.Lines {
					var b bytes.Buffer
					_ = json.Compact(&b, line) // it was read from JSON
					_, _ = w.Write(append(b.Bytes(), '\n'))
				}
			}))
			want, wantErr := ask(context.Background(), &double{answer: sc.answer, lines: sc.lines, err: sc.err}, sc.ask)
			got, gotErr := ask(t.Context(), client, x.Call)
			if diff := cmp.Diff(want, got, sameAnswers); diff != "" {
				t.Errorf("the client reads the recording as (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(fault.From(wantErr), fault.From(gotErr), cmpopts.IgnoreUnexported(fault.Fault{})); diff != "" {
				t.Errorf("the client reads the fault as (-want +got):\n%s", diff)
			}
		})
	}
}

// toPlainJSON is v indented, with <, > and & as they are.
func toPlainJSON(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

func readExchange(t *testing.T, name string) exchange {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "exchanges", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var x exchange
	if err := json.Unmarshal(data, &x); err != nil {
		t.Fatal(err)
	}
	return x
}
