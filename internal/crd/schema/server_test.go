package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubejson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/workload"
)

// server is a real API server, with the definitions and a namespace of the test's own.
type server struct {
	client    rest.Interface
	namespace string
}

func newServer(t *testing.T) *server {
	t.Helper()
	cfg := kubetest.Config(t)
	kubetest.InstallCRDs(t, cfg)
	cfg = rest.CopyConfig(cfg)
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.GroupVersion, cfg.APIPath, cfg.NegotiatedSerializer = &crd.GroupVersion, "/apis", scheme.Codecs.WithoutConversion()
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &server{client, kubetest.Namespace(t, cfg)}
}

func (s *server) path(plural string, more ...string) string {
	return strings.Join(append([]string{"/apis", crd.Group, crd.Version, "namespaces", s.namespace, plural}, more...), "/")
}

// create creates a resource, or does as if.
func (s *server) create(t testing.TB, resource object, options ...string) (object, error) {
	t.Helper()
	resource["metadata"].(object)["namespace"] = s.namespace
	body, err := json.Marshal(resource)
	if err != nil {
		t.Fatal(err)
	}
	kind, _ := resource["kind"].(string)
	post := s.client.Post().AbsPath(s.path(crd.Plural(workload.Kind(kind)))).SetHeader("Content-Type", "application/json").Body(body)
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		post = post.Param(key, value)
	}
	result := post.Do(t.Context())
	if err := result.Error(); err != nil {
		return nil, err
	}
	answer, err := result.Raw()
	if err != nil {
		return nil, err
	}
	return parsed(t, string(answer)), nil
}

func parsed(t testing.TB, text string) object {
	t.Helper()
	var o object
	if err := kubejson.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

// judge asks for strict validation without writing anything. An API server tells of
// unknown keys before it looks at values, so it is asked for each.
func (s *server) judge(t testing.TB, resource object) (refused []string) {
	t.Helper()
	for _, validation := range []string{"Strict", "Ignore"} {
		_, err := s.create(t, resource, "dryRun=All", "fieldValidation="+validation)
		if err == nil {
			continue
		}
		var status *apierrors.StatusError
		if !errors.As(err, &status) || status.ErrStatus.Code >= 500 {
			t.Fatalf("creating %v: %v", resource["metadata"], err)
		}
		refused = append(refused, status.Error())
		if d := status.ErrStatus.Details; d != nil {
			for _, c := range d.Causes {
				refused = append(refused, c.Field+": "+c.Message)
			}
		}
	}
	return refused
}

func TestServerAcceptsWhatTheManifestAccepts(t *testing.T) {
	t.Parallel()
	acceptsGood(t, newServer(t).judge)
}

func TestServerRefusesWhatTheManifestRefuses(t *testing.T) {
	t.Parallel()
	refusesBad(t, newServer(t).judge)
}

// What is stored is what was written, so that its hash says whether somebody changed it.
func TestServerKeepsSpecificationsAsTheyAreStored(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	eachGood(t, func(file string, spec *workload.Spec) {
		stored, err := crd.SpecOf(spec)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := s.create(t, resourceOf(spec.Name, string(spec.Kind), parsed(t, string(stored))), "dryRun=All")
		if err != nil {
			t.Errorf("%s: %v", file, err)
			return
		}
		kept, err := json.Marshal(answer["spec"])
		if err != nil {
			t.Fatal(err)
		}
		want, err := crd.SpecHash(stored)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := crd.SpecHash(kept); got != want || err != nil {
			t.Errorf("%s: the API server keeps another spec (%v)\n%s\n%s", file, err, stored, kept)
		}
	})
}

// The type of a spec may say null in more places than its schema; that is accepted too.
func TestServerAcceptsTheTypeOfASpec(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	eachGood(t, func(file string, spec *workload.Spec) {
		text, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		plain := parsed(t, string(text))
		delete(plain, "name")
		delete(plain, "kind")
		if _, err := s.create(t, resourceOf(spec.Name, string(spec.Kind), plain), "dryRun=All"); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	})
}

const minimal = `{"pod": {"containers": [{"name": "api", "image": "iris"}]}}`

// Unknown keys are refused where the client asks for it, as kubectl does, and always
// in server-side apply. Whoever asks for neither gets a warning.
func TestServerTellsOfUnknownKeys(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	misspelt := func(name string) object {
		return resourceOf(name, "RealtimeAPI", parsed(t, strings.Replace(minimal, `{"pod"`, `{"autoscalling": {}, "pod"`, 1)))
	}
	if _, err := s.create(t, misspelt("strict"), "fieldValidation=Strict"); err == nil || !strings.Contains(err.Error(), "spec.autoscalling") {
		t.Errorf("a strict create of an unknown key = %v, want it refused by name", err)
	}
	r := misspelt("applied")
	r["metadata"].(object)["namespace"] = s.namespace
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	err = s.client.Patch("application/apply-patch+yaml").AbsPath(s.path("realtimeapis", "applied")).Param("fieldManager", "test").Body(body).Do(t.Context()).Error()
	if err == nil || !strings.Contains(err.Error(), "autoscalling") {
		t.Errorf("a server-side apply of an unknown key = %v, want it refused by name", err)
	}
	warnings := s.client.Post().AbsPath(s.path("realtimeapis")).SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Warnings()
	if len(warnings) != 1 || !strings.Contains(warnings[0].Text, "spec.autoscalling") {
		t.Errorf("a create without a wish = %v, want one warning", warnings)
	}
}

// What Cortex remembers stands where no writer of a specification reaches: neither one
// who makes it up nor one who leaves it out.
func TestServerKeepsTheRecordFromWriters(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	record := parsed(t, `{"serial": 7, "cause": "deploy", "replicas": 1, "revision": {"name": "iris", "pod": {"new_in_a_later_release": [1]}}}`)
	r := resourceOf("iris", "RealtimeAPI", parsed(t, minimal))
	r["status"] = object{"observedGeneration": 1, "phase": "live", "deployed": record}
	answer, err := s.create(t, r)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(answer["status"]), "map[observedGeneration:-1]"; got != want {
		t.Errorf("status of a new resource = %s, want %s", got, want)
	}
	answer["status"] = r["status"]
	put := func(path string, r object) object {
		t.Helper()
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.client.Put().AbsPath(path).SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Raw()
		if err != nil {
			t.Fatal(err)
		}
		return parsed(t, string(text))
	}
	path := s.path("realtimeapis", "iris")
	answer = put(path+"/status", answer)
	// As kubectl replace does, and Argo CD with Replace=true: what the author knows.
	delete(answer, "status")
	answer = put(path, answer)
	kept, _ := answer["status"].(object)
	if got, want := fmt.Sprint(kept["deployed"]), fmt.Sprint(record); got != want {
		t.Errorf("the record after a replacement = %s, want %s", got, want)
	}
	if got := fmt.Sprint(answer["metadata"].(object)["generation"]); got != "1" {
		t.Errorf("the generation after a replacement by the same = %s, want 1", got)
	}
}

func TestServerRefusesToChangeARevision(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	create := parsed(t, `{"apiVersion": "cortex.dev/v1", "kind": "Revision", "metadata": {"name": "iris-000001"}, "api": "iris", "cause": "deploy",
		"remembered": "2026-01-02T03:04:05Z", "revision": {"name": "iris", "id": "1", "pod": {"port": 80}}}`)
	create["metadata"].(object)["namespace"] = s.namespace
	if _, err := s.create(t, create); err != nil {
		t.Fatal(err)
	}
	patch := func(text string) error {
		return s.client.Patch("application/merge-patch+json").AbsPath(s.path(crd.RevisionPlural, "iris-000001")).Body([]byte(text)).Do(t.Context()).Error()
	}
	for _, change := range []string{
		`{"revision": {"id": "2"}}`, `{"revision": {"pod": {"port": 81}}}`, `{"revision": {"pod": {"more": 1}}}`, `{"api": "rose"}`,
	} {
		if err := patch(change); err == nil || !strings.Contains(err.Error(), "cannot be changed") {
			t.Errorf("changing a revision by %s = %v, want it refused", change, err)
		}
	}
	if err := patch(`{"metadata": {"labels": {"a": "b"}}}`); err != nil {
		t.Errorf("labelling a revision: %v", err)
	}
}

// kubectl shows the columns, as this asks for them.
func TestServerShowsColumns(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, r := range resources() {
		text, err := s.client.Get().AbsPath(s.path(r.plural)).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var table metav1.Table
		if err := json.Unmarshal(text, &table); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range table.ColumnDefinitions {
			got = append(got, c.Name)
		}
		want := []string{"Name"}
		for _, c := range r.columns {
			want = append(want, c.Name)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("columns of %s = %v, want %v", r.plural, got, want)
		}
	}
}
