package schema

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/workload"
)

var update = flag.Bool("update", false, "write deploy/chart/crds")

const folder = "../../../deploy/chart/crds"

// head says where a definition is from.
func head(d v1.CustomResourceDefinition) string {
	of := "a cortex.yaml"
	if strings.HasSuffix(d.Spec.Names.Kind, "Job") {
		of = "a job"
	}
	if d.Spec.Names.Kind == crd.AccessKeyKind {
		of = "access keys"
	}
	return "# Made from the rules of " + of + " by: go test ./internal/crd/schema -update\n"
}

func definitions(t testing.TB) []v1.CustomResourceDefinition {
	t.Helper()
	all, err := Definitions()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// text writes a definition as its file has it.
func text(t testing.TB, d v1.CustomResourceDefinition) []byte {
	t.Helper()
	data, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var plain object
	if err := json.Unmarshal(data, &plain); err != nil {
		t.Fatal(err)
	}
	delete(plain, "status")
	out := bytes.NewBufferString(head(d))
	e := yaml.NewEncoder(out)
	e.SetIndent(2)
	if err := e.Encode(plain); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestFilesOfTheChartAreTheDefinitions(t *testing.T) {
	t.Parallel()
	var want []string
	for _, d := range definitions(t) {
		path := filepath.Join(folder, d.Spec.Names.Plural+".yaml")
		want = append(want, path)
		made := text(t, d)
		if *update {
			if err := os.WriteFile(path, made, 0o644); err != nil { //nolint:gosec // a file of the repository
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(string(kept), string(made)); diff != "" {
			t.Errorf("%s is not what Definitions() makes (-file +made); go test ./internal/crd/schema -update writes it:\n%s", path, diff)
		}
	}
	got, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files in %s (-want +got):\n%s", folder, diff)
	}
}

// A rule at a path that no schema has would judge nothing.
func TestEveryRuleIsInADefinition(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	var visit func(s v1.JSONSchemaProps)
	visit = func(s v1.JSONSchemaProps) {
		for _, r := range s.XValidations {
			count[r.Rule]++
		}
		for _, p := range s.Properties {
			visit(p)
		}
		if s.Items != nil {
			visit(*s.Items.Schema)
		}
	}
	for _, d := range definitions(t) {
		visit(*d.Spec.Versions[0].Schema.OpenAPIV3Schema)
	}
	for _, r := range workload.Rules() {
		switch want := len(r.Kinds); {
		case (r.CEL.Expr == "") == (r.CEL.Elsewhere == ""):
			t.Errorf("the rule at %q is in CEL, or says why not: %+v", r.At, r.CEL)
		case r.CEL.Expr != "" && count[r.CEL.Expr] < want:
			t.Errorf("the rule %q at %q is in %d definitions, want %d", r.CEL.Message, r.At, count[r.CEL.Expr], want)
		}
	}
}
