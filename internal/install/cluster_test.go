package install

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/kubetest"
)

// site is an installation of a test's own: two namespaces of the cluster.
type site struct {
	Config
	clients *kubernetes.Clientset
	apis    string
	steps   []string
}

// nobody selects no node: what is installed is looked at, not run.
var nobody = map[string]any{"example.com/node": "none"}

func newSite(t *testing.T) *site {
	t.Helper()
	restConfig := kubetest.Config(t)
	clients, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{clients: clients, apis: kubetest.Namespace(t, restConfig)}
	s.Config = Config{
		Kubeconfigs: []string{kubeconfig(t, restConfig)}, Namespace: kubetest.Namespace(t, restConfig),
		Values: map[string]any{"account": "123456789012", "region": "us-west-2", "image": map[string]any{"pullPolicy": "Never"},
			"apis":     map[string]any{"namespace": s.apis, "createNamespace": false},
			"operator": map[string]any{"nodeSelector": nobody}, "gateway": map[string]any{"nodeSelector": nobody}},
		Version: "1.2.3", Timeout: 20 * time.Second, shared: true,
		Progress: func(step Step) { s.steps = append(s.steps, step.Name+": "+step.Detail) },
	}
	t.Cleanup(func() { // cluster-wide objects outlive namespaces
		rbac := clients.RbacV1()
		for _, err := range []error{
			rbac.ClusterRoles().Delete(context.Background(), "cortex-operator-"+s.Namespace, metav1.DeleteOptions{}),
			rbac.ClusterRoleBindings().Delete(context.Background(), "cortex-operator-"+s.Namespace, metav1.DeleteOptions{}),
			clients.SchedulingV1().PriorityClasses().Delete(context.Background(), "cortex-"+s.Namespace, metav1.DeleteOptions{}),
		} {
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	})
	return s
}

// kubeconfig writes a file for what the tests are given.
func kubeconfig(t *testing.T, c *rest.Config) string {
	t.Helper()
	host := c.Host
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	cfg := api.Config{
		Clusters: map[string]*api.Cluster{"c": {Server: host, InsecureSkipTLSVerify: c.Insecure, CertificateAuthority: c.CAFile, CertificateAuthorityData: c.CAData}},
		AuthInfos: map[string]*api.AuthInfo{"u": {Token: c.BearerToken, ClientCertificate: c.CertFile, ClientCertificateData: c.CertData,
			ClientKey: c.KeyFile, ClientKeyData: c.KeyData}},
		Contexts: map[string]*api.Context{"x": {Cluster: "c", AuthInfo: "u"}}, CurrentContext: "x",
	}
	if err := clientcmd.WriteToFile(cfg, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func (s *site) replicas(t *testing.T, name string) int32 {
	t.Helper()
	d, err := s.clients.AppsV1().Deployments(s.Namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return *d.Spec.Replicas
}

func TestLifeOfAnInstallation(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx := t.Context()

	if _, err := Health(ctx, s.Config); fault.Code(err) != "install.not_installed" {
		t.Errorf("Health(nothing) = %v, want install.not_installed", err)
	}
	if _, err := Upgrade(ctx, s.Config); fault.Code(err) != "install.not_installed" {
		t.Errorf("Upgrade(nothing) = %v, want install.not_installed", err)
	}
	if err := Uninstall(ctx, s.Config, true); fault.Code(err) != "install.not_installed" {
		t.Errorf("Uninstall(nothing) = %v, want install.not_installed", err)
	}

	info, err := Install(ctx, s.Config)
	if err != nil {
		t.Fatal(err)
	}
	want := Info{Namespace: s.Namespace, APIsNamespace: s.apis, ClusterName: "cortex", Version: "1.2.3"}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Errorf("Install (-want +got):\n%s", diff)
	}
	if _, err := Install(ctx, s.Config); fault.Code(err) != "install.exists" {
		t.Errorf("Install(again) = %v, want install.exists", err)
	}

	changed := s.Config
	changed.Version, changed.Values = "1.3.0", map[string]any{"gateway": map[string]any{"replicas": 3.0}}
	if info, err = Upgrade(ctx, changed); err != nil || info.Version != "1.3.0" {
		t.Fatalf("Upgrade = %+v, %v, want version 1.3.0", info, err)
	}
	if got := s.replicas(t, "cortex-gateway"); got != 3 {
		t.Errorf("after the upgrade there are %d gateways, want 3", got)
	}
	changed.Values = nil
	if _, err = Upgrade(ctx, changed); err != nil {
		t.Fatal(err)
	}
	if got := s.replicas(t, "cortex-gateway"); got != 3 {
		t.Errorf("an upgrade without values leaves %d gateways, want 3", got)
	}

	s.publish(t)
	if info, err = Upgrade(ctx, changed); err != nil || !strings.HasPrefix(info.Fingerprint, "sha256:") || info.Endpoint != "https://lb.example.com" {
		t.Errorf("Upgrade = %+v, %v, want the fingerprint and the endpoint", info, err)
	}

	if err := Uninstall(ctx, s.Config, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.clients.CoreV1().ConfigMaps(s.Namespace).Get(ctx, authorityMap, metav1.GetOptions{}); err != nil {
		t.Errorf("after uninstalling with keep: %v, want the authority kept", err)
	}
	if _, err := s.clients.AppsV1().Deployments(s.Namespace).Get(ctx, "cortex-operator", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after uninstalling the operator's deployment is %v, want not found", err)
	}
	if _, err := Install(ctx, s.Config); err != nil {
		t.Errorf("installing again: %v", err)
	}
	if err := Uninstall(ctx, s.Config, false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.clients.CoreV1().ConfigMaps(s.Namespace).Get(ctx, authorityMap, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after uninstalling the authority is %v, want not found", err)
	}
}

// publish does what the operator and a cloud do.
func (s *site) publish(t *testing.T) {
	t.Helper()
	if _, err := s.clients.CoreV1().ConfigMaps(s.Namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: authorityMap}, Data: map[string]string{fingerprintKey: "sha256:0123"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	service, err := s.clients.CoreV1().Services(s.Namespace).Get(t.Context(), operatorService, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "lb.example.com"}}
	if _, err := s.clients.CoreV1().Services(s.Namespace).UpdateStatus(t.Context(), service, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// succeed makes the pods of a deployment ready, as the kubelet of a node would, and
// the first of the operator's lead. There is no node for them.
func (s *site) succeed(t *testing.T, name string) {
	t.Helper()
	pods := s.clients.CoreV1().Pods(s.Namespace)
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		d, err := s.clients.AppsV1().Deployments(s.Namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if d.Status.AvailableReplicas >= *d.Spec.Replicas {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has %d available pods after a minute: is there a controller manager?", name, d.Status.AvailableReplicas)
		}
		list, err := pods.List(t.Context(), metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			if err := s.makeReady(t.Context(), &list.Items[i], name == "cortex-operator" && i == 0); err != nil && !apierrors.IsConflict(err) {
				t.Fatal(err)
			}
		}
		<-tick.C
	}
}

func (s *site) makeReady(ctx context.Context, pod *corev1.Pod, leads bool) error {
	pods := s.clients.CoreV1().Pods(s.Namespace)
	if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
		return nil
	}
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
	pod, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	if err != nil || !leads {
		return err
	}
	pod.Labels[leaderLabel] = "true"
	_, err = pods.Update(ctx, pod, metav1.UpdateOptions{})
	return err
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := Install(t.Context(), s.Config); err != nil {
		t.Fatal(err)
	}
	waiting := s.Config
	waiting.Wait, waiting.Timeout = true, 5*time.Second
	_, err := Upgrade(t.Context(), waiting)
	if f := fault.From(err); f.Code != "install.not_available" || !strings.Contains(f.Message, "the operator does not come up: pod cortex-operator-") ||
		!strings.Contains(f.Message, "no node takes it") {
		t.Errorf("Upgrade(nothing comes up) = %v, want install.not_available of the operators", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w, err := begin(waiting)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.awaitPrograms(ctx); fault.Code(err) == "install.not_available" || err == nil {
		t.Errorf("waiting after the user left = %v, want the context's error", err)
	}
	s.succeed(t, "cortex-operator")
	s.succeed(t, "cortex-gateway")
	if err := w.awaitPrograms(t.Context()); err != nil {
		t.Errorf("waiting for what is there: %v", err)
	}
	if got := strings.Join(s.steps, "\n"); !strings.Contains(got, "operator: available\ngateways: available") {
		t.Errorf("the steps are\n%s\nwant those of both programs", got)
	}
}

func TestHealthNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := Install(t.Context(), s.Config); err != nil {
		t.Fatal(err)
	}
	s.succeed(t, "cortex-gateway")
	s.publish(t)
	checks, err := Health(t.Context(), s.Config)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Check{}
	for _, c := range checks {
		got[c.Name] = c
		if !c.OK && c.Do == "" {
			t.Errorf("%s is wrong (%s) and says not what to do", c.Name, c.Text)
		}
	}
	for name, want := range map[string]string{
		"operator": "no replica leads: pod cortex-operator-", "apis_load_balancer": "it has no address",
	} {
		if got[name].OK || !strings.HasPrefix(got[name].Text, want) {
			t.Errorf("%s = %v %q, want wrong, %q", name, got[name].OK, got[name].Text, want)
		}
	}
	for _, name := range []string{"gateways", "apis_namespace", "authority", "operator_load_balancer"} {
		if !got[name].OK {
			t.Errorf("%s = wrong, %q, want ok", name, got[name].Text)
		}
	}
}

func TestNothingIsReached(t *testing.T) {
	t.Parallel()
	if _, err := Install(t.Context(), Config{Kubeconfigs: []string{"/nonexistent/kubeconfig"}}); !fault.Is(err, fault.Usage) || fault.Code(err) != "install.no_kubeconfig" {
		t.Errorf("Install(no kubeconfig) = %v, want install.no_kubeconfig", err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(t.Context(), Config{Kubeconfigs: []string{empty}}); fault.Code(err) != "install.no_kubeconfig" {
		t.Errorf("Install(empty kubeconfig) = %v, want install.no_kubeconfig", err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	file := kubeconfig(t, &rest.Config{Host: "http://" + closed})
	if got, err := Where(Config{Kubeconfigs: []string{file}}); err != nil || got != (Place{"x", "http://" + closed}) {
		t.Errorf("Where(nobody listens) = %+v, %v, want context x", got, err)
	}
	if _, err := Install(t.Context(), Config{Kubeconfigs: []string{file}}); fault.Code(err) != "install.unreachable" {
		t.Errorf("Install(nobody listens) = %v, want install.unreachable", err)
	}
}
