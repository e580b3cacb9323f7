package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"

	"cortex.dev/cortex/internal/fault"
)

// oldest is the first version whose sidecars start before the containers that they
// serve and end after them.
var oldest = version.MustParseGeneric("1.29.0")

// facts are what is looked at before anything is changed.
type facts struct {
	Version    string
	Denied     []string // rights that the user lacks, in words
	DNS        bool     // there is a Service for cluster DNS with ready endpoints
	DNSUnknown bool     // it may not be looked at
	Nodes      int      // ready and schedulable; -1: may not be looked at
	Ending     []string // namespaces of ours that are being removed
	NoAPIs     string   // namespace of APIs that is neither there nor made by the chart
	Unknown    []string // kinds that the chart needs and the cluster lacks
	Secret     string   // what is wrong with the certificate for users, in words
	Metrics    bool     // of pods are needed to scale the gateways, and there are none
	Shared     string   // with whom the namespace of APIs would be shared, in words
	Foreign    []foreigner
	Images     []string // that their registry does not have
	Diverged   []string // definitions that neither take ours nor serve what ours do, in words
}

// obstacle is one thing that stands in the way, and what to do about it.
type obstacle struct{ what, do string }

// obstacles judges the facts.
func obstacles(f facts) []obstacle {
	var found []obstacle
	add := func(is bool, do, format string, args ...any) {
		if is {
			found = append(found, obstacle{fmt.Sprintf(format, args...), do})
		}
	}
	v, err := version.ParseGeneric(f.Version)
	add(err != nil, "point --kubeconfig at a Kubernetes API server", "the cluster reports an invalid version %q", f.Version)
	add(err == nil && v.LessThan(oldest), "upgrade the cluster", "kubernetes %s is too old: sidecars need 1.29 or newer", f.Version)
	add(len(f.Denied) > 0, "use the credentials of an administrator of the cluster", "you may not %s", strings.Join(f.Denied, ", "))
	add(!f.DNS && !f.DNSUnknown, "install CoreDNS (the Service kube-dns in kube-system)", "the cluster has no working DNS, by which gateways find the operator")
	add(f.Nodes == 0, "add a node, or `kubectl uncordon` one", "no node is ready and takes pods")
	for _, ns := range f.Ending {
		add(true, "wait until `kubectl get namespace` lists it no more, or take another one", "namespace %s is being removed", ns)
	}
	add(f.NoAPIs != "", "make it, or let the chart make it (apis.createNamespace)", "namespace %s does not exist", f.NoAPIs)
	add(f.Shared != "", "give this one another with --apis-namespace", "%s", f.Shared)
	for _, o := range f.Foreign {
		do := "delete it, or give this installation another namespace"
		if o.kind == "Namespace" {
			do = "apis.createNamespace=false uses it as it is; --apis-namespace takes another"
		}
		add(true, do, "%s is there already, %s", o.what, o.whose)
	}
	for _, text := range f.Diverged {
		add(true, "use a program that knows both", "%s", text)
	}
	add(len(f.Unknown) > 0, "install what brings them, or leave the values off that ask for them: metrics.serviceMonitor, gateway.route",
		"the cluster does not know the kinds %s", strings.Join(f.Unknown, ", "))
	for _, ref := range f.Images {
		add(true, "`make images REGISTRY=… PUSH=1` makes and pushes them, --load-images pushes those of an archive; image.registry and image.tag say which",
			"the image %s does not exist", ref)
	}
	add(f.Secret != "", "make it of type kubernetes.io/tls, with a certificate and its key; or leave operator.tls.secretName off", "%s", f.Secret)
	add(f.Metrics, "install a metrics server, or leave gateway.autoscaling.enabled off", "the cluster does not measure pods (metrics.k8s.io)")
	return found
}

// preflight looks at everything and refuses with everything.
func (w *work) preflight(ctx context.Context, p plan) error {
	started := w.now()
	f, err := w.look(ctx, p)
	if err != nil {
		return err
	}
	note := ""
	if p.archive == nil {
		f.Images, note = w.lookForImages(ctx, p.images)
	}
	if w.cfg.shared {
		f.DNSUnknown, f.Nodes = true, -1
	}
	if found := obstacles(f); len(found) > 0 {
		var b strings.Builder
		for _, o := range found {
			fmt.Fprintf(&b, "\n  %s\n    %s", o.what, o.do)
		}
		return fault.New(fault.Conflict, "install.preflight", "the cluster is not ready for cortex; nothing was changed:%s", b.String())
	}
	nodes := fmt.Sprintf(", %d ready nodes", f.Nodes)
	if f.Nodes == 1 {
		nodes = ", 1 ready node"
	} else if f.Nodes < 0 {
		nodes = ""
	}
	storage := "; no storage is needed"
	if slices.ContainsFunc(p.objects, func(u *unstructured.Unstructured) bool { return u.GetKind() == "StatefulSet" }) {
		storage = "" // the cluster has to make volumes, which shows when it does
	}
	w.done("cluster", started, "kubernetes %s%s, rights, dns%s", f.Version, nodes, storage)
	if note != "" {
		w.done("images", started, "%s", note)
	}
	return nil
}

func (w *work) look(ctx context.Context, p plan) (facts, error) {
	f := facts{Nodes: -1}
	v, err := w.clients.Discovery().ServerVersion()
	if err != nil {
		return f, asFault("asking for the version of the cluster", err)
	}
	f.Version = strings.TrimPrefix(v.GitVersion, "v")
	if f.Denied, err = w.denied(ctx); err != nil {
		return f, err
	}
	f.DNS, err = w.dns(ctx)
	f.DNSUnknown = err != nil
	if nodes, err := w.clients.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err == nil {
		f.Nodes = usable(nodes.Items)
	}
	apis := w.apisNamespace()
	for _, name := range []string{w.cfg.Namespace, apis} {
		ns, err := w.clients.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) && name == apis && !w.boolean(true, "apis", "createNamespace"):
			f.NoAPIs = name
		case err == nil && ns.Status.Phase == corev1.NamespaceTerminating:
			f.Ending = append(f.Ending, name)
		}
	}
	others, err := w.others(ctx)
	if err != nil {
		return f, err
	}
	f.Shared = shares(others, apis)
	if f.Foreign, f.Unknown, err = w.foreign(ctx, p.objects, p.adopting); err != nil {
		return f, err
	}
	for _, d := range p.definitions {
		if d.refuse != "" {
			f.Diverged = append(f.Diverged, d.refuse)
		}
	}
	if w.boolean(false, "gateway", "autoscaling", "enabled") {
		_, err := w.clients.Discovery().ServerResourcesForGroupVersion("metrics.k8s.io/v1beta1")
		f.Metrics = err != nil
	}
	f.Secret, err = w.certificate(ctx)
	return f, err
}

// usable counts the nodes that take pods.
func usable(nodes []corev1.Node) int {
	n := 0
	for i := range nodes {
		for _, c := range nodes[i].Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && !nodes[i].Spec.Unschedulable {
				n++
			}
		}
	}
	return n
}

// dns says whether pods can look each other up.
func (w *work) dns(ctx context.Context) (bool, error) {
	found, err := w.clients.DiscoveryV1().EndpointSlices("kube-system").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kube-dns"})
	if err != nil {
		return false, err
	}
	for _, s := range found.Items {
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				return true, nil
			}
		}
	}
	return false, nil
}

// right is one thing that installing takes.
type right struct{ verb, group, resource, scope string }

// The scopes of a right.
const (
	everywhere = ""
	system     = "system"
	apis       = "apis"
)

// rights are what writing the objects of the chart takes. Whoever gives roles must
// also have what is in them, which only an administrator has.
var rights = []right{
	{"create", "", "namespaces", everywhere},
	{"patch", "apiextensions.k8s.io", "customresourcedefinitions", everywhere},
	{"patch", "rbac.authorization.k8s.io", "clusterroles", everywhere},
	{"patch", "rbac.authorization.k8s.io", "clusterrolebindings", everywhere},
	{"patch", "rbac.authorization.k8s.io", "roles", system},
	{"patch", "rbac.authorization.k8s.io", "rolebindings", system},
	{"patch", "rbac.authorization.k8s.io", "roles", apis},
	{"patch", "rbac.authorization.k8s.io", "rolebindings", apis},
	{"patch", "apps", "deployments", system},
	{"patch", "apps", "statefulsets", system},
	{"patch", "", "services", system},
	{"patch", "", "serviceaccounts", system},
	{"patch", "", "configmaps", system},
	{"create", "", "secrets", system},
	{"patch", "networking.k8s.io", "networkpolicies", system},
	{"patch", "networking.k8s.io", "networkpolicies", apis},
	{"patch", "policy", "poddisruptionbudgets", system},
	{"patch", "scheduling.k8s.io", "priorityclasses", everywhere},
	{"create", "authentication.k8s.io", "tokenreviews", everywhere},
}

// denied returns the rights that the user lacks, in words.
func (w *work) denied(ctx context.Context) ([]string, error) {
	all, err := w.may(ctx, "", authorizationv1.ResourceAttributes{Verb: "*", Group: "*", Resource: "*"})
	if err != nil || all {
		return nil, err
	}
	var lacking []string
	for _, r := range rights {
		ns, where := "", ""
		switch r.scope {
		case system:
			ns = w.cfg.Namespace
		case apis:
			ns = w.apisNamespace()
		}
		if ns != "" {
			where = " in namespace " + ns
		}
		ok, err := w.may(ctx, ns, authorizationv1.ResourceAttributes{Verb: r.verb, Group: r.group, Resource: r.resource})
		if err != nil {
			return nil, err
		}
		if !ok {
			lacking = append(lacking, r.verb+" "+r.resource+where)
		}
	}
	return lacking, nil
}

func (w *work) may(ctx context.Context, namespace string, what authorizationv1.ResourceAttributes) (bool, error) {
	what.Namespace = namespace
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what}}
	answer, err := w.clients.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, asFault("asking for your rights", err)
	}
	return answer.Status.Allowed, nil
}

// value returns the value at path, or nil.
func (w *work) value(path ...string) any {
	var at any = w.cfg.Values
	for _, key := range path {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[key]
	}
	return at
}

func (w *work) boolean(otherwise bool, path ...string) bool {
	if v, ok := w.value(path...).(bool); ok {
		return v
	}
	return otherwise
}

func (w *work) text(otherwise string, path ...string) string {
	if v, ok := w.value(path...).(string); ok && v != "" {
		return v
	}
	return otherwise
}

func (w *work) apisNamespace() string { return w.text(DefaultAPIsNamespace, "apis", "namespace") }
