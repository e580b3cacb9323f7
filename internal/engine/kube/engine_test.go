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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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

// What only looks sees replicas too, and tells no events.
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
	statusPod(t, e, ns, "api-iris-job-1", map[string]string{labelJob: "1"}) // no replica
	pod := statusPod(t, e, ns, "api-iris-abc-x2x4k", nil)
	s := await(t, e, "a ready replica", func(s engine.Status) bool { n, _ := s.Ready(); return n == 1 })
	want := engine.Replica{
		Replica:      workload.Replica{ID: "x2x4k-abc", APIID: "r1", State: workload.ReadyOutOfDate, Address: "10.9.8.7:8888", Since: s.Replicas[0].Since},
		DeploymentID: "d0", MaxConcurrency: 4, MaxQueueLength: 10,
	}
	if len(s.Replicas) != 1 || s.Replicas[0] != want {
		t.Errorf("Watch told %+v, want %+v", s, want)
	}
	if events := <-told; len(events) != 0 {
		t.Errorf("Watch told the events %+v, want none", events)
	}
	changed, done := e.listen("iris")
	defer done()
	zero := int64(0)
	if err := e.client.CoreV1().Pods(ns).Delete(t.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
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

// statusPod makes a pod that no node ever runs, and says that it is ready.
func statusPod(t *testing.T, e *Engine, ns, name string, labels map[string]string) string {
	t.Helper()
	pods := e.client.CoreV1().Pods(ns)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				labelAPI: "true", labelName: "iris", labelPodID: "p1", labelDeployment: "d0", appsv1.DefaultDeploymentUniqueLabelKey: "abc",
			},
			Annotations: map[string]string{annotationAPIID: "r1", annotationConcurrency: "4", annotationQueue: "10"},
		},
		Spec: corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "main", Image: "example.com/iris:1"}}},
	}
	maps.Copy(pod.Labels, labels)
	for deadline := time.Now().Add(time.Minute); ; { // the namespace may have no service account yet
		made, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
		if err == nil {
			pod = made
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	pod.Status.PodIP, pod.Status.PodIPs = "10.9.8.7", []corev1.PodIP{{IP: "10.9.8.7"}}
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return pod.Name
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
