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
	// versionKey is the annotation that names the program which wrote it.
	versionKey = "cortex.dev/version"
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

// applyCRDs writes the definitions that are to be written and waits until all are
// served. Helm would write them at the first installation only.
func (w *work) applyCRDs(ctx context.Context, changes []change) error {
	started := w.now()
	var kept []string
	for _, c := range changes {
		if c.keep {
			kept = append(kept, c.name)
			continue
		}
		if err := w.applyCRD(ctx, c.crd); err != nil {
			return asFault("writing the custom resource "+c.name, err)
		}
	}
	for _, c := range changes {
		if err := w.awaitServed(ctx, c.crd); err != nil {
			return err
		}
	}
	w.access.discovery.Invalidate()
	detail := fmt.Sprintf("%d kinds of %s", len(changes), group)
	if len(kept) > 0 {
		detail += fmt.Sprintf("; %d are of a newer version and stay", len(kept))
	}
	w.done("custom resources", started, "%s", detail)
	return nil
}

// applyCRD writes one definition, and takes over what other names of ours own of it: a
// rule that only they know would stay for ever.
func (w *work) applyCRD(ctx context.Context, d crd) error {
	at := w.objects.Resource(crdResource)
	if err := takeOver(ctx, at, d.name, definitionManager, formerManager, byHelm, byKubectl); err != nil {
		return err
	}
	u := d.object.DeepCopy()
	u.SetAnnotations(merged(u.GetAnnotations(), versionKey, w.cfg.Version))
	_, err := at.Apply(ctx, d.name, u, metav1.ApplyOptions{FieldManager: definitionManager, Force: true})
	return err
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
