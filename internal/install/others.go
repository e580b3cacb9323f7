package install

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/fault"
)

// operators selects the Deployment that every installation has, however it came about.
const operators = "app.kubernetes.io/part-of=cortex,app.kubernetes.io/name=operator"

// settingsMap is the ConfigMap in which the chart writes its values, for an installation
// that has no Helm release to read them from.
const (
	settingsMap = "cortex-installation"
	settingsKey = "values.json"
)

// installation is one on the cluster.
type installation struct {
	namespace string
	apis      string // namespace of what is deployed with it
	version   string
	keeper    string // of GitOps: who would undo what we change
	values    map[string]any
}

// installations are all on the cluster but that in the namespace of this work.
func (w *work) others(ctx context.Context) ([]installation, error) {
	list, err := w.clients.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: operators})
	if apierrors.IsForbidden(err) { // the rights are told of apart
		return nil, nil
	}
	if err != nil {
		return nil, asFault("looking for other installations", err)
	}
	var found []installation
	for i := range list.Items {
		if d := &list.Items[i]; d.Namespace != w.cfg.Namespace {
			found = append(found, installationOf(d))
		}
	}
	return found, nil
}

// applied is the installation in the namespace of this work if it was applied without
// Helm, as by `helm template | kubectl apply`, or nil.
func (w *work) applied(ctx context.Context) (*installation, error) {
	d, err := w.clients.AppsV1().Deployments(w.cfg.Namespace).Get(ctx, programs[0].deployment, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && (d.Labels[partOf] != Release || d.Annotations[releaseName] != "") {
		return nil, nil
	}
	if err != nil {
		return nil, asFault("looking for an installation", err)
	}
	found := installationOf(d)
	m, err := w.clients.CoreV1().ConfigMaps(w.cfg.Namespace).Get(ctx, settingsMap, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return &found, nil
	case err != nil:
		return nil, asFault("reading the values of the installation", err)
	}
	if err := json.Unmarshal([]byte(m.Data[settingsKey]), &found.values); err != nil {
		return nil, fault.New(fault.Conflict, "install.values", "configmap %s in namespace %s does not hold the values of the installation: %w", settingsMap, w.cfg.Namespace, err).
			WithHint("apply the chart again as it was applied")
	}
	return &found, nil
}

func installationOf(d *appsv1.Deployment) installation {
	found := installation{namespace: d.Namespace, apis: DefaultAPIsNamespace, version: d.Labels["app.kubernetes.io/version"], keeper: keeper(d)}
	for _, c := range d.Spec.Template.Spec.Containers {
		for _, arg := range c.Args {
			if name, ok := strings.CutPrefix(arg, "--namespace="); ok {
				found.apis = name
			}
		}
	}
	return found
}

// keeper names what keeps an object as it stands in a repository.
func keeper(d *appsv1.Deployment) string {
	if id := d.Annotations["argocd.argoproj.io/tracking-id"]; id != "" {
		name, _, _ := strings.Cut(id, ":")
		return "the Argo CD application " + name
	}
	if name := d.Labels["argocd.argoproj.io/instance"]; name != "" {
		return "the Argo CD application " + name
	}
	if name := d.Labels["kustomize.toolkit.fluxcd.io/name"]; name != "" {
		return "the Flux kustomization " + name
	}
	if name := d.Labels["helm.toolkit.fluxcd.io/name"]; name != "" {
		return "the Flux Helm release " + name
	}
	return ""
}

// exists is why it cannot be installed again; nothing there is nothing wrong.
func (i *installation) exists() error {
	if i == nil {
		return nil
	}
	return fault.New(fault.Conflict, "install.exists", "cortex %s is in namespace %s already, applied without Helm", i.version, i.namespace).
		WithHint("`cortex upgrade` takes it over with its values; --namespace and --apis-namespace make room for another one")
}

// mayChange refuses what GitOps would undo, or undoes.
func (i installation) mayChange() error {
	if i.keeper == "" {
		return nil
	}
	return fault.New(fault.Conflict, "install.kept_elsewhere", "cortex in namespace %s is kept by %s, which would undo a change", i.namespace, i.keeper).
		WithHint("change the version and the values of the chart where it reads them; apply the definitions in deploy/chart/crds of that version first")
}

// adopt are the values with which an applied installation is upgraded: its own, but for
// those that are only the chart's.
func (i installation) adopt(defaults map[string]any) (map[string]any, error) {
	if i.values == nil {
		return nil, fault.New(fault.Conflict, "install.values", "cortex in namespace %s was applied without Helm, and configmap %s, which holds its values, is missing", i.namespace, settingsMap).
			WithHint("apply the chart of this version as it was applied before; then `cortex upgrade` knows the values")
	}
	return differing(i.values, defaults), nil
}

// differing are the values that are other than the defaults.
func differing(values, defaults map[string]any) map[string]any {
	found := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		v, base := values[key], defaults[key]
		inner, isMap := v.(map[string]any)
		if below, ok := base.(map[string]any); ok && isMap {
			if rest := differing(inner, below); len(rest) > 0 {
				found[key] = rest
			}
			continue
		}
		if !reflect.DeepEqual(v, base) {
			found[key] = v
		}
	}
	return found
}

// shares says with which other installation this one would share its APIs, or "".
func shares(others []installation, apis string) string {
	for _, o := range others {
		if o.apis == apis {
			return fmt.Sprintf("namespace %s belongs to the installation in namespace %s", apis, o.namespace)
		}
	}
	return ""
}
