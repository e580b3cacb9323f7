// Package install puts Cortex on a Kubernetes cluster, brings it up to date, takes
// it away and says how it is doing: what `cortex install`, `upgrade`, `uninstall`
// and `cluster health` do.
//
// It promises that nothing is changed before everything was looked at that can
// stand in the way, that all of it is then told at once; that the custom resources'
// definitions are always those of this build and never lose a field; that waiting
// ends with a reason in words; and that removing Cortex removes what users deployed
// only when asked to, and then lets it drain.
//
// It must not decide what runs on the cluster (that is the chart in deploy), and it
// reads neither the environment nor files by itself.
package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/fault"
)

// Release is the name of the Helm release: there is one in a namespace.
const Release = "cortex"

// DefaultNamespace is where Cortex itself runs unless told otherwise, and
// DefaultAPIsNamespace where that runs which is deployed with it.
const (
	DefaultNamespace     = "cortex"
	DefaultAPIsNamespace = "cortex-apis"
)

// Config says which cluster, and what to put on it.
type Config struct {
	Kubeconfigs []string // files, merged as kubectl does; missing ones are left out
	Context     string   // of the kubeconfig; empty: its current one
	Server      *Server  // instead of a kubeconfig
	Namespace   string   // empty: DefaultNamespace
	// Values are the chart's, see deploy/chart/values.yaml. What is not in them is
	// the chart's own; at an upgrade, what the installation has.
	Values   map[string]any
	Version  string        // of the programs, and the tag of their images; empty: the chart's
	Images   string        // an archive of images to push first to where the values say; empty: none
	Wait     bool          // until everything is available
	Timeout  time.Duration // of waiting; 0: five minutes
	Progress func(Step)    // is told of each step as it ends; may be nil
	Now      func() time.Time

	// shared is for tests at a control plane that others use too: it has no nodes to
	// ask for, and its definitions are not ours to remove.
	shared bool
}

// Step is a part of the work that has ended.
type Step struct {
	Name   string // what was done: "custom resources"
	Detail string // how it went, in a few words
	Took   time.Duration
}

// Info is what those need to know who use an installation.
type Info struct {
	Namespace     string `json:"namespace"`
	APIsNamespace string `json:"apis_namespace"`
	ClusterName   string `json:"cluster_name"`
	Version       string `json:"version"`
	Endpoint      string `json:"operator_endpoint"` // empty: it has no address yet
	APIs          string `json:"api_endpoint"`      // empty: it has no address yet
	// Fingerprint is that of the authority whose certificate the operator shows;
	// empty when the certificate is the user's own.
	Fingerprint string `json:"fingerprint"`
}

// Install puts Cortex on a cluster that has none in this namespace. A faulty
// cluster or configuration is a fault that names every cause; then nothing was
// changed. When the wait ends too early, what was installed stays.
func Install(ctx context.Context, cfg Config) (Info, error) {
	w, err := begin(cfg)
	if err != nil {
		return Info{}, err
	}
	before, err := w.lastRelease()
	if err != nil {
		return Info{}, err
	}
	if err := canInstall(before, w.cfg.Namespace); err != nil {
		return Info{}, err
	}
	if there, err := w.applied(ctx); err != nil || there != nil {
		return Info{}, errors.Join(err, there.exists())
	}
	return w.install(ctx, false)
}

// install writes the first release; adopting takes over what was applied without one.
func (w *work) install(ctx context.Context, adopting bool) (Info, error) {
	p, err := w.prepare(ctx, adopting)
	defer p.close()
	if err != nil {
		return Info{}, err
	}
	if err := w.write(ctx, p); err != nil {
		return Info{}, err
	}
	started := w.now()
	do := action.NewInstall(w.helm)
	do.ReleaseName, do.Namespace, do.SkipCRDs, do.Replace, do.TakeOwnership = Release, w.cfg.Namespace, true, true, adopting
	do.ServerSideApply, do.ForceConflicts, do.WaitStrategy, do.Timeout = true, true, kube.HookOnlyStrategy, w.cfg.Timeout
	// Half an installation is worse than a late one: the objects are written even if
	// the user has lost patience; only the waiting ends at once.
	if _, err := do.RunWithContext(context.WithoutCancel(ctx), p.chart, w.cfg.Values); err != nil {
		return Info{}, asFault("installing", err)
	}
	w.done("objects", started, "installed version %s", p.chart.Metadata.AppVersion)
	return w.finish(ctx)
}

// write makes what the objects of the chart need, before Helm writes them.
func (w *work) write(ctx context.Context, p plan) error {
	if p.archive != nil {
		if err := w.pushImages(ctx, p); err != nil {
			return err
		}
	}
	if err := w.applyCRDs(ctx, p.definitions); err != nil {
		return err
	}
	if err := w.ensureNamespace(ctx); err != nil {
		return err
	}
	from := []func(metav1.ManagedFieldsEntry) bool{formerManager}
	if p.adopting {
		from = append(from, byKubectl)
	}
	return w.takeOverObjects(ctx, p.objects, from...)
}

// Upgrade brings an installation to this build's chart and to cfg.Values, which are
// laid over the values that it has. Without an installation it is fault.NotFound.
func Upgrade(ctx context.Context, cfg Config) (Info, error) {
	w, err := begin(cfg)
	if err != nil {
		return Info{}, err
	}
	before, err := w.lastRelease()
	if err != nil {
		return Info{}, err
	}
	if before == nil {
		return w.adopt(ctx)
	}
	w.cfg.Values = Merge(before.Config, w.cfg.Values)
	p, err := w.prepare(ctx, false)
	defer p.close()
	if err != nil {
		return Info{}, err
	}
	if err := w.unlock(before); err != nil {
		return Info{}, err
	}
	if err := w.write(ctx, p); err != nil {
		return Info{}, err
	}
	started := w.now()
	do := action.NewUpgrade(w.helm)
	do.Namespace, do.SkipCRDs, do.ResetValues, do.MaxHistory = w.cfg.Namespace, true, true, 5
	do.ServerSideApply, do.ForceConflicts, do.WaitStrategy, do.Timeout = "true", true, kube.HookOnlyStrategy, w.cfg.Timeout
	if _, err := do.RunWithContext(context.WithoutCancel(ctx), Release, p.chart, w.cfg.Values); err != nil {
		return Info{}, asFault("upgrading", err)
	}
	w.done("objects", started, "from version %s to %s", before.Chart.AppVersion(), p.chart.Metadata.AppVersion)
	return w.finish(ctx)
}

// adopt upgrades what was applied without Helm, and is a release from then on.
func (w *work) adopt(ctx context.Context) (Info, error) {
	there, err := w.applied(ctx)
	if err != nil {
		return Info{}, err
	}
	if there == nil {
		return Info{}, notInstalled(w.cfg.Namespace)
	}
	if err := there.mayChange(); err != nil {
		return Info{}, err
	}
	c, err := w.chart()
	if err != nil {
		return Info{}, err
	}
	values, err := there.adopt(c.Values)
	if err != nil {
		return Info{}, err
	}
	w.cfg.Values = Merge(values, w.cfg.Values)
	return w.install(ctx, true)
}

// finish waits if it is asked to, and says what users need.
func (w *work) finish(ctx context.Context) (Info, error) {
	if err := w.renew(ctx); err != nil {
		return Info{}, err
	}
	if w.cfg.Wait {
		if err := w.awaitPrograms(ctx); err != nil {
			return Info{}, err
		}
	}
	return w.info(ctx)
}

// canInstall says what is to be done about an installation that is there.
func canInstall(before *release.Release, namespace string) error {
	switch {
	case before == nil || before.Info.Status == "failed" || before.Info.Status == "uninstalled":
		return nil
	case before.Info.Status.IsPending() || before.Info.Status == "uninstalling":
		return fault.New(fault.Conflict, "install.interrupted", "an earlier command was interrupted in namespace %s: the installation is %s", namespace, before.Info.Status).
			WithHint("wait if it still runs somewhere; otherwise `cortex uninstall --keep-apis` clears the way")
	}
	return fault.New(fault.Conflict, "install.exists", "cortex %s is installed in namespace %s already", before.Chart.AppVersion(), namespace).
		WithHint("`cortex upgrade` changes it; --namespace and --apis-namespace make room for another one")
}

// unlock ends an upgrade that was interrupted, which Helm would wait for forever.
func (w *work) unlock(before *release.Release) error {
	if !before.Info.Status.IsPending() {
		return nil
	}
	if age := w.now().Sub(before.Info.LastDeployed); age < w.cfg.Timeout {
		return fault.New(fault.Conflict, "install.interrupted", "another command has been changing this installation for %s", age.Round(time.Second)).
			WithHint("try again in %s, when it will be taken for dead", (w.cfg.Timeout - age).Round(time.Second))
	}
	before.SetStatus("failed", "interrupted")
	if err := w.helm.Releases.Update(before); err != nil {
		return fmt.Errorf("ending the interrupted upgrade: %w", err)
	}
	return nil
}

// lastRelease returns the newest release in the namespace, or nil.
func (w *work) lastRelease() (*release.Release, error) {
	found, err := w.helm.Releases.Last(Release)
	switch {
	case errors.Is(err, driver.ErrReleaseNotFound):
		return nil, nil
	case err != nil:
		return nil, asFault("looking for an installation", err)
	}
	last, ok := found.(*release.Release)
	if !ok {
		return nil, fmt.Errorf("the release in namespace %s is of an unknown kind (%T)", w.cfg.Namespace, found)
	}
	return last, nil
}

func notInstalled(namespace string) error {
	return fault.New(fault.NotFound, "install.not_installed", "cortex is not installed in namespace %s", namespace).
		WithHint("`cortex install` installs it; --namespace says where it is")
}
