package install

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
)

// change is what becomes of one definition.
type change struct {
	crd
	keep   bool   // the cluster's is newer, and serves all that ours does
	refuse string // why neither may take the place of the other
}

// changes compares the definitions of this build with those of the cluster, which
// every installation shares. A field that is served now must be served afterwards: the
// API server would drop it from every object that is written.
func (w *work) changes(ctx context.Context, ours []crd) ([]change, error) {
	var all []change
	for _, d := range ours {
		live, err := w.objects.Resource(crdResource).Get(ctx, d.name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) || apierrors.IsForbidden(err): // the rights are told of apart
			all = append(all, change{crd: d})
		case err != nil:
			return nil, asFault("looking at the custom resource "+d.name, err)
		default:
			all = append(all, decide(d, live, w.cfg.Version))
		}
	}
	return all, nil
}

// retired are fields that definitions of earlier builds served and that may go: Cortex
// wrote them itself, and has other ones for the same now.
var retired = []string{"v1 deployed", "v1 status.observed_hash", "v1 status.observed_generation"}

// decide says what becomes of a definition that the cluster has. Definitions only grow,
// so of two the one with more fields is the newer one; with the same fields, the one
// that a newer program wrote.
func decide(ours crd, live *unstructured.Unstructured, program string) change {
	c := change{crd: ours}
	theirs, own := fields(live), fields(ours.object)
	lost, gained := without(theirs, own), without(own, theirs)
	lost = slices.DeleteFunc(lost, func(path string) bool {
		return slices.ContainsFunc(retired, func(gone string) bool { return path == gone || strings.HasPrefix(path, gone+".") })
	})
	switch {
	case len(lost) > 0 && len(gained) > 0:
		c.refuse = fmt.Sprintf("the definition %s of the cluster serves %s, which this program does not know, and lacks %s", ours.name, some(lost), some(gained))
	case len(lost) > 0, len(gained) == 0 && newer(live.GetAnnotations()[versionKey], program):
		c.keep = true
	}
	return c
}

// newer compares the versions of two programs; one of an unreleased build is not newer
// than anything.
func newer(a, b string) bool {
	x, err := version.ParseSemantic(a)
	if err != nil {
		return false
	}
	y, err := version.ParseSemantic(b)
	return err == nil && y.LessThan(x)
}

// fields are all that a definition serves, as version and path: "v1 spec.pod.port".
func fields(definition *unstructured.Unstructured) map[string]bool {
	all := map[string]bool{}
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	for _, v := range versions {
		m, _ := v.(map[string]any)
		if served, _ := m["served"].(bool); !served {
			continue
		}
		name, _ := m["name"].(string)
		schema, _, _ := unstructured.NestedMap(m, "schema", "openAPIV3Schema")
		addFields(all, name+" ", schema)
	}
	return all
}

func addFields(to map[string]bool, path string, schema map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	for name, inner := range properties {
		to[path+name] = true
		if m, ok := inner.(map[string]any); ok {
			addFields(to, path+name+".", m)
		}
	}
	for key, mark := range map[string]string{"items": "[].", "additionalProperties": "*."} {
		if m, ok := schema[key].(map[string]any); ok {
			addFields(to, strings.TrimSuffix(path, ".")+mark, m)
		}
	}
}

// without are the members of a that b lacks, in order.
func without(a, b map[string]bool) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range maps.Keys(a) {
			if !b[name] && !yield(name) {
				return
			}
		}
	})
}

// some names a few.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}
