package deploy_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/install"
	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/store"
	storekube "cortex.dev/cortex/internal/store/kube"
	"cortex.dev/cortex/internal/store/storetest"
)

// place is the rights of the chart in two namespaces of a test's own.
type place struct {
	admin        *rest.Config
	system, apis string
}

func newPlace(t *testing.T, admin *rest.Config) place {
	t.Helper()
	p := place{admin, kubetest.Namespace(t, admin), kubetest.Namespace(t, admin)}
	v, err := install.Values([][]byte{[]byte(required)}, []string{"apis.createNamespace=false", "apis.namespace=" + p.apis})
	if err != nil {
		t.Fatal(err)
	}
	text, err := install.Render(install.Config{Namespace: p.system, Values: v})
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	r := clients.RbacV1().RESTClient()
	for _, u := range objects(t, text) {
		if u.GroupVersionKind().Group != "rbac.authorization.k8s.io" {
			continue
		}
		data, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		resource := strings.ToLower(u.GetKind()) + "s"
		if err := r.Patch(types.ApplyYAMLPatchType).NamespaceIfScoped(u.GetNamespace(), u.GetNamespace() != "").Resource(resource).Name(u.GetName()).
			Param("fieldManager", "test").Body(data).Do(t.Context()).Error(); err != nil {
			t.Fatal(err)
		}
		if u.GetNamespace() == "" {
			t.Cleanup(func() {
				if err := r.Delete().Resource(resource).Name(u.GetName()).Do(context.Background()).Error(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	return p
}

// as returns a client that may do what an account of the chart may, once the API
// server has heard of it.
func (p place) as(t *testing.T, account string) *rest.Config {
	t.Helper()
	cfg := rest.CopyConfig(p.admin)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + p.system + ":" + account}
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context, namespace, group, resource, verb string) (bool, error) {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Group: group, Resource: resource, Verb: verb}}}
		answer, err := clients.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err == nil && answer.Status.Allowed, err
	}
	err = wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		ok, err := ask(ctx, p.apis, "", "pods", "list")
		if ok && account == "cortex-operator" {
			ok, err = ask(ctx, p.system, "", "secrets", "get")
		}
		return ok, err
	})
	if err != nil {
		t.Fatalf("the rights of %s do not arrive: %v", account, err)
	}
	return cfg
}

// The rights of the operator are enough for its store: all of the port's suite passes
// with them.
func TestRightsAreEnoughForTheStore(t *testing.T) {
	t.Parallel()
	admin := kubetest.Config(t)
	kubetest.InstallCRDs(t, admin)
	state := func(t *testing.T) storetest.Open {
		p := newPlace(t, admin)
		cfg := storekube.Config{REST: p.as(t, "cortex-operator"), Namespace: p.apis, SystemNamespace: p.system, Log: slog.New(slog.DiscardHandler)}
		return func(t *testing.T) store.Store {
			s, err := storekube.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	storetest.Run(t, state)
	storetest.RunReplicas(t, state)
}

// They are enough to say of a job why it does not run, and not to submit one.
func TestRightsAreEnoughForJobs(t *testing.T) {
	t.Parallel()
	admin := kubetest.Config(t)
	kubetest.InstallCRDs(t, admin)
	p := newPlace(t, admin)
	jobs := schema.GroupVersionResource{Group: "cortex.dev", Version: "v1", Resource: "taskjobs"}
	job := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cortex.dev/v1", "kind": "TaskJob", "metadata": map[string]any{"name": "a1"}, "spec": map[string]any{"api_name": "train"},
	}}
	by := func(cfg *rest.Config) dynamic.ResourceInterface {
		c, err := dynamic.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c.Resource(jobs).Namespace(p.apis)
	}
	operator := p.as(t, "cortex-operator")
	if _, err := by(operator).Create(t.Context(), job, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("an operator that submits a job gets %v, want forbidden", err)
	}
	if _, err := by(admin).Create(t.Context(), job, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := storekube.Open(t.Context(), storekube.Config{REST: operator, Namespace: p.apis, SystemNamespace: p.system, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_ = s.PendingJobs(ctx, func(j store.Submission) {
		if err := s.ResolveJob(ctx, j, nil); err != nil {
			t.Errorf("an operator that resolves a job gets %v", err)
		}
		cancel()
	})
	judged, err := by(admin).Get(t.Context(), "a1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, found, _ := unstructured.NestedSlice(judged.Object, "status", "conditions"); !found {
		t.Errorf("the job is %v, want that it was resolved", judged.Object)
	}
}

// The rights of a gateway are enough to hear what is deployed, and not to change it.
func TestRightsOfAGateway(t *testing.T) {
	t.Parallel()
	admin := kubetest.Config(t)
	kubetest.InstallCRDs(t, admin)
	p := newPlace(t, admin)
	open := func(account string, readOnly bool) *storekube.Store {
		cfg := storekube.Config{REST: p.as(t, account), Namespace: p.apis, SystemNamespace: p.system, ReadOnly: readOnly, Log: slog.New(slog.DiscardHandler)}
		s, err := storekube.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	if _, err := open("cortex-operator", false).Put(t.Context(), storetest.Sample("iris", 1)); err != nil {
		t.Fatal(err)
	}
	gateway := open("cortex-gateway", true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	heard := ""
	_ = gateway.Watch(ctx, func(c store.Change) {
		if heard = c.Name; heard != "" {
			cancel()
		}
	})
	if heard != "iris" {
		t.Errorf("a gateway hears of %q, want iris", heard)
	}
	clients, err := kubernetes.NewForConfig(p.as(t, "cortex-gateway"))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		clients.AppsV1().Deployments(p.apis).Delete(t.Context(), "api-iris", metav1.DeleteOptions{}),
		clients.CoreV1().Pods(p.apis).Delete(t.Context(), "api-iris", metav1.DeleteOptions{}),
		clients.CoreV1().Secrets(p.system).Delete(t.Context(), "x", metav1.DeleteOptions{}),
	} {
		if err == nil || !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("a gateway that deletes something gets %v, want forbidden", err)
		}
	}
}
