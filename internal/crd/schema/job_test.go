package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/workload"
)

// catalogued is one job of the catalogue of package workload, whose rules are tried
// on it there.
type catalogued struct {
	Name     string
	Kind     workload.JobKind
	Spec     json.RawMessage
	Problems []string // path and code of each
	// Seen says who tells of the problems here: cel, an API server only; nobody, with
	// the reason. Otherwise the schema does.
	Seen, Why string
}

func (c *catalogued) resource(t testing.TB) object {
	t.Helper()
	var spec any
	if err := json.Unmarshal(c.Spec, &spec); err != nil {
		t.Fatal(err)
	}
	return jobOf("a1", string(c.Kind), spec)
}

func jobOf(name, kind string, spec any) object {
	return object{"apiVersion": crd.GroupVersion.String(), "kind": kind, "metadata": object{"name": name, "namespace": "default"}, "spec": spec}
}

func jobCatalogue(t testing.TB) []catalogued {
	t.Helper()
	text, err := os.ReadFile("../../workload/testdata/jobs.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []catalogued
	if err := json.Unmarshal(text, &list); err != nil || len(list) == 0 {
		t.Fatalf("reading the catalogue = %v", err)
	}
	return append(list, tooLarge("a text that is too large", strings.Repeat("a", workload.MaxItemBytes), ""),
		tooLarge("a map that is too large", object{"a": strings.Repeat("a", workload.MaxItemBytes)}, "no schema measures a map"))
}

func tooLarge(name string, item any, unseen string) catalogued {
	spec, _ := json.Marshal(object{"api_name": "resize", "workers": 1, "item_list": object{"items": []any{1, item}, "batch_size": 1}})
	c := catalogued{Name: name, Kind: workload.BatchJob, Spec: spec, Problems: []string{"item_list.items[1]: batchapi.item_size_exceeds_limit"}, Why: unseen}
	if unseen != "" {
		c.Seen = "nobody"
	}
	return c
}

// judgeJobs holds a judge to the rules of package workload.
func judgeJobs(t *testing.T, judge judge, hasCEL bool) {
	t.Helper()
	for _, c := range jobCatalogue(t) {
		_, violations := workload.ParseSubmission(c.Kind, c.Spec)
		if len(violations) != len(c.Problems) {
			t.Errorf("%s: %d problems by the rules, want %q", c.Name, len(violations), c.Problems)
			continue
		}
		refused := judge(t, c.resource(t))
		switch {
		case c.Seen == "cel" && !hasCEL:
		case len(c.Problems) == 0 || c.Seen == "nobody":
			if len(refused) > 0 {
				t.Errorf("%s is refused: %q, want it accepted", c.Name, refused)
			}
			if c.Seen == "nobody" && c.Why == "" {
				t.Errorf("%s is refused by nobody, and does not say why", c.Name)
			}
		case len(refused) == 0:
			t.Errorf("%s is accepted, want %q", c.Name, c.Problems)
		default:
			for _, v := range violations {
				if !isToldOf(v.Path, refused) && (v.Path != "" || hasCEL) {
					t.Errorf("%s: [%s] %s\nthe API server says: %q", c.Name, v.Code, v.Path, refused)
				}
			}
		}
	}
}

// isToldOf reports whether one of the refusals is about the value at a key path, or
// says that rules were left out because of other problems.
func isToldOf(path string, refused []string) bool {
	at := regexp.MustCompile(`(^|[ "])` + regexp.QuoteMeta(strings.TrimSuffix("spec."+path, ".")) + `("|: | in body |$)`)
	return slices.ContainsFunc(refused, func(r string) bool {
		return at.MatchString(r) || strings.Contains(r, "some validation rules were not checked because the object was invalid")
	})
}

func TestDefinitionsOfJobsAgreeWithTheirRules(t *testing.T) {
	t.Parallel()
	judgeJobs(t, inProcess(t), false)
}

func TestServerJudgesJobsByTheirRules(t *testing.T) {
	t.Parallel()
	judgeJobs(t, newServer(t).judge, true)
}

// The definition has the keys of the types, and asks for those without which a job
// is refused.
func TestDefinitionsOfJobsHaveTheKeysOfTheirTypes(t *testing.T) {
	t.Parallel()
	for _, k := range workload.JobKinds() {
		for _, d := range definitions(t) {
			if d.Spec.Names.Kind == string(k) {
				sameKeys(t, string(k), reflect.TypeOf(workload.NewSubmission(k)).Elem(), d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"])
			}
		}
	}
}

func sameKeys(t *testing.T, at string, typ reflect.Type, s v1.JSONSchemaProps) {
	t.Helper()
	var keys, required []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		key, optional, _ := strings.Cut(f.Tag.Get("json"), ",")
		keys = append(keys, key)
		if optional == "" {
			required = append(required, key)
		}
		of := f.Type
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if of.Kind() == reflect.Struct {
			sameKeys(t, at+"."+key, of, s.Properties[key])
		}
	}
	slices.Sort(keys)
	if diff := cmp.Diff(keys, slices.Sorted(maps.Keys(s.Properties))); diff != "" {
		t.Errorf("keys of %s (-type +definition):\n%s", at, diff)
	}
	if diff := cmp.Diff(required, s.Required); diff != "" {
		t.Errorf("keys without which %s is refused (-type +definition):\n%s", at, diff)
	}
}

func TestServerRefusesToChangeAJob(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	spec := `{"api_name": "resize", "workers": 1, "config": {"a": {"b": 1}}, "item_list": {"items": [1, null, {"a": [1, {"b": "c"}]}], "batch_size": 1}}`
	made, err := s.create(t, jobOf("a1", "BatchJob", parsed(t, spec)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(made["spec"]), fmt.Sprint(parsed(t, spec)); got != want {
		t.Errorf("the API server keeps %s, want %s", got, want)
	}
	patch := func(text string) error {
		return s.client.Patch("application/merge-patch+json").AbsPath(s.path("batchjobs", "a1")).Body([]byte(text)).Do(t.Context()).Error()
	}
	for _, change := range []string{
		`{"spec": {"workers": 2}}`, `{"spec": {"timeout": 5}}`, `{"spec": {"config": null}}`, `{"spec": {"config": {"a": {"b": 2}}}}`,
		`{"spec": {"item_list": {"items": [1]}}}`, `{"spec": {"item_list": {"items": [2, null, {"a": [1, {"b": "c"}]}]}}}`,
		`{"spec": {"item_list": {"items": [1, null, {"a": [1, {"b": "d"}]}]}}}`, `{"spec": {"item_list": {"items": [null, 1, {"a": [1, {"b": "c"}]}]}}}`,
	} {
		if err := patch(change); err == nil || !strings.Contains(err.Error(), "cannot be changed") {
			t.Errorf("changing a job by %s = %v, want it refused", change, err)
		}
	}
	for _, change := range []string{`{"metadata": {"labels": {"a": "b"}}}`, `{"spec": {"workers": 1, "item_list": {"items": [1, null, {"a": [1, {"b": "c"}]}]}}}`} {
		if err := patch(change); err != nil {
			t.Errorf("changing nothing of a job by %s: %v", change, err)
		}
	}
}

func TestServerNamesJobs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for name, ok := range map[string]bool{"69b183ed6bdf3e9b": true, "a": true, "a-1": true, "a.b": false, strings.Repeat("a", 63): true, strings.Repeat("a", 64): false} {
		_, err := s.create(t, jobOf(name, "TaskJob", parsed(t, `{"api_name": "train"}`)), "dryRun=All")
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "metadata.name") {
			t.Errorf("a job named %s = %v, want accepted %v", name, err, ok)
		}
	}
	generated := jobOf("", "TaskJob", parsed(t, `{"api_name": "train"}`))
	generated["metadata"] = object{"generateName": "train-"}
	if _, err := s.create(t, generated); err != nil {
		t.Errorf("a job whose name is made = %v", err)
	}
}
