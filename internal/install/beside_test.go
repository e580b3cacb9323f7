package install

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"cortex.dev/cortex/internal/fault"
)

// scale does what `kubectl scale` and an autoscaler do.
func (s *site) scale(t *testing.T, name, manager string, replicas int32) {
	t.Helper()
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.Namespace}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas}}
	if _, err := s.clients.AppsV1().Deployments(s.Namespace).UpdateScale(t.Context(), name, scale, metav1.UpdateOptions{FieldManager: manager}); err != nil {
		t.Fatal(err)
	}
}

func (s *site) upgrade(t *testing.T, values map[string]any) {
	t.Helper()
	cfg := s.Config
	cfg.Values = values
	if _, err := Upgrade(t.Context(), cfg); err != nil {
		t.Fatalf("Upgrade(%v): %v", values, err)
	}
}

func (s *site) deployment(t *testing.T, name string) *appsv1.Deployment {
	t.Helper()
	d, err := s.clients.AppsV1().Deployments(s.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// helmUpgrade does what `helm upgrade --reuse-values --set` does, which forces nothing.
func (s *site) helmUpgrade(t *testing.T, values map[string]any) {
	t.Helper()
	w, err := begin(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.chart()
	if err != nil {
		t.Fatal(err)
	}
	do := action.NewUpgrade(w.helm)
	do.Namespace, do.ReuseValues, do.ServerSideApply, do.WaitStrategy = s.Namespace, true, "auto", kube.HookOnlyStrategy
	if _, err := do.RunWithContext(t.Context(), Release, c, values); err != nil {
		t.Fatalf("helm upgrade: %v", err)
	}
}

func gateways(key string, value any) map[string]any {
	return map[string]any{"gateway": map[string]any{key: value}}
}

// Whoever else has written to what we installed, an upgrade goes through, and so does
// Helm's after ours.
func TestUpgradeBesideOthers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := Install(t.Context(), s.Config); err != nil {
		t.Fatal(err)
	}
	for _, e := range s.deployment(t, "cortex-gateway").ManagedFields {
		if e.Operation == metav1.ManagedFieldsOperationApply && e.Manager != "helm" {
			t.Errorf("the gateways are applied by %s, want helm, by whatever name the program is called", e.Manager)
		}
	}

	s.scale(t, "cortex-gateway", "kubectl", 5)
	s.upgrade(t, nil)
	if got := s.replicas(t, "cortex-gateway"); got != 2 {
		t.Errorf("after kubectl scale and an upgrade there are %d gateways, want the 2 of the values", got)
	}

	// A program of another name once applied a field that we do not.
	patch := `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"annotations": {"example.com/gone": "x"}}, "spec": {"minReadySeconds": 7}}`
	force := true
	if _, err := s.clients.AppsV1().Deployments(s.Namespace).Patch(t.Context(), "cortex-gateway", types.ApplyPatchType, []byte(patch),
		metav1.PatchOptions{FieldManager: "cortex-install-0.9-linux-amd64", Force: &force}); err != nil {
		t.Fatal(err)
	}
	s.upgrade(t, nil)
	if d := s.deployment(t, "cortex-gateway"); d.Annotations["example.com/gone"] != "" || d.Spec.MinReadySeconds != 0 ||
		slices.ContainsFunc(d.ManagedFields, formerManager) {
		t.Errorf("after an upgrade the gateways have annotations %v, minReadySeconds %d, managers %v, want nothing of the earlier program",
			d.Annotations, d.Spec.MinReadySeconds, d.ManagedFields)
	}

	s.helmUpgrade(t, gateways("drainSeconds", 30))
	s.upgrade(t, gateways("drainSeconds", 40))
	s.helmUpgrade(t, gateways("replicas", 3))
	if got := s.replicas(t, "cortex-gateway"); got != 3 {
		t.Errorf("after helm upgrade there are %d gateways, want 3", got)
	}
	if got := *s.deployment(t, "cortex-gateway").Spec.Template.Spec.TerminationGracePeriodSeconds; got != 50 {
		t.Errorf("after upgrades by both the gateways have %d s, want the 5 + 40 + 5 of ours", got)
	}
}

// An upgrade leaves the number of gateways to an autoscaler, of the chart or not.
func TestUpgradeLeavesReplicasToAnAutoscaler(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := Install(t.Context(), s.Config); err != nil {
		t.Fatal(err)
	}
	least := int32(2)
	scaler := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "mine"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "cortex-gateway"}, MinReplicas: &least, MaxReplicas: 9}}
	if _, err := s.clients.AutoscalingV2().HorizontalPodAutoscalers(s.Namespace).Create(t.Context(), scaler, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.upgrade(t, nil)
	if got := s.replicas(t, "cortex-gateway"); got != 2 {
		t.Errorf("an upgrade before the autoscaler has spoken leaves %d gateways, want 2", got)
	}
	s.scale(t, "cortex-gateway", "kube-controller-manager", 4)
	s.upgrade(t, gateways("drainSeconds", 30))
	if got := s.replicas(t, "cortex-gateway"); got != 4 {
		t.Errorf("an upgrade after the autoscaler has spoken leaves %d gateways, want its 4", got)
	}
	s.helmUpgrade(t, gateways("drainSeconds", 31))
	if got := s.replicas(t, "cortex-gateway"); got != 4 {
		t.Errorf("a helm upgrade after the autoscaler has spoken leaves %d gateways, want its 4", got)
	}
	if got := s.replicas(t, "cortex-operator"); got != 2 {
		t.Errorf("there are %d operators, which nothing scales, want 2", got)
	}
}

// Names that are taken are told of before anything is written.
func TestOwnershipIsLookedAtFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	core := s.clients.CoreV1()
	if _, err := core.Services(s.Namespace).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "cortex-gateway"},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := core.ServiceAccounts(s.Namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "cortex-operator",
		Labels: map[string]string{managedBy: "kustomize"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cfg := s.Config
	cfg.Values = Merge(cfg.Values, map[string]any{"operator": map[string]any{"tls": map[string]any{"secretName": "web"}},
		"gateway": map[string]any{"route": map[string]any{"enabled": true, "parentRefs": []any{map[string]any{"name": "public"}}}}})
	_, err := Install(t.Context(), cfg)
	if fault.Code(err) != "install.preflight" {
		t.Fatalf("Install = %v, want install.preflight", err)
	}
	for _, want := range []string{
		"service cortex-gateway in namespace " + s.Namespace + " is there already, not of Helm",
		"serviceaccount cortex-operator in namespace " + s.Namespace + " is there already, of kustomize",
		"secret web in namespace " + s.Namespace + " does not exist", "does not know the kinds HTTPRoute",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Install = %v\nwant %q in it", err, want)
		}
	}
	list, err := core.Secrets(s.Namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) > 0 {
		t.Errorf("after a refused installation there are %d secrets (%v), want none: nothing was written", len(list.Items), err)
	}
}

// Two installations do not share their APIs, and the second keeps the definitions.
func TestTwoInstallations(t *testing.T) {
	t.Parallel()
	one, two := newSite(t), newSite(t)
	if _, err := Install(t.Context(), one.Config); err != nil {
		t.Fatal(err)
	}
	greedy := two.Config
	greedy.Values = Merge(greedy.Values, map[string]any{"apis": map[string]any{"namespace": one.apis}})
	if _, err := Install(t.Context(), greedy); fault.Code(err) != "install.preflight" ||
		!strings.Contains(err.Error(), "namespace "+one.apis+" belongs to the installation in namespace "+one.Namespace) {
		t.Errorf("Install into the APIs of another = %v, want install.preflight with whose they are", err)
	}
	if _, err := Install(t.Context(), two.Config); err != nil {
		t.Fatal(err)
	}
	w, err := begin(two.Config)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.removeCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if last := two.steps[len(two.steps)-1]; !strings.HasPrefix(last, "custom resources: kept: the installation in namespace ") {
		t.Errorf("removing the definitions beside another installation says %q, want that they are kept", last)
	}
}

// applyRendered does what `helm template | kubectl apply --server-side` does.
func (s *site) applyRendered(t *testing.T) {
	t.Helper()
	w, err := begin(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.chart()
	if err != nil {
		t.Fatal(err)
	}
	text, err := render(c, w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	all, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range all {
		at, err := w.resourceOf(u)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := at.Apply(t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "kubectl"}); err != nil {
			t.Fatalf("applying %s: %v", describe(u), err)
		}
	}
}

// What was applied without Helm is looked at and upgraded like any other, with its values.
func TestAppliedWithoutHelm(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.Values = Merge(s.Values, gateways("replicas", 3.0))
	s.Values["policy"] = "permit (principal, action, resource);"
	s.applyRendered(t)

	checks, err := Health(t.Context(), s.Config)
	if err != nil {
		t.Fatalf("Health = %v, want checks of what was applied", err)
	}
	if i := slices.IndexFunc(checks, func(c Check) bool { return c.Name == "apis_namespace" }); i < 0 || checks[i].Text != s.apis {
		t.Errorf("Health = %+v, want that it knows the namespace %s of the APIs", checks, s.apis)
	}
	if _, err := Install(t.Context(), s.Config); fault.Code(err) != "install.exists" {
		t.Errorf("Install over what was applied = %v, want install.exists", err)
	}

	label := []byte(`{"metadata": {"labels": {"argocd.argoproj.io/instance": "platform"}}}`)
	if _, err := s.clients.AppsV1().Deployments(s.Namespace).Patch(t.Context(), "cortex-operator", types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	plain := s.Config
	plain.Values = nil
	if _, err := Upgrade(t.Context(), plain); fault.Code(err) != "install.kept_elsewhere" || !strings.Contains(err.Error(), "the Argo CD application platform") {
		t.Errorf("Upgrade of what Argo CD keeps = %v, want install.kept_elsewhere", err)
	}
	label = []byte(`{"metadata": {"labels": {"argocd.argoproj.io/instance": null}}}`)
	if _, err := s.clients.AppsV1().Deployments(s.Namespace).Patch(t.Context(), "cortex-operator", types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}

	info, err := Upgrade(t.Context(), plain)
	if err != nil || info.APIsNamespace != s.apis || info.Version != "1.2.3" {
		t.Fatalf("Upgrade of what was applied = %+v, %v, want its namespaces and version", info, err)
	}
	if got := s.replicas(t, "cortex-gateway"); got != 3 {
		t.Errorf("after the upgrade there are %d gateways, want the 3 of its values", got)
	}
	if _, err := s.clients.CoreV1().ConfigMaps(s.Namespace).Get(t.Context(), "cortex-policy", metav1.GetOptions{}); err != nil {
		t.Errorf("after the upgrade the policy is gone: %v", err)
	}
	if slices.ContainsFunc(s.deployment(t, "cortex-gateway").ManagedFields, byKubectl) {
		t.Error("after the upgrade kubectl still owns fields, which would stay when they leave the chart")
	}
	w, err := begin(plain)
	if err != nil {
		t.Fatal(err)
	}
	last, err := w.lastRelease()
	if err != nil || last == nil {
		t.Fatalf("after the upgrade there is no release: %v", err)
	}
	if _, pinned := last.Config["tick"]; pinned || last.Config["policy"] != s.Values["policy"] {
		t.Errorf("the release has the values %v, want its own and no defaults", last.Config)
	}
	if err := Uninstall(t.Context(), plain, true); err != nil {
		t.Errorf("Uninstall of what was taken over: %v", err)
	}
}

// A definition that kubectl applied is ours to apply, and the other way round; a rule
// that a newer one lacks goes.
func TestDefinitionsBesideKubectl(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w, err := begin(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	name := "things." + s.Namespace + ".example.com"
	definition := func(rule, description string) crd {
		text := `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: ` + name + `}, spec: {
			group: ` + s.Namespace + `.example.com, scope: Namespaced, names: {kind: Thing, listKind: ThingList, plural: things, singular: thing},
			versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, description: "` + description + `",
			x-kubernetes-validations: [{rule: "` + rule + `", message: wrong}]}}}]}}`
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		return crd{name: name, object: u}
	}
	at := w.objects.Resource(crdResource)
	t.Cleanup(func() {
		if err := at.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	rules := func() string {
		u, err := at.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
		found, _, _ := unstructured.NestedSlice(versions[0].(map[string]any), "schema", "openAPIV3Schema", "x-kubernetes-validations")
		return fmt.Sprint(found)
	}
	byHand := func(d crd, manager string) {
		t.Helper()
		if _, err := at.Apply(t.Context(), name, d.object, metav1.ApplyOptions{FieldManager: manager}); err != nil {
			t.Errorf("%s apply: %v", manager, err)
		}
	}
	// As `helm install` does, once; then ours; then `kubectl apply --server-side`; ours again.
	byHand(definition("1 > 0", "by Helm"), "helm")
	if err := w.applyCRD(t.Context(), definition("2 > 0", "by us")); err != nil {
		t.Fatal(err)
	}
	if got := rules(); !strings.Contains(got, "2 > 0") || strings.Contains(got, "1 > 0") {
		t.Errorf("after our definition the rules are %s, want only ours", got)
	}
	byHand(definition("3 > 0", "by kubectl"), "kubectl")
	if got := rules(); !strings.Contains(got, "3 > 0") || strings.Contains(got, "2 > 0") {
		t.Errorf("after kubectl's definition the rules are %s, want only its own", got)
	}
	if err := w.applyCRD(t.Context(), definition("4 > 0", "by us")); err != nil {
		t.Fatal(err)
	}
	if got := rules(); !strings.Contains(got, "4 > 0") || strings.Contains(got, "3 > 0") {
		t.Errorf("after ours again the rules are %s, want only ours", got)
	}
}

// An upgrade that repairs is not taken for what it repairs.
func TestRepair(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := Install(t.Context(), s.Config); err != nil {
		t.Fatal(err)
	}
	s.succeed(t, "cortex-gateway") // its pods are there
	pods := s.clients.CoreV1().Pods(s.Namespace)
	list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=gateway"})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("there are %d gateways: %v", len(list.Items), err)
	}
	sick := &list.Items[0]
	sick.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "gateway", RestartCount: 9, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	if _, err := pods.UpdateStatus(t.Context(), sick, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.upgrade(t, nil)
	after, err := pods.Get(t.Context(), sick.Name, metav1.GetOptions{})
	if err == nil && after.DeletionTimestamp == nil || err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("after an upgrade the broken pod is %v (%v), want it gone, and another in its place", after.Name, err)
	}
}
