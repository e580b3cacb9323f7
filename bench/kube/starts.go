package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/row"
	"cortex.dev/cortex/internal/workload"
)

const (
	whatZero   = "scale from zero: first request, minus the start of a bare pod"
	whatDeploy = "cortex deploy to ready, minus the same pod by kubectl apply"
	whatFirst  = "a replica is ready, to the first request it answers"
)

const (
	zeroBound   = time.Second
	deployBound = 700 * time.Millisecond
	firstBound  = 200 * time.Millisecond
)

// barePod runs the server and nothing else.
func (c *cluster) barePod(name string) *corev1.Pod {
	none, now := false, int64(0)
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: apisNamespace, Labels: map[string]string{"cortex.dev/bench": name}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &none, EnableServiceLinks: &none, TerminationGracePeriodSeconds: &now,
			Containers: []corev1.Container{{
				Name: "server", Image: c.image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"/server"},
				Env: []corev1.EnvVar{{Name: "CORTEX_PORT", Value: fmt.Sprint(workload.DefaultPort)}},
			}},
		},
	}
}

// startsPod is the time from create, which makes the pod of that name, until it is
// seen to be ready. The pod is gone when it returns.
func (c *cluster) startsPod(ctx context.Context, name string, create func() error) (took time.Duration, err error) {
	ready, err := c.watchReady(ctx, "cortex.dev/bench="+name)
	if err != nil {
		return 0, err
	}
	defer ready.stop()
	defer func() { err = errors.Join(err, c.endPod(ctx, name)) }()
	begun := time.Now()
	if err := create(); err != nil {
		return 0, fmt.Errorf("making the pod %s: %w", name, err)
	}
	seen, err := ready.next(ctx, nil)
	return seen.at.Sub(begun), err
}

// endPod kills a pod of ours and waits until it is gone.
func (c *cluster) endPod(ctx context.Context, name string) error {
	ctx = context.WithoutCancel(ctx) // it is ended also when the benchmark is interrupted
	pods, now := c.client.CoreV1().Pods(apisNamespace), int64(0)
	if err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("ending the pod %s: %w", name, err)
	}
	return c.cleared(ctx, time.Minute, "the pod "+name+" is gone", func() (bool, error) {
		_, err := pods.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	})
}

// fromZero times the first request to an API at zero, and in turns a bare pod of
// the same image.
func fromZero(ctx context.Context, c *cluster) ([]row.Row, error) {
	const name = prefix + "zero"
	if err := c.deploy(ctx, name, idleSpec(name, c.image)); err != nil {
		return nil, err
	}
	var whole, bare, own []time.Duration
	for range c.Times(9, 3) {
		err := c.cleared(ctx, 2*time.Minute, "the API is at zero", func() (bool, error) {
			pods, err := c.pods(ctx, name)
			return len(pods) == 0, err
		})
		if err != nil {
			return nil, err
		}
		pod := c.barePod(name + "-bare")
		alone, err := c.startsPod(ctx, pod.Name, func() error {
			_, err := c.client.CoreV1().Pods(apisNamespace).Create(ctx, pod, metav1.CreateOptions{})
			return err
		})
		if err != nil {
			return nil, err
		}
		w, err := load.Dial(ctx, c.APIs)
		if err != nil {
			return nil, err
		}
		begun := time.Now()
		status, body, err := w.Post("/"+name, 2*time.Minute)
		took := time.Since(begun)
		w.Close()
		if status != http.StatusOK {
			return nil, fmt.Errorf("the first request was answered %d %s %w", status, body, err)
		}
		c.Log("first request %s, bare pod %s", took, alone)
		whole, bare, own = append(whole, took), append(bare, alone), append(own, took-alone)
	}
	return []row.Row{within(whatZero, own, zeroBound, fmt.Sprintf("median of %d, at most %s; a bare pod is ready within %s, the first request takes %s",
		len(own), row.Millis(slices.Max(own)), row.Millis(row.Median(bare)), row.Millis(row.Median(whole))))}, c.remove(ctx, name)
}

// within is the row of durations whose median has a bound.
func within(what string, ds []time.Duration, bound time.Duration, note string) row.Row {
	mid := row.Median(ds)
	return row.Row{
		What: what, Ours: row.Millis(mid), Ratio: row.Times(mid, bound) + " of target",
		Target: "≤ " + row.Bound(bound), Met: mid <= bound, Note: note,
	}
}

// deploys times the whole command, and in turns kubectl for a pod that is exactly
// what the command had Kubernetes make.
func deploys(ctx context.Context, c *cluster) ([]row.Row, error) {
	var whole, bare, own []time.Duration
	for i := range c.Times(9, 3) {
		name := fmt.Sprintf("%sdeploy-%d", prefix, i)
		begun := time.Now()
		if err := c.deploy(ctx, name, plainSpec(name, c.image, 1, "1")); err != nil {
			return nil, err
		}
		took := time.Since(begun)
		file, err := c.samePod(ctx, name)
		if err != nil {
			return nil, err
		}
		if err := c.remove(ctx, name); err != nil {
			return nil, err
		}
		alone, err := c.startsPod(ctx, name, func() error {
			_, err := c.kubectl(ctx, "apply", "-f", file)
			return err
		})
		if err != nil {
			return nil, err
		}
		c.Log("cortex deploy %s, kubectl apply %s", took, alone)
		whole, bare, own = append(whole, took), append(bare, alone), append(own, took-alone)
	}
	return []row.Row{within(whatDeploy, own, deployBound, fmt.Sprintf("median of %d, at most %s; from the start of the command: cortex deploy %s, kubectl apply until the pod is ready %s",
		len(own), row.Millis(slices.Max(own)), row.Millis(row.Median(whole)), row.Millis(row.Median(bare))))}, nil
}

// samePod writes a pod as those of an API, which is none of them, and returns the
// file.
func (c *cluster) samePod(ctx context.Context, name string) (string, error) {
	d, err := c.client.AppsV1().Deployments(apisNamespace).Get(ctx, "api-"+name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("looking at the Deployment of %s: %w", name, err)
	}
	pod := c.barePod(name)
	pod.Spec = d.Spec.Template.Spec
	text, err := json.Marshal(pod)
	if err != nil {
		return "", err
	}
	file := filepath.Join(c.dir, name+".json")
	return file, os.WriteFile(file, text, 0o600)
}

// firstRequests replaces the one replica of an API that is asked 200 times a second,
// and times how long each new one is ready before it answers.
func firstRequests(ctx context.Context, c *cluster) ([]row.Row, error) {
	const name = prefix + "first"
	if err := c.deploy(ctx, name, plainSpec(name, c.image, 1, "1")); err != nil {
		return nil, err
	}
	ready, err := c.watchReady(ctx, labelName+"="+name)
	if err != nil {
		return nil, err
	}
	defer ready.stop()
	old := map[string]bool{}
	pods, err := c.pods(ctx, name)
	for i := range pods {
		old[pods[i].Name] = true
	}
	if err != nil {
		return nil, err
	}
	stream := load.Start(ctx, c.APIs, "/"+name, 8, 200)
	took, err := c.replace(ctx, name, stream, ready, old)
	stream.End()
	if err != nil {
		return nil, err
	}
	if stream.Failed() > 0 {
		return nil, fmt.Errorf("%d of %d requests failed: %v", stream.Failed(), stream.Sent(), stream.Failures())
	}
	return []row.Row{within(whatFirst, took, firstBound, fmt.Sprintf("median of %d, at most %s, at 200 requests a second; counted from when a watch of the API server says ready",
		len(took), row.Millis(slices.Max(took))))}, c.remove(ctx, name)
}

func (c *cluster) replace(ctx context.Context, name string, stream *load.Stream, ready *readiness, old map[string]bool) (took []time.Duration, err error) {
	for range c.Times(9, 3) {
		if _, err := c.run(ctx, "refresh", name); err != nil {
			return nil, err
		}
		pod, err := ready.next(ctx, old)
		if err != nil {
			return nil, err
		}
		old[pod.name] = true
		var first time.Time
		err = c.until(ctx, time.Minute, pod.name+" answers", func() (bool, error) {
			first = firstOf(stream.Seen(), pod.name)
			return !first.IsZero(), nil
		})
		if err != nil {
			return nil, err
		}
		// A gateway may hear of it before this program does.
		took = append(took, max(first.Sub(pod.at), 0))
		c.Log("%s answers %s after it was seen ready", pod.name, first.Sub(pod.at))
		if err := c.settled(ctx, name, 1); err != nil {
			return nil, err
		}
	}
	return took, nil
}

// firstOf is when a host first answered; zero when it has not.
func firstOf(seen map[string]load.Seen, host string) (first time.Time) {
	for body, s := range seen {
		if hostOf(body) == host && (first.IsZero() || s.First.Before(first)) {
			first = s.First
		}
	}
	return first
}

// hostOf is the pod that gave an answer; empty for an answer that is not the server's.
func hostOf(body string) string {
	var said struct{ Host string }
	if json.Unmarshal([]byte(body), &said) != nil {
		return ""
	}
	return said.Host
}
