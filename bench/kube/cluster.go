package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/report"
	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/kubetest/testcluster"
)

// Where Cortex is on the cluster of `make kube-up`, and what everything of the
// benchmark is called.
const (
	systemNamespace = "cortex"
	apisNamespace   = "cortex-apis"
	prefix          = "bench-"
	labelName       = "apiName" // on the pods of an API
)

// cluster is where the benchmark lives: a user's command line, and the cluster.
type cluster struct {
	report.Options
	testcluster.Cluster
	client   kubernetes.Interface
	dir      string            // of the benchmark, temporary
	cortex   string            // the product's command line, of this checkout
	image    string            // bench/testserver
	fast     string            // bench/dataplane/proxy, which can be a server that costs next to nothing
	keys     map[string]string // of who runs the commands
	deployed map[string]bool
}

// openCluster finds the cluster, or says what is missing.
func openCluster(ctx context.Context, o report.Options) (*cluster, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("it looks at processes in pods and loads images into the node: run it as root")
	}
	c := &cluster{Options: o, deployed: map[string]bool{}}
	var err error
	if c.Cluster, err = testcluster.Read(filepath.Join("bin", "kube", "cluster.json")); err != nil {
		return nil, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", c.Kubeconfig, err)
	}
	cfg.QPS = -1
	if c.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, fmt.Errorf("making a client of the API server: %w", err)
	}
	if _, err := c.client.AppsV1().Deployments(systemNamespace).Get(ctx, "cortex-operator", metav1.GetOptions{}); err != nil {
		return nil, fmt.Errorf("the cluster of make kube-up does not answer, or has no Cortex: make kube-up starts it (%w)", err)
	}
	if c.dir, err = os.MkdirTemp("", "cxbench"); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	return c, nil
}

// prepare builds what is needed, makes the image, and signs in.
func (c *cluster) prepare(ctx context.Context) error {
	if err := os.Mkdir(filepath.Join(c.dir, "home"), 0o700); err != nil {
		return err
	}
	c.cortex = filepath.Join(c.dir, "cortex")
	if err := kubetest.BuildStatic(ctx, "./cmd/cortex", c.cortex); err != nil {
		return err
	}
	for _, image := range []struct {
		from, program string
		name          *string
	}{{"./bench/testserver", "/server", &c.image}, {"./bench/dataplane/proxy", "/proxy", &c.fast}} {
		file := filepath.Join(c.dir, image.program)
		err := kubetest.BuildStatic(ctx, image.from, file)
		if err == nil {
			*image.name, err = kubetest.LoadImage(ctx, "cortex.dev/bench-"+image.program[1:], map[string]string{image.program: file})
		}
		if err != nil {
			return err
		}
	}
	var err error
	if c.keys, err = c.Keys("alice"); err != nil {
		return err
	}
	if _, err := c.run(ctx, "env", "configure", "bench", "--operator-endpoint", c.Operator, "--fingerprint", c.Fingerprint); err != nil {
		return err
	}
	_, err = c.run(ctx, "env", "default", "bench")
	return err
}

// close takes away everything that was deployed.
func (c *cluster) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var problems []error
	for name := range c.deployed {
		if _, err := c.run(ctx, "delete", name, "--force"); err != nil && !strings.Contains(err.Error(), "is not deployed") {
			problems = append(problems, err)
		}
	}
	return errors.Join(append(problems, os.RemoveAll(c.dir))...)
}

// run runs the product's command line as a user would.
func (c *cluster) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.cortex, args...)
	cmd.Dir = c.dir
	home := filepath.Join(c.dir, "home") // one cannot deploy from the folder itself
	cmd.Env = testcluster.Environ([]string{"HOME=" + home, "CORTEX_CLI_CONFIG_DIR=" + filepath.Join(c.dir, "config"), "NO_COLOR=1", "PATH=" + os.Getenv("PATH")}, c.keys)
	return c.output(cmd)
}

func (c *cluster) kubectl(ctx context.Context, args ...string) (string, error) {
	return c.output(exec.CommandContext(ctx, c.Kubectl, append([]string{"--kubeconfig", c.Kubeconfig}, args...)...))
}

func (c *cluster) output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	line := strings.Join(append([]string{filepath.Base(cmd.Path)}, cmd.Args[1:]...), " ")
	if len(line) > 200 {
		line = line[:200] + " …"
	}
	c.Log("%s\n%s", line, out)
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", line, err, out)
	}
	return string(out), nil
}

// deploy deploys one API and waits until it is live, as the command does.
func (c *cluster) deploy(ctx context.Context, name, text string) error {
	path := filepath.Join(c.dir, name+".yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	c.deployed[name] = true
	_, err := c.run(ctx, "deploy", path)
	return err
}

// remove deletes an API and waits until its pods are gone, so that they do not
// disturb what is measured next.
func (c *cluster) remove(ctx context.Context, name string) error {
	if _, err := c.run(ctx, "delete", name, "--force"); err != nil {
		return err
	}
	delete(c.deployed, name)
	return c.cleared(ctx, 2*time.Minute, "the pods of "+name+" are gone", func() (bool, error) {
		pods, err := c.pods(ctx, name)
		return len(pods) == 0, err
	})
}

// pods are those of an API, ending ones included.
func (c *cluster) pods(ctx context.Context, name string) ([]corev1.Pod, error) {
	return c.podsBy(ctx, apisNamespace, labelName+"="+name)
}

// program are the pods of the operator or of the gateways.
func (c *cluster) program(ctx context.Context, name string) ([]corev1.Pod, error) {
	return c.podsBy(ctx, systemNamespace, programSelector(name))
}

func programSelector(name string) string {
	return "app.kubernetes.io/part-of=cortex,app.kubernetes.io/name=" + name
}

func (c *cluster) podsBy(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	return list.Items, nil
}

// settled waits until an API has so many replicas, all of them ready and of its
// latest revision, and none that is still ending.
func (c *cluster) settled(ctx context.Context, name string, replicas int) error {
	return c.until(ctx, 2*time.Minute, fmt.Sprintf("%s has %d ready replicas", name, replicas), func() (bool, error) {
		d, err := c.client.AppsV1().Deployments(apisNamespace).Get(ctx, "api-"+name, metav1.GetOptions{})
		if err != nil {
			return false, fmt.Errorf("looking at the Deployment of %s: %w", name, err)
		}
		n, s := int32(replicas), d.Status
		if s.ObservedGeneration != d.Generation || *d.Spec.Replicas != n || s.Replicas != n || s.UpdatedReplicas != n || s.AvailableReplicas != n {
			return false, nil
		}
		pods, err := c.pods(ctx, name)
		return len(pods) == replicas, err
	})
}

// clearing is how long a node may still take a pod down that is gone for the API
// server.
const clearing = 2 * time.Second

// cleared is until for pods that are gone: it waits for the node too, so that they do
// not disturb what is measured next.
func (c *cluster) cleared(ctx context.Context, within time.Duration, what string, ask func() (bool, error)) error {
	if err := c.until(ctx, within, what, ask); err != nil {
		return err
	}
	return load.Wait(ctx, clearing)
}

// until asks again and again until yes.
func (c *cluster) until(ctx context.Context, within time.Duration, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := ask()
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("waiting until %s: %w", what, err)
		}
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: not within %s", what, within)
		case <-ticker.C:
		}
	}
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// readiness waits for pods to become ready and remembers when each was seen to be.
type readiness struct {
	seen chan podReady
	stop func()
}

type podReady struct {
	name string
	at   time.Time
}

// watchReady follows the pods of a selector in the namespace of APIs.
func (c *cluster) watchReady(ctx context.Context, selector string) (*readiness, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := c.client.CoreV1().Pods(apisNamespace).Watch(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	r := &readiness{seen: make(chan podReady, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		known := map[string]bool{}
		for change := range w.ResultChan() {
			pod, ok := change.Object.(*corev1.Pod)
			if !ok || known[pod.Name] || !ready(pod) {
				continue
			}
			known[pod.Name] = true
			select {
			case r.seen <- podReady{pod.Name, time.Now()}:
			default: // nobody reads
			}
		}
	}()
	r.stop = func() { cancel(); w.Stop(); <-done }
	return r, nil
}

// next returns the next pod that became ready and is not among the old ones.
func (r *readiness) next(ctx context.Context, old map[string]bool) (podReady, error) {
	timer := time.NewTimer(2 * time.Minute)
	defer timer.Stop()
	for {
		select {
		case p := <-r.seen:
			if !old[p.name] {
				return p, nil
			}
		case <-timer.C:
			return podReady{}, errors.New("no pod became ready within 2 min")
		case <-ctx.Done():
			return podReady{}, ctx.Err()
		}
	}
}
