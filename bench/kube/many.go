package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/row"
)

// size is how much is simulated.
type size struct{ nodes, apis, replicas int }

func (s size) check() error {
	if s.nodes < 1 || s.apis < 1 || s.replicas < 1 {
		return errors.New("-nodes, -apis and -replicas are at least 1")
	}
	if all, room := s.apis*s.replicas, s.nodes*devicesOnNode; all > room {
		return fmt.Errorf("%d replicas do not fit onto %d simulated nodes, which take %d each", all, s.nodes, devicesOnNode)
	}
	return nil
}

// The rows. Their names say how much was simulated, since the numbers mean nothing
// without that.
func (s size) names() []string {
	which := fmt.Sprintf("%s APIs, %s replicas", thousands(s.apis), thousands(s.apis*s.replicas))
	return []string{
		which + ": resident memory of the operator",
		which + ": a changed API reaches every gateway",
		which + ": one more API, deployed to ready",
		which + ": CPU of the operator at rest",
		which + ": CPU of a gateway at rest",
		which + ": requests to the API server at rest",
		which + ": from nothing to all of it ready",
	}
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

const (
	routeBound = time.Second
	batch      = 50 // APIs in one file
)

func manyName(i int) string { return fmt.Sprintf("%smany-%d", prefix, i) }

// many fills the cluster with simulated replicas and looks at what that costs.
func many(ctx context.Context, c *cluster, s size) (rows []row.Row, err error) {
	sim, err := c.simulate(ctx, s.nodes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sim.end()) }()
	if err := c.tellApart(ctx); err != nil {
		return nil, errors.Join(err, c.noLongerApart())
	}
	defer func() { err = errors.Join(err, c.noLongerApart()) }()
	// Before the nodes are: their pods end only while somebody plays these.
	defer func() { err = errors.Join(err, c.removeMany(s)) }()
	before, err := c.requests(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	accepted, err := c.deployMany(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := c.allReady(ctx, s); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := c.requests(ctx)
	if err != nil {
		return nil, err
	}
	operators, gateways, overall := after.since(before)
	filled := row.Row{
		What: s.names()[6], Ours: fmt.Sprintf("%.0f s", took.Seconds()),
		Note: fmt.Sprintf("%.0f s of it until all were accepted, %d in a file; meanwhile the API server got %.0f requests/s, %.1f/s of them from the operators and %.1f/s from the gateways",
			accepted.Seconds(), batch, overall, operators, gateways),
	}
	atRest, err := c.atRest(ctx, s)
	if err != nil {
		return []row.Row{filled}, err
	}
	changed, err := c.changesOfMany(ctx, s)
	return slices.Concat(atRest[:1], changed, atRest[1:], []row.Row{filled}), err
}

// deployMany deploys files of many APIs without waiting, as a pipeline would, and
// returns how long it took until the last was accepted.
func (c *cluster) deployMany(ctx context.Context, s size) (time.Duration, error) {
	began := time.Now()
	for from := 0; from < s.apis; from += batch {
		var text strings.Builder
		for i := from; i < min(from+batch, s.apis); i++ {
			text.WriteString(simulatedSpec(manyName(i), c.image, "/"+manyName(i), s.replicas))
		}
		path := filepath.Join(c.dir, "many.yaml")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			return 0, err
		}
		if _, err := c.run(ctx, "deploy", path, "--no-wait"); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// allReady waits until every replica is.
func (c *cluster) allReady(ctx context.Context, s size) error {
	// The controllers of Kubernetes make some 20 pods a second.
	within := 5*time.Minute + time.Duration(s.apis*s.replicas)*300*time.Millisecond
	said := time.Now()
	return c.until(ctx, within, "every simulated replica is ready", func() (bool, error) {
		list, err := c.client.AppsV1().Deployments(apisNamespace).List(ctx, metav1.ListOptions{LabelSelector: "cortex.dev/api=true", ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		live, replicas := 0, 0
		for i := range list.Items {
			d := &list.Items[i]
			if !strings.HasPrefix(d.Name, "api-"+prefix+"many-") {
				continue
			}
			replicas += int(d.Status.AvailableReplicas)
			if int(d.Status.AvailableReplicas) == s.replicas {
				live++
			}
		}
		if time.Since(said) > 20*time.Second {
			said = time.Now()
			c.Log("%d of %d APIs are live, with %d replicas", live, s.apis, replicas)
		}
		return live >= s.apis, load.Wait(ctx, time.Second)
	})
}

// changesOfMany changes the endpoint of one API after the other, and deploys one
// more.
func (c *cluster) changesOfMany(ctx context.Context, s size) ([]row.Row, error) {
	gateways, err := c.program(ctx, "gateway")
	if err != nil {
		return nil, err
	}
	var routed, ready, readyRouted []time.Duration
	for n := range c.Times(9, 3) {
		i := n * s.apis / 9
		endpoint := fmt.Sprintf("/%s-changed-%d", manyName(i), n)
		took, _, err := c.toRoute(ctx, gateways, manyName(i), simulatedSpec(manyName(i), c.image, endpoint, s.replicas), endpoint)
		if err != nil {
			return nil, err
		}
		routed = append(routed, took)
	}
	for n := range c.Times(5, 2) {
		name := fmt.Sprintf("%smore-%d", prefix, n)
		c.deployed[name] = true
		took, whole, err := c.toRoute(ctx, gateways, name, simulatedSpec(name, c.image, "/"+name, 1), "/"+name)
		if err != nil {
			return nil, err
		}
		readyRouted, ready = append(readyRouted, took), append(ready, whole)
	}
	change := within(s.names()[1], routed, routeBound, fmt.Sprintf("median of %d, at most %s, from the start of cortex deploy until both of %d gateways know the new endpoint",
		len(routed), row.Millis(slices.Max(routed)), len(gateways)))
	if len(gateways) != 2 {
		change.Note = strings.Replace(change.Note, "both of ", "all of ", 1)
	}
	return []row.Row{change, {
		What: s.names()[2], Ours: row.Millis(row.Median(ready)),
		Note: fmt.Sprintf("median of %d, at most %s, the whole command; the gateways knew its endpoint after %s", len(ready), row.Millis(slices.Max(ready)), row.Millis(row.Median(readyRouted))),
	}}, nil
}

// toRoute deploys a file and returns how long it took until every gateway knows the
// endpoint, and until the command was over.
func (c *cluster) toRoute(ctx context.Context, gateways []corev1.Pod, name, text, endpoint string) (routed, whole time.Duration, err error) {
	path := filepath.Join(c.dir, name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	known := make(chan error, len(gateways))
	times := make(chan time.Time, len(gateways))
	asking, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	for i := range gateways {
		go func() {
			at, err := firstKnown(asking, "http://"+gateways[i].Status.PodIP+":8080", endpoint)
			times <- at
			known <- err
		}()
	}
	_, err = c.run(ctx, "deploy", path)
	whole = time.Since(began)
	if err != nil {
		stop()
	}
	for range gateways {
		routed = max(routed, (<-times).Sub(began))
		if asked := <-known; err == nil {
			err = asked
		}
	}
	c.Log("%s is known to every gateway after %s, deployed after %s", endpoint, routed, whole)
	return routed, whole, err
}

// firstKnown asks a gateway for an endpoint until it does not say that there is
// none, and returns when it sent the request that was answered differently. Nobody
// answers for a simulated replica, so what the answer is does not matter.
func firstKnown(ctx context.Context, gateway, endpoint string) (time.Time, error) {
	w, err := load.Dial(ctx, gateway)
	if err != nil {
		return time.Time{}, fmt.Errorf("connecting to a gateway: %w", err)
	}
	defer func() { w.Close() }()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		sent := time.Now()
		status, _, err := w.Post(endpoint, 5*time.Second)
		switch {
		case err == nil && status != http.StatusNotFound:
			return sent, nil
		case status == 0 && errors.Is(err, os.ErrDeadlineExceeded): // it waits for a replica
			return sent, nil
		case err != nil: // closed, or about to be
			w.Close()
			if status != 0 && status != http.StatusNotFound {
				return sent, nil
			}
			if w, err = load.Dial(ctx, gateway); err != nil {
				return time.Time{}, fmt.Errorf("connecting to a gateway: %w", err)
			}
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("a gateway does not know %s: %w", endpoint, ctx.Err())
		case <-ticker.C:
		}
	}
}

// removeMany deletes the simulated APIs, and waits until nothing of them is left.
func (c *cluster) removeMany(s size) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var names []string
	for i := range s.apis {
		names = append(names, manyName(i))
	}
	for name := range c.deployed {
		if strings.HasPrefix(name, prefix+"more-") {
			names = append(names, name)
			delete(c.deployed, name)
		}
	}
	for some := range slices.Chunk(names, 100) {
		args := append([]string{"--namespace", apisNamespace, "delete", "--wait=false", "--ignore-not-found", "realtimeapis.cortex.dev"}, some...)
		if _, err := c.kubectl(ctx, args...); err != nil {
			return err
		}
	}
	return c.until(ctx, 10*time.Minute, "the simulated APIs are gone", func() (bool, error) {
		list, err := c.client.CoreV1().Pods(apisNamespace).List(ctx, metav1.ListOptions{LabelSelector: "cortex.dev/api=true", ResourceVersion: "0"})
		if err != nil {
			return false, err
		}
		for i := range list.Items {
			if strings.HasPrefix(list.Items[i].Labels[labelName], prefix+"m") {
				return false, load.Wait(ctx, time.Second)
			}
		}
		_, err = c.client.AppsV1().Deployments(apisNamespace).Get(ctx, "api-"+manyName(0), metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}
