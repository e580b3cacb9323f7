package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"cortex.dev/cortex/internal/kubetest"
)

// operatorAway is how long a day goes on without an operator.
const operatorAway = 5 * time.Minute

// repository is a folder of manifests, as one that Argo CD or Flux brings to a cluster.
type repository struct {
	*place
	t   *testing.T
	dir string
}

const ofTheDay = "repository=day"

// shop is a manifest of an API that answers with a version.
func (r *repository) shop(name, version string) string {
	return fmt.Sprintf(`apiVersion: cortex.dev/v1
kind: RealtimeAPI
metadata: {name: %s, namespace: %s, labels: {repository: day}}
spec:
  pod:
    max_concurrency: 16
    containers:
      - {name: server, image: %q, args: [-host, 0.0.0.0, -version, %s], compute: {cpu: 20m, mem: 20Mi}}
  autoscaling: {min_replicas: 2, max_replicas: 2, init_replicas: 2}
`, name, apis, r.image, version)
}

const splitter = `apiVersion: cortex.dev/v1
kind: TrafficSplitter
metadata: {name: market, namespace: cortex-apis, labels: {repository: day}}
spec:
  apis: [{name: books, weight: 50}, {name: music, weight: 50}]
`

func (r *repository) kubectl(args ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.known.Kubectl, append([]string{"--kubeconfig", r.known.Kubeconfig, "--namespace", apis}, args...)...) //nolint:gosec // of the node
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// commit writes a manifest; an empty one is removed.
func (r *repository) commit(name, manifest string) {
	r.t.Helper()
	file := filepath.Join(r.dir, name+".yaml")
	err := os.WriteFile(file, []byte(manifest), 0o600)
	if manifest == "" {
		err = os.Remove(file)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// sync makes the cluster what the folder says, and removes what it no longer has.
func (r *repository) sync() {
	r.t.Helper()
	r.kubectl("apply", "--filename", r.dir, "--prune", "--selector", ofTheDay,
		"--prune-allowlist=cortex.dev/v1/RealtimeAPI", "--prune-allowlist=cortex.dev/v1/TrafficSplitter")
}

// health is what Flux and Helm read of everything in the folder.
func (r *repository) health() (map[string]kstatus.Status, error) {
	var list unstructured.UnstructuredList
	if err := json.Unmarshal([]byte(r.kubectl("get", "realtimeapis.cortex.dev,trafficsplitters.cortex.dev", "--selector", ofTheDay, "--output", "json")), &list); err != nil {
		return nil, err
	}
	found := map[string]kstatus.Status{}
	for i := range list.Items {
		result, err := kstatus.Compute(&list.Items[i])
		if err != nil {
			return nil, err
		}
		found[list.Items[i].GetName()] = result.Status
	}
	return found, nil
}

// healthy waits until those that wait for health see it in so many manifests.
func (r *repository) healthy(count int) {
	r.t.Helper()
	until(r.t, "everything of the repository is healthy", func() error {
		found, err := r.health()
		if err != nil {
			return err
		}
		for name, status := range found {
			if status != kstatus.CurrentStatus {
				return fmt.Errorf("%s is %s", name, status)
			}
		}
		if len(found) != count {
			return fmt.Errorf("there are %d, want %d", len(found), count)
		}
		return nil
	})
}

// runs waits until all pods of an API run a version.
func (r *repository) runs(name, version string) {
	r.t.Helper()
	until(r.t, name+" runs "+version, func() error {
		pods, err := r.podsOf(apis, "apiName="+name)
		if err != nil {
			return err
		}
		ready := 0
		for i := range pods {
			if args := strings.Join(pods[i].Spec.Containers[0].Args, " "); !strings.HasSuffix(args, "-version "+version) {
				return fmt.Errorf("%s runs %s", pods[i].Name, args)
			}
			if isReady(&pods[i]) {
				ready++
			}
		}
		if ready != 2 {
			return fmt.Errorf("%d pods are ready", ready)
		}
		return nil
	})
}

// uids are those of what Cortex made of the APIs: what is replaced has other ones.
func (r *repository) uids(names ...string) string {
	r.t.Helper()
	var all []string
	for _, name := range names {
		d, err := r.client.AppsV1().Deployments(apis).Get(r.t.Context(), "api-"+name, metav1.GetOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %s generation %d", name, d.UID, d.Generation))
	}
	return strings.Join(all, "\n")
}

func (r *repository) operators(count int32) {
	r.t.Helper()
	scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "cortex-operator", Namespace: system}, Spec: autoscalingv1.ScaleSpec{Replicas: count}}
	if _, err := r.client.AppsV1().Deployments(system).UpdateScale(context.Background(), "cortex-operator", scale, metav1.UpdateOptions{FieldManager: "kubectl"}); err != nil {
		r.t.Fatal(err)
	}
}

// noWarnings says what Kubernetes has complained of about the pods of Cortex and of APIs
// that are there now: healthy ones give it no reason to.
func (r *repository) noWarnings() {
	r.t.Helper()
	var pods []corev1.Pod
	for _, namespace := range []string{system, apis} {
		here, err := r.podsOf(namespace, "")
		if err != nil || len(here) == 0 {
			r.t.Fatalf("%d pods in %s, %v", len(here), namespace, err)
		}
		pods = append(pods, here...)
	}
	for i := range pods {
		if pods[i].DeletionTimestamp != nil {
			continue
		}
		events, err := r.client.CoreV1().Events(pods[i].Namespace).List(r.t.Context(), metav1.ListOptions{FieldSelector: "type=Warning,involvedObject.uid=" + string(pods[i].UID)})
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range events.Items {
			r.t.Errorf("Kubernetes warns of the healthy pod %s: %s: %s", pods[i].Name, e.Reason, e.Message)
		}
	}
}

// upgrade runs an upgrade of the installation.
func (p *place) upgrade(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, append([]string{"upgrade", "--kubeconfig", p.known.Kubeconfig}, args...)...) //nolint:gosec // of this checkout
	cmd.Env = p.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cortex upgrade: %v\n%s", err, out)
	}
}

// TestGitOpsDay is a day of a platform team that keeps what it deploys in a repository,
// under load from its first to its last minute: create, edit, replace, roll back, five
// minutes without the operator, an upgrade of the chart and back, prune.
func TestGitOpsDay(t *testing.T) {
	r := &repository{place: newPlace(t), t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		r.kubectl("delete", "realtimeapis.cortex.dev,trafficsplitters.cortex.dev", "--selector", ofTheDay, "--wait=true")
	})

	// Create: the splitter comes before what it splits.
	r.commit("a-market", splitter)
	r.commit("books", r.shop("books", "v1"))
	r.commit("music", r.shop("music", "v1"))
	r.sync()
	r.healthy(3)
	var loads []*load
	for _, name := range []string{"books", "music", "market"} {
		loads = append(loads, callAt(t, r.apis+"/"+name, patience))
	}

	// Edit.
	r.commit("books", r.shop("books", "v2"))
	r.sync()
	r.runs("books", "v2")
	r.healthy(3)

	// Replace, by what is there.
	before := r.uids("books", "music")
	r.kubectl("replace", "--filename", r.dir)
	r.healthy(3)
	pause(t, 5*time.Second)
	if after := r.uids("books", "music"); after != before {
		t.Errorf("after a replace by the same manifests there is\n%s\nwant\n%s", after, before)
	}
	r.runs("books", "v2")

	// A change that is refused, here for as long as another has the endpoint, is told of,
	// does no harm, and is taken back.
	r.commit("a-market", splitter+"  networking: {endpoint: /books}\n")
	r.sync()
	until(t, "the refusal is seen", func() error {
		found, err := r.health()
		if err == nil && found["market"] == kstatus.CurrentStatus {
			err = fmt.Errorf("market is %s", found["market"])
		}
		return err
	})
	pause(t, 5*time.Second)
	if found, err := r.health(); err != nil || found["market"] == kstatus.CurrentStatus {
		t.Errorf("with its endpoint taken market reads %v, %v", found["market"], err)
	}
	r.commit("a-market", splitter)
	r.sync()
	r.healthy(3)

	// Rollback: the repository goes back by one commit.
	r.commit("books", r.shop("books", "v1"))
	r.sync()
	r.runs("books", "v1")
	r.healthy(3)

	// The operator is away, and the repository goes on. Nobody may take what nobody has
	// looked at for healthy, whatever else reads well.
	r.operators(0)
	t.Cleanup(func() { r.operators(2) })
	until(t, "the operators have gone", func() error {
		pods, err := r.podsOf(system, "app.kubernetes.io/name=operator")
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d are there", len(pods))
		}
		return err
	})
	r.commit("music", r.shop("music", "v2"))
	r.sync()
	for ends := time.Now().Add(operatorAway); time.Now().Before(ends); pause(t, 10*time.Second) {
		found, err := r.health()
		if err != nil {
			t.Fatal(err)
		}
		if found["music"] != kstatus.InProgressStatus || found["books"] != kstatus.CurrentStatus {
			t.Fatalf("without an operator the repository reads %v, want music in progress and books as it was", found)
		}
	}
	r.operators(2)
	r.runs("music", "v2")
	r.healthy(3)

	// Another version of the chart, and back.
	r.settle(t)
	before = r.uids("books", "music")
	r.changeChart("v99.0.0")
	r.healthy(3)
	r.changeChart("")
	r.healthy(3)
	r.settle(t)
	if after := r.uids("books", "music"); after != before {
		t.Errorf("after an upgrade and back there is\n%s\nwant\n%s", after, before)
	}

	r.noWarnings()

	// Prune: first what splits, then what it split.
	loads[2].end(0)
	r.commit("a-market", "")
	r.sync()
	r.healthy(2)
	loads[1].end(0)
	r.commit("music", "")
	r.sync()
	r.healthy(1)
	until(t, "music is gone", func() error {
		pods, err := r.podsOf(apis, "apiName=music")
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d pods are there", len(pods))
		}
		return err
	})
	loads[0].end(0)
}

// changeChart upgrades the installation to a version, whose images are those that are
// there under another tag; empty: back to that of make kube-up.
func (r *repository) changeChart(version string) {
	r.t.Helper()
	values := filepath.Join(kubetest.Root(r.t), "bin", "kube", "values.yaml")
	text, err := os.ReadFile(values) //nolint:gosec // of this checkout
	var installed struct {
		Image struct{ Tag string }
	}
	if err = errors.Join(err, json.Unmarshal(text, &installed)); err != nil {
		r.t.Fatalf("reading %s: %v", values, err)
	}
	tag, program := installed.Image.Tag, filepath.Join(kubetest.Root(r.t), "bin", "cortex-install")
	if version != "" {
		next := tag + "-next"
		if err := kubetest.TagImages(r.t.Context(), tag, next, "cortex.dev/operator", "cortex.dev/gateway", "cortex.dev/sidecar", "cortex.dev/ledger"); err != nil {
			r.t.Fatal(err)
		}
		tag, program = next, filepath.Join(r.home, "cortex-install")
		build := exec.CommandContext(r.t.Context(), "go", "build", "-C", kubetest.Root(r.t), "-ldflags", "-X main.version="+version, "-o", program, "./cmd/cortex-install") //nolint:gosec // of this checkout
		if out, err := build.CombinedOutput(); err != nil {
			r.t.Fatalf("building the next version: %v\n%s", err, out)
		}
	}
	r.upgrade(r.t, program, "--values", values, "--set", "image.tag="+tag)
	var gateway *appsv1.Deployment
	if gateway, err = r.client.AppsV1().Deployments(system).Get(r.t.Context(), "cortex-gateway", metav1.GetOptions{}); err != nil {
		r.t.Fatal(err)
	}
	if image := gateway.Spec.Template.Spec.Containers[0].Image; image != "cortex.dev/gateway:"+tag {
		r.t.Fatalf("after the upgrade gateways run %s, want tag %s", image, tag)
	}
}
