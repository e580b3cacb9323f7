package install

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestInherit(t *testing.T) {
	t.Parallel()
	entry := func(manager, operation, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationType(operation), Subresource: subresource,
			APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
	}
	const a, b, both = `{"f:spec":{"f:a":{}}}`, `{"f:spec":{"f:b":{}}}`, `{"f:spec":{"f:a":{},"f:b":{}}}`
	for _, tt := range []struct {
		name     string
		have     []metav1.ManagedFieldsEntry
		managers []string // afterwards, in order; none: nothing is given
		fields   string   // of helm, afterwards
	}{
		{"nothing there", nil, nil, ""},
		{"only ours", []metav1.ManagedFieldsEntry{entry("helm", "Apply", "", a)}, nil, ""},
		{"an earlier name", []metav1.ManagedFieldsEntry{entry("cortex-install-1.2-linux-amd64", "Apply", "", a)}, []string{"helm"}, a},
		{"both", []metav1.ManagedFieldsEntry{entry("cortex-install", "Apply", "", a), entry("helm", "Apply", "", b)}, []string{"helm"}, both},
		{"somebody's edit stays", []metav1.ManagedFieldsEntry{entry("cortex-install", "Apply", "", a), entry("kubectl-edit", "Update", "", b)}, []string{"kubectl-edit", "helm"}, a},
		{"a status stays", []metav1.ManagedFieldsEntry{entry("cortex-install", "Apply", "", a), entry("cortex-install", "Apply", "status", b)}, []string{"cortex-install", "helm"}, a},
		{"an update of ours stays", []metav1.ManagedFieldsEntry{entry("cortex-install", "Update", "", a)}, nil, ""},
	} {
		got, err := inherit(tt.have, helmManager, formerManager)
		if err != nil {
			t.Errorf("%s: inherit: %v", tt.name, err)
			continue
		}
		var managers []string
		for _, e := range got {
			managers = append(managers, e.Manager)
		}
		if diff := cmp.Diff(tt.managers, managers); diff != "" {
			t.Errorf("%s: managers (-want +got):\n%s", tt.name, diff)
		}
		if i := slices.IndexFunc(got, byHelm); tt.fields != "" && (i < 0 || got[i].FieldsV1.GetRawString() != tt.fields) {
			t.Errorf("%s: inherit = %v, want that helm owns %s", tt.name, got, tt.fields)
		}
	}
	if _, err := inherit([]metav1.ManagedFieldsEntry{entry("cortex-install", "Apply", "", "{")}, helmManager, formerManager); err == nil {
		t.Error("inherit of fields that cannot be read is no error")
	}
}
