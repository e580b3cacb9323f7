package kubetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"cortex.dev/cortex/internal/kubetest"
)

// cluster is a namespace of the node with the image of the probe loaded.
type cluster struct {
	client     *kubernetes.Clientset
	namespace  string
	image      string
	kubectl    string
	kubeconfig string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	cfg := kubetest.Config(t)
	home := filepath.Join(kubetest.Root(t), "bin", "kube")
	text, err := os.ReadFile(filepath.Join(home, "node.json"))
	if err != nil {
		t.Skip("images can only be loaded into the node of make kube-up")
	}
	var node kubetest.Node
	if err := json.Unmarshal(text, &node); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "probe")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the probe: %v\n%s", err, text)
	}
	image, err := kubetest.LoadImage(t.Context(), "cortex.dev/probe", map[string]string{"/bin/probe": program})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{
		client: client, namespace: kubetest.Namespace(t, cfg), image: image,
		kubectl: filepath.Join(filepath.Dir(node.Ctr), "kubectl"), kubeconfig: filepath.Join(home, "kubeconfig"),
	}
}

// pod is one with a native sidecar on 8888 and a server on 8080 that has a hook.
func (c *cluster) pod(name string) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	ready := func(port int) *corev1.Probe {
		return &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 60, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(port)}}}
	}
	grace, no := int64(5), false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "probe"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace, AutomountServiceAccountToken: &no,
			InitContainers: []corev1.Container{{
				Name: "proxy", Image: c.image, Args: []string{"serve", "8888"}, RestartPolicy: &always, StartupProbe: ready(8888),
			}},
			Containers: []corev1.Container{{
				Name: "server", Image: c.image, Args: []string{"serve", "8080"}, ReadinessProbe: ready(8080),
				Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/bin/probe", "note"}}}},
			}},
		},
	}
}

// until waits for what must come true on a machine that may be busy.
func until(t *testing.T, what string, ask func(context.Context) (bool, error)) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, 2*time.Minute, true, ask); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

func (c *cluster) create(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := c.client.CoreV1().Pods(c.namespace).Create(t.Context(), c.pod(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		until(t, name+" is ready", func(ctx context.Context) (bool, error) {
			pod, err := c.client.CoreV1().Pods(c.namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			for _, condition := range pod.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					return true, nil
				}
			}
			return false, nil
		})
	}
}

// exec runs a command in a pod with the kubectl of the node.
func (c *cluster) exec(ctx context.Context, pod string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.kubectl, append([]string{"exec", "-n", c.namespace, pod, "-c", "server", "--"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.kubeconfig)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func TestServiceAnswersByItsName(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "pair"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "probe"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt(8080)}}},
	}
	if _, err := c.client.CoreV1().Services(c.namespace).Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.create(t, "one", "two")
	// From a pod behind the Service, so that a pod reaching itself is covered too.
	url := fmt.Sprintf("http://pair.%s.svc.cluster.local", c.namespace)
	answered := map[string]bool{}
	until(t, "both pods answered", func(ctx context.Context) (bool, error) {
		for range 5 {
			said, err := c.exec(ctx, "one", "/bin/probe", "get", url)
			if err != nil {
				t.Logf("probe get = %q, %v", said, err)
				return false, nil // the proxy hears of a pod a moment after it is ready
			}
			answered[said] = true
		}
		return answered["one"] && answered["two"], nil
	})
	if len(answered) != 2 {
		t.Errorf("those that answered = %v, want one and two", answered)
	}
}

func TestSidecarsStartFirstAndEndLast(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.create(t, "pod")
	pod, err := c.client.CoreV1().Pods(c.namespace).Get(t.Context(), "pod", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	proxy, server := pod.Status.InitContainerStatuses[0].State.Running, pod.Status.ContainerStatuses[0].State.Running
	if proxy == nil || server == nil || server.StartedAt.Before(&proxy.StartedAt) {
		t.Errorf("proxy = %v, server = %v, want both running and the proxy first", proxy, server)
	}
	// Logs are followed to their end, which outlives the pod.
	logs := make(map[string]io.ReadCloser)
	for _, container := range []string{"proxy", "server"} {
		logs[container], err = c.client.CoreV1().Pods(c.namespace).GetLogs("pod", &corev1.PodLogOptions{Container: container, Follow: true}).Stream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = logs[container].Close() }()
	}
	if err := c.client.CoreV1().Pods(c.namespace).Delete(t.Context(), "pod", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for container, want := range map[string]string{
		"server": "serving on 8080\nhook ran\ntold to end\n", "proxy": "serving on 8888\ntold to end\n",
	} {
		text, err := io.ReadAll(logs[container])
		if err != nil || string(text) != want {
			t.Errorf("the log of %s = %q, %v, want %q", container, text, err, want)
		}
	}
}
