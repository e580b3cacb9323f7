package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/images"
)

func metaOf(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func service(namespace, name string, kind corev1.ServiceType) *corev1.Service {
	return &corev1.Service{ObjectMeta: metaOf(namespace, name), Spec: corev1.ServiceSpec{Type: kind}}
}

// What has made something in the cloud is removed in every namespace, and nothing else; it is
// waited for until its controller has let go.
func TestReleaseCloud(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clients := fake.NewClientset(
			service("shop", "web", corev1.ServiceTypeLoadBalancer), service("shop", "inside", corev1.ServiceTypeClusterIP), service("cortex", "cortex-gateway", corev1.ServiceTypeNodePort),
			&networkingv1.Ingress{ObjectMeta: metaOf("blog", "front")},
		)
		// The controller of load balancers lets go after a minute.
		began := time.Now()
		clients.PrependReactor("delete", "services", func(a kubetesting.Action) (bool, runtime.Object, error) {
			name := a.(kubetesting.DeleteAction).GetName()
			go func() {
				time.Sleep(time.Minute)
				_ = clients.Tracker().Delete(schema.GroupVersionResource{Version: "v1", Resource: "services"}, a.GetNamespace(), name)
			}()
			return true, nil, nil
		})
		w := &work{clients: clients}
		if err := w.releaseCloud(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < time.Minute || took > releasePatience {
			t.Errorf("it took %s, want it to wait for the controller", took)
		}
		left, err := clients.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range left.Items {
			names = append(names, s.Namespace+"/"+s.Name)
		}
		if slices.Sort(names); fmt.Sprint(names) != "[cortex/cortex-gateway shop/inside]" {
			t.Errorf("left are %v, want those without a load balancer", names)
		}
		if ingresses, err := clients.NetworkingV1().Ingresses("").List(t.Context(), metav1.ListOptions{}); err != nil || len(ingresses.Items) > 0 {
			t.Errorf("ingresses = %v, %v; want none", ingresses, err)
		}
	})
}

// A controller that does not let go is named, and not waited for without an end.
func TestReleaseCloudGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clients := fake.NewClientset(service("shop", "web", corev1.ServiceTypeLoadBalancer))
		clients.PrependReactor("delete", "services", func(kubetesting.Action) (bool, runtime.Object, error) { return true, nil, nil })
		err := (&work{clients: clients}).releaseCloud(t.Context())
		if fault.Code(err) != "install.not_released" || !strings.Contains(err.Error(), "service shop/web") {
			t.Errorf("releaseCloud = %v, want the service to be named", err)
		}
		clients.PrependReactor("list", "ingresses", func(kubetesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("no") })
		if err := (&work{clients: clients}).releaseCloud(t.Context()); err == nil || fault.Code(err) == "install.not_released" {
			t.Errorf("releaseCloud of a cluster that does not answer = %v", err)
		}
	})
}

// What is in aws-auth as EKS and eksctl write it.
const authRoles = `- groups:
  - system:bootstrappers
  - system:nodes
  rolearn: arn:aws:iam::111122223333:role/eksctl-iris-1234abcd-nodes
  username: system:node:{{EC2PrivateDNSName}}
- groups: [system:masters]
  rolearn: arn:aws:iam::111122223333:role/Admins
  username: admins
`

const authUsers = `- userarn: arn:aws:iam::111122223333:user/carol
  username: carol
  groups:
  - system:masters
- userarn: arn:aws:iam::111122223333:user/dave
  username: dave
`

// Identities are read from aws-auth and taken out of it one by one; nodes stay in, and the
// map is never deleted.
func TestIdentities(t *testing.T) {
	t.Parallel()
	clients := fake.NewClientset(&corev1.ConfigMap{ObjectMeta: metaOf(mapNamespace, mapName), Data: map[string]string{mapRoles: authRoles, mapUsers: authUsers, mapAccounts: "- \"444455556666\"\n"}})
	w := &work{clients: clients}
	names := func() string {
		all, err := w.identities(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, i := range all {
			lines = append(lines, fmt.Sprintf("%s role=%t %v", i.ARN[strings.LastIndex(i.ARN, "/")+1:], i.Role, i.Groups))
		}
		return strings.Join(lines, "\n")
	}
	all := "eksctl-iris-1234abcd-nodes role=true [system:bootstrappers system:nodes]\nAdmins role=true [system:masters]\ncarol role=false [system:masters]\ndave role=false []\n444455556666 role=false []"
	if got := names(); got != all {
		t.Errorf("identities are\n%s\nwant\n%s", got, all)
	}
	// Somebody writes at the same moment, once.
	conflicts := 0
	clients.PrependReactor("update", "configmaps", func(kubetesting.Action) (bool, runtime.Object, error) {
		if conflicts++; conflicts == 1 {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, mapName, errors.New("changed"))
		}
		return false, nil, nil
	})
	if err := w.removeIdentities(t.Context(), []string{"arn:aws:iam::111122223333:role/Admins", "arn:aws:iam::111122223333:user/carol"}); err != nil {
		t.Fatal(err)
	}
	if got, want := names(), "eksctl-iris-1234abcd-nodes role=true [system:bootstrappers system:nodes]\ndave role=false []\n444455556666 role=false []"; got != want || conflicts != 2 {
		t.Errorf("after %d writes identities are\n%s\nwant\n%s", conflicts, got, want)
	}
	m, err := clients.CoreV1().ConfigMaps(mapNamespace).Get(t.Context(), mapName, metav1.GetOptions{})
	if err != nil || !strings.Contains(m.Data[mapRoles], "username: system:node:{{EC2PrivateDNSName}}") || m.Data[mapAccounts] != "- \"444455556666\"\n" {
		t.Errorf("aws-auth is %+v, %v; want everything else in it as it was", m, err)
	}
}

func TestNoIdentities(t *testing.T) {
	t.Parallel()
	w := &work{clients: fake.NewClientset()}
	if all, err := w.identities(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("identities without the map = %v, %v", all, err)
	}
	if err := w.removeIdentities(t.Context(), []string{"arn:aws:iam::111122223333:user/carol"}); err != nil {
		t.Errorf("removing from no map = %v", err)
	}
	w = &work{clients: fake.NewClientset(&corev1.ConfigMap{ObjectMeta: metaOf(mapNamespace, mapName), Data: map[string]string{mapUsers: "- [not, a, map"}})}
	if _, err := w.identities(t.Context()); fault.Code(err) != "install.aws_auth" {
		t.Errorf("identities of a map that cannot be read = %v", err)
	}
	if err := w.removeIdentities(t.Context(), []string{"a"}); err == nil {
		t.Error("a map that cannot be read was written")
	}
}

// Budgets that let no pod go are named; those that nothing is under are not.
func TestHolding(t *testing.T) {
	t.Parallel()
	budget := func(name string, expected, allowed int32) *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{ObjectMeta: metaOf("shop", name), Status: policyv1.PodDisruptionBudgetStatus{ExpectedPods: expected, DisruptionsAllowed: allowed}}
	}
	w := &work{clients: fake.NewClientset(budget("web", 3, 1), budget("db", 1, 0), budget("gone", 0, 0), budget("cache", 2, 0))}
	if all, err := w.holdingBudgets(t.Context()); err != nil || fmt.Sprint(all) != "[shop/cache shop/db]" {
		t.Errorf("holding = %v, %v; want shop/cache and shop/db", all, err)
	}
}

// Registries are asked for everything that a cluster would start, before there is one.
func TestMissingImages(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	at := strings.TrimPrefix(server.URL, "http://")
	cfg := Config{Namespace: "cortex", Version: "1.2.3", Values: map[string]any{
		"account": "123456789012", "region": "us-west-2", "image": map[string]any{"registry": at + "/own"},
	}}
	nodes := NodeAddons{Cluster: "iris", Region: "us-west-2", Groups: map[string][]string{"10": {"^eks-cx-wd-gpu-"}}, Devices: []string{"nvidia.com/gpu"}, Images: map[string]string{
		"cluster_autoscaler": at + "/autoscaler:1", "nvidia_device_plugin": at + "/nvidia:1",
	}}
	missing, unknown, err := MissingImages(t.Context(), cfg, nodes, "1.36")
	slices.Sort(missing)
	want := []string{at + "/autoscaler:1", at + "/nvidia:1", at + "/own/gateway:1.2.3", at + "/own/operator:1.2.3", at + "/own/sidecar:1.2.3"}
	if err != nil || unknown != "" || !slices.Equal(missing, want) {
		t.Errorf("MissingImages = %v, %q, %v; want %v", missing, unknown, err, want)
	}
	archive, err := images.OpenArchive(archiveOf(t, "operator", "gateway", "sidecar", "autoscaler", "nvidia"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, ref := range want {
		image, ok := archived(archive, ref)
		if !ok {
			t.Fatalf("no image for %s", ref)
		}
		if _, err := images.Push(t.Context(), ref, image); err != nil {
			t.Fatal(err)
		}
	}
	if missing, unknown, err := MissingImages(t.Context(), cfg, nodes, "1.36"); err != nil || unknown != "" || len(missing) > 0 {
		t.Errorf("MissingImages with all there = %v, %q, %v", missing, unknown, err)
	}
	server.Close()
	if missing, unknown, err := MissingImages(t.Context(), cfg, nodes, "1.36"); err != nil || len(missing) > 0 || !strings.Contains(unknown, "cannot be reached") {
		t.Errorf("MissingImages without a registry = %v, %q, %v; want that it is not known", missing, unknown, err)
	}
}

// Apply may be done again after it was interrupted: the first time it installs, and then it
// brings what there is to the values.
func TestApply(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := Apply(t.Context(), s.Config); err != nil {
		t.Fatal(err)
	}
	cfg := s.Config
	cfg.Values = Merge(cfg.Values, map[string]any{"gateway": map[string]any{"replicas": 3}})
	for range 2 {
		if _, err := Apply(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	d, err := s.clients.AppsV1().Deployments(s.Namespace).Get(context.WithoutCancel(t.Context()), "cortex-gateway", metav1.GetOptions{})
	if err != nil || d.Spec.Replicas == nil || *d.Spec.Replicas != 3 {
		t.Errorf("the gateways are %+v, %v; want three", d, err)
	}
}
