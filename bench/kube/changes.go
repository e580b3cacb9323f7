package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/row"
)

// How an API is loaded while something changes: keep-alive clients at a moderate
// rate, so that what fails is not for want of capacity.
const (
	changeRate     = 600 // requests a second
	changeReplicas = 3
	busy           = prefix + "busy"
)

// changing is one thing that happens under load.
type changing struct {
	what string
	// change does it and returns when it is over. The n-th call counts from 0.
	change func(ctx context.Context, c *cluster, n int) error
	// hosts is how many different replicas must at least have answered after n
	// changes, as the proof that they were replaced.
	hosts func(n int) int
}

func changings() []changing {
	replaced := func(n int) int { return changeReplicas * (n + 1) }
	same := func(int) int { return changeReplicas }
	return []changing{
		{"rolling update under load: failed requests", func(ctx context.Context, c *cluster, n int) error {
			return c.deployBusy(ctx, fmt.Sprintf("update-%d", n))
		}, replaced},
		{"refresh under load: failed requests", func(ctx context.Context, c *cluster, _ int) error {
			return c.replacing(ctx, func() error {
				_, err := c.run(ctx, "refresh", busy)
				return err
			})
		}, replaced},
		{"rollback under load: failed requests", func(ctx context.Context, c *cluster, n int) error {
			if n == 0 { // there has to be something to go back to
				if err := c.deployBusy(ctx, "bad"); err != nil {
					return err
				}
			}
			return c.replacing(ctx, func() error {
				_, err := c.run(ctx, "rollback", busy)
				return err
			})
		}, replaced},
		{"a replica's pod deleted under load: failed requests", deleteOne, func(n int) int { return changeReplicas + n }},
		{"gateways restarted under load: failed requests", func(ctx context.Context, c *cluster, _ int) error { return c.restart(ctx, "gateway") }, same},
		{"operators restarted under load: failed requests", func(ctx context.Context, c *cluster, _ int) error { return c.restart(ctx, "operator") }, same},
	}
}

func (c *cluster) deployBusy(ctx context.Context, version string) error {
	if err := c.deploy(ctx, busy, plainSpec(busy, c.image, changeReplicas, version, "-work", "2ms", "-slow", "80ms")); err != nil {
		return err
	}
	return c.settled(ctx, busy, changeReplicas)
}

// replacing does something that replaces every replica, and waits until it has.
func (c *cluster) replacing(ctx context.Context, do func() error) error {
	before, err := c.pods(ctx, busy)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if err := c.gone(ctx, apisNamespace, labelName+"="+busy, before); err != nil {
		return err
	}
	return c.settled(ctx, busy, changeReplicas)
}

// gone waits until none of the pods is there any more.
func (c *cluster) gone(ctx context.Context, namespace, selector string, before []corev1.Pod) error {
	old := map[string]bool{}
	for i := range before {
		old[before[i].Name] = true
	}
	return c.until(ctx, 3*time.Minute, "the pods of before are gone", func() (bool, error) {
		now, err := c.podsBy(ctx, namespace, selector)
		for i := range now {
			if old[now[i].Name] {
				return false, err
			}
		}
		return true, err
	})
}

// deleteOne deletes the pod of a replica, as who drains a node does.
func deleteOne(ctx context.Context, c *cluster, n int) error {
	pods, err := c.pods(ctx, busy)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return errors.New("there is no replica to delete")
	}
	victim := pods[n%len(pods)]
	if err := c.client.CoreV1().Pods(apisNamespace).Delete(ctx, victim.Name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("deleting the pod %s: %w", victim.Name, err)
	}
	if err := c.gone(ctx, apisNamespace, labelName+"="+busy, []corev1.Pod{victim}); err != nil {
		return err
	}
	return c.settled(ctx, busy, changeReplicas)
}

// restart restarts a program of the installation as administrators do.
func (c *cluster) restart(ctx context.Context, name string) error {
	before, err := c.program(ctx, name)
	if err != nil {
		return err
	}
	deployment := "deployment/cortex-" + name
	if _, err := c.kubectl(ctx, "--namespace", systemNamespace, "rollout", "restart", deployment); err != nil {
		return err
	}
	if _, err := c.kubectl(ctx, "--namespace", systemNamespace, "rollout", "status", deployment, "--timeout=3m"); err != nil {
		return err
	}
	return c.gone(ctx, systemNamespace, programSelector(name), before)
}

// underLoad keeps changing what a loaded API relies on until enough requests were
// sent.
func underLoad(ctx context.Context, c *cluster, is changing) ([]row.Row, error) {
	if err := c.deployBusy(ctx, "1"); err != nil {
		return nil, err
	}
	r, err := load.Change{
		What: is.what, Endpoint: c.APIs, Path: "/" + busy, Rate: changeRate, Enough: int64(c.Times(20_000, 3_000)),
		Do:      func(ctx context.Context, n int) error { return is.change(ctx, c, n) },
		Replica: hostOf, Least: is.hosts,
	}.Row(ctx)
	if err != nil {
		return nil, err
	}
	return []row.Row{r}, nil
}
