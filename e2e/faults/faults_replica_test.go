package faults

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/workload"
)

// Probes as a file has them.
const (
	asksHealth = "readiness_probe: {http_get: {port: 8080, path: /health}, period_seconds: 1, failure_threshold: 1, timeout_seconds: 5}\n"
	asksAlive  = "liveness_probe: {http_get: {port: 8080, path: /alive}, period_seconds: 1, failure_threshold: 1}\n"
)

// TestReplicasThatCannotStart deploys what does not become ready, reads why, mends
// it, and wants it live. The APIs share the cluster: none may hold up another.
func TestReplicasThatCannotStart(t *testing.T) {
	p := newPlace(t)
	l := p.load(t, "steady")
	reg := newRegistry(t, p.file)
	t.Run("all", func(t *testing.T) {
		for _, tt := range []struct {
			name  string
			a     api
			state workload.ReplicaState
			phase workload.Phase
			code  string
			says  string // in the message
			fix   string // in what to do
			shown string // in the evidence
			mend  func() // nil: deploy what works
		}{
			{
				"an image that does not exist", api{Name: "no-image", Image: reg.image("model")},
				workload.ErrImagePull, workload.PhaseFailed, "image_not_found", "does not exist", "push the image", "not found", reg.push,
			},
			{
				"a registry that does not answer", api{Name: "no-registry", Image: "127.0.0.1:1/model:1"},
				workload.ErrImagePull, workload.PhaseFailed, "image_pull", "cannot be pulled", "the registry's words", "refused", nil,
			},
			{
				"a crash loop", api{Name: "crashes", Args: []string{"-crash-after", "0s", "-exit", "3"}},
				workload.Failed, workload.PhaseFailed, "crash_loop", "exit code 3", "log lines", "fatal: the model is broken", nil,
			},
			{
				"a program that does not exist", api{Name: "no-program", Probes: "command: [/there-is-none]\n"},
				workload.Failed, workload.PhaseFailed, "missing_executable", "does not exist in its image", "correct command", "/there-is-none", nil,
			},
			{
				"a server that never listens", api{Name: "silent", Args: []string{"-never-listen"}},
				workload.NotReady, workload.PhaseUpdating, "never_listened", "nothing listens on port 8080", "CORTEX_PORT", "", nil,
			},
			{
				"a readiness probe that fails", api{Name: "unready", Probes: strings.Replace(asksHealth, "/health", "/exits-not", 1), Args: []string{"-slow", "1h"}},
				workload.NotReady, workload.PhaseUpdating, "probe_failing", "readiness probe", "readiness_probe", "", nil,
			},
			{
				"a liveness probe that fails", api{Name: "hangs", Probes: strings.Replace(asksAlive, "/alive", "/exits-not", 1), Args: []string{"-slow", "1h"}},
				workload.NotReady, workload.PhaseFailed, "liveness_failing", "liveness probe", "probe", "", nil,
			},
		} {
			t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				p.deploy(t, tt.a)
				s := p.shows(t, tt.a.Name, "shows "+tt.code, func(s seen) bool {
					return s.status.Phase == tt.phase && s.why.Cause != nil && s.why.Cause.Code == tt.code && slices.ContainsFunc(s.status.Replicas, func(r workload.Replica) bool { return r.State == tt.state })
				})
				t.Logf("%s", s)
				if !strings.Contains(s.why.Cause.Message, tt.says) || !strings.Contains(s.why.Cause.Fix, tt.fix) {
					t.Errorf("the cause is %q, %q, want %q and %q in it", s.why.Cause.Message, s.why.Cause.Fix, tt.says, tt.fix)
				}
				if evidence := fmt.Sprint(s.why.Cause.Evidence); !strings.Contains(evidence, tt.shown) {
					t.Errorf("the evidence is %s, want %q in it", evidence, tt.shown)
				}
				if tt.mend != nil {
					tt.mend()
				} else {
					p.run(t, "deploy", "--no-wait", "--force", p.write(api{Name: tt.a.Name}))
				}
				p.live(t, tt.a.Name)
			})
		}
	})
	l.end(0)
}

// TestUnschedulable closes the one node to new replicas.
func TestUnschedulable(t *testing.T) {
	p := newPlace(t)
	l := p.load(t, "steady")
	p.cordon(t, true)
	p.deploy(t, api{Name: "homeless"})
	s := p.shows(t, "homeless", "is unschedulable", func(s seen) bool {
		return s.status.ReplicaCounts.Pending == 1 && s.why.Cause != nil && s.why.Cause.Code == "unschedulable"
	})
	if s.status.Phase != workload.PhaseUpdating || !strings.Contains(s.why.Cause.Message, "cordoned") || !strings.Contains(s.why.Cause.Fix, "kubectl uncordon") {
		t.Errorf("homeless shows %s, want phase updating, that the node is cordoned, and to open it", s)
	}
	p.cordon(t, false)
	p.live(t, "homeless")
	l.end(0)
}

// cordon closes or opens the node; it is open when the test ends.
func (p *place) cordon(t *testing.T, closed bool) {
	t.Helper()
	set := func(ctx context.Context, closed bool) error {
		patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, closed)
		_, err := p.client.CoreV1().Nodes().Patch(ctx, "cortex", types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
	if closed {
		t.Cleanup(func() {
			if err := set(context.Background(), false); err != nil {
				t.Errorf("opening the node: %v", err)
			}
		})
	}
	if err := set(t.Context(), closed); err != nil {
		t.Fatal(err)
	}
}

// TestQuotaExceeded leaves the namespace room for no pod more.
func TestQuotaExceeded(t *testing.T) {
	p := newPlace(t)
	l := p.load(t, "steady")
	quotas := p.client.CoreV1().ResourceQuotas(apis)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "faults"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}}}
	if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	lift := func() error {
		err := quotas.Delete(context.Background(), "faults", metav1.DeleteOptions{})
		return ignoreGone(err)
	}
	t.Cleanup(func() {
		if err := lift(); err != nil {
			t.Errorf("lifting the quota: %v", err)
		}
	})
	p.deploy(t, api{Name: "too-many"})
	s := p.shows(t, "too-many", "exceeds the quota", func(s seen) bool {
		return s.status.Phase == workload.PhaseFailed && s.why.Cause != nil && s.why.Cause.Code == "quota_exceeded"
	})
	if !strings.Contains(s.why.Cause.Message, "exceeded quota: faults") || !strings.Contains(s.why.Cause.Fix, "raise the quota") {
		t.Errorf("too-many shows %s, want the quota by its name, and to raise it", s)
	}
	if err := lift(); err != nil {
		t.Fatal(err)
	}
	p.live(t, "too-many")
	l.end(0)
}

// limit gives new pods of the namespace the memory and the disk that a container may
// take, for as long as do takes.
func (p *place) limit(t *testing.T, limits corev1.ResourceList, do func()) {
	t.Helper()
	ranges := p.client.CoreV1().LimitRanges(apis)
	rule := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "faults"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, Default: limits,
	}}}}
	if _, err := ranges.Create(t.Context(), rule, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ranges.Delete(context.Background(), "faults", metav1.DeleteOptions{}); err != nil {
			t.Errorf("lifting the limits: %v", err)
		}
	}()
	do()
}

// ask sends a request to one replica itself, past the gateways.
func ask(pod *corev1.Pod, path string) error {
	c := http.Client{Timeout: 30 * time.Second}
	resp, err := c.Get("http://" + pod.Status.PodIP + ":8888" + path) //nolint:noctx // the client has a timeout
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %s (%w)", path, resp.Status, text, err)
	}
	return nil
}

// TestOneOfTwo puts one of two replicas into trouble. The other goes on answering:
// only what the first was working on at the very moment can be lost, and nobody may
// ask for that again who does not know what became of it.
func TestOneOfTwo(t *testing.T) {
	p := newPlace(t)
	p.limit(t, corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("160Mi"), corev1.ResourceEphemeralStorage: resource.MustParse("64Mi")}, func() {
		for _, name := range []string{"hungry", "greedy", "moody", "moved", "shot"} {
			p.deploy(t, api{Name: name, Replicas: 2, Probes: asksHealth})
		}
		// A busy machine must not fail it by itself.
		p.deploy(t, api{Name: "stuck", Replicas: 2, Probes: asksHealth + strings.Replace(asksAlive, "failure_threshold: 1", "failure_threshold: 2, timeout_seconds: 5", 1)})
		for _, name := range []string{"hungry", "greedy", "moody", "stuck", "moved", "shot"} {
			p.live(t, name)
		}
	})
	t.Run("all", func(t *testing.T) {
		for _, tt := range []struct {
			name, api string
			fault     func(t *testing.T, pod *corev1.Pod)
			code      string // of the replica that is in trouble
			is        workload.ReplicaState
			lost      int // of those that it was working on
			mend      func(t *testing.T, pod *corev1.Pod)
		}{
			{
				"takes more memory than it may", "hungry", func(t *testing.T, pod *corev1.Pod) {
					// After the first time it is started again at once.
					_ = ask(pod, "/eat")
					p.happens(t, "hungry", "ContainerExited", "was killed because memory ran out")
					p.live(t, "hungry")
					_ = ask(pod, "/eat")
				},
				"oom_killed", workload.KilledOOM, 2 * callers, nil,
			},
			{
				"takes more disk than it may and is evicted", "greedy", func(t *testing.T, pod *corev1.Pod) {
					if err := ask(pod, "/fill?mib=96"); err != nil {
						t.Fatal(err)
					}
				},
				"evicted", workload.Failed, callers, nil,
			},
			{
				"fails its readiness probe", "moody", func(t *testing.T, pod *corev1.Pod) {
					if err := ask(pod, "/sick"); err != nil {
						t.Fatal(err)
					}
				},
				"probe_failing", workload.NotReady, 0, func(t *testing.T, pod *corev1.Pod) {
					if err := ask(pod, "/well"); err != nil {
						t.Fatal(err)
					}
				},
			},
		} {
			t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
				t.Parallel()
				l := callAt(t, p.apis+"/"+tt.api, patience)
				pods := p.replicas(t, tt.api)
				victim := &pods[0]
				tt.fault(t, victim)
				p.shows(t, tt.api, "shows a replica that is "+tt.code, func(s seen) bool {
					return slices.ContainsFunc(s.status.Replicas, func(r workload.Replica) bool {
						return r.Reason != nil && r.Reason.Code == tt.code && r.State == tt.is && r.Reason.Fix != ""
					})
				})
				if tt.mend != nil {
					tt.mend(t, victim)
				}
				p.live(t, tt.api)
				l.end(tt.lost)
			})
		}
		t.Run("is moved off its node", func(t *testing.T) {
			t.Parallel()
			l := callAt(t, p.apis+"/moved", patience)
			victim := p.replicas(t, "moved")[0]
			err := p.client.CoreV1().Pods(apis).EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: victim.Name, Namespace: apis}})
			if err != nil {
				t.Fatal(err)
			}
			until(t, "the replica has gone", func() error {
				_, err := p.client.CoreV1().Pods(apis).Get(t.Context(), victim.Name, metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					return nil
				}
				return fmt.Errorf("%s is still there: %w", victim.Name, err)
			})
			p.live(t, "moved")
			l.end(0)
		})
		t.Run("hangs and is started anew", func(t *testing.T) {
			t.Parallel()
			l := callAt(t, p.apis+"/stuck", patience)
			victim := p.replicas(t, "stuck")[0]
			if err := ask(&victim, "/dead"); err != nil {
				t.Fatal(err)
			}
			p.happens(t, "stuck", "ContainerRestarting", "its liveness probe fails")
			p.live(t, "stuck")
			l.end(0)
		})
		t.Run("is killed", func(t *testing.T) {
			t.Parallel()
			l := callAt(t, p.apis+"/shot", patience)
			victim := p.replicas(t, "shot")[0]
			killContainer(t, &victim)
			p.happens(t, "shot", "ContainerExited", "was ended by SIGKILL")
			p.live(t, "shot")
			l.end(callers)
		})
	})
}

// happens waits for an event of an API.
func (p *place) happens(t *testing.T, name, reason, message string) {
	t.Helper()
	until(t, name+" has the event "+reason, func() error {
		out, err := p.try("events", name, "-o", "json")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, `"`+reason+`"`) && strings.Contains(line, message) {
				return nil
			}
		}
		return fmt.Errorf("the events are\n%s", out)
	})
}

// TestFinalizers has somebody hold the pod of a deleted API, its Deployment, and its
// resource.
func TestFinalizers(t *testing.T) {
	p := newPlace(t)
	const finalizer = "faults.cortex.dev/held"
	hold := []byte(`{"metadata":{"finalizers":["` + finalizer + `"]}}`)
	free := []byte(`{"metadata":{"finalizers":null}}`)
	t.Run("of a pod", func(t *testing.T) {
		t.Parallel()
		p.deploy(t, api{Name: "held", Replicas: 1})
		p.live(t, "held")
		pod := p.replicas(t, "held")[0]
		pods := p.client.CoreV1().Pods(apis)
		release := func() {
			if _, err := pods.Patch(context.Background(), pod.Name, types.MergePatchType, free, metav1.PatchOptions{}); ignoreGone(err) != nil {
				t.Errorf("letting the pod go: %v", err)
			}
		}
		t.Cleanup(release)
		if _, err := pods.Patch(t.Context(), pod.Name, types.MergePatchType, hold, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		p.run(t, "refresh", "held")
		s := p.shows(t, "held", "says who holds its pod", func(s seen) bool {
			return s.status.Phase == workload.PhaseLive && s.status.ReplicaCounts.Terminating == 1 && slices.ContainsFunc(s.status.Replicas, func(r workload.Replica) bool {
				return r.Reason != nil && strings.Contains(r.Reason.Message, "kept by the finalizers "+finalizer)
			})
		})
		if !s.why.Healthy {
			t.Errorf("held shows %s, want it healthy: its new replica works", s)
		}
		release()
		p.shows(t, "held", "has one replica", func(s seen) bool { return isLive(s) && len(s.status.Replicas) == 1 })
	})
	t.Run("of a Deployment", func(t *testing.T) {
		t.Parallel()
		p.deploy(t, api{Name: "kept"})
		p.live(t, "kept")
		deployments := p.client.AppsV1().Deployments(apis)
		release := func() {
			if _, err := deployments.Patch(context.Background(), "api-kept", types.MergePatchType, free, metav1.PatchOptions{}); ignoreGone(err) != nil {
				t.Errorf("letting the Deployment go: %v", err)
			}
		}
		t.Cleanup(release)
		if _, err := deployments.Patch(t.Context(), "api-kept", types.MergePatchType, hold, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		p.run(t, "delete", "kept", "--force")
		p.run(t, "deploy", "--no-wait", p.write(api{Name: "kept"}))
		s := p.shows(t, "kept", "says who holds its Deployment", func(s seen) bool {
			return s.status.Phase == workload.PhaseUpdating && s.why.Cause != nil && s.why.Cause.Code == "not_applied" && strings.Contains(s.why.Cause.Message, finalizer)
		})
		if !strings.Contains(s.why.Cause.Fix, "kubectl get deployment api-kept -n cortex-apis") {
			t.Errorf("kept shows %s, want the command that tells who holds it", s)
		}
		release()
		p.live(t, "kept")
	})
	t.Run("of a resource", func(t *testing.T) {
		t.Parallel()
		p.deploy(t, api{Name: "caught"})
		p.live(t, "caught")
		patch := func(ctx context.Context, text []byte) error {
			return p.client.CoreV1().RESTClient().Patch(types.MergePatchType).AbsPath("/apis/cortex.dev/v1/namespaces/" + apis + "/realtimeapis/caught").Body(text).Do(ctx).Error()
		}
		release := func() {
			if err := ignoreGone(patch(context.Background(), free)); err != nil {
				t.Errorf("letting the resource go: %v", err)
			}
		}
		t.Cleanup(release)
		if err := patch(t.Context(), hold); err != nil {
			t.Fatal(err)
		}
		p.run(t, "delete", "caught", "--force")
		// It is deleted as far as Cortex can: no replica stays.
		until(t, "caught has no replicas", func() error {
			if n := len(p.replicas(t, "caught")); n > 0 {
				return fmt.Errorf("%d replicas", n)
			}
			return nil
		})
		if out, err := p.try("get", "caught"); err == nil || !strings.Contains(err.Error(), "is not deployed") {
			t.Errorf("cortex get of what is being deleted = %q, %v, want that it is not deployed", out, err)
		}
		_, err := p.try("deploy", "--no-wait", p.write(api{Name: "caught"}))
		if err == nil || !strings.Contains(err.Error(), "is being deleted") || !strings.Contains(err.Error(), "finalizers") {
			t.Errorf("deploying what is being deleted = %v, want that it is, and why", err)
		}
		release()
		until(t, "caught is deployed again", func() error {
			_, err := p.try("deploy", "--no-wait", p.write(api{Name: "caught"}))
			return err
		})
		p.live(t, "caught")
	})
}
