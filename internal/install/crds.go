package install

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"cortex.dev/cortex/deploy"
	"cortex.dev/cortex/internal/fault"
)

const (
	fieldManager = "cortex-install"
	group        = "cortex.dev"
	poll         = 250 * time.Millisecond
	// stampKey is the annotation that names the file which a definition was written
	// from, so that another version's can be told from this one's.
	stampKey = "cortex.dev/file-sha256"
)

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// crd is what this package has to know of one definition.
type crd struct {
	name     string // plural.group
	resource schema.GroupVersionResource
	object   *unstructured.Unstructured
}

// definitions are those of this build.
func definitions() ([]crd, error) {
	c, err := loadChart(deploy.Chart(), "")
	if err != nil {
		return nil, err
	}
	return crdsOf(c)
}

func crdsOf(c *chart.Chart) ([]crd, error) {
	var all []crd
	for _, found := range c.CRDObjects() {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(found.File.Data, &u.Object); err != nil {
			return nil, fmt.Errorf("reading %s: %w", found.Filename, err)
		}
		u.SetAnnotations(merged(u.GetAnnotations(), stampKey, fmt.Sprintf("%x", sha256.Sum256(found.File.Data))))
		plural, _, _ := unstructured.NestedString(u.Object, "spec", "names", "plural")
		all = append(all, crd{name: u.GetName(), object: u, resource: schema.GroupVersionResource{Group: group, Version: "v1", Resource: plural}})
	}
	return all, nil
}

func merged(annotations map[string]string, key, value string) map[string]string {
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	return annotations
}

// applyCRDs writes this build's definitions and waits until they are served. Helm
// would write them at the first installation only.
func (w *work) applyCRDs(ctx context.Context, c *chart.Chart) error {
	started := w.now()
	all, err := crdsOf(c)
	if err != nil {
		return err
	}
	for _, d := range all {
		if _, err := w.objects.Resource(crdResource).Apply(ctx, d.name, d.object, metav1.ApplyOptions{FieldManager: fieldManager, Force: true}); err != nil {
			return asFault("writing the custom resource "+d.name, err)
		}
	}
	for _, d := range all {
		if err := w.awaitServed(ctx, d); err != nil {
			return err
		}
	}
	w.access.discovery.Invalidate()
	w.done("custom resources", started, "%d kinds of %s", len(all), group)
	return nil
}

func (w *work) awaitServed(ctx context.Context, d crd) error {
	var reason string
	err := wait.PollUntilContextTimeout(ctx, poll, w.cfg.Timeout, true, func(ctx context.Context) (bool, error) {
		u, err := w.objects.Resource(crdResource).Get(ctx, d.name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		var ok bool
		ok, reason = established(u)
		return ok, nil
	})
	if err != nil && ctx.Err() == nil {
		return fault.New(fault.Unavailable, "install.crd", "the custom resource %s is not served: %s", d.name, reason).
			WithHint("`kubectl describe crd %s` has the details", d.name)
	}
	return err
}

// established reads the conditions of a definition.
func established(u *unstructured.Unstructured) (ok bool, reason string) {
	reason = "the API server has not looked at it yet"
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		kind, _ := m["type"].(string)
		status, _ := m["status"].(string)
		message, _ := m["message"].(string)
		switch {
		case kind == "Established" && status == "True":
			ok = true
		case kind == "NamesAccepted" && status == "False":
			return false, message
		case kind == "Established":
			reason = message
		}
	}
	return ok, reason
}

// mark is on a namespace that was made here, and may be removed here.
const mark = "cortex.dev/installed"

// ensureNamespace makes the namespace of the system if there is none.
func (w *work) ensureNamespace(ctx context.Context) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.cfg.Namespace, Labels: map[string]string{
		mark: "true", "pod-security.kubernetes.io/enforce": "restricted",
	}}}
	_, err := w.clients.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return asFault("making namespace "+w.cfg.Namespace, err)
	}
	return nil
}
