package httpapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"cortex.dev/cortex/internal/httpapi"
)

// openAPI is the document as its readers see it.
type openAPI struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		OperationID string                     `json:"operationId"`
		Summary     string                     `json:"summary"`
		Security    []map[string][]string      `json:"security"`
		Action      string                     `json:"x-cortex-action"`
		Parameters  []map[string]any           `json:"parameters"`
		RequestBody *struct{ Content content } `json:"requestBody"`
		Responses   map[string]struct {
			Description string
			Content     content
		} `json:"responses"`
	} `json:"paths"`
}

type content map[string]struct {
	Schema json.RawMessage `json:"schema"`
}

func readOpenAPI(t *testing.T) ([]byte, openAPI) {
	t.Helper()
	data, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc openAPI
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return data, doc
}

// The document is kept in the repository, so that a change of the contract is
// seen by whoever reviews it.
func TestOpenAPIIsTheOneInTestdata(t *testing.T) {
	t.Parallel()
	got, _ := readOpenAPI(t)
	file := filepath.Join("testdata", "openapi.json")
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
		t.Errorf("OpenAPI() differs from %s (-want +got):\n%s", file, diff)
	}
	w := do(t, httpapi.NewHandler(&double{}, httpapi.Options{}), "GET", "/openapi.json", "", nil)
	if w.Code != http.StatusOK || !bytes.Equal(w.Body.Bytes(), got) {
		t.Errorf("GET /openapi.json is not what OpenAPI() returns")
	}
}

func TestEveryOperationIsDescribed(t *testing.T) {
	t.Parallel()
	_, doc := readOpenAPI(t)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi = %q, want 3.1.0", doc.OpenAPI)
	}
	seen, count := map[string]bool{}, 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			count++
			name := strings.ToUpper(method) + " " + path
			if op.OperationID == "" || seen[op.OperationID] {
				t.Errorf("%s: operationId = %q, want one of its own", name, op.OperationID)
			}
			seen[op.OperationID] = true
			if op.Summary == "" {
				t.Errorf("%s has no summary", name)
			}
			success := "200"
			if op.OperationID == "execInAPI" { // goes on over its connection
				success = "101"
			}
			for _, status := range []string{success, "400", "500", "503"} {
				if _, ok := op.Responses[status]; !ok {
					t.Errorf("%s: no response %s", name, status)
				}
			}
			for status, r := range op.Responses {
				if status != success && !strings.Contains(string(r.Content["application/json"].Schema), "/Error") {
					t.Errorf("%s: the response %s is no Error", name, status)
				}
			}
			for parameter := range strings.SplitSeq(path, "/") {
				if given, ok := strings.CutPrefix(parameter, "{"); ok && !slices.ContainsFunc(op.Parameters, func(p map[string]any) bool {
					return p["name"] == strings.TrimSuffix(given, "}") && p["in"] == "path" && p["required"] == true
				}) {
					t.Errorf("%s: the parameter %s is not described", name, parameter)
				}
			}
			for _, p := range op.Parameters {
				if p["in"] == "query" && p["description"] == nil {
					t.Errorf("%s: the parameter %v has no description", name, p["name"])
				}
			}
		}
	}
	if count != 55 {
		t.Errorf("the document has %d operations, want 55", count)
	}
}

// TestRecordingsFollowTheDocument is what keeps the document true: everything
// that was recorded on the wire is valid by it, status by status.
func TestRecordingsFollowTheDocument(t *testing.T) {
	t.Parallel()
	data, doc := readOpenAPI(t)
	raw, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("mem:///openapi.json", raw); err != nil {
		t.Fatal(err)
	}
	// check validates value against the schema at the given place of the document.
	check := func(what string, value json.RawMessage, place ...string) {
		t.Helper()
		for i, p := range place {
			place[i] = strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(p)
		}
		schema, err := compiler.Compile("mem:///openapi.json#/" + strings.Join(place, "/"))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s is not valid by the document: %v", what, err)
		}
	}
	for _, sc := range scenes() {
		x := readExchange(t, sc.name)
		path := templateOf(t, doc, x.Request.Path)
		method := strings.ToLower(x.Request.Method)
		if len(x.Request.Body) > 0 {
			check("the request of "+sc.name, x.Request.Body, "paths", path, method, "requestBody", "content", "application/json", "schema")
		}
		status := http.StatusText(x.Response.Status)
		described, ok := doc.Paths[path][method].Responses[itoa(x.Response.Status)]
		if !ok {
			if slices.Contains(anyOperation, x.Response.Status) {
				continue
			}
			t.Errorf("%s: %s %s answers %d %s, which is not described", sc.name, method, path, x.Response.Status, status)
			continue
		}
		media := x.Response.Headers["Content-Type"]
		if _, ok := described.Content[media]; !ok {
			t.Errorf("%s: the answer is %s, which is not described", sc.name, media)
			continue
		}
		bodies := x.Response.Lines
		if media != "application/x-ndjson" {
			bodies = []json.RawMessage{x.Response.Body}
		}
		for _, body := range bodies {
			check("the response of "+sc.name, body, "paths", path, method, "responses", itoa(x.Response.Status), "content", media, "schema")
		}
	}
}

// anyOperation are statuses of faults that no operation has reason for today;
// the scenes send them to see every kind cross the wire.
var anyOperation = []int{401, 403, 429, 501, 502}

// templateOf finds the path of the document that the path of a request is one of.
func templateOf(t *testing.T, doc openAPI, path string) string {
	t.Helper()
	parts := strings.Split(path, "/")
	for template := range doc.Paths {
		wanted := strings.Split(template, "/")
		if slices.EqualFunc(wanted, parts, func(w, p string) bool { return w == p || strings.HasPrefix(w, "{") }) {
			return template
		}
	}
	t.Fatalf("the document has no path for %s", path)
	return ""
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }
