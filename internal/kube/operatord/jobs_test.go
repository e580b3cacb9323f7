package operatord

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Whoever submits a job reads in its condition why it does not run, from the operator
// that leads or, where there is none, from the next one.
func TestJobsSayWhyTheyDoNotRun(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	client, err := dynamic.NewForConfig(p.rest)
	if err != nil {
		t.Fatal(err)
	}
	of := func(resource string) dynamic.ResourceInterface {
		return client.Resource(schema.GroupVersionResource{Group: "cortex.dev", Version: "v1", Resource: resource}).Namespace(p.workloads)
	}
	submit := func(resource, kind, name string, spec map[string]any) {
		t.Helper()
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "cortex.dev/v1", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec}}
		if _, err := of(resource).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	items := func(items ...any) map[string]any {
		return map[string]any{"api_name": "resize", "workers": int64(1), "item_list": map[string]any{"items": items, "batch_size": int64(1)}}
	}
	says := func(resource, name, reason, message string) {
		t.Helper()
		var condition map[string]any
		eventually(t, resource+"/"+name+" is resolved", func() bool {
			u, err := of(resource).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
			for _, c := range list {
				if c, _ := c.(map[string]any); c["type"] == "Accepted" {
					condition = c
				}
			}
			return condition != nil
		})
		if text, _ := condition["message"].(string); condition["status"] != "False" || condition["reason"] != reason || !strings.HasPrefix(text, message) {
			t.Errorf("%s/%s says %v, want %s: %s", resource, name, condition, reason, message)
		}
	}
	const notYet = "ResourcesKindNotSupportedHere"
	first := p.leader("operator-a")
	submit("batchjobs", "BatchJob", "good", items("a"))
	says("batchjobs", "good", notYet, "jobs of a BatchAPI cannot run in this environment yet")
	// What the API server cannot measure.
	submit("batchjobs", "BatchJob", "large", items("a", map[string]any{"a": strings.Repeat("a", 256<<10)}))
	says("batchjobs", "large", "BatchapiItemSizeExceedsLimit", "spec.item_list.items[1]: is larger than an item may be")
	if err := first.end(); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	submit("taskjobs", "TaskJob", "between", map[string]any{"api_name": "train"})
	p.leader("operator-b")
	says("taskjobs", "between", notYet, "jobs of a TaskAPI cannot run in this environment yet")
}
