package workload

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOneMachine(t *testing.T) {
	t.Parallel()
	one, q := int64(1), MustQuantity("1")
	full := Container{
		Name: "api", Command: []string{"serve"}, EnvFrom: []EnvFrom{{Name: "A", Secret: "s", Key: "k"}},
		SecurityContext: &SecurityContext{RunAsUser: &one},
		Compute:         &Compute{Devices: map[string]int64{"a.b/c": 1}, ResourceClaimTemplates: []string{"t"}, Limits: &Limits{CPU: &q, Mem: &q}},
	}
	image := full
	image.Image, image.EnvFrom, image.SecurityContext = "iris", nil, nil
	image.Compute = &Compute{Limits: &Limits{CPU: &q, Mem: &q}}
	full.VolumeMounts = []VolumeMount{{Name: "process"}, {Name: "disk"}, {Name: "kept"}}
	image.VolumeMounts = []VolumeMount{{Name: "shared"}, {Name: "alone"}, {Name: "process"}, {Name: "host"}}
	second := Container{Name: "second", Image: "iris", VolumeMounts: []VolumeMount{{Name: "shared"}}}
	s := Spec{Kind: Realtime, Pod: &Pod{
		ServiceAccount: "a", SecurityContext: &PodSecurityContext{FSGroup: &one}, Volumes: []Volume{
			{Name: "v", Secret: "s"}, {Name: "w", ConfigMap: "c"}, {Name: "kept", PersistentVolumeClaim: "p"}, {Name: "host", HostPath: "/srv"}, {Name: "disk", EmptyDir: &EmptyDir{}},
			{Name: "process", EmptyDir: &EmptyDir{Memory: true}}, {Name: "shared", EmptyDir: &EmptyDir{Memory: true}}, {Name: "alone", EmptyDir: &EmptyDir{Memory: true}},
		},
		// Where pods run and what they are called is nothing that a replica could lack.
		NodeSelector: map[string]string{"a": "b"}, Tolerations: []Toleration{{Key: "a"}}, Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"a": "b"},
		Containers: []Container{full, image, second},
	}}
	var got []string
	for _, v := range s.OneMachine() {
		got = append(got, v.Path)
		if v.Code != CodeNotOnOneMachine || v.Hint == "" {
			t.Errorf("%s: code %q, hint %q; want a code and what to do", v.Path, v.Code, v.Hint)
		}
	}
	want := []string{
		"pod.service_account", "pod.volumes[0].secret", "pod.volumes[1].config_map", "pod.volumes[5].empty_dir.memory", "pod.volumes[6].empty_dir.memory",
		"pod.containers[0].env_from", "pod.containers[0].security_context",
		"pod.containers[0].compute.devices", "pod.containers[0].compute.resource_claim_templates", "pod.containers[0].compute.limits.cpu",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("OneMachine() (-want +got):\n%s", diff)
	}
}

func TestOnKubernetes(t *testing.T) {
	t.Parallel()
	s := Spec{Kind: Realtime, Pod: &Pod{Volumes: []Volume{{Name: "kept", PersistentVolumeClaim: "p"}, {Name: "host", HostPath: "/srv"}}}}
	got := s.OnKubernetes()
	if len(got) != 1 || got[0].Path != "pod.volumes[1].host_path" || got[0].Code != CodeOnlyOneMachine || got[0].Hint == "" {
		t.Errorf("OnKubernetes() = %+v, want pod.volumes[1].host_path with what to do", got)
	}
	s = Spec{Kind: Realtime, Pod: &Pod{Volumes: []Volume{{Name: "kept", PersistentVolumeClaim: "p"}, {Name: "host", HostPath: "/srv"}}}}
	if got := s.VolumesUsed(); !slices.Equal(got, []string{"/srv", "p"}) {
		t.Errorf("VolumesUsed() = %q, want /srv and p", got)
	}
	if got := (&Spec{Kind: Splitter}).OnKubernetes(); got != nil {
		t.Errorf("OnKubernetes() of what has no pod = %v", got)
	}
}

func TestEnvVolume(t *testing.T) {
	t.Parallel()
	if got := EnvVolume("hf-cache2"); got != "CORTEX_VOLUME_HF_CACHE2" {
		t.Errorf("EnvVolume(hf-cache2) = %s", got)
	}
}

func TestMaxMem(t *testing.T) {
	t.Parallel()
	request, limit := MustQuantity("1Gi"), MustQuantity("2Gi")
	for _, tt := range []struct {
		c    Compute
		want *Quantity
	}{
		{Compute{}, nil},
		{Compute{Mem: &request}, &request},
		{Compute{Mem: &request, Limits: &Limits{}}, &request},
		{Compute{Mem: &request, Limits: &Limits{Mem: &limit}}, &limit},
	} {
		if got := tt.c.MaxMem(); got != tt.want {
			t.Errorf("MaxMem() = %v, want %v", got, tt.want)
		}
	}
}
