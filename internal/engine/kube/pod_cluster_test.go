package kube

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/kubetest"
)

// apiServer is an API server, and what it warned of.
type apiServer struct {
	client    kubernetes.Interface
	namespace string
	warnings  []string
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	cfg := kubetest.Config(t)
	s := &apiServer{namespace: kubetest.Namespace(t, cfg)}
	cfg = rest.CopyConfig(cfg)
	cfg.WarningHandler = s
	var err error
	if s.client, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

// HandleWarningHeader implements rest.WarningHandler.
func (s *apiServer) HandleWarningHeader(_ int, _, text string) { s.warnings = append(s.warnings, text) }

func (s *apiServer) apply(t *testing.T, d *appsv1.Deployment, dryRun ...string) (*appsv1.Deployment, error) {
	t.Helper()
	d.Namespace = s.namespace
	text, err := applyJSON(d)
	if err != nil {
		t.Fatal(err)
	}
	force := true
	return s.client.AppsV1().Deployments(s.namespace).Patch(t.Context(), d.Name, types.ApplyPatchType, text, metav1.PatchOptions{
		FieldManager: fieldManager, Force: &force, DryRun: dryRun, FieldValidation: metav1.FieldValidationStrict,
	})
}

// TestPodsAreAccepted has an API server look at every golden Deployment, and at its
// pods, which it looks into more closely.
func TestPodsAreAccepted(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	// Without it no pod is accepted, and the cluster makes it a moment later.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err := s.client.CoreV1().ServiceAccounts(s.namespace).Create(t.Context(), account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	for name, d := range golden(t) {
		accepted, err := s.apply(t, d, metav1.DryRunAll)
		if err != nil {
			// Some clusters admit no privileged container of anybody.
			if !strings.Contains(err.Error(), "privileged: Forbidden: disallowed by cluster policy") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		pod := &corev1.Pod{ObjectMeta: accepted.Spec.Template.ObjectMeta, Spec: accepted.Spec.Template.Spec}
		pod.Name, pod.Namespace = "dry-run", s.namespace
		pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = "", "" // there is none of that name
		if _, err := s.client.CoreV1().Pods(s.namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			t.Errorf("a pod of %s: %v", name, err)
		}
	}
	if len(s.warnings) > 0 {
		t.Errorf("the API server warned:\n%s", strings.Join(s.warnings, "\n"))
	}
}

// TestPodsAreRestricted has the admission of the restricted pod security standard look at
// pods: those that it has to take, and one that shows that it looks.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	ns, err := s.client.CoreV1().Namespaces().Get(t.Context(), s.namespace, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ns.Labels == nil {
		ns.Labels = map[string]string{}
	}
	ns.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	if _, err := s.client.CoreV1().Namespaces().Update(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := s.client.CoreV1().ServiceAccounts(s.namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	all := golden(t)
	for name, allowed := range map[string]bool{"restricted": true, "non-root": true, "says": true, "minimal": false} {
		template := all[name].Spec.Template
		pod := &corev1.Pod{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.Name, pod.Namespace, pod.Spec.ServiceAccountName = "dry-run-"+name, s.namespace, ""
		_, err := s.client.CoreV1().Pods(s.namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case allowed && err != nil:
			t.Errorf("a pod of %s is refused: %v", name, err)
		case !allowed && (err == nil || !strings.Contains(err.Error(), "violates PodSecurity")):
			t.Errorf("a pod of %s: %v, want it refused by the standard", name, err)
		}
	}
}

// TestApplyingTwice looks at what only the API server knows: whether what it made
// of a Deployment, with its defaults, is a change when it comes back.
func TestApplyingTwice(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	r := revisionIn(t, "testdata/pods/everything.in.yaml")
	first, err := s.apply(t, deploymentOf(plain, engine.Deployment{Revision: r}, r, nil))
	if err != nil {
		t.Fatal(err)
	}

	again, err := s.apply(t, deploymentOf(plain, engine.Deployment{Revision: r}, r, nil))
	if err != nil || again.Generation != first.Generation {
		t.Errorf("the same once more is generation %d (%v), want %d: it must be no change", again.Generation, err, first.Generation)
	}

	next := *r
	next.ID, next.SpecID = "newer", "newer"
	upgraded := plain
	upgraded.SidecarImage, upgraded.Version = "cortex.dev/sidecar:2", "2"
	again, err = s.apply(t, deploymentOf(upgraded, engine.Deployment{Revision: &next}, &next, first))
	if err != nil || again.Generation != first.Generation || again.Labels[labelAPIID] != "newer" {
		t.Errorf("the same pod of a newer revision is generation %d of %q (%v), want %d of %q", again.Generation, again.Labels[labelAPIID], err, first.Generation, "newer")
	}

	// The pod that was given back whole leaves nothing behind in another one.
	other := revisionIn(t, "testdata/pods/minimal.in.yaml")
	other.DeploymentID = "klmnopqrst"
	want, err := s.apply(t, renamed(deploymentOf(plain, engine.Deployment{Revision: other}, other, nil), "api-fresh"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.apply(t, deploymentOf(plain, engine.Deployment{Revision: other}, other, again))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Spec.Template, got.Spec.Template); diff != "" {
		t.Errorf("another pod differs from one without a past (-fresh +got):\n%s", diff)
	}
}

func renamed(d *appsv1.Deployment, name string) *appsv1.Deployment {
	d.Name = name
	return d
}
