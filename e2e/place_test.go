package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/kubetest/testcluster"
)

// clusterVariable names the file that describes a cluster with Cortex in it, as
// `make kube-up` writes it. With it the scripts run there, otherwise on this machine.
const clusterVariable = "CORTEX_E2E_CLUSTER"

// apisNamespace is where the pods of APIs are.
const apisNamespace = "cortex-apis"

// place is where the scripts run.
type place interface {
	// name is the condition that holds there, and the name of the environment.
	name() string
	// connect makes the environment of a script whose files are in its work folder.
	connect(env *testscript.Env, config string) error
	// apis is the URL of the APIs.
	apis(ts *testscript.TestScript) (string, error)
	// running are the command lines of what runs for a script.
	running(work string) ([]string, error)
	// finish ends what a script, perhaps a failed one, has left behind.
	finish(work string, vars []string)
}

// here is the place of this run.
var here = sync.OnceValues(func() (place, error) {
	file := os.Getenv(clusterVariable)
	if file == "" {
		return solo{}, nil
	}
	return openCluster(file)
})

// solo is this machine: each script has a daemon of its own.
type solo struct{}

func (solo) name() string { return "solo" }

func (solo) connect(env *testscript.Env, config string) error {
	env.Setenv("ENVIRONMENT", "local")
	env.Setenv("SOON", "4s")
	text := "environments:\n- name: local\n  api_port: 0\n  autoscaling_tick: 200ms\n"
	return os.WriteFile(filepath.Join(config, "cli.yaml"), []byte(text), 0o600)
}

func (solo) apis(ts *testscript.TestScript) (string, error) {
	s, err := statusOf(ts)
	if err == nil && !s.Running {
		err = errors.New("the local environment does not run")
	}
	return s.APIEndpoint, err
}

func (solo) running(work string) ([]string, error) {
	var found []string
	for _, p := range processesIn(work) {
		found = append(found, fmt.Sprintf("%d %s", p.pid, p.args))
	}
	return found, nil
}

func (solo) finish(work string, vars []string) {
	cmd := exec.Command(filepath.Join(bin, "cortex"), "local", "stop", "--force")
	cmd.Env = vars
	_ = cmd.Run()
	endAll(work)
}

// cluster is a Kubernetes with Cortex in it, which scripts have one after another:
// they all deploy to the same namespace.
type cluster struct {
	testcluster.Cluster
	image string            // of the model server
	keys  map[string]string // of alice
}

func openCluster(file string) (*cluster, error) {
	known, err := testcluster.Read(file)
	if err != nil {
		return nil, err
	}
	c := &cluster{Cluster: known}
	if c.keys, err = c.Keys("alice"); err != nil {
		return nil, err
	}
	program := filepath.Join(bin, "image-server")
	if err := kubetest.BuildStatic(context.Background(), "./e2e/server", program); err != nil {
		return nil, err
	}
	c.image, err = kubetest.LoadImage(context.Background(), "cortex.dev/e2e-server", map[string]string{"/bin/server": program})
	return c, err
}

func (*cluster) name() string { return "kube" }

func (c *cluster) connect(env *testscript.Env, _ string) error {
	env.Setenv("ENVIRONMENT", "kube")
	env.Setenv("SOON", "15s") // a pod that has not listened for four seconds may have no container yet
	env.Setenv("KUBECONFIG", c.Kubeconfig)
	env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+filepath.Dir(c.Kubectl))
	env.Setenv("OPERATOR", c.Operator)
	env.Setenv("FINGERPRINT", c.Fingerprint)
	for name, value := range c.keys {
		env.Setenv(name, value)
	}
	cmd := exec.Command(filepath.Join(bin, "cortex"), "env", "configure", "kube", "--operator-endpoint", c.Operator, "--fingerprint", c.Fingerprint)
	cmd.Env = env.Vars
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("connecting to the cluster: %w\n%s", err, out)
	}
	return c.addImages(env.WorkDir)
}

// commands are those of containers, in the block style of YAML and in its flow.
var commands = regexp.MustCompile(`(?m)(^ +)?command: \[`)

// addImages gives the containers of a script's files the image of the model server:
// a cluster runs images.
func (c *cluster) addImages(work string) error {
	return filepath.WalkDir(filepath.Join(work, "app"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text = commands.ReplaceAllFunc(text, func(found []byte) []byte {
			indent := strings.TrimSuffix(string(found), "command: [")
			if indent == "" {
				return []byte("image: " + `"` + c.image + `", command: [`)
			}
			return []byte(indent + `image: "` + c.image + "\"\n" + indent + "command: [")
		})
		return os.WriteFile(path, text, 0o600)
	})
}

func (c *cluster) apis(*testscript.TestScript) (string, error) { return c.APIs, nil }

func (c *cluster) kubectl(args ...string) ([]byte, error) {
	out, err := exec.Command(c.Kubectl, append([]string{"--kubeconfig", c.Kubeconfig, "--namespace", apisNamespace}, args...)...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return out, err
}

func (c *cluster) running(string) ([]string, error) {
	out, err := c.kubectl("get", "pods", "--output", "json")
	if err != nil {
		return nil, err
	}
	var pods struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Spec struct {
				Containers []struct {
					Command []string `json:"command"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"items"`
	}
	if err := json.Unmarshal(out, &pods); err != nil {
		return nil, err
	}
	var found []string
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			found = append(found, pod.Metadata.Name+" "+strings.Join(container.Command, " "))
		}
	}
	return found, nil
}

func (c *cluster) finish(string, []string) {
	for _, args := range [][]string{
		{"delete", "trafficsplitters", "--all"}, // what has targets goes before them
		{"delete", "realtimeapis,asyncapis,batchapis,taskapis", "--all"},
		{"delete", "batchjobs,taskjobs", "--all"},
		{"wait", "pods", "--all", "--for=delete", "--timeout=2m"},
	} {
		_, _ = c.kubectl(args...)
	}
}

// cmdLingering checks that something of this script runs, or that nothing does:
//
//	lingering server      at least one process, or container, of that command runs
//	! lingering server    none runs, or the last one ends within a minute
//	! lingering           nothing of this script runs at all
func cmdLingering(ts *testscript.TestScript, neg bool, args []string) {
	word := ""
	if len(args) > 0 {
		word = args[0]
	}
	p, err := here()
	ts.Check(err)
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := p.running(ts.Getenv("WORK"))
		ts.Check(err)
		var left []string
		for _, line := range found {
			if strings.Contains(line, word) {
				left = append(left, line)
			}
		}
		switch {
		case !neg && len(left) > 0, neg && len(left) == 0:
			return
		case !neg:
			ts.Fatalf("nothing of this script that runs matches %q", word)
		case time.Now().After(deadline):
			ts.Fatalf("still there after a minute:\n%s", strings.Join(left, "\n"))
		}
		<-tick.C
	}
}

// cmdKubectl runs kubectl in the namespace of the APIs.
func cmdKubectl(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("kubectl", append([]string{"--namespace", apisNamespace}, args...)...)
	if (err != nil) != neg {
		ts.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
}

// cmdSomeone makes the script go on as somebody else whom the cluster's STS knows,
// with the environments of who was there before: someone mallory.
func cmdSomeone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: someone NAME")
	}
	p, err := here()
	ts.Check(err)
	c, ok := p.(*cluster)
	if !ok {
		ts.Fatalf("someone is for scripts on a cluster")
	}
	keys, err := c.Keys(args[0])
	ts.Check(err)
	for name, value := range keys {
		ts.Setenv(name, value)
	}
}
