package install

import (
	"context"
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leaderLease is the lease that the operator's replicas compete for.
const leaderLease = "cortex-operator"

// Check is one thing that has to be right.
type Check struct {
	Name string // stable, for programs: operator_load_balancer
	OK   bool
	Text string // how it is, in a few words
	Do   string // what to do about it, when it is not OK
}

// Health says how an installation is doing. The error is for a cluster that does
// not answer and for an installation that is not there; what is wrong with one is
// in the checks.
func Health(ctx context.Context, cfg Config) ([]Check, error) {
	w, err := begin(cfg)
	if err != nil {
		return nil, err
	}
	last, err := w.lastRelease()
	if err != nil {
		return nil, err
	}
	if last != nil {
		w.cfg.Values = Merge(last.Config, w.cfg.Values)
	} else {
		there, err := w.applied(ctx)
		if err != nil {
			return nil, err
		}
		if there == nil {
			return nil, notInstalled(w.cfg.Namespace)
		}
		w.cfg.Values = Merge(map[string]any{"apis": map[string]any{"namespace": there.apis}}, w.cfg.Values)
	}
	checks := []Check{w.checkOperator(ctx)}
	if c, there := w.checkLedger(ctx); there {
		checks = append(checks, c)
	}
	for _, look := range []func(context.Context) Check{w.checkGateways, w.checkCRDs, w.checkNamespace, w.checkDNS, w.checkAuthority} {
		checks = append(checks, look(ctx))
	}
	return append(checks,
		w.checkBalancer(ctx, "operator_load_balancer", operatorService),
		w.checkBalancer(ctx, "apis_load_balancer", gatewayService)), ctx.Err()
}

// unknown is a check that could not be made.
func unknown(name string, err error) Check {
	return Check{Name: name, Text: "unknown: " + err.Error(), Do: "use credentials that may look at it"}
}

func (w *work) checkOperator(ctx context.Context) Check {
	const name = "operator"
	now, err := w.progress(ctx, programs[0])
	if apierrors.IsNotFound(err) {
		return Check{Name: name, Text: "its deployment is missing", Do: "`cortex upgrade` writes it again"}
	}
	if err != nil {
		return unknown(name, err)
	}
	lease, err := w.clients.CoordinationV1().Leases(w.cfg.Namespace).Get(ctx, leaderLease, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return unknown(name, err)
	}
	if apierrors.IsNotFound(err) {
		lease = nil
	}
	return judgeOperator(now, lease, w.now())
}

// judgeOperator joins what its pods and its lease say.
func judgeOperator(p progress, lease *coordinationv1.Lease, now time.Time) Check {
	c := Check{Name: "operator"}
	leader := ""
	if lease != nil && lease.Spec.HolderIdentity != nil && lease.Spec.RenewTime != nil && lease.Spec.LeaseDurationSeconds != nil &&
		now.Sub(lease.Spec.RenewTime.Time) <= time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second {
		leader = *lease.Spec.HolderIdentity
	}
	switch {
	case leader == "" && p.done:
		c.Text, c.Do = "no replica leads", "wait some seconds for one to take over; then see its log"
	case leader == "":
		c.Text, c.Do = "no replica leads: "+p.why, p.do
	case !p.done:
		c.Text, c.Do = leader+" leads, but "+p.why, p.do
	default:
		c.OK, c.Text = true, leader+" leads"
	}
	return c
}

func (w *work) checkGateways(ctx context.Context) Check {
	const name = "gateways"
	now, err := w.progress(ctx, programs[1])
	switch {
	case apierrors.IsNotFound(err):
		return Check{Name: name, Text: "their deployment is missing", Do: "`cortex upgrade` writes it again"}
	case err != nil:
		return unknown(name, err)
	case !now.done:
		return Check{Name: name, Text: now.why, Do: now.do}
	}
	return Check{Name: name, OK: true, Text: "all are available"}
}

// checkLedger is about the servers of items, where the chart runs some.
func (w *work) checkLedger(ctx context.Context) (c Check, there bool) {
	c = Check{Name: "items"}
	now, err := w.progress(ctx, ledger)
	switch {
	case apierrors.IsNotFound(err):
		return c, false
	case err != nil:
		return unknown(c.Name, err), true
	case !now.done:
		c.Text, c.Do = now.why, now.do
	default:
		c.OK, c.Text = true, "all servers are ready"
	}
	return c, true
}

func (w *work) checkCRDs(ctx context.Context) Check {
	const name = "custom_resources"
	all, err := definitions()
	if err != nil {
		return unknown(name, err)
	}
	var missing, other []string
	for _, d := range all {
		u, err := w.objects.Resource(crdResource).Get(ctx, d.name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			missing = append(missing, d.name)
		case err != nil:
			return unknown(name, err)
		default:
			if ok, _ := established(u); !ok {
				missing = append(missing, d.name)
			} else if was := u.GetAnnotations()[stampKey]; was != "" && was != d.object.GetAnnotations()[stampKey] && !decide(d, u, w.cfg.Version).keep {
				other = append(other, d.name)
			}
		}
	}
	switch {
	case len(missing) > 0:
		return Check{Name: name, Text: "not served: " + strings.Join(missing, ", "), Do: "`cortex upgrade` writes them"}
	case len(other) > 0:
		return Check{Name: name, Text: "of another version than this program: " + strings.Join(other, ", "), Do: "`cortex upgrade` brings the cluster to this version, or use the program of that version"}
	}
	return Check{Name: name, OK: true, Text: fmt.Sprintf("%d kinds are served", len(all))}
}

func (w *work) checkNamespace(ctx context.Context) Check {
	const name = "apis_namespace"
	apis := w.apisNamespace()
	ns, err := w.clients.CoreV1().Namespaces().Get(ctx, apis, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Check{Name: name, Text: "namespace " + apis + " does not exist", Do: "`cortex upgrade` makes it again; what was deployed in it is gone"}
	case err != nil:
		return unknown(name, err)
	case ns.Status.Phase == corev1.NamespaceTerminating:
		return Check{Name: name, Text: "namespace " + apis + " is being deleted", Do: "when it is gone, `cortex upgrade` creates it again"}
	}
	return Check{Name: name, OK: true, Text: apis}
}

func (w *work) checkDNS(ctx context.Context) Check {
	ok, err := w.dns(ctx)
	switch {
	case err != nil:
		return unknown("dns", err)
	case !ok:
		return Check{Name: "dns", Text: "no ready endpoint of kube-dns in kube-system", Do: "gateways cannot find the operator: repair CoreDNS"}
	}
	return Check{Name: "dns", OK: true, Text: "answers"}
}

func (w *work) checkAuthority(ctx context.Context) Check {
	const name = "authority"
	m, err := w.clients.CoreV1().ConfigMaps(w.cfg.Namespace).Get(ctx, authorityMap, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Check{Name: name, Text: "the operator has not published its authority", Do: "gateways do not trust it until then; see the operator's log"}
	case err != nil:
		return unknown(name, err)
	case m.Data[fingerprintKey] == "":
		return Check{Name: name, Text: "configmap " + authorityMap + " holds no fingerprint", Do: "delete it; the operator publishes it again"}
	}
	return Check{Name: name, OK: true, Text: m.Data[fingerprintKey]}
}

func (w *work) checkBalancer(ctx context.Context, name, service string) Check {
	s, err := w.clients.CoreV1().Services(w.cfg.Namespace).Get(ctx, service, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return Check{Name: name, Text: "service " + service + " is missing", Do: "`cortex upgrade` writes it again"}
	case err != nil:
		return unknown(name, err)
	}
	if at := w.endpoint(ctx, s); at != "" {
		return Check{Name: name, OK: true, Text: at}
	}
	return Check{Name: name, Text: "it has no address", Do: "the cluster gives none to service " + service + ": see its events, or set loadBalancer.type to NodePort"}
}
