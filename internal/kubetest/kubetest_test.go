package kubetest_test

import (
	"os"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"cortex.dev/cortex/internal/kubetest"
)

func TestNamespaceIsOfTheTestsOwn(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var name string
	t.Run("inside", func(t *testing.T) {
		name = kubetest.Namespace(t, cfg)
		if _, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Errorf("Get(%s) during the test = %v, want it to be there", name, err)
		}
	})
	ns, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
	if err == nil && ns.DeletionTimestamp == nil {
		t.Errorf("namespace %s after the test is still there, want it deleted", name)
	}
}

func TestInstallCRDsTwice(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	if _, err := os.Stat(kubetest.Root(t) + "/deploy/chart/crds"); err != nil {
		t.Skip("this checkout has no definitions yet")
	}
	kubetest.InstallCRDs(t, cfg)
	kubetest.InstallCRDs(t, cfg)
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	resources, err := client.Discovery().ServerResourcesForGroupVersion("cortex.dev/v1")
	if err != nil {
		t.Fatal(err)
	}
	if len(resources.APIResources) == 0 {
		t.Error("cortex.dev/v1 serves nothing after InstallCRDs, want its kinds")
	}
}
