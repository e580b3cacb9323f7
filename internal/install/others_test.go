package install

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"cortex.dev/cortex/internal/fault"
)

func TestOwner(t *testing.T) {
	t.Parallel()
	helm := map[string]string{managedBy: "Helm", partOf: Release}
	for _, tt := range []struct {
		name          string
		labels, notes map[string]string
		adopting      bool
		want          string
	}{
		{"ours", helm, map[string]string{releaseName: Release, releaseNamespace: "cortex"}, false, ""},
		{"ours without the label", nil, map[string]string{releaseName: Release, releaseNamespace: "cortex"}, false, "without the label app.kubernetes.io/managed-by: Helm, by which Helm knows its own"},
		{"of another namespace", helm, map[string]string{releaseName: Release, releaseNamespace: "staging"}, false, "of the Helm release cortex in namespace staging"},
		{"of another release", helm, map[string]string{releaseName: "web", releaseNamespace: "cortex"}, false, "of the Helm release web in namespace cortex"},
		{"of another release, adopting", helm, map[string]string{releaseName: "web", releaseNamespace: "cortex"}, true, "of the Helm release web in namespace cortex"},
		{"applied", helm, nil, false, "of a Cortex that was applied without Helm"},
		{"applied, adopting", helm, nil, true, ""},
		{"of a tool", map[string]string{managedBy: "kustomize"}, nil, true, "of kustomize"},
		{"of nobody", nil, nil, true, "not of Helm"},
	} {
		u := &unstructured.Unstructured{Object: map[string]any{}}
		u.SetLabels(tt.labels)
		u.SetAnnotations(tt.notes)
		if got := owner(u, "cortex", tt.adopting); got != tt.want {
			t.Errorf("%s: owner = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestKeeper(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		labels, notes map[string]string
		want          string
	}{
		{nil, nil, ""},
		{nil, map[string]string{"argocd.argoproj.io/tracking-id": "platform:apps/Deployment:cortex/cortex-operator"}, "the Argo CD application platform"},
		{map[string]string{"argocd.argoproj.io/instance": "platform"}, nil, "the Argo CD application platform"},
		{map[string]string{"kustomize.toolkit.fluxcd.io/name": "infra"}, nil, "the Flux kustomization infra"},
		{map[string]string{"helm.toolkit.fluxcd.io/name": "cortex"}, nil, "the Flux Helm release cortex"},
	} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "cortex", Labels: tt.labels, Annotations: tt.notes}}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Args: []string{"--region=x", "--namespace=models"}}}
		got := installationOf(d)
		if got.keeper != tt.want || got.apis != "models" {
			t.Errorf("installationOf(%v, %v) = %+v, want kept by %q and apis in models", tt.labels, tt.notes, got, tt.want)
		}
		if err := got.mayChange(); (err == nil) != (tt.want == "") || err != nil && fault.Code(err) != "install.kept_elsewhere" {
			t.Errorf("mayChange of what is kept by %q = %v", tt.want, err)
		}
	}
}

func TestDiffering(t *testing.T) {
	t.Parallel()
	defaults := map[string]any{"a": 1.0, "b": map[string]any{"c": "x", "d": []any{}}, "e": map[string]any{}}
	values := map[string]any{"a": 1.0, "b": map[string]any{"c": "y", "d": []any{}}, "e": map[string]any{}, "f": true}
	if diff := cmp.Diff(map[string]any{"b": map[string]any{"c": "y"}, "f": true}, differing(values, defaults)); diff != "" {
		t.Errorf("differing (-want +got):\n%s", diff)
	}
}
