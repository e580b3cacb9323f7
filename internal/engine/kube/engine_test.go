package kube

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/workload"
)

func revision(id, pod string) *workload.Revision {
	port := int32(8080)
	return &workload.Revision{
		ID: id, SpecID: "spec-" + id, PodID: pod, DeploymentID: "d0",
		Spec: workload.Spec{Name: "iris", Kind: workload.Realtime, Pod: &workload.Pod{
			Port: &port, MaxConcurrency: 4, MaxQueueLength: 10, Containers: []workload.Container{{Name: "main", Image: "example.com/iris:" + pod}},
		}},
	}
}

func newTestEngine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	if cfg.Pods.Namespace == "" {
		cfg.Pods.Namespace = "cortex-apis"
	}
	cfg.Pods.SidecarImage = "example.com/sidecar:1"
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// running runs the engine until the test ends.
func running(t *testing.T, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	})
}

// await waits until the status of iris is one that ok asks for.
func await(t *testing.T, e *Engine, what string, ok func(engine.Status) bool) engine.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var got engine.Status
	_ = e.Watch(ctx, func(s engine.Status) {
		if s.Name == "iris" && got.Name == "" && ok(s) {
			got = s
			cancel()
		}
	})
	if got.Name == "" {
		s, err := e.Status(t.Context(), "iris")
		t.Fatalf("never saw %s; the last status is %+v, %v", what, s, err)
	}
	return got
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"API server": {Pods: PodConfig{Namespace: "x"}},
		"namespace":  {REST: &rest.Config{}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) = %v, want an error about the %s", cfg, err, want)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	nowhere := &rest.Config{Host: "http://127.0.0.1:1"}
	plain := revision("r1", "p1")
	process := revision("r1", "p1")
	process.Pod.Containers[0].Image = ""
	for _, tt := range []struct {
		name string
		cfg  Config
		d    engine.Deployment
		kind fault.Kind
		code string
	}{
		{"no image", Config{REST: nowhere}, engine.Deployment{Revision: process, Replicas: 1}, fault.Invalid, "engine.image_required"},
		{"negative replicas", Config{REST: nowhere}, engine.Deployment{Revision: plain, Replicas: -1}, fault.Invalid, "engine.negative_replicas"},
		{"no API server", Config{REST: nowhere}, engine.Deployment{Revision: plain, Replicas: 1}, fault.Unavailable, "engine.unavailable"},
		{"read only", Config{REST: nowhere, ReadOnly: true}, engine.Deployment{Revision: plain, Replicas: 1}, fault.Unsupported, "engine.read_only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := newTestEngine(t, tt.cfg).Apply(t.Context(), tt.d)
			if f := fault.From(err); err == nil || f.Kind != tt.kind || f.Code != tt.code {
				t.Errorf("Apply() = %v, want %s, %s", err, tt.kind, tt.code)
			}
		})
	}
}

func TestNothingIsKnownWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{REST: &rest.Config{Host: "http://127.0.0.1:1"}})
	running(t, e)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if s, err := e.Status(ctx, "iris"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Status() = %+v, %v, want to wait: it is not known that there is none", s, err)
	}
	if err := e.Watch(ctx, func(s engine.Status) { t.Errorf("Watch told %+v", s) }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Watch() = %v, want the error of its context", err)
	}
	if err := e.Remove(t.Context(), "iris"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Remove() = %v, want unavailable", err)
	}
}

func TestApplyKeepsThePods(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	ns := kubetest.Namespace(t, cfg)
	e := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: ns, Version: "1"}})
	running(t, e)
	if err := e.Apply(t.Context(), engine.Deployment{Revision: revision("r1", "p1"), Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	deployments := e.client.AppsV1().Deployments(ns)
	first, err := deployments.Get(t.Context(), "api-iris", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	newer := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: ns, Version: "2"}})
	running(t, newer)
	if err := newer.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := newer.Apply(t.Context(), engine.Deployment{Revision: revision("r2", "p1"), Replicas: 2}); err != nil {
		t.Fatal(err)
	}
	if s, err := newer.Status(t.Context(), "iris"); err != nil || s.Revision != "r2" || s.Desired != 2 {
		t.Errorf("Status() after Apply = %+v, %v, want what was applied", s, err)
	}
	second, err := deployments.Get(t.Context(), "api-iris", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hash := func(d *appsv1.Deployment) string { return d.Spec.Template.String() }
	if hash(first) != hash(second) || *second.Spec.Replicas != 2 || second.UID != first.UID {
		t.Errorf("the Deployment after a newer operator applied a revision with the same pods is\n%s\nwant the pods of\n%s", hash(second), hash(first))
	}
	if err := newer.Apply(t.Context(), engine.Deployment{Revision: revision("r2", "p1"), Replicas: 2}); err != nil {
		t.Fatal(err)
	}
	gone := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{UID: "of one that is gone"}}
	if _, err := newer.write(t.Context(), deploymentOf(newer.cfg.Pods, engine.Deployment{Revision: revision("r3", "p1")}, revision("r3", "p1"), second), gone); !isAnother(err) {
		t.Errorf("write() on another Deployment than the one looked at = %v, want isAnother", err)
	}
	absent := revision("r1", "p1")
	absent.Name = "rose"
	if _, err := newer.write(t.Context(), deploymentOf(newer.cfg.Pods, engine.Deployment{Revision: absent}, absent, nil), gone); !isAnother(err) {
		t.Errorf("write() on a Deployment that is gone = %v, want isAnother", err)
	}
	if third, err := deployments.Get(t.Context(), "api-iris", metav1.GetOptions{}); err != nil || third.Generation != second.Generation {
		t.Errorf("applying the same again made generation %d of %d (%v), want no change", third.Generation, second.Generation, err)
	}
}

// A pod that names a secret which is not there has a warning, and one that is made before
// the secret keeps what it has.
func TestPullSecretIsNamedWhereItExists(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	ns := kubetest.Namespace(t, cfg)
	e := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: ns}})
	running(t, e)
	named := func(pod string) []corev1.LocalObjectReference {
		t.Helper()
		if err := e.Apply(t.Context(), engine.Deployment{Revision: revision("r1", pod)}); err != nil {
			t.Fatal(err)
		}
		d, err := e.client.AppsV1().Deployments(ns).Get(t.Context(), "api-iris", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return d.Spec.Template.Spec.ImagePullSecrets
	}
	if got := named("p1"); len(got) != 0 {
		t.Errorf("pods name %v while there is no secret", got)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "registry-credentials"}}
	if _, err := e.client.CoreV1().Secrets(ns).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := named("p1"); len(got) != 0 {
		t.Errorf("pods that are there name %v when there is a secret, which restarts them", got)
	}
	if got := named("p2"); len(got) != 1 || got[0].Name != secret.Name {
		t.Errorf("new pods name %v, want %s", got, secret.Name)
	}
}

// A Deployment that somebody deletes slowly is waited for: what is written to it is
// accepted and lost.
func TestApplyWaitsForADeletion(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	ns := kubetest.Namespace(t, cfg)
	e := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: ns}})
	deployments := e.client.AppsV1().Deployments(ns)
	if err := e.Apply(t.Context(), engine.Deployment{Revision: revision("r1", "p1")}); err != nil {
		t.Fatal(err)
	}
	patch := func(text string) {
		t.Helper()
		if _, err := deployments.Patch(t.Context(), "api-iris", types.MergePatchType, []byte(text), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch(`{"metadata":{"finalizers":["example.com/backup"]}}`)
	first, err := deployments.Get(t.Context(), "api-iris", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(t.Context(), "iris"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- e.Apply(t.Context(), engine.Deployment{Revision: revision("r2", "p2")}) }()
	select {
	case err := <-done:
		t.Fatalf("Apply() = %v while the Deployment before was still being deleted, want it to wait", err)
	case <-time.After(time.Second):
	}
	patch(`{"metadata":{"finalizers":null}}`)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	second, err := deployments.Get(t.Context(), "api-iris", metav1.GetOptions{})
	if err != nil || second.UID == first.UID || second.Labels[labelAPIID] != "r2" {
		t.Errorf("the Deployment after that is %+v, %v, want a new one of r2", second, err)
	}
}

// What only looks sees replicas too, and tells no events. It sees no pod that nobody
// made for the workload, whatever its labels say.
func TestReadOnlySeesReplicas(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	ns := kubetest.Namespace(t, cfg)
	e := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: ns}, ReadOnly: true})
	running(t, e)
	if err := e.ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	told := make(chan []workload.Event, 100)
	watching, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		_ = e.Watch(watching, func(s engine.Status) { told <- s.Events })
	}()
	pods := e.client.CoreV1().Pods(ns)
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{labelAPI: "true", labelName: "iris", labelPodID: "p1", labelDeployment: "d0"},
			Annotations: map[string]string{annotationAPIID: "r1", annotationConcurrency: "4", annotationQueue: "10"},
		},
		Spec: corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "main", Image: "example.com/iris:1"}}},
	}
	ready := func(pod *corev1.Pod) {
		t.Helper()
		pod.Status.PodIP, pod.Status.PodIPs = "10.9.8.7", []corev1.PodIP{{IP: "10.9.8.7"}}
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
		if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	byHand := func(name string, labels map[string]string, owners ...metav1.OwnerReference) {
		t.Helper()
		pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: template.Spec}
		pod.Name, pod.OwnerReferences = name, owners
		maps.Copy(pod.Labels, labels)
		ready(create(t, pods.Create, pod))
	}
	yes := true
	byHand("api-iris-abc-x2x4k", map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: "abc"})
	byHand("api-iris-job-1", map[string]string{labelJob: "1"})
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "api-iris", Labels: map[string]string{labelAPI: "true", labelName: "iris", labelAPIID: "r1", labelPodID: "p1", labelDeployment: "d0"}},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{labelAPI: "true", labelName: "iris"}}, Template: template},
	}
	deployment = create(t, e.client.AppsV1().Deployments(ns).Create, deployment)
	byHand("api-iris-abc-forged", nil, metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "api-iris", UID: deployment.UID, Controller: &yes})
	var pod *corev1.Pod
	for deadline := time.Now().Add(time.Minute); pod == nil; {
		list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: labelName + "=iris"})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no pod of the Deployment within a minute: %v", err)
		}
		for i := range list.Items {
			if owner := metav1.GetControllerOf(&list.Items[i]); owner != nil && owner.Kind == "ReplicaSet" {
				pod = &list.Items[i]
			}
		}
	}
	ready(pod)
	s := await(t, e, "a ready replica", func(s engine.Status) bool { n, _ := s.Ready(); return n == 1 })
	want := engine.Replica{
		Replica:      workload.Replica{ID: replicaID(pod), APIID: "r1", State: workload.Ready, UpToDate: true, Address: "10.9.8.7:8888", Since: s.Replicas[0].Since},
		DeploymentID: "d0", MaxConcurrency: 4, MaxQueueLength: 10,
	}
	if len(s.Replicas) != 1 || s.Replicas[0] != want {
		t.Errorf("Watch told %+v, want only %+v", s, want)
	}
	if events := <-told; len(events) != 0 {
		t.Errorf("Watch told the events %+v, want none", events)
	}
	changed, done := e.listen("iris")
	defer done()
	if err := e.client.AppsV1().Deployments(ns).Delete(t.Context(), "api-iris", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !fault.Is(statusError(t, e), fault.NotFound) {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatal("a workload without anything is still known")
		}
	}
	if err := e.Logs(t.Context(), workload.LogQuery{Name: "iris"}, nil); !fault.Is(err, fault.Unsupported) {
		t.Errorf("Logs() = %v, want unsupported", err)
	}
}

func statusError(t *testing.T, e *Engine) error {
	t.Helper()
	_, err := e.Status(t.Context(), "iris")
	return err
}

// create makes an object, as soon as its namespace can have it: it may have no service
// account yet.
func create[T any](t *testing.T, do func(context.Context, T, metav1.CreateOptions) (T, error), o T) T {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		made, err := do(t.Context(), o, metav1.CreateOptions{})
		if err == nil {
			return made
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// owner makes what Deployments may belong to, as the resource of a workload does, and
// returns its uid.
func ownerOf(t *testing.T, cfg *rest.Config, ns, name string) string {
	t.Helper()
	kubetest.InstallCRDs(t, cfg)
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cortex.dev/v1", "kind": "RealtimeAPI", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"pod": map[string]any{"port": int64(8080), "containers": []any{map[string]any{"name": "main", "image": "example.com/iris:1"}}}},
	}}
	resource := client.Resource(schema.GroupVersionResource{Group: "cortex.dev", Version: "v1", Resource: "realtimeapis"}).Namespace(ns)
	o, err = resource.Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return string(o.GetUID())
}

// Whatever somebody does to the Deployment of a workload by hand is seen at once, and put
// right by the next Apply, which says what it was.
func TestDriftIsSeenAndPutRight(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	ns := kubetest.Namespace(t, cfg)
	e := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: ns}})
	running(t, e)
	want := engine.Deployment{Revision: revision("r1", "p1"), Replicas: 0, Owner: ownerOf(t, cfg, ns, "iris")}
	deployments := e.client.AppsV1().Deployments(ns)
	apply := func() *appsv1.Deployment {
		t.Helper()
		if err := e.Apply(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		d, err := deployments.Get(t.Context(), "api-iris", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := apply()
	if owner := metav1.GetControllerOf(first); owner == nil || owner.Kind != "RealtimeAPI" || owner.Name != "iris" || string(owner.UID) != want.Owner {
		t.Errorf("the Deployment belongs to %+v, want the RealtimeAPI", owner)
	}
	events := make(chan workload.Event, 100)
	watching, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		_ = e.Watch(watching, func(s engine.Status) {
			for _, ev := range s.Events {
				if ev.Reason == reasonDrifted {
					events <- ev
				}
			}
		})
	}()
	patch := func(kind types.PatchType, text string) func() error {
		return func() error {
			_, err := deployments.Patch(t.Context(), "api-iris", kind, []byte(text), metav1.PatchOptions{FieldManager: "kubectl"})
			return err
		}
	}
	for _, tt := range []struct {
		name, says string
		do         func() error
	}{
		{"kubectl scale", "7 replicas instead of 0", patch(types.MergePatchType, `{"spec":{"replicas":7}}`)},
		{"kubectl set image", "the image example.com/other:1 of main instead of example.com/iris:p1", patch(types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"example.com/other:1"}]}}}}`)},
		{"a change of something else", "its specification", patch(types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":1}}}}`)},
		{"kubectl delete", "the Deployment was deleted", func() error { return deployments.Delete(t.Context(), "api-iris", metav1.DeleteOptions{}) }},
	} {
		if err := tt.do(); err != nil {
			t.Fatalf("%s = %v", tt.name, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		seen := false
		_ = e.Watch(ctx, func(s engine.Status) {
			if s.Name == "iris" && s.Drifted {
				seen = true
				cancel()
			}
			if s.Name == "iris" && s.Removed {
				cancel()
			}
		})
		cancel()
		if _, err := e.Status(t.Context(), "iris"); !seen && !fault.Is(err, fault.NotFound) {
			t.Errorf("%s is not seen", tt.name)
		}
		now := apply()
		if now.Spec.Template.String() != first.Spec.Template.String() || *now.Spec.Replicas != 0 {
			t.Errorf("after %s the Deployment is %+v, want it as it was applied", tt.name, now.Spec)
		}
		select {
		case ev := <-events:
			if !strings.HasSuffix(ev.Message, ": "+tt.says) || ev.API != "iris" || ev.Type != "warning" {
				t.Errorf("after %s the event is %+v, want one that ends in %q", tt.name, ev, tt.says)
			}
		case <-time.After(time.Minute):
			t.Errorf("after %s no event was told", tt.name)
		}
		if s, err := e.Status(t.Context(), "iris"); err != nil || s.Drifted {
			t.Errorf("after %s was put right the status is %+v, %v, want no drift", tt.name, s, err)
		}
	}
	want.Replicas = 2 // of our own
	apply()
	want.Revision = revision("r2", "p2")
	apply()
	select {
	case ev := <-events:
		t.Errorf("a change of our own left the event %+v", ev)
	case <-time.After(200 * time.Millisecond):
	}
}

// Two replicas or more are not evicted all at once; the budget says so for as long as
// there is the Deployment.
func TestReplicasAreNotAllEvicted(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	ns := kubetest.Namespace(t, cfg)
	e := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: ns}})
	budgets := e.client.PolicyV1().PodDisruptionBudgets(ns)
	if err := e.Apply(t.Context(), engine.Deployment{Revision: revision("r1", "p1"), Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	if b, err := budgets.Get(t.Context(), "api-iris", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("one replica has the budget %+v, %v, want none", b, err)
	}
	for range 2 {
		if err := e.Apply(t.Context(), engine.Deployment{Revision: revision("r1", "p1"), Replicas: 2}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := budgets.Get(t.Context(), "api-iris", metav1.GetOptions{})
	if err != nil || b.Spec.MaxUnavailable.String() != maxEvicted || b.Spec.Selector.MatchLabels[labelName] != "iris" || metav1.GetControllerOf(b) == nil {
		t.Errorf("two replicas have the budget %+v, %v, want %s of them, owned by the Deployment", b, err, maxEvicted)
	}
}

// What is not ours is neither taken over nor deleted.
func TestWhatBelongsToOthersStays(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	yes := true
	labels := map[string]string{labelAPI: "true", labelName: "iris"}
	for _, tt := range []struct {
		name    string
		labels  map[string]string
		owners  []metav1.OwnerReference
		notes   map[string]string
		applies bool
		removes bool
	}{
		{name: "of somebody", labels: map[string]string{"app": "api-iris"}},
		{name: "of somebody, with our labels", labels: labels, owners: []metav1.OwnerReference{{APIVersion: "apps.example.com/v1", Kind: "Site", Name: "iris", UID: "b", Controller: &yes}}},
		{name: "left behind by its resource", labels: labels, notes: map[string]string{annotationOwner: "gone"}, applies: true},
		{name: "made here", labels: labels, notes: map[string]string{annotationApplied: "{}"}, applies: true, removes: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ns := kubetest.Namespace(t, cfg)
			e := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: ns}})
			deployments := e.client.AppsV1().Deployments(ns)
			zero := int32(0)
			before := create(t, deployments.Create, &appsv1.Deployment{
				ObjectMeta: metav1.ObjectMeta{Name: "api-iris", Labels: tt.labels, OwnerReferences: tt.owners, Annotations: tt.notes},
				Spec: appsv1.DeploymentSpec{
					Replicas: &zero, Selector: &metav1.LabelSelector{MatchLabels: labels},
					Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}}},
				},
			})
			if err := e.Remove(t.Context(), "iris"); err != nil {
				t.Errorf("Remove() = %v", err)
			}
			_, err := deployments.Get(t.Context(), "api-iris", metav1.GetOptions{})
			if gone := apierrors.IsNotFound(err); gone != tt.removes {
				t.Fatalf("after Remove() the Deployment is gone: %v (%v), want %v", gone, err, tt.removes)
			}
			err = e.Apply(t.Context(), engine.Deployment{Revision: revision("r1", "p1")})
			switch {
			case tt.applies && err != nil:
				t.Errorf("Apply() = %v, want it taken over", err)
			case !tt.applies && (fault.Code(err) != "engine.not_ours" || !strings.Contains(err.Error(), "api-iris")):
				t.Errorf("Apply() = %v, want engine.not_ours", err)
			case !tt.applies:
				now, err := deployments.Get(t.Context(), "api-iris", metav1.GetOptions{})
				if err != nil || now.ResourceVersion != before.ResourceVersion && now.Generation != before.Generation {
					t.Errorf("after Apply() was refused the Deployment is %+v, %v, want it as it was", now, err)
				}
			}
		})
	}
}

// outage stands between an engine and the API server and can cut every connection.
type outage struct {
	target string
	mu     sync.Mutex
	down   bool
	conns  map[net.Conn]struct{}
}

func (o *outage) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go o.forward(c)
	}
}

func (o *outage) forward(c net.Conn) {
	defer func() { _ = c.Close() }()
	up, err := net.Dial("tcp", o.target)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	o.mu.Lock()
	down := o.down
	o.conns[c], o.conns[up] = struct{}{}, struct{}{}
	o.mu.Unlock()
	if down {
		return
	}
	go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
	_, _ = io.Copy(c, up)
}

func (o *outage) set(down bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = down
	for c := range o.conns {
		_ = c.Close()
	}
	clear(o.conns)
}

// While the API server is away the last status holds; afterwards what changed
// meanwhile is seen.
func TestAnOutageIsSurvived(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	ns := kubetest.Namespace(t, cfg)
	direct := newTestEngine(t, Config{REST: cfg, Pods: PodConfig{Namespace: ns}})
	host, err := url.Parse(cfg.Host)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	between := &outage{target: host.Host, conns: map[net.Conn]struct{}{}}
	go between.serve(l)
	defer between.set(true)
	cut := rest.CopyConfig(cfg)
	cut.Host = "https://" + l.Addr().String()
	if !cut.Insecure {
		cut.ServerName = host.Hostname()
	}
	e := newTestEngine(t, Config{REST: cut, Pods: PodConfig{Namespace: ns}})
	running(t, e)
	if err := direct.Apply(t.Context(), engine.Deployment{Revision: revision("r1", "p1")}); err != nil {
		t.Fatal(err)
	}
	await(t, e, "r1", func(s engine.Status) bool { return s.Revision == "r1" })
	between.set(true)
	if err := direct.Apply(t.Context(), engine.Deployment{Revision: revision("r2", "p2")}); err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(t.Context(), engine.Deployment{Revision: revision("r3", "p3")}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Apply() during an outage = %v, want unavailable", err)
	}
	if s, err := e.Status(t.Context(), "iris"); err != nil || s.Revision != "r1" {
		t.Errorf("Status() during an outage = %+v, %v, want the last one", s, err)
	}
	between.set(false)
	await(t, e, "r2", func(s engine.Status) bool { return s.Revision == "r2" })
}
