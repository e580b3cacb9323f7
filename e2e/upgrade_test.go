package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/tracing/tracingtest"
)

// tracedApp has two replicas, so that nobody waits when one is away.
const tracedApp = `- name: traced
  kind: RealtimeAPI
  pod:
    max_concurrency: 100
    containers:
      - name: server
        image: %IMAGE%
        command: ["server", "-version", "1"]
  autoscaling: {min_replicas: 2, max_replicas: 2}
`

// user is somebody at a terminal, connected to the cluster.
type user struct {
	t   *testing.T
	c   *cluster
	env []string
	dir string
}

func newUser(t *testing.T, c *cluster) *user {
	t.Helper()
	u := &user{t: t, c: c, dir: t.TempDir()}
	u.env = []string{
		"HOME=" + u.dir, "CORTEX_CLI_CONFIG_DIR=" + u.dir, "TERM=dumb", "KUBECONFIG=" + c.Kubeconfig,
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"),
	}
	for name, value := range c.keys {
		u.env = append(u.env, name+"="+value)
	}
	u.cortex("env", "configure", "kube", "--operator-endpoint", c.Operator, "--fingerprint", c.Fingerprint)
	return u
}

// cortex runs a command, which must succeed.
func (u *user) cortex(args ...string) string {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.t.Context()), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "cortex"), args...)
	cmd.Env, cmd.Dir = u.env, u.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		u.t.Fatalf("cortex %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// pods are the names of an API's pods.
func (u *user) pods(api string) []string {
	u.t.Helper()
	out, err := u.c.kubectl("get", "pods", "--selector", "apiName="+api, "--output", "name")
	if err != nil {
		u.t.Fatal(err)
	}
	names := strings.Fields(string(out))
	slices.Sort(names)
	return names
}

// TestUpgradeBringsTraces upgrades an installation to other values while an API of it
// is under load. No request may fail and no replica may be replaced; afterwards traces
// arrive as docs/watching.md says.
func TestUpgradeBringsTraces(t *testing.T) {
	p, err := here()
	if err != nil {
		t.Fatal(err)
	}
	c, ok := p.(*cluster)
	if !ok {
		t.Skip("one machine has no installation to upgrade; make e2e-kube runs this on a cluster")
	}
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "cortex-install"), "../cmd/cortex-install")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building cortex-install: %v\n%s", err, out)
	}
	u := newUser(t, c)
	host, err := url.Parse(c.APIs)
	if err != nil {
		t.Fatal(err)
	}
	collector := tracingtest.Listen(t, net.JoinHostPort(host.Hostname(), "0"))
	file := filepath.Join(t.TempDir(), "cortex.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(tracedApp, "%IMAGE%", c.image)), 0o600); err != nil {
		t.Fatal(err)
	}
	u.cortex("deploy", file)
	t.Cleanup(func() { u.cortex("delete", "traced", "--force") })
	before := u.pods("traced")

	t.Cleanup(func() { u.cortex("upgrade", "--set", "tracing.endpoint=", "--set", "tracing.ratio=0.01") })
	l := newLoad(c.APIs+"/traced", 1000)
	l.start(8)
	u.cortex("upgrade", "--set", "tracing.endpoint="+collector.URL, "--set", "tracing.ratio=0")
	sent, _, failures := l.finish()
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed while the installation was upgraded:\n%s", len(failures), sent, strings.Join(failures[:min(len(failures), 5)], "\n"))
	}
	t.Logf("%d requests while the installation was upgraded, %d failed", sent, len(failures))
	if diff := cmp.Diff(before, u.pods("traced")); diff != "" {
		t.Errorf("an upgrade replaces replicas (-before +after):\n%s", diff)
	}

	// A sidecar learns of the collector when its replica is replaced.
	u.cortex("refresh", "traced")
	if _, err := c.kubectl(append([]string{"wait", "--for=delete", "--timeout=2m"}, before...)...); err != nil {
		t.Fatal(err)
	}
	const trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	told := u.ask("/traced/predict", "00-"+trace+"-"+caller+"-01")
	u.ask("/traced/unseen", "00-5bf92f3577b34da6a3ce929d0e0e4736-"+caller+"-00")

	var spans map[string]tracingtest.Span
	deadline := time.After(time.Minute)
	for len(spans) < 3 {
		select {
		case <-deadline:
			t.Fatalf("after a minute the collector has %d spans, want 3: %+v", len(spans), collector.Spans())
		case <-time.After(100 * time.Millisecond):
		}
		spans = map[string]tracingtest.Span{}
		for _, s := range collector.Spans() {
			spans[s.Service+" "+s.Kind] = s
			if s.Trace != trace {
				t.Fatalf("a request that is not sampled was recorded: %+v", s)
			}
		}
	}
	first, way, last := spans["cortex-gateway SERVER"], spans["cortex-gateway CLIENT"], spans["cortex-sidecar SERVER"]
	chain := []string{first.Parent, way.Parent, last.Parent, told}
	if diff := cmp.Diff([]string{caller, first.ID, way.ID, last.ID}, chain); diff != "" {
		t.Errorf("who was called by whom (-want +got):\n%s\n%+v", diff, spans)
	}
	if pod := last.Resource["k8s.pod.name"]; !slices.Contains(u.pods("traced"), "pod/"+pod) {
		t.Errorf("the sidecar's span is of the pod %q, want one of %q", pod, u.pods("traced"))
	}
	if !strings.HasPrefix(first.Resource["k8s.pod.name"], "cortex-gateway-") || first.Attributes["http.route"] == "" || first.Attributes["http.response.status_code"] != "200" {
		t.Errorf("the gateway's span says %v and %v", first.Resource, first.Attributes)
	}
}

// ask makes a request with a trace context, and returns by which span the container
// says that it was called.
func (u *user) ask(path, traceparent string) (span string) {
	u.t.Helper()
	req, err := http.NewRequestWithContext(u.t.Context(), http.MethodGet, u.c.APIs+path, nil)
	if err != nil {
		u.t.Fatal(err)
	}
	req.Header.Set("Traceparent", traceparent)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	var said struct{ Traceparent string }
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil || resp.StatusCode != http.StatusOK {
		u.t.Fatalf("GET %s: %s, %v", path, resp.Status, err)
	}
	parts := strings.Split(said.Traceparent, "-")
	if len(parts) != 4 {
		u.t.Fatalf("the container was told the trace context %q", said.Traceparent)
	}
	return parts[2]
}
