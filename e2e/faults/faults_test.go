// Package faults puts a real Kubernetes with Cortex in it into trouble, part by part
// and replica by replica, while requests are under way: what Cortex says of it must
// be right, what runs must go on answering, and everything must be well afterwards.
//
// It promises to leave the cluster as it found it. It must not be run beside
// anything else that uses the cluster.
package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/kubetest/testcluster"
	"cortex.dev/cortex/internal/workload"
)

// variable names the program that ends and starts parts of the node; make faults
// sets it.
const variable = "CORTEX_TEST_FAULTS"

// patience is how long what must come may take on a machine that does much else.
const patience = 90 * time.Second

// Where the installation is, and what is deployed.
const (
	system = "cortex"
	apis   = "cortex-apis"
)

// place is the cluster as these tests see it: through the command line of an IAM
// user, through the front door, and through the eyes of its administrator.
type place struct {
	program string // that ends and starts parts of the node
	cortex  string
	home    string
	env     []string // of cortex
	apis    string   // URL
	known   testcluster.Cluster
	image   string // of e2e/server
	file    string // its program
	client  kubernetes.Interface
}

// TestMain removes what the tests deployed in common.
func TestMain(m *testing.M) {
	code := m.Run()
	if p := current; p != nil {
		if err := p.leave(); err != nil {
			fmt.Fprintln(os.Stderr, "leaving the cluster:", err)
			code = 1
		}
	}
	os.Exit(code)
}

var (
	current *place
	once    sync.Once
)

// newPlace returns the one place, with an API named steady in it that is live.
// Without a cluster that may be put into trouble the test is skipped.
func newPlace(t *testing.T) *place {
	t.Helper()
	if os.Getenv(variable) == "" {
		t.Skip("this stops parts of a Kubernetes: make faults runs it, on the node of make kube-up")
	}
	if os.Geteuid() != 0 {
		t.Skip("the parts of the node are root's: sudo make faults")
	}
	once.Do(func() {
		p, err := open(t)
		if err != nil {
			t.Fatal(err)
		}
		current = p
	})
	if current == nil {
		t.Fatal("the cluster could not be prepared; the first test says why")
	}
	current.settle(t)
	return current
}

func open(t *testing.T) (*place, error) {
	root := kubetest.Root(t)
	known, err := testcluster.Read(filepath.Join(root, "bin", "kube", "cluster.json"))
	if err != nil {
		return nil, err
	}
	p := &place{program: os.Getenv(variable), cortex: filepath.Join(root, "bin", "cortex"), known: known, apis: known.APIs}
	// The node's programs are where up found them.
	if err := os.Setenv("CORTEX_KUBE_PROGRAMS", filepath.Dir(known.Kubectl)); err != nil {
		return nil, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", known.Kubeconfig)
	if err != nil {
		return nil, err
	}
	cfg.QPS = -1
	if p.client, err = kubernetes.NewForConfig(cfg); err != nil {
		return nil, err
	}
	if p.home, err = os.MkdirTemp("", "faults-"); err != nil {
		return nil, err
	}
	keys, err := known.Keys("alice")
	if err != nil {
		return nil, err
	}
	p.env = testcluster.Environ([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(p.home, "user"), "CORTEX_CLI_CONFIG_DIR=" + filepath.Join(p.home, "cortex"), "AWS_EC2_METADATA_DISABLED=true",
	}, keys)
	if err := p.loadServer(t.Context()); err != nil {
		return nil, err
	}
	if err := p.connect(known.Operator); err != nil {
		return nil, err
	}
	if out, err := p.try("deploy", p.write(api{Name: "steady"})); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return p, nil
}

// connect has commands go to an operator.
func (p *place) connect(endpoint string) error {
	out, err := p.try("env", "configure", "faults", "--operator-endpoint", endpoint, "--fingerprint", p.known.Fingerprint)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// loadServer builds e2e/server and loads an image of it into the node.
func (p *place) loadServer(ctx context.Context) error {
	p.file = filepath.Join(p.home, "server")
	err := kubetest.BuildStatic(ctx, "./e2e/server", p.file)
	if err == nil {
		p.image, err = kubetest.LoadImage(ctx, "cortex.dev/faults-server", map[string]string{"/server": p.file})
	}
	return err
}

func (p *place) leave() error {
	_, err := p.try("delete", "steady", "--force")
	return errors.Join(err, os.RemoveAll(p.home))
}

// api is what is written into a file to deploy.
type api struct {
	Name     string
	Image    string // that of e2e/server when empty
	Args     []string
	Probes   string // YAML of the container
	Replicas int    // 1 when zero; -1: none until a request comes
}

// write writes the file of an API and returns its path.
func (p *place) write(a api) string {
	if a.Image == "" {
		a.Image = p.image
	}
	least, most, soon := a.Replicas, max(a.Replicas, 1), ""
	switch a.Replicas {
	case 0:
		least = 1
	case -1: // the one that has proven the version goes as soon as it may
		least, soon = 0, ", window: 10s, max_downscale_factor: 0, downscale_stabilization_period: 0s"
	}
	// Probes of Kubernetes come from outside of the pod.
	args, err := json.Marshal(append([]string{"-host", "0.0.0.0"}, a.Args...)) // JSON is YAML
	if err != nil {
		panic(err) // of strings
	}
	var text strings.Builder
	fmt.Fprintf(&text, "- name: %s\n  kind: RealtimeAPI\n  pod:\n    max_concurrency: 16\n    containers:\n      - name: server\n        image: %s\n", a.Name, a.Image)
	text.WriteString("        compute: {cpu: 20m, mem: 20Mi}\n")
	fmt.Fprintf(&text, "        args: %s\n", args)
	for line := range strings.Lines(a.Probes) {
		text.WriteString("        " + line)
	}
	fmt.Fprintf(&text, "\n  autoscaling: {min_replicas: %d, max_replicas: %d, init_replicas: %d%s}\n", least, most, least, soon)
	path := filepath.Join(p.home, a.Name+".yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		panic(err) // in a folder of our own
	}
	return path
}

// try runs cortex.
func (p *place) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.cortex, args...) //nolint:gosec // of this checkout
	cmd.Env = p.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("cortex %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

func (p *place) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := p.try(args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// deploy deploys an API, does not wait, and deletes it when the test ends.
func (p *place) deploy(t *testing.T, a api) {
	t.Helper()
	p.run(t, "deploy", "--no-wait", "--force", p.write(a))
	t.Cleanup(func() {
		// The context of the test has ended, and the cluster may still be in trouble.
		var err error
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(time.Second) {
			if _, err = p.try("delete", a.Name, "--force"); err == nil || strings.Contains(err.Error(), "is not deployed") {
				return
			}
		}
		t.Error(err)
	})
}

// seen is what Cortex shows of an API.
type seen struct {
	status *workload.Status
	why    workload.Explanation
}

func (p *place) look(name string) (seen, error) {
	var s seen
	var described []workload.APIResponse
	out, err := p.try("describe", name, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &described)
	}
	if err != nil {
		return s, err
	}
	if len(described) != 1 || described[0].Status == nil {
		return s, fmt.Errorf("cortex describe %s has no status: %s", name, out)
	}
	s.status = described[0].Status
	if out, err = p.try("explain", name, "-o", "json"); err != nil && out == "" {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s.why)
}

func (s seen) String() string {
	code := "nothing"
	if s.why.Cause != nil {
		code = fmt.Sprintf("%s (%s; do: %s)", s.why.Cause.Code, s.why.Cause.Message, s.why.Cause.Fix)
	}
	var states []string
	for _, r := range s.status.Replicas {
		word := string(r.State)
		if r.Reason != nil {
			word += "/" + r.Reason.Code
		}
		states = append(states, word)
	}
	return fmt.Sprintf("phase %s, replicas [%s], explained by %s", s.status.Phase, strings.Join(states, " "), code)
}

// until asks again and again until there is no error; the last one is told.
func until(t *testing.T, what string, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s: %v", what, patience, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// shows waits until Cortex shows what good says it should, and returns that.
func (p *place) shows(t *testing.T, name, what string, good func(seen) bool) seen {
	t.Helper()
	var last seen
	until(t, name+" "+what, func() error {
		s, err := p.look(name)
		if err != nil {
			return err
		}
		if last = s; !good(s) {
			return errors.New(s.String())
		}
		return nil
	})
	return last
}

func isLive(s seen) bool {
	return s.status.Phase == workload.PhaseLive && s.why.Healthy && s.why.Cause == nil
}

func (p *place) live(t *testing.T, name string) {
	t.Helper()
	p.shows(t, name, "is live", isLive)
}

// settle waits until everything works: what a test before did must not be seen by
// the next.
func (p *place) settle(t *testing.T) {
	t.Helper()
	p.live(t, "steady")
	until(t, "the programs are ready", func() error {
		list, err := p.podsOf(system, "")
		if err != nil {
			return err
		}
		for _, pod := range list {
			if !isReady(&pod) {
				return fmt.Errorf("%s is not ready", pod.Name)
			}
		}
		return nil
	})
	// Services follow pods a moment later.
	until(t, "the services lead to them", func() error {
		if err := p.connect(p.known.Operator); err != nil {
			return err
		}
		resp, err := http.Get(p.apis + "/steady") //nolint:noctx // the front door answers, or refuses
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}
