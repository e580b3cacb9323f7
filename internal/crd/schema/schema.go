// Package schema makes the definitions of Cortex's custom resources, as files of
// deploy/chart/crds, from what package manifest knows of a cortex.yaml and package
// workload of a job and of an access key.
//
// It promises that the API server refuses what these refuse, as far as it can judge
// one resource by itself, and accepts whatever they accept and Kubernetes can run. A construct of the manifest's schema that it does not know is
// an error, so that a new rule is never left out by oversight.
//
// It must not hold a rule of its own that these do not have, but for what only
// Kubernetes asks for. The programs do not import it: they read the files.
package schema

import (
	"encoding/json"
	"fmt"
	"strings"

	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

// resource is a row of the table of what is defined.
type resource struct {
	kind, plural, short string
	columns             []v1.CustomResourceColumnDefinition
	root                func(*root) (v1.JSONSchemaProps, error)
	status              bool // a subresource
}

func resources() []resource {
	replicas := append([]v1.CustomResourceColumnDefinition{
		column("Ready", "integer", ".status.ready", "replicas that receive requests"),
		column("Requested", "integer", ".status.requested", "replicas there should be"),
		column("Up-to-date", "integer", ".status.up_to_date", "ready replicas of the newest version"),
		column("Phase", "string", ".status.phase", "live, updating, idle, stopped, degraded or failed"),
	}, always()...)
	replicas = append(replicas, wide("Version", "integer", ".status.deployed.revision.number", "what is deployed, as in v12"))
	return []resource{
		{string(workload.Realtime), crd.Plural(workload.Realtime), "rtapi", replicas, ofWorkload(workload.Realtime), true},
		{string(workload.Async), crd.Plural(workload.Async), "asapi", replicas, ofWorkload(workload.Async), true},
		{string(workload.Batch), crd.Plural(workload.Batch), "bapi", always(), ofWorkload(workload.Batch), true},
		{string(workload.Task), crd.Plural(workload.Task), "tapi", always(), ofWorkload(workload.Task), true},
		{string(workload.Splitter), crd.Plural(workload.Splitter), "split", always(), ofWorkload(workload.Splitter), true},
		{crd.RevisionKind, crd.RevisionPlural, "apirev", revisionColumns(), ofRevision, false},
		{string(workload.BatchJob), crd.Plural(workload.BatchJob), "bjob", jobColumns(), ofJob(workload.BatchJob), true},
		{string(workload.TaskJob), crd.Plural(workload.TaskJob), "tjob", jobColumns(), ofJob(workload.TaskJob), true},
		{crd.AccessKeyKind, crd.Plural(crd.AccessKeyKind), "ckey", keyColumns(), ofAccessKey, false},
	}
}

// root is what the definitions are made from.
type root struct {
	specs map[string]object // schemas of the manifest by kind
}

// object is a JSON object.
type object = map[string]any

// Definitions returns the definition of every resource, in the order of the table.
func Definitions() ([]v1.CustomResourceDefinition, error) {
	var doc struct {
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(manifest.Schema(), &doc); err != nil {
		return nil, fmt.Errorf("reading the schema of a cortex.yaml: %w", err)
	}
	var all []v1.CustomResourceDefinition
	for _, r := range resources() {
		schema, err := r.root(&root{specs: doc.Defs})
		if err != nil {
			return nil, fmt.Errorf("defining %s: %w", r.plural, err)
		}
		all = append(all, r.definition(schema))
	}
	return all, nil
}

// kept are the annotations by which Helm, Argo CD and Flux leave a definition alone
// when they remove what it came with: with it goes every resource of its kind in the
// cluster, whoever made it.
func kept() map[string]string {
	return map[string]string{
		"helm.sh/resource-policy":           "keep",
		"argocd.argoproj.io/sync-options":   "Prune=false,Delete=false",
		"kustomize.toolkit.fluxcd.io/prune": "disabled",
	}
}

func (r *resource) definition(schema v1.JSONSchemaProps) v1.CustomResourceDefinition {
	version := v1.CustomResourceDefinitionVersion{
		Name: crd.Version, Served: true, Storage: true,
		Schema:                   &v1.CustomResourceValidation{OpenAPIV3Schema: &schema},
		AdditionalPrinterColumns: r.columns,
	}
	if r.status {
		version.Subresources = &v1.CustomResourceSubresources{Status: &v1.CustomResourceSubresourceStatus{}}
	}
	return v1.CustomResourceDefinition{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.SchemeGroupVersion.String(), Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: r.plural + "." + crd.Group, Annotations: kept()},
		Spec: v1.CustomResourceDefinitionSpec{
			Group: crd.Group, Scope: v1.NamespaceScoped,
			Names: v1.CustomResourceDefinitionNames{
				Kind: r.kind, ListKind: r.kind + "List", Plural: r.plural, Singular: strings.ToLower(r.kind),
				ShortNames: []string{r.short},
				// Not "all": kubectl delete all --all would delete what serves requests.
				Categories: []string{"cortex"},
			},
			Versions: []v1.CustomResourceDefinitionVersion{version},
		},
	}
}

func column(name, kind, path, doc string) v1.CustomResourceColumnDefinition {
	return v1.CustomResourceColumnDefinition{Name: name, Type: kind, JSONPath: path, Description: doc}
}

// wide is a column that kubectl get -o wide shows.
func wide(name, kind, path, doc string) v1.CustomResourceColumnDefinition {
	c := column(name, kind, path, doc)
	c.Priority = 1
	return c
}

// always are the columns of every workload.
func always() []v1.CustomResourceColumnDefinition {
	return []v1.CustomResourceColumnDefinition{
		column("Endpoint", "string", ".status.endpoint", "where it is reached"),
		accepted("whether the specification was deployed, or refused"),
		age(),
		wide("Serves", "string", `.status.conditions[?(@.type=="`+crd.Ready+`")].status`, "whether the accepted specification answers requests"),
		wide("Why", "string", `.status.conditions[?(@.type=="`+crd.Ready+`")].message`, "why it does, or does not"),
	}
}

func accepted(doc string) v1.CustomResourceColumnDefinition {
	return column("Accepted", "string", `.status.conditions[?(@.type=="`+crd.Accepted+`")].status`, doc)
}

func age() v1.CustomResourceColumnDefinition {
	return column("Age", "date", ".metadata.creationTimestamp", "since it was created")
}

func jobColumns() []v1.CustomResourceColumnDefinition {
	return []v1.CustomResourceColumnDefinition{
		column("API", "string", ".spec.api_name", "the API whose job this is"),
		column("Workers", "integer", ".spec.workers", "how many work on it; absent: one"),
		column("Status", "string", ".status.status", "such as running or succeeded; absent while it was not accepted"),
		accepted("whether the job was accepted, or refused"),
		age(),
	}
}

func revisionColumns() []v1.CustomResourceColumnDefinition {
	return []v1.CustomResourceColumnDefinition{
		column("API", "string", ".api", "the API whose history this is of"),
		column("Version", "string", ".revision.id", "what cortex rollback takes"),
		column("Cause", "string", ".cause", "why it was deployed"),
		column("Age", "date", ".remembered", "since it was deployed"),
	}
}
