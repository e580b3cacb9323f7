package install

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// The field managers under which objects are applied. Whoever applies under the same
// name neither conflicts with us nor leaves behind what a newer version lacks, so they
// are those of the programs that the page tells people to use beside ours: Helm for
// the chart, `kubectl apply --server-side` for the definitions, of which Helm writes
// only the first.
const (
	helmManager       = "helm"
	definitionManager = "kubectl"
)

// formerManager reports whether an entry is of a name that this program applied under
// before it had a fixed one: that of its own file, such as cortex-install-1.2-linux-amd64.
func formerManager(e metav1.ManagedFieldsEntry) bool {
	return e.Operation == metav1.ManagedFieldsOperationApply && strings.HasPrefix(e.Manager, fieldManager)
}

// byKubectl reports whether an entry is of `kubectl apply`, of either kind.
func byKubectl(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == "kubectl" && e.Operation == metav1.ManagedFieldsOperationApply || e.Manager == "kubectl-client-side-apply"
}

func byHelm(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == helmManager && e.Operation == metav1.ManagedFieldsOperationApply
}

// inherit gives what the entries from own to the manager to, so that a field which it
// no longer applies goes, and returns nil when there is nothing to give.
func inherit(entries []metav1.ManagedFieldsEntry, to string, from ...func(metav1.ManagedFieldsEntry) bool) ([]metav1.ManagedFieldsEntry, error) {
	var rest []metav1.ManagedFieldsEntry
	var heir *metav1.ManagedFieldsEntry
	owned, given := fieldpath.NewSet(), false
	for _, e := range entries {
		own := e.Manager == to && e.Operation == metav1.ManagedFieldsOperationApply
		gives := !own && slices.ContainsFunc(from, func(is func(metav1.ManagedFieldsEntry) bool) bool { return is(e) })
		if !own && !gives || e.Subresource != "" || e.FieldsV1 == nil {
			rest = append(rest, e)
			continue
		}
		set := fieldpath.NewSet()
		if err := set.FromJSON(bytes.NewReader(e.FieldsV1.GetRawBytes())); err != nil {
			return nil, fmt.Errorf("reading which fields %s owns: %w", e.Manager, err)
		}
		owned, given = owned.Union(set), given || gives
		if heir == nil || own {
			heir = &e
		}
	}
	if !given {
		return nil, nil
	}
	raw, err := owned.ToJSON()
	if err != nil {
		return nil, fmt.Errorf("writing which fields %s owns: %w", to, err)
	}
	next := *heir
	next.Manager, next.Operation, next.FieldsV1 = to, metav1.ManagedFieldsOperationApply, metav1.NewFieldsV1(string(raw))
	return append(rest, next), nil
}

// takeOver has the manager to inherit an object's fields from others. An object that
// is not there has nothing to inherit.
func takeOver(ctx context.Context, at dynamic.ResourceInterface, name, to string, from ...func(metav1.ManagedFieldsEntry) bool) error {
	for {
		u, err := at.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		entries, err := inherit(u.GetManagedFields(), to, from...)
		if err != nil || entries == nil {
			return err
		}
		patch, err := json.Marshal([]map[string]any{
			{"op": "replace", "path": "/metadata/managedFields", "value": entries},
			{"op": "replace", "path": "/metadata/resourceVersion", "value": u.GetResourceVersion()},
		})
		if err != nil {
			return fmt.Errorf("writing who owns the fields: %w", err)
		}
		_, err = at.Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: to})
		if !apierrors.IsConflict(err) { // else its status was written meanwhile
			return err
		}
	}
}

// takeOverObjects does it for what is about to be applied.
func (w *work) takeOverObjects(ctx context.Context, objects []*unstructured.Unstructured, from ...func(metav1.ManagedFieldsEntry) bool) error {
	for _, u := range objects {
		at, err := w.resourceOf(u)
		if err != nil {
			return err
		}
		if at == nil {
			continue
		}
		if err := takeOver(ctx, at, u.GetName(), helmManager, from...); err != nil {
			return asFault("taking over "+describe(u), err)
		}
	}
	return nil
}
