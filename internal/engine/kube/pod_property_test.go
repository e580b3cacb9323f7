package kube

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// anyRevision is one of iris that a file could have made, with ids of its own.
func anyRevision(t *rapid.T, what string) *workload.Revision {
	draw := func(name string, g *rapid.Generator[string]) string { return g.Draw(t, what+" "+name) }
	count := func(name string) int64 { return rapid.Int64Range(0, 3).Draw(t, what+" "+name) }
	maybe := func(name string) bool { return rapid.Bool().Draw(t, what+" "+name) }
	port := int32(rapid.IntRange(1, 9000).Draw(t, what+" port"))
	r := &workload.Revision{
		Spec: workload.Spec{
			Name: "iris", Kind: rapid.SampledFrom([]workload.Kind{workload.Realtime, workload.Async}).Draw(t, what+" kind"),
			Pod: &workload.Pod{Port: &port, MaxConcurrency: 1 + count("concurrency"), MaxQueueLength: count("queue")},
		},
		ID: draw("id", rapid.StringMatching(`[a-f0-9]{16}`)), SpecID: draw("spec", rapid.StringMatching(`[a-f0-9]{8}`)),
		PodID:        draw("pod", rapid.SampledFrom([]string{"p", "q"})),
		DeploymentID: draw("deployment", rapid.SampledFrom([]string{"d", "e"})),
	}
	if maybe("groups") {
		r.NodeGroups = []string{"gpu", "cpu"}[:1+count("groups")/2]
	}
	if maybe("strategy") {
		r.UpdateStrategy = &workload.UpdateStrategy{MaxSurge: "1", MaxUnavailable: draw("unavailable", rapid.SampledFrom([]string{"0", "1", "50%"}))}
	}
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z][-a-z0-9]{0,61}[a-z0-9]`), 1, 3, rapid.ID).Draw(t, what+" containers")
	for _, name := range names {
		c := workload.Container{
			Name: name, Image: "registry.example.com/" + draw("image", rapid.StringMatching(`[a-z]{1,5}`)), Command: []string{"serve"},
			Env:     map[string]workload.Variable{"A": {Value: draw("env", rapid.StringMatching(`[a-z]{0,3}`))}, "CORTEX_PORT": {Value: "is refused in a file"}},
			Compute: &workload.Compute{GPU: count("gpu"), Inf: count("inf")},
		}
		if maybe("cpu") {
			cpu := workload.DefaultCPU
			c.Compute.CPU = &cpu
		}
		if maybe("shm") {
			shm := workload.MustQuantity("64Mi")
			c.Compute.Shm = &shm
		}
		if maybe("probe") {
			c.LivenessProbe = workload.NewProbe()
			c.LivenessProbe.Exec, c.LivenessProbe.SuccessThreshold = &workload.Exec{Command: []string{"check"}}, int32(count("threshold"))
			c.ReadinessProbe = workload.NewProbe()
			c.ReadinessProbe.TCPSocket = &workload.TCPSocket{Port: port}
		}
		r.Pod.Containers = append(r.Pod.Containers, c)
	}
	return r
}

func anyConfig(t *rapid.T, what string) PodConfig {
	return PodConfig{
		Namespace:    "cortex-apis",
		SidecarImage: rapid.StringMatching(`[a-z]{1,3}`).Draw(t, what+" sidecar"),
		Version:      rapid.StringMatching(`[0-9]`).Draw(t, what+" version"),
		PullSecrets:  rapid.SliceOf(rapid.StringMatching(`[a-z]{1,3}`)).Draw(t, what+" secrets"),
		Env:          rapid.MapOf(rapid.StringMatching(`[A-C]|CORTEX_PORT`), rapid.StringMatching(`[a-z]`)).Draw(t, what+" env"),
		Labels:       rapid.MapOf(rapid.SampledFrom([]string{"team", labelPodID, labelName}), rapid.StringMatching(`[a-z]`)).Draw(t, what+" labels"),
		NodeGroups:   []NodeGroup{{Name: "gpu", Priority: rapid.Int32().Draw(t, what+" priority")}},
		Unconfined:   []string{"iris/a"},
	}
}

// TestSamePodRestartsNothing: whatever else changes, in the revision, in the
// installation, or by somebody else's hand, pods of the same ids are asked for as they
// were last; otherwise they are as if there had been none.
func TestSamePodRestartsNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first, next := anyRevision(t, "first"), anyRevision(t, "next")
		cfg, later := anyConfig(t, "cfg"), anyConfig(t, "later")
		before := deploymentOf(cfg, engine.Deployment{Revision: first, Replicas: 1}, first, nil)
		applied := before.DeepCopy()
		before.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] = "2026-01-01T00:00:00Z"
		before.Spec.Template.Spec.DNSPolicy = corev1.DNSClusterFirst
		before.Spec.Template.Spec.Containers[0].Image = "somebody/else"
		kept := before.DeepCopy()
		same := first.PodID == next.PodID && first.DeploymentID == next.DeploymentID

		d := engine.Deployment{Revision: next, Replicas: 3}
		got, fresh := deploymentOf(later, d, next, before), deploymentOf(later, d, next, nil)
		if samePod(before, next) != same {
			t.Fatalf("samePod(%s %s, %s %s) = %v", first.PodID, first.DeploymentID, next.PodID, next.DeploymentID, !same)
		}
		want := fresh.DeepCopy()
		if same {
			want.Spec.Template = applied.Spec.Template
			remember(want)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("deploymentOf() with the same pod %v (-want +got):\n%s", same, diff)
		}
		scribble(got)
		scribble(fresh)
		if diff := cmp.Diff(kept, before); diff != "" {
			t.Fatalf("the Deployment of before was changed:\n%s", diff)
		}
		if diff := cmp.Diff(want, deploymentOf(later, d, next, before)); diff != "" {
			t.Fatalf("the revision or the installation was changed:\n%s", diff)
		}
	})
}

// scribble changes what could be shared with what d was made of.
func scribble(d *appsv1.Deployment) {
	clear(d.Labels)
	clear(d.Spec.Template.Labels)
	clear(d.Spec.Template.Annotations)
	clear(d.Spec.Template.Spec.ImagePullSecrets)
	for i := range d.Spec.Template.Spec.Containers {
		c := &d.Spec.Template.Spec.Containers[i]
		clear(c.Env)
		clear(c.Command)
		if c.LivenessProbe != nil {
			clear(c.LivenessProbe.Exec.Command)
		}
		*c = corev1.Container{}
	}
	if a := d.Spec.Template.Spec.Affinity; a != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		clear(a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchExpressions[0].Values)
	}
}

// TestPodsAreWellFormed: what the API server would refuse, for pods that no golden
// file thought of.
func TestPodsAreWellFormed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := anyRevision(t, "r")
		d := deploymentOf(anyConfig(t, "cfg"), engine.Deployment{Revision: r, Replicas: 1}, r, nil)
		template := d.Spec.Template
		for key, value := range d.Spec.Selector.MatchLabels {
			if template.Labels[key] != value {
				t.Fatalf("pods have %s=%q, and the selector wants %q", key, template.Labels[key], value)
			}
		}
		var volumes []string
		for _, v := range template.Spec.Volumes {
			if wrong := validation.IsDNS1123Label(v.Name); wrong != nil || slices.Contains(volumes, v.Name) {
				t.Fatalf("a volume is called %q, beside %q: %v", v.Name, volumes, wrong)
			}
			volumes = append(volumes, v.Name)
		}
		for _, c := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
			checkContainer(t, &c, volumes)
		}
	})
}

func checkContainer(t *rapid.T, c *corev1.Container, volumes []string) {
	for _, m := range c.VolumeMounts {
		if !slices.Contains(volumes, m.Name) {
			t.Fatalf("%s mounts %s, and there is %q", c.Name, m.Name, volumes)
		}
	}
	var names []string
	for _, v := range c.Env {
		if slices.Contains(names, v.Name) {
			t.Fatalf("%s has %s twice", c.Name, v.Name)
		}
		if v.Value == "is refused in a file" {
			t.Fatalf("%s has a variable of the platform by a user", c.Name)
		}
		names = append(names, v.Name)
	}
	if p := c.LivenessProbe; p != nil && p.SuccessThreshold > 1 {
		t.Fatalf("the liveness probe of %s needs %d successes", c.Name, p.SuccessThreshold)
	}
	_, pages := c.Resources.Requests[hugePages]
	if pages && c.Resources.Requests.Cpu().IsZero() && c.Resources.Requests.Memory().IsZero() {
		t.Fatalf("%s requests huge pages without CPU and memory", c.Name)
	}
	for name, limit := range c.Resources.Limits {
		if limit.Cmp(c.Resources.Requests[name]) != 0 {
			t.Fatalf("%s is limited to %s of %s, and requests something else", c.Name, limit.String(), name)
		}
	}
	if s := c.SecurityContext; s.Privileged == nil && (s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation) {
		t.Fatalf("%s may gain privileges", c.Name)
	}
}
