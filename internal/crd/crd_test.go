package crd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

func TestSpecHashIsOfTheContent(t *testing.T) {
	t.Parallel()
	hash := func(text string) string {
		h, err := SpecHash(json.RawMessage(text))
		if err != nil || len(h) != 64 {
			t.Fatalf("SpecHash(%s) = %q, %v, want 64 digits", text, h, err)
		}
		return h
	}
	for _, tt := range []struct {
		name, a, b string
		same       bool
	}{
		{"order and whitespace", `{"a": 1, "b": [1, "x"]}`, "{\"b\":[1,\n\"x\"],\"a\":1}", true},
		{"forms of a number", `{"a": 1.0, "b": 1e3, "c": 0.50}`, `{"a": 1, "b": 1000, "c": 0.5}`, true},
		{"escapes", `{"a": "\u00e4<"}`, `{"a": "ä\u003c"}`, true},
		{"absent and empty", ``, `{}`, true},
		{"another value", `{"a": 1}`, `{"a": 2}`, false},
		{"a number and its text", `{"a": 1}`, `{"a": "1"}`, false},
		{"a null and nothing", `{"a": null}`, `{}`, false},
		{"order of a list", `{"a": [1, 2]}`, `{"a": [2, 1]}`, false},
		{"numbers that no float tells apart", `{"a": 9007199254740993}`, `{"a": 9007199254740992}`, false},
	} {
		if got := hash(tt.a) == hash(tt.b); got != tt.same {
			t.Errorf("%s: SpecHash(%s) == SpecHash(%s) = %t, want %t", tt.name, tt.a, tt.b, got, tt.same)
		}
	}
	if h, err := SpecHash(json.RawMessage(`{`)); err == nil {
		t.Errorf("SpecHash({) = %s, want an error", h)
	}
}

// What is stored is read back by the manifest as the same spec, and stored as the same.
func TestSpecOfIsReadBack(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../manifest/testdata/*.good.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("Glob() = %v, %v", files, err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := manifest.Parse(path, data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range parsed.Entries {
			want := &parsed.Entries[i].Spec
			stored, err := SpecOf(want)
			if err != nil {
				t.Fatal(err)
			}
			var keys map[string]any
			if err := json.Unmarshal(stored, &keys); err != nil {
				t.Fatal(err)
			}
			keys["name"], keys["kind"] = want.Name, want.Kind
			config, err := json.Marshal([]any{keys})
			if err != nil {
				t.Fatal(err)
			}
			again, err := manifest.Parse(path, config)
			if err != nil {
				t.Errorf("%s: what is stored of %s is refused: %v\n%s", path, want.Name, err, config)
				continue
			}
			if diff := cmp.Diff(plainJSON(t, want), plainJSON(t, &again.Entries[0].Spec)); diff != "" {
				t.Errorf("%s: %s is read back as another spec (-want +got):\n%s", path, want.Name, diff)
			}
		}
	}
}

func plainJSON(t *testing.T, v any) (plain any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestSpecOfKeepsTheNullThatSaysSomething(t *testing.T) {
	t.Parallel()
	compute := workload.NewCompute()
	compute.CPU = nil
	s := &workload.Spec{Name: "a", Kind: workload.Task, Pod: &workload.Pod{Containers: []workload.Container{{Name: "c", Image: "i", Compute: compute}}}}
	got, err := SpecOf(s)
	want := `{"pod":{"containers":[{"compute":{"cpu":null,"gpu":0,"inf":0},"image":"i","name":"c"}]}}`
	if string(got) != want || err != nil {
		t.Errorf("SpecOf() = %s, %v, want %s", got, err, want)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	if got, want := Source(workload.Splitter, "all"), "trafficsplitters.cortex.dev/all"; got != want {
		t.Errorf("Source() = %s, want %s", got, want)
	}
}
