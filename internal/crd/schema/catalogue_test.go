package schema

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	kubejson "k8s.io/apimachinery/pkg/util/json"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

// judge says what an API server has against a resource; nothing when it accepts it,
// as a client who asks for strict validation would hear it.
type judge func(t testing.TB, resource object) []string

// The rules of the manifest that an API server does not have.
var beyond = []struct{ code, pattern, why string }{
	{workload.CodeDuplicateEndpoint, ``, "compares APIs"},
	{workload.CodeDuplicateHost, ``, "compares APIs"},
	{workload.CodeTargetNotDeployed, `is a (BatchAPI|TaskAPI); `, "compares APIs"},
	{workload.CodeDuplicateName, ``, "compares APIs; in one namespace there cannot be two of a kind, and the operator refuses two kinds"},
	{workload.CodeCannotBeNull, ``, "a null where none is allowed is dropped, as if the key were absent"},
	{workload.CodeCannotBeNullOrEmpty, ``, "a null where none is allowed is dropped, as if the key were absent"},
	{workload.CodeGreaterOrEqual, `\.(compute\.(limits\.)?(cpu|mem)|empty_dir\.size): `, "needs the value of a quantity, which has no structural type"},
	{workload.CodeShmExceedsMem, ``, "needs the value of a quantity, which has no structural type"},
	{workload.CodePrimitiveType, `read differently|with the tag`, "gone when YAML has become JSON"},
	{workload.CodeInvalidString, `\.env\.`, envUntyped},
	{workload.CodePrimitiveType, `\.env\.`, envUntyped},
	{workload.CodeReservedEnv, ``, envUntyped},
	{workload.CodeCron, ``, cronUntyped},
	{workload.CodeTimezone, ``, cronUntyped},
	{workload.CodePeriod, ``, "the greatest of a period is the operator's to say"},
	{workload.CodeMinAboveMax, `\.floors\[`, "compares floors"},
	{workload.CodeGreaterOrEqual, `\.job: `, jobUntyped},
	{workload.CodeJobExactlyOne, `\.job: `, jobUntyped},
	{workload.CodeMustBeDefined, `\.job: `, jobUntyped},
	{workload.CodePayload, ``, "a resource has no files beside it"},
	{workload.CodeMalformed, ``, "about the list, which there is none"},
}

const (
	cronUntyped = "a cron expression, and which zones there are, is more than CEL can read: the operator judges them"
	jobUntyped  = "the job of a schedule has no structural type: the operator judges it"
)

const envUntyped = "a variable is a text or a reference to a secret, for which there is no structural type: the operator judges env"

// resourcesOf turns a cortex.yaml into resources, by the labels of its APIs in
// messages. What is no list of maps has none.
func resourcesOf(t testing.TB, data []byte) []object {
	t.Helper()
	var doc any
	if yaml.Unmarshal(data, &doc) != nil {
		return nil // no JSON can say it
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil // keys that are no strings
	}
	var list []object
	if kubejson.Unmarshal(text, &list) != nil {
		return nil
	}
	var all []object
	for _, element := range list {
		name, kind := element["name"], element["kind"]
		delete(element, "name")
		delete(element, "kind")
		all = append(all, resourceOf(name, kind, element))
	}
	return all
}

func resourceOf(name, kind any, spec object) object {
	metadata := object{"namespace": "default"}
	if name != nil {
		metadata["name"] = name
	}
	return object{"apiVersion": crd.GroupVersion.String(), "kind": kind, "metadata": metadata, "spec": spec}
}

func files(t testing.TB, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob("../../manifest/testdata/" + pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("Glob(%s) = %v, %v", pattern, list, err)
	}
	return list
}

// eachGood calls fn for every API of the catalogue that Kubernetes can run.
func eachGood(t *testing.T, fn func(file string, spec *workload.Spec)) {
	t.Helper()
	for _, file := range files(t, "*.good.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := manifest.Parse(file, data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range parsed.Entries {
			if spec := &parsed.Entries[i].Spec; !isProcess(spec) {
				fn(fmt.Sprintf("%s: %s", filepath.Base(file), spec.Name), spec)
			}
		}
	}
}

// What the manifest accepts is accepted, as its user wrote it and as it is stored.
func acceptsGood(t *testing.T, judge judge) {
	t.Helper()
	eachGood(t, func(file string, spec *workload.Spec) {
		stored, err := crd.SpecOf(spec)
		if err != nil {
			t.Fatal(err)
		}
		if refused := judge(t, resourceOf(spec.Name, string(spec.Kind), parsed(t, string(stored)))); len(refused) > 0 {
			t.Errorf("%s as it is stored is refused: %q\n%s", file, refused, stored)
		}
	})
	for _, file := range files(t, "*.good.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, process := processes[filepath.Base(file)]
		for _, r := range resourcesOf(t, data) {
			refused := judge(t, r)
			switch {
			case process && !strings.Contains(strings.Join(refused, "\n"), "image"):
				t.Errorf("%s is refused with %q, want a word of its image", file, refused)
			case !process && len(refused) > 0:
				t.Errorf("%s: %v is refused: %q", file, r["metadata"], refused)
			}
		}
	}
}

// processes are good files that only one machine can run.
var processes = map[string]string{"process-without-image.good.yaml": "Kubernetes runs images"}

// isProcess tells what only one machine can run.
func isProcess(s *workload.Spec) bool {
	return s.Pod != nil && slices.ContainsFunc(s.Pod.Containers, func(c workload.Container) bool { return c.Image == "" })
}

// What the manifest refuses is refused, with the name of the field.
func refusesBad(t *testing.T, judge judge) {
	t.Helper()
	used := map[int]bool{}
	for _, file := range files(t, "*.bad.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = manifest.Parse("", data)
		problems := fault.From(err).Problems
		refused := map[string][]string{}
		for i, r := range resourcesOf(t, data) {
			name, _ := r["metadata"].(object)["name"].(string)
			kind, _ := r["kind"].(string)
			label := fmt.Sprintf("resource at index %d", i)
			if slices.Contains(workload.Kinds(), workload.Kind(kind)) && name != "" {
				label = fmt.Sprintf("%s (%s)", name, kind)
			}
			if kind != "" && slices.Contains(workload.Kinds(), workload.Kind(kind)) {
				refused[label] = append(refused[label], judge(t, r)...)
			}
		}
		if len(refused) == 0 {
			continue // nothing that an API server could be asked
		}
		for _, p := range problems {
			if i := beyondOf(p); i >= 0 {
				used[i] = true
			} else if !isNamed(p, refused[p.API]) {
				t.Errorf("%s: [%s] %s\nthe API server says: %q", filepath.Base(file), p.Code, p, refused[p.API])
			}
		}
	}
	for i, b := range beyond {
		if !used[i] {
			t.Errorf("no file of the catalogue breaks %s (%s)", b.code, b.why)
		}
	}
}

func beyondOf(p fault.Problem) int {
	return slices.IndexFunc(beyond, func(b struct{ code, pattern, why string }) bool {
		return p.Code == b.code && regexp.MustCompile(b.pattern).MatchString(p.String())
	})
}

// isNamed reports whether one of the refusals is about the field of p or what holds
// it, or says that rules were left out because of other problems.
func isNamed(p fault.Problem, refused []string) bool {
	if p.Path == "name" {
		return slices.ContainsFunc(refused, func(r string) bool { return regexp.MustCompile(`(metadata|ObjectMeta)\.name`).MatchString(r) })
	}
	return slices.ContainsFunc(refused, func(r string) bool {
		if strings.Contains(r, "some validation rules were not checked because the object was invalid") {
			return true
		}
		for path := "spec." + p.Path; path != "spec" && path != "spec.pod"; path = path[:strings.LastIndexAny(path, ".[")] {
			if strings.Contains(r, path+": ") || strings.Contains(r, strconv.Quote(path)) {
				return true
			}
		}
		return strings.Contains(r, "spec."+p.Path)
	})
}
