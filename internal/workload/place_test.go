package workload

import (
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
	s := Spec{Kind: Realtime, Pod: &Pod{
		ServiceAccount: "a", SecurityContext: &PodSecurityContext{FSGroup: &one}, Volumes: []Volume{{Name: "v", Secret: "s"}},
		// Where pods run and what they are called is nothing that a replica could lack.
		NodeSelector: map[string]string{"a": "b"}, Tolerations: []Toleration{{Key: "a"}}, Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"a": "b"},
		Containers: []Container{full, image},
	}}
	var got []string
	for _, v := range s.OneMachine() {
		got = append(got, v.Path)
		if v.Code != CodeNotOnOneMachine || v.Hint == "" {
			t.Errorf("%s: code %q, hint %q; want a code and what to do", v.Path, v.Code, v.Hint)
		}
	}
	want := []string{
		"pod.service_account", "pod.security_context", "pod.volumes", "pod.containers[0].env_from", "pod.containers[0].security_context",
		"pod.containers[0].compute.devices", "pod.containers[0].compute.resource_claim_templates", "pod.containers[0].compute.limits.cpu",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("OneMachine() (-want +got):\n%s", diff)
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
