package schema

import (
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// inProcess judges with the code of the API server, but for the rules in CEL: what
// carries those is no dependency of this module.
func inProcess(t testing.TB) judge {
	t.Helper()
	kinds := map[string]*schema.Structural{}
	for _, d := range definitions(t) {
		kinds[d.Spec.Names.Kind] = structural(t, d)
	}
	return func(t testing.TB, resource object) (refused []string) {
		t.Helper()
		name, _ := resource["kind"].(string)
		s, ok := kinds[name]
		if !ok {
			t.Fatalf("no definition of the kind %q", name)
		}
		resource = runtime.DeepCopyJSON(resource)
		for _, unknown := range pruning.PruneWithOptions(resource, s, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
			refused = append(refused, "unknown field "+unknown)
		}
		for _, err := range validate.NewSchemaValidator(s.ToKubeOpenAPI(), nil, "", strfmt.Default).Validate(resource).Errors {
			refused = append(refused, strings.TrimPrefix(err.Error(), "."))
		}
		for _, err := range listtype.ValidateListSetsAndMaps(nil, s, resource) {
			refused = append(refused, err.Error())
		}
		return refused
	}
}

func structural(t testing.TB, d v1.CustomResourceDefinition) *schema.Structural {
	t.Helper()
	var internal apiextensions.JSONSchemaProps
	if err := v1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(d.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		t.Fatal(err)
	}
	s, err := schema.NewStructural(&internal)
	if err != nil {
		t.Fatal(err)
	}
	if errs := schema.ValidateStructural(nil, s); len(errs) > 0 {
		t.Fatalf("the schema of %s is not structural: %v", d.Name, errs.ToAggregate())
	}
	return s
}

func TestDefinitionsAcceptWhatTheManifestAccepts(t *testing.T) {
	t.Parallel()
	acceptsGood(t, inProcess(t))
}

// Some of what no rule in CEL is needed for.
func TestDefinitionsRefuse(t *testing.T) {
	t.Parallel()
	judge := inProcess(t)
	for _, tt := range []struct{ name, kind, spec, want string }{
		{"an unknown key", "RealtimeAPI", `{"pod": {"prot": 80, "containers": [{"name": "a", "image": "i"}]}}`, "spec.pod.prot"},
		{"a section of another kind", "TaskAPI", `{"autoscaling": {}, "pod": {"containers": [{"name": "a", "image": "i", "command": ["x"]}]}}`, "spec.autoscaling"},
		{"a missing section", "RealtimeAPI", `{}`, "spec.pod"},
		{"a number beyond its bound", "AsyncAPI", `{"pod": {"max_concurrency": 101, "containers": [{"name": "a", "image": "i"}]}}`, "spec.pod.max_concurrency"},
		{"two containers of one name", "RealtimeAPI", `{"pod": {"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}}`, "spec.pod.containers[1]"},
		{"a cpu that is a map", "RealtimeAPI", `{"pod": {"containers": [{"name": "a", "image": "i", "compute": {"cpu": {"x": 1}}}]}}`, "compute.cpu"},
		{"a quantity that is none", "RealtimeAPI", `{"pod": {"containers": [{"name": "a", "image": "i", "compute": {"mem": "1GB"}}]}}`, "compute.mem"},
		{"no image", "RealtimeAPI", `{"pod": {"containers": [{"name": "a", "command": ["x"]}]}}`, "spec.pod.containers[0].image"},
	} {
		refused := strings.Join(judge(t, resourceOf("iris", tt.kind, parsed(t, tt.spec))), "\n")
		if !strings.Contains(refused, tt.want) {
			t.Errorf("%s: the definition says %q, want a word of %s", tt.name, refused, tt.want)
		}
	}
}
