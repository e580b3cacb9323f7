package docker

import (
	"slices"
	"testing"

	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/workload"
)

// Docker does not know its machine by name unless it is told to, and refuses to be told
// for a container that shares the network of another.
func TestNameOfTheMachine(t *testing.T) {
	t.Parallel()
	env := map[string]string{workload.EnvAPIEndpoint: "http://" + HostName + ":8888"}
	want := []string{"host.docker.internal:host-gateway"}
	if got := (&Runtime{}).hostConfig(local.ContainerSpec{Env: env}).ExtraHosts; !slices.Equal(got, want) {
		t.Errorf("ExtraHosts = %q, want %q", got, want)
	}
	for name, spec := range map[string]local.ContainerSpec{
		"without the variable": {}, "by an address": {Env: map[string]string{workload.EnvAPIEndpoint: "http://10.0.0.5:8888"}},
		"in the network of another": {Env: env, Network: &running{}},
	} {
		if got := (&Runtime{}).hostConfig(spec).ExtraHosts; len(got) != 0 {
			t.Errorf("%s: ExtraHosts = %q, want none", name, got)
		}
	}
}
