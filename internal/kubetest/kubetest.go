// Package kubetest gives tests a real Kubernetes: the one of `make kube-up`, or any
// other that a kubeconfig file names.
//
// It promises that a test without a cluster is skipped with a sentence that says
// how to get one, that a test with one has a namespace of its own that is gone
// afterwards, and that an image built from files of this checkout reaches the node
// without a registry.
//
// It must not imitate Kubernetes, and nothing that ships may import it.
package kubetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ConfigVariable names the environment variable with the kubeconfig file of the
// cluster to test against.
const ConfigVariable = "CORTEX_TEST_KUBECONFIG"

// The longest that a server may take for what a test asks of it here.
const patience = 60 * time.Second

// Config is how to reach the cluster that the environment variable
// CORTEX_TEST_KUBECONFIG names, or else the node of `make kube-up`. Without either
// the test is skipped. The client side limit of requests is off: a test says
// itself how much it asks.
func Config(t testing.TB) *rest.Config {
	t.Helper()
	path := os.Getenv(ConfigVariable)
	if path == "" {
		path = filepath.Join(Root(t), "bin", "kube", "kubeconfig")
		if _, err := os.Stat(path); err != nil {
			t.Skip("no Kubernetes to test against: make kube-up starts one")
		}
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatalf("reading the kubeconfig %s: %v", path, err)
	}
	cfg.QPS = -1
	return cfg
}

// Root is the folder of this checkout: the nearest one upwards with a go.mod.
func Root(t testing.TB) string {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the checkout: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("finding the checkout: no go.mod here or above")
		}
		dir = parent
	}
}

// Namespace makes a namespace of the test's own and returns its name. At the end of
// the test it is deleted; what is in it may still be ending when the test returns.
func Namespace(t testing.TB, cfg *rest.Config) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatalf("making a client: %v", err)
	}
	name := "test-" + strings.ToLower(rand.Text()[:10])
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"cortex.dev/test": "true"}}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		t.Fatalf("creating the namespace %s: %v", name, err)
	}
	t.Cleanup(func() {
		// The context of the test has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("deleting the namespace %s: %v", name, err)
		}
	})
	return name
}

// InstallCRDs applies the definitions in deploy/chart/crds and waits until each is
// served. They stay: the tests of other packages may be using them.
func InstallCRDs(t testing.TB, cfg *rest.Config) {
	t.Helper()
	client, err := apiextensions.NewForConfig(cfg)
	if err != nil {
		t.Fatalf("making a client: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	pattern := filepath.Join(Root(t), "deploy", "chart", "crds", "*.yaml")
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no definitions in %s: %v", pattern, err)
	}
	for _, path := range paths {
		docs, err := documents(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range docs {
			if err := install(ctx, client, doc); err != nil {
				t.Fatalf("installing %s: %v", path, err)
			}
		}
	}
}

// documents are the YAML documents of a file that are not empty.
func documents(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading definitions: %w", err)
	}
	var docs [][]byte
	reader := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text)))
	defer func() { _ = reader.Close() }()
	buffer := make([]byte, len(text)+1)
	for {
		n, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if doc := bytes.TrimSpace(buffer[:n]); len(doc) > 0 {
			docs = append(docs, slices.Clone(doc))
		}
	}
}

func install(ctx context.Context, client apiextensions.Interface, doc []byte) error {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(doc, &crd); err != nil {
		return fmt.Errorf("reading the definition: %w", err)
	}
	if crd.Name == "" {
		return nil // a document of comments only
	}
	force := true
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	_, err := crds.Patch(ctx, crd.Name, types.ApplyYAMLPatchType, doc, metav1.PatchOptions{FieldManager: "kubetest", Force: &force})
	if err != nil {
		return fmt.Errorf("applying %s: %w", crd.Name, err)
	}
	err = wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		now, err := crds.Get(ctx, crd.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		return established(now), nil
	})
	if err != nil {
		return fmt.Errorf("waiting until %s is served: %w", crd.Name, err)
	}
	return nil
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(crd.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}
