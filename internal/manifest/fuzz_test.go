package manifest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Whatever the bytes are: no panic, and either a fault that people can read or
// specs that keep every rule and that read the same when written as JSON.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("Glob() = %v, %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, text := range []string{
		"", "\ufeff", "&a [*a]", "- &a {<<: *a}", "- <<: [{}, {<<: {}}]", "[[[[", "{{{{", "- ? a\n  : b", "%YAML 1.2\n---\n", "- !!binary aGk=",
		"- {name: !!str 1, kind: !!str RealtimeAPI}", "- name: |\n   a\n", "a: &b\n- *b", "--- a\n--- b", "- - - -", "- {? [a]: b}", "... \n", "- \"\\x00\"",
	} {
		f.Add([]byte(text))
	}
	schema := compiled(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("cortex.yaml", data)
		if err != nil {
			readable(t, err)
			return
		}
		var submitted []any
		for _, e := range file.Entries {
			spec := e.Spec
			if v := spec.Validate(); len(v) > 0 {
				t.Errorf("Parse() returned a spec that breaks a rule: %+v", v)
			}
			spec.Default()
			if d := workload.Diff(&spec, &e.Spec); len(d) > 0 {
				t.Errorf("Parse() returned a spec without defaults: %v", d)
			}
			submitted = append(submitted, e.Submitted)
			e.Problem("pod.containers[0].env.A", "c", "m")
		}
		text, err := json.Marshal(submitted)
		if err != nil {
			t.Fatalf("Submitted is not JSON: %v", err)
		}
		again, err := Parse("again.json", text)
		if err != nil {
			t.Fatalf("Parse() refuses what it submitted itself: %v\n%s", err, text)
		}
		for i := range again.Entries {
			for _, path := range workload.Diff(&again.Entries[i].Spec, &file.Entries[i].Spec) {
				if !strings.Contains(path, ".compute.") { // 1.50 becomes 1.5
					t.Errorf("Parse() of what it submitted differs at %s", path)
				}
			}
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("the schema refuses what Parse accepts: %v\n%s", err, text)
		}
	})
}

// readable fails when an error is not one that people can act on.
func readable(t *testing.T, err error) {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) || len(f.Problems) == 0 || f.Code == "" || f.Message == "" {
		t.Fatalf("Parse() = %#v, want a fault with problems", err)
	}
	for _, p := range f.Problems {
		if p.File != "cortex.yaml" || p.Code == "" || p.Message == "" || p.Line < 0 || p.Column < 0 || (p.Line == 0) != (p.Column == 0) {
			t.Errorf("Parse() told %+v, want it complete", p)
		}
		if text := p.String(); len(text) > 1500 || !utf8.ValidString(text) {
			t.Errorf("Parse() told a problem of %d bytes: %.300q", len(text), text)
		}
	}
}
