package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
)

// Where Helm writes whose an object is.
const (
	releaseName      = "meta.helm.sh/release-name"
	releaseNamespace = "meta.helm.sh/release-namespace"
	managedBy        = "app.kubernetes.io/managed-by"
	partOf           = "app.kubernetes.io/part-of"
)

// decode reads the objects of a rendered chart.
func decode(manifest string) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	reader := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := reader.Decode(&u.Object)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("reading the rendered chart: %w", err)
		case len(u.Object) > 0:
			all = append(all, u)
		}
	}
}

// describe names an object for people.
func describe(u *unstructured.Unstructured) string {
	text := strings.ToLower(u.GetKind()) + " " + u.GetName()
	if u.GetNamespace() != "" {
		text += " in namespace " + u.GetNamespace()
	}
	return text
}

// resourceOf is where u is kept, or nil when the cluster does not know its kind.
func (w *work) resourceOf(u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	mapping, err := w.access.mapper.RESTMapping(u.GroupVersionKind().GroupKind(), u.GroupVersionKind().Version)
	switch {
	case meta.IsNoMatchError(err):
		return nil, nil
	case err != nil:
		return nil, asFault("asking for the kinds of the cluster", err)
	case mapping.Scope.Name() == meta.RESTScopeNameNamespace:
		return w.objects.Resource(mapping.Resource).Namespace(u.GetNamespace()), nil
	}
	return w.objects.Resource(mapping.Resource), nil
}

// foreign returns those of the objects that somebody else has made, each with whose it
// is, and the kinds that the cluster does not know. Helm would refuse the first of them,
// after the definitions are written.
func (w *work) foreign(ctx context.Context, objects []*unstructured.Unstructured, adopting bool) (found []foreigner, unknown []string, err error) {
	for _, u := range objects {
		at, err := w.resourceOf(u)
		if err != nil {
			return nil, nil, err
		}
		if at == nil {
			if !slices.Contains(unknown, u.GetKind()) {
				unknown = append(unknown, u.GetKind())
			}
			continue
		}
		live, err := at.Get(ctx, u.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) { // the rights are told of apart
			continue
		}
		if err != nil {
			return nil, nil, asFault("looking at "+describe(u), err)
		}
		if whose := owner(live, w.cfg.Namespace, adopting); whose != "" {
			found = append(found, foreigner{describe(u), u.GetKind(), whose})
		}
	}
	return found, unknown, nil
}

// foreigner is an object under a name that the chart needs.
type foreigner struct{ what, kind, whose string }

// owner says whose an object is: "" for the release in namespace, and for one that was
// applied without Helm when that is being adopted.
func owner(live *unstructured.Unstructured, namespace string, adopting bool) string {
	labels, notes := live.GetLabels(), live.GetAnnotations()
	name, at := notes[releaseName], notes[releaseNamespace]
	switch {
	case name == Release && at == namespace && labels[managedBy] == "Helm":
		return ""
	case name == Release && at == namespace:
		return fmt.Sprintf("without the label %s: Helm, by which Helm knows its own", managedBy)
	case name != "":
		return fmt.Sprintf("of the Helm release %s in namespace %s", name, at)
	case adopting && labels[partOf] == Release:
		return ""
	case labels[partOf] == Release:
		return "of a Cortex that was applied without Helm"
	case labels[managedBy] != "":
		return "of " + labels[managedBy]
	}
	return "not of Helm"
}
