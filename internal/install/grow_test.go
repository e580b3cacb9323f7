package install

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// definitionOf returns a definition that serves the schema in version v1.
func definitionOf(t *testing.T, schema, program string) *unstructured.Unstructured {
	t.Helper()
	var object map[string]any
	text := `{metadata: {annotations: {cortex.dev/version: "` + program + `"}}, spec: {versions: [{name: v1, served: true, schema: {openAPIV3Schema: ` + schema + `}},
		{name: v0, served: false, schema: {openAPIV3Schema: {properties: {old: {}}}}}]}}`
	if err := yaml.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: object}
}

func TestDecideWhichDefinitionStays(t *testing.T) {
	t.Parallel()
	const (
		small = `{properties: {spec: {properties: {a: {}}}}}`
		large = `{properties: {spec: {properties: {a: {}, list: {items: {properties: {b: {}}}}, map: {additionalProperties: {properties: {c: {}}}}}}}}`
		other = `{properties: {spec: {properties: {a: {}, z: {}}}}}`
		inner = `{properties: {spec: {properties: {a: {}, list: {items: {properties: {}}}, map: {additionalProperties: {properties: {c: {}}}}}}}}`
		next  = `{properties: {spec: {properties: {a: {}, b: {}}}, status: {properties: {deployed: {}}}}}`
		was   = `{properties: {deployed: {properties: {revision: {}}}, spec: {properties: {a: {}}}, status: {properties: {observed_hash: {}}}}}`
	)
	for _, tt := range []struct {
		name             string
		live, ours       string
		wrote, program   string
		keep             bool
		refuse           string
		refuseAlsoNaming string
	}{
		{"the same", large, large, "", "", false, "", ""},
		{"ours has more", small, large, "", "", false, "", ""},
		{"theirs has more", large, small, "", "", true, "", ""},
		{"theirs has more in a list", large, inner, "", "", true, "", ""},
		{"each has its own", other, large, "", "", false, "serves v1 spec.z, which", "lacks v1 spec.list, v1 spec.list[].b, v1 spec.map and 1 more"},
		{"what we gave up", was, next, "", "", false, "", ""},
		{"of a newer program", large, large, "1.3.0", "1.2.0", true, "", ""},
		{"of an older program", large, large, "1.2.0", "1.3.0", false, "", ""},
		{"of a newer program, with less", small, large, "1.3.0", "1.2.0", false, "", ""},
		{"of an unreleased program", large, large, "dev", "1.2.0", false, "", ""},
		{"by an unreleased program", large, large, "1.3.0", "dev", false, "", ""},
	} {
		got := decide(crd{name: "x.cortex.dev", object: definitionOf(t, tt.ours, "")}, definitionOf(t, tt.live, tt.wrote), tt.program)
		if got.keep != tt.keep || (got.refuse != "") != (tt.refuse != "") || !strings.Contains(got.refuse, tt.refuse) || !strings.Contains(got.refuse, tt.refuseAlsoNaming) {
			t.Errorf("%s: decide = keep %v, refuse %q, want %v, %q", tt.name, got.keep, got.refuse, tt.keep, tt.refuse)
		}
	}
}

// The definitions of this build have fields that can be compared, and say to Helm, Argo
// CD and Flux that they stay.
func TestDefinitionsOfThisBuild(t *testing.T) {
	t.Parallel()
	all, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if got := len(fields(d.object)); got < 8 {
			t.Errorf("%s serves %d fields, want to find more", d.name, got)
		}
		for key, want := range map[string]string{
			"helm.sh/resource-policy": "keep", "argocd.argoproj.io/sync-options": "Prune=false,Delete=false", "kustomize.toolkit.fluxcd.io/prune": "disabled",
		} {
			if got := d.object.GetAnnotations()[key]; got != want {
				t.Errorf("%s has the annotation %s: %q, want %q", d.name, key, got, want)
			}
		}
	}
}
