package kube

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
	"cortex.dev/cortex/internal/workload"
)

func hashOf(t *testing.T, spec string) string {
	t.Helper()
	hash, err := crd.SpecHash(json.RawMessage(spec))
	if err != nil {
		t.Fatalf("crd.SpecHash(%s) = %v", spec, err)
	}
	return hash
}

func TestPending(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		generation int64
		status     crd.Status
		want       bool
	}{
		{"applied, and nobody has looked", 1, crd.Status{ObservedGeneration: crd.Unobserved}, true},
		{"restored without its status", 4, crd.Status{}, true},
		{"resolved", 4, crd.Status{ObservedGeneration: 4}, false},
		{"applied over what was resolved", 5, crd.Status{ObservedGeneration: 4}, true},
		{"restored from elsewhere, where it had changed more often", 1, crd.Status{ObservedGeneration: 4}, true},
		{"refused for now", 4, crd.Status{ObservedGeneration: 4, Waiting: true}, true},
	} {
		o := &object{}
		o.Generation = tt.generation
		if got := isPending(o, status{Status: tt.status}); got != tt.want {
			t.Errorf("isPending(%s) = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// What a write does to the specification that is there.
func TestWriteKeepsWhatAuthorsWrote(t *testing.T) {
	t.Parallel()
	w := storetest.Sample("iris", 1)
	w.Revision.SubmittedAPISpec = map[string]any{"name": "iris", "kind": "RealtimeAPI", "pod": map[string]any{"port": 80}}
	text, err := crd.SpecOf(&w.Revision.Spec)
	if err != nil {
		t.Fatal(err)
	}
	canonical := string(text)
	const submitted, other = `{"pod": {"port": 80.0}}`, `{"pod":{"port":81}}`
	earlier := &crd.Deployed{Revision: storetest.Sample("iris", 2).Revision}
	if earlier.Revision.ID == w.Revision.ID {
		t.Fatal("the samples have one id")
	}
	same := &crd.Deployed{Revision: w.Revision}
	for _, tt := range []struct {
		name     string
		present  string
		deployed *crd.Deployed
		observed int64  // of generation 3
		spec     string // "": it stays
		resolved bool
	}{
		{"as it was submitted", submitted, nil, crd.Unobserved, "", true},
		{"as it was written here a moment ago", canonical, nil, crd.Unobserved, "", true},
		{"deployed in another way than applied", other, earlier, 3, canonical, true},
		{"applied meanwhile", other, earlier, 2, "", false},
		{"applied before the first deploy", other, nil, crd.Unobserved, "", false},
		{"scaled", submitted, same, 3, "", false},
		{"scaled while something else is applied", other, same, 2, "", false},
	} {
		text, err := json.Marshal(status{Status: crd.Status{ObservedGeneration: tt.observed}})
		if err != nil {
			t.Fatal(err)
		}
		o := &object{Spec: json.RawMessage(tt.present), Status: text}
		o.UID, o.Name, o.Kind, o.Generation = types.UID("uid"), "iris", "RealtimeAPI", 3
		spec, resolved, err := specFor(o, tt.deployed, w)
		if err != nil || string(spec) != tt.spec || resolved != tt.resolved {
			t.Errorf("specFor(%s) = %s, %v, %v, want %s, %v", tt.name, spec, resolved, err, tt.spec, tt.resolved)
		}
		now, err := recorded(o, tt.deployed, w, 7, resolved)
		if err != nil {
			t.Fatalf("recorded(%s) = %v", tt.name, err)
		}
		want := tt.observed
		if tt.resolved {
			want = 3
		}
		if o.Status, err = json.Marshal(now); err != nil {
			t.Fatal(err)
		}
		d, err := deployedOf(o)
		if err != nil || d.Serial != 7 || d.Replicas != 1 || d.Cause != "deploy" || now.ObservedGeneration != want {
			t.Errorf("recorded(%s) = %+v, %v with generation %d, want serial 7 and generation %d", tt.name, d, err, now.ObservedGeneration, want)
		}
	}
}

// The specification of a resource, read as a cortex.yaml again, is the revision's.
func TestSpecReadsBack(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../manifest/testdata/*.good.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	read := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all, err := manifest.Parse(file, text)
		if err != nil {
			t.Fatalf("Parse(%s) = %v", file, err)
		}
		for _, want := range all.Entries {
			spec, err := crd.SpecOf(&want.Spec)
			if err != nil {
				t.Fatalf("SpecOf(%s) = %v", want.Spec.Name, err)
			}
			config, err := configOf(key{name: want.Spec.Name, kind: want.Spec.Kind}, spec)
			if err != nil {
				t.Fatalf("configOf(%s) = %v", want.Spec.Name, err)
			}
			again, err := manifest.Parse("again", []byte(config))
			if err != nil {
				t.Errorf("%s: Parse(%s) = %v", file, config, err)
				continue
			}
			got := again.Entries
			read++
			quantities := cmp.Comparer(func(a, b workload.Quantity) bool { return a.String() == b.String() })
			if diff := cmp.Diff(want.Spec, got[0].Spec, quantities); diff != "" {
				t.Errorf("%s: %s differs after it was read back (-want +got):\n%s", file, want.Spec.Name, diff)
			}
			if !isSubmitted(hashOf(t, string(spec)), &workload.Revision{SubmittedAPISpec: got[0].Submitted}) {
				t.Errorf("%s: isSubmitted(%s) = false for what was made from it", file, want.Spec.Name)
			}
		}
	}
	if read < 10 {
		t.Errorf("%d specifications were read back; the test proves nothing", read)
	}
}

func TestRecordsOfOthersAreCorrupt(t *testing.T) {
	t.Parallel()
	for _, record := range []string{`7`, `{}`, `{"serial":1}`, `{"serial":1,"revision":{"name":"other","kind":"RealtimeAPI"}}`, `{"serial":0,"revision":{"name":"iris","kind":"RealtimeAPI"}}`, `{"serial":1,"revision":{"name":"iris","kind":"TaskAPI"}}`} {
		o := &object{Status: json.RawMessage(`{"deployed":` + record + `}`)}
		o.Name, o.Kind = "iris", "RealtimeAPI"
		if d, err := deployedOf(o); err == nil || !strings.Contains(err.Error(), "realtimeapis.cortex.dev/iris") {
			t.Errorf("deployedOf(%s) = %+v, %v, want an error that names the resource", record, d, err)
		}
	}
}

func TestCamelCase(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]string{
		"spec.duplicate_name": "SpecDuplicateName", "errors.unexpected": "ErrorsUnexpected", "live": "Live", "": "Unknown", "ä.b": "B",
	} {
		if got := camelCase(code); got != want {
			t.Errorf("camelCase(%q) = %s, want %s", code, got, want)
		}
	}
}

func TestNamesOfKeysAreDistinct(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, key := range []string{"a", "A", "_", "-", "a-", "-a", "a_", "a_b", "a-b", "AB", "aB", "c4", "C4", strings.Repeat("_", store.MaxKey)} {
		name := nameOfKey(prefixValue, key)
		if other, ok := seen[name]; ok {
			t.Errorf("nameOfKey(%q) = %s, which is that of %q", key, name, other)
		}
		seen[name] = key
		if len(name) > 253 {
			t.Errorf("nameOfKey(%q) has %d characters, want at most 253", key, len(name))
		}
	}
}

// What cannot be read of a status must not take the record with it when the rest is
// written again.
func TestTheRecordOutlivesTheRest(t *testing.T) {
	t.Parallel()
	const record = `{"serial":3,"revision":{"name":"iris","kind":"RealtimeAPI"}}`
	for text, want := range map[string]string{
		`{"deployed":` + record + `,"ready":1}`:   record,
		`{"deployed":` + record + `,"ready":"x"}`: record,
		`{"ready":"x"}`: "",
		`7`:             `7`,
	} {
		o := &object{Status: json.RawMessage(text)}
		o.Name, o.Kind = "iris", "RealtimeAPI"
		if got := string(statusOf(o).Deployed); got != want {
			t.Errorf("statusOf(%s) has the record %s, want %s", text, got, want)
		}
		if _, err := deployedOf(o); (err != nil) != (want == `7`) {
			t.Errorf("deployedOf(%s) = %v, want an error only of what is no status", text, err)
		}
	}
}

// Whatever stands in a status, reading it is an error at most, and what cannot be read
// is not taken for a resource without a record.
func FuzzStatus(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `7`, `{"deployed":null}`, `{"deployed":{"serial":1}}`, `{"observedGeneration":"x"}`, `{"deployed":[]}`,
		`{"deployed":{"serial":3,"replicas":1,"revision":{"name":"iris","kind":"RealtimeAPI","id":"a"}},"observedGeneration":2}`,
		`{"deployed":{"serial":3,"revision":{"name":"iris","kind":"RealtimeAPI","pod":{"containers":[{}]}}},"conditions":[{"type":"Accepted","status":"False"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		o := &object{Status: text, Spec: json.RawMessage(`{}`)}
		o.Name, o.Kind, o.ResourceVersion, o.UID = "iris", string(workload.Realtime), "5", "uid"
		e, err := entryOf(o)
		if err != nil {
			t.Fatalf("entryOf() = %v, want a problem of this one resource at most", err)
		}
		var closed map[string]json.RawMessage
		if json.Unmarshal(text, &closed) == nil && len(closed["deployed"]) > 0 && string(closed["deployed"]) != "null" && e.work == nil && e.problem == nil {
			t.Errorf("a resource with the record %s reads as one without", closed["deployed"])
		}
		if e.work == nil {
			return
		}
		d, err := deployedOf(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := specFor(o, d, *e.work); err != nil {
			t.Errorf("specFor() = %v", err)
		}
		if _, err := recorded(o, d, *e.work, 9, true); err != nil {
			t.Errorf("recorded() = %v", err)
		}
	})
}
