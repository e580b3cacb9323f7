package install

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/kube/drain"
)

// drainPatience is how long nodes have to be emptied, as EKS gives those of its own groups.
const drainPatience = 15 * time.Minute

// Machines are the nodes with a label, by the ids of their machines in the cloud, and whether
// each is ready.
func Machines(ctx context.Context, cfg Config, label string) (map[string]bool, error) {
	w, err := begin(cfg)
	if err != nil {
		return nil, err
	}
	nodes, err := w.machines(ctx, label)
	ready := map[string]bool{}
	for id, n := range nodes {
		for _, c := range n.Status.Conditions {
			ready[id] = ready[id] || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}
	}
	return ready, err
}

func (w *work) machines(ctx context.Context, label string) (map[string]*corev1.Node, error) {
	found, err := w.clients.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: label + "=true"})
	if err != nil {
		return nil, asFault("listing nodes", err)
	}
	all := map[string]*corev1.Node{}
	for i := range found.Items {
		n := &found.Items[i]
		// Such as aws:///us-west-2a/i-0123456789abcdef0.
		all[n.Spec.ProviderID[strings.LastIndex(n.Spec.ProviderID, "/")+1:]] = n
	}
	return all, nil
}

// Drain empties the nodes with a label that are on these machines, one after the other, after
// all of them were closed to new pods. Budgets are respected for as long as it takes, and what
// they hold then is told. A machine that is no node is empty.
func Drain(ctx context.Context, cfg Config, label string, machines []string, say func(string)) error {
	w, err := begin(cfg)
	if err != nil {
		return err
	}
	return w.drain(ctx, label, machines, say)
}

func (w *work) drain(ctx context.Context, label string, machines []string, say func(string)) error {
	nodes, err := w.machines(ctx, label)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	for _, id := range machines {
		if n := nodes[id]; n != nil {
			if err := drain.Cordon(ctx, w.clients, n.Name); err != nil {
				return asFault("emptying nodes", err)
			}
		}
	}
	for _, id := range machines {
		n := nodes[id]
		if n == nil {
			continue
		}
		if err := drain.Node(ctx, w.clients, n.Name, drain.Options{Say: say}); err != nil {
			return fault.New(fault.Unavailable, "install.not_drained", "emptying nodes, for %s: %w", drainPatience, err).
				WithHint("`kubectl get poddisruptionbudgets -A` shows the budgets; run the same command again when they let pods go")
		}
	}
	return nil
}
