package kube

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	deployed := &crd.Deployed{SpecHash: "old"}
	refused := []metav1.Condition{{Type: crd.Accepted, Status: metav1.ConditionFalse}}
	for _, tt := range []struct {
		name     string
		hash     string
		deployed *crd.Deployed
		status   crd.Status
		want     bool
	}{
		{"applied", "new", nil, crd.Status{}, true},
		{"refused before it was ever deployed", "new", nil, crd.Status{ObservedHash: "new", Conditions: refused}, false},
		{"deployed by the command line", "old", deployed, crd.Status{}, false},
		{"applied over what is deployed", "new", deployed, crd.Status{ObservedHash: "old"}, true},
		{"refused", "new", deployed, crd.Status{ObservedHash: "new", Conditions: refused}, false},
		{"accepted without a change", "new", deployed, crd.Status{ObservedHash: "new"}, false},
		{"taken back after it was refused", "old", deployed, crd.Status{ObservedHash: "new", Conditions: refused}, true},
	} {
		if got := isPending(tt.hash, tt.deployed, tt.status); got != tt.want {
			t.Errorf("isPending(%s) = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// What a write does to the specification that is there.
func TestWriteKeepsWhatAuthorsWrote(t *testing.T) {
	t.Parallel()
	w := storetest.Sample("iris", 1)
	w.Revision.SubmittedAPISpec = map[string]any{"name": "iris", "kind": "RealtimeAPI", "pod": map[string]any{"port": 80}}
	canonical, err := crd.SpecOf(&w.Revision.Spec)
	if err != nil {
		t.Fatal(err)
	}
	const submitted, other = `{"pod": {"port": 80.0}}`, `{"pod":{"port":81}}`
	earlier := storetest.Sample("iris", 2).Revision
	if earlier.ID == w.Revision.ID {
		t.Fatal("the samples have one id")
	}
	for _, tt := range []struct {
		name     string
		present  string
		deployed *crd.Deployed
		status   crd.Status
		spec     string // afterwards
		hash     string // in the record
	}{
		{"as it was submitted", submitted, nil, crd.Status{}, submitted, hashOf(t, submitted)},
		{
			"deployed in another way than applied", other, &crd.Deployed{Revision: earlier, SpecHash: hashOf(t, other)}, crd.Status{},
			string(canonical), hashOf(t, string(canonical)),
		},
		{
			"what was refused gives way", other, &crd.Deployed{Revision: earlier, SpecHash: "x"}, crd.Status{ObservedHash: hashOf(t, other)},
			string(canonical), hashOf(t, string(canonical)),
		},
		{
			"applied meanwhile", other, &crd.Deployed{Revision: earlier, SpecHash: "x"}, crd.Status{ObservedHash: "x"},
			other, hashOf(t, string(canonical)),
		},
		{"applied before the first deploy", other, nil, crd.Status{}, other, hashOf(t, string(canonical))},
		{"scaled", submitted, &crd.Deployed{Revision: w.Revision, SpecHash: "x"}, crd.Status{ObservedHash: hashOf(t, submitted)}, submitted, "x"},
		{"scaled while something else is applied", other, &crd.Deployed{Revision: w.Revision, SpecHash: "x"}, crd.Status{}, other, "x"},
	} {
		status, err := json.Marshal(tt.status)
		if err != nil {
			t.Fatal(err)
		}
		o := &object{Spec: json.RawMessage(tt.present), Status: status}
		o.UID, o.Name, o.Kind = types.UID("uid"), "iris", "RealtimeAPI"
		if err := write(o, tt.deployed, w, 7); err != nil {
			t.Fatalf("write(%s) = %v", tt.name, err)
		}
		if string(o.Spec) != tt.spec {
			t.Errorf("write(%s): spec = %s, want %s", tt.name, o.Spec, tt.spec)
		}
		d, err := deployedOf(o)
		if err != nil || d.SpecHash != tt.hash || d.Serial != 7 || d.Replicas != 1 || d.Cause != "deploy" {
			t.Errorf("write(%s): record = %+v, %v, want hash %s", tt.name, d, err, tt.hash)
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
		o := &object{Deployed: json.RawMessage(record)}
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
