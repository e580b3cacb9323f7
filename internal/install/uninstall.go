package install

import (
	"context"
	"fmt"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	release "helm.sh/helm/v4/pkg/release/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/fault"
)

// podsOf selects what runs for APIs.
const podsOf = "cortex.dev/api=true"

// Uninstall takes Cortex away. With keep, what users deployed goes on running
// without it: the custom resources, their pods, and the keys by which a later
// installation is the same one to its clients. Otherwise the APIs are removed
// first, and get the time that they need to drain, then Cortex, and last the
// definitions, unless another installation in the cluster uses them.
func Uninstall(ctx context.Context, cfg Config, keep bool) error {
	w, err := begin(cfg)
	if err != nil {
		return err
	}
	before, err := w.lastRelease()
	if err != nil {
		return err
	}
	if before == nil {
		return notInstalled(w.cfg.Namespace)
	}
	w.cfg.Values = Merge(before.Config, w.cfg.Values)
	if !keep {
		if err := w.removeAPIs(ctx); err != nil {
			return err
		}
	}
	if err := w.removeRelease(before); err != nil {
		return err
	}
	if keep {
		return nil
	}
	if err := w.removeNamespaces(ctx); err != nil || w.cfg.shared {
		return err
	}
	return w.removeCRDs(ctx)
}

// removeRelease has Helm remove the objects of the chart.
func (w *work) removeRelease(before *release.Release) error {
	started := w.now()
	do := action.NewUninstall(w.helm)
	do.WaitStrategy, do.Timeout, do.DeletionPropagation = kube.HookOnlyStrategy, w.cfg.Timeout, "background"
	if _, err := do.Run(Release); err != nil {
		return asFault("uninstalling", err)
	}
	w.done("objects", started, "removed version %s", before.Chart.AppVersion())
	return nil
}

// removeAPIs deletes the custom resources and then what runs for them; the second
// is the operator's work, and done here too because it may be down.
func (w *work) removeAPIs(ctx context.Context) error {
	started := w.now()
	ns := w.apisNamespace()
	all, err := definitions()
	if err != nil {
		return err
	}
	removed := 0
	for _, d := range all {
		list, err := w.objects.Resource(d.resource).Namespace(ns).List(ctx, metav1.ListOptions{})
		if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return asFault("listing "+d.name, err)
		}
		if strings.HasSuffix(d.resource.Resource, "apis") || d.resource.Resource == "trafficsplitters" {
			removed += len(list.Items)
		}
		if err := w.objects.Resource(d.resource).Namespace(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return asFault("deleting "+d.name, err)
		}
	}
	background := metav1.DeletePropagationBackground
	if err := w.clients.AppsV1().Deployments(ns).DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{LabelSelector: podsOf}); err != nil && !apierrors.IsNotFound(err) {
		return asFault("deleting what runs in namespace "+ns, err)
	}
	if err := w.awaitGone(ctx, all, ns); err != nil {
		return err
	}
	w.done("apis", started, "removed %d", removed)
	return nil
}

// awaitGone waits for the end of custom resources and pods.
func (w *work) awaitGone(ctx context.Context, all []crd, ns string) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	left := "they were not looked at"
	for {
		now, err := w.left(ctx, all, ns)
		if err != nil && ctx.Err() == nil {
			return asFault("looking at what is left in namespace "+ns, err)
		}
		if err == nil {
			if left = now; left == "" {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fault.New(fault.Unavailable, "install.not_removed", "the apis in namespace %s are not gone: %s", ns, left).
				WithHint("cortex is still installed; run the command again when they are, or with --keep-apis")
		case <-tick.C:
		}
	}
}

// left names what has not gone yet, or "".
func (w *work) left(ctx context.Context, all []crd, ns string) (string, error) {
	for _, d := range all {
		list, err := w.objects.Resource(d.resource).Namespace(ns).List(ctx, metav1.ListOptions{Limit: 1})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		for _, u := range list.Items {
			text := strings.ToLower(u.GetKind()) + " " + u.GetName()
			if f := u.GetFinalizers(); len(f) > 0 {
				text += " is kept by its finalizer " + f[0]
			}
			return text, nil
		}
	}
	pods, err := w.clients.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: podsOf})
	if err != nil || len(pods.Items) == 0 {
		return "", err
	}
	return fmt.Sprintf("%d pods still run, such as %s", len(pods.Items), pods.Items[0].Name), nil
}

// removeNamespaces removes the namespaces that were made for this installation,
// and with them the keys and leases of the operator. From a namespace that was
// there before, it takes only what the operator made.
func (w *work) removeNamespaces(ctx context.Context) error {
	started := w.now()
	var removed []string
	for _, name := range []string{w.apisNamespace(), w.cfg.Namespace} {
		ns, err := w.clients.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return asFault("looking at namespace "+name, err)
		}
		byChart := ns.Annotations[releaseName] == Release && ns.Annotations[releaseNamespace] == w.cfg.Namespace
		if !byChart && ns.Labels[mark] == "" {
			if name == w.cfg.Namespace {
				if err := w.removeState(ctx); err != nil {
					return err
				}
			}
			continue
		}
		if err := w.clients.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return asFault("deleting namespace "+name, err)
		}
		removed = append(removed, name)
	}
	if len(removed) > 0 {
		w.done("namespaces", started, "removing %s", strings.Join(removed, " and "))
	}
	return nil
}

// removeState deletes the keys, claims and leases of the operator, by their names.
func (w *work) removeState(ctx context.Context) error {
	core, leases := w.clients.CoreV1(), w.clients.CoordinationV1().Leases(w.cfg.Namespace)
	secrets, err := core.Secrets(w.cfg.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return asFault("listing the keys", err)
	}
	for i := range secrets.Items {
		if name := secrets.Items[i].Name; strings.HasPrefix(name, "cortex-value-") || name == ledger.deployment {
			if err := core.Secrets(w.cfg.Namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return asFault("deleting secret "+name, err)
			}
		}
	}
	claims, err := leases.List(ctx, metav1.ListOptions{})
	if err != nil {
		return asFault("listing the leases", err)
	}
	for i := range claims.Items {
		if name := claims.Items[i].Name; strings.HasPrefix(name, "cortex-") {
			if err := leases.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return asFault("deleting lease "+name, err)
			}
		}
	}
	if err := core.ConfigMaps(w.cfg.Namespace).Delete(ctx, authorityMap, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return asFault("deleting the authority", err)
	}
	return nil
}

// removeCRDs deletes the definitions, unless another installation needs them, or
// somebody's resources do: these would be deleted with them.
func (w *work) removeCRDs(ctx context.Context) error {
	started := w.now()
	others, err := w.others(ctx)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		w.done("custom resources", started, "kept: the installation in namespace %s needs them", others[0].namespace)
		return nil
	}
	all, err := definitions()
	if err != nil {
		return err
	}
	for _, d := range all {
		list, err := w.objects.Resource(d.resource).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil && len(list.Items) > 0 {
			w.done("custom resources", started, "kept: namespace %s has a %s", list.Items[0].GetNamespace(), strings.ToLower(list.Items[0].GetKind()))
			return nil
		}
	}
	for _, d := range all {
		if err := w.objects.Resource(crdResource).Delete(ctx, d.name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return asFault("deleting the custom resource "+d.name, err)
		}
	}
	w.done("custom resources", started, "removed")
	return nil
}
