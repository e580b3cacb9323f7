package install

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"cortex.dev/cortex/internal/fault"
)

// work is one command at one cluster.
type work struct {
	cfg     Config
	access  *access
	clients kubernetes.Interface
	objects dynamic.Interface
	helm    *action.Configuration
}

// prepareLibraries keeps the libraries from writing to the standard error past us, and
// Helm's from calling itself by the name of our program's file.
var prepareLibraries = sync.OnceFunc(func() {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	kube.ManagedFieldsManager = helmManager
})

// begin connects to nothing yet.
func begin(cfg Config) (*work, error) {
	prepareLibraries()
	if cfg.Namespace == "" {
		cfg.Namespace = DefaultNamespace
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Values == nil {
		cfg.Values = map[string]any{}
	}
	a, err := newAccess(cfg)
	if err != nil {
		return nil, err
	}
	w := &work{cfg: cfg, access: a}
	if w.clients, err = kubernetes.NewForConfig(a.rest); err != nil {
		return nil, fmt.Errorf("making a client of the cluster: %w", err)
	}
	if w.objects, err = dynamic.NewForConfig(a.rest); err != nil {
		return nil, fmt.Errorf("making a client of the cluster: %w", err)
	}
	w.helm = action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := w.helm.Init(a, cfg.Namespace, "secret"); err != nil {
		return nil, fmt.Errorf("preparing helm: %w", err)
	}
	return w, nil
}

func (w *work) now() time.Time { return w.cfg.Now() }

// done tells of a step that began at started.
func (w *work) done(name string, started time.Time, format string, args ...any) {
	if w.cfg.Progress != nil {
		w.cfg.Progress(Step{Name: name, Detail: fmt.Sprintf(format, args...), Took: w.now().Sub(started)})
	}
}

// access is how Helm asks for the cluster.
type access struct {
	loader    clientcmd.ClientConfig
	rest      *rest.Config
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.RESTMapper
}

func newAccess(cfg Config) (*access, error) {
	if cfg.Server == nil && len(cfg.Kubeconfigs) == 1 {
		if _, err := os.Stat(cfg.Kubeconfigs[0]); err != nil {
			return nil, fault.New(fault.Usage, "install.no_kubeconfig", "reading the kubeconfig: %w", err).
				WithHint("--kubeconfig names the file that kubectl uses for your cluster")
		}
	}
	overrides := &clientcmd.ConfigOverrides{CurrentContext: cfg.Context}
	overrides.Context.Namespace = cfg.Namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{Precedence: cfg.Kubeconfigs}, overrides)
	if cfg.Server != nil {
		loader = cfg.Server.loader(overrides)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fault.New(fault.Usage, "install.no_kubeconfig", "the kubeconfig names no cluster: %w", err).
			WithHint("--kubeconfig names the file that kubectl uses for your cluster, --context one of its contexts")
	}
	if cfg.Server != nil {
		cfg.Server.prove(config)
	}
	config.UserAgent = "cortex-install"
	config.QPS = -1 // the API server shares its time fairly by itself
	config.WarningHandler = rest.NoWarnings{}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client of the cluster: %w", err)
	}
	cached := memory.NewMemCacheClient(client)
	return &access{loader: loader, rest: config, discovery: cached, mapper: restmapper.NewDeferredDiscoveryRESTMapper(cached)}, nil
}

// Place is which cluster a kubeconfig means.
type Place struct {
	Context string // of the kubeconfig
	Server  string
}

// Where says which cluster cfg means, and asks none.
func Where(cfg Config) (Place, error) {
	a, err := newAccess(cfg)
	if err != nil {
		return Place{}, err
	}
	p := Place{Context: cfg.Context, Server: a.rest.Host}
	if p.Context == "" {
		raw, err := a.loader.RawConfig()
		if err != nil {
			return Place{}, fmt.Errorf("reading the kubeconfig: %w", err)
		}
		p.Context = raw.CurrentContext
	}
	return p, nil
}

// ToRESTConfig and those below are what Helm calls.
func (a *access) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(a.rest), nil }

// ToDiscoveryClient returns a client that remembers.
func (a *access) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return a.discovery, nil
}

// ToRESTMapper returns a mapper that asks again for kinds that it does not know.
func (a *access) ToRESTMapper() (meta.RESTMapper, error) { return a.mapper, nil }

// ToRawKubeConfigLoader returns where the namespace is read from.
func (a *access) ToRawKubeConfigLoader() clientcmd.ClientConfig { return a.loader }

// asFault says in words what kept us from the cluster; doing is "installing".
func asFault(doing string, err error) error {
	var network *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &network) || strings.Contains(err.Error(), "cluster unreachable") || strings.Contains(err.Error(), "connection refused"):
		return fault.New(fault.Disconnected, "install.unreachable", "%s: the cluster does not answer: %w", doing, err).
			WithHint("check --kubeconfig and --context: `kubectl version` with the same ones must work")
	case apierrors.IsUnauthorized(err):
		return fault.New(fault.Unproven, "install.unauthorized", "%s: the cluster does not accept the credentials of the kubeconfig", doing).
			WithHint("renew them: `kubectl auth whoami` with the same kubeconfig must work")
	case apierrors.IsForbidden(err):
		return fault.New(fault.Forbidden, "install.forbidden", "%s: %w", doing, err).
			WithHint("installing takes the rights of an administrator of the cluster; see docs/kubernetes.md")
	}
	return fmt.Errorf("%s: %w", doing, err)
}
