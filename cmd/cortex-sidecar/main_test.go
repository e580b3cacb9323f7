package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestStaysLight holds the program to what it may not link: there is one in each pod.
func TestStaysLight(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 50 {
		t.Fatalf("go list -deps names %d packages, want the whole closure", len(packages))
	}
	for _, p := range packages {
		for _, heavy := range []string{"k8s.io/", "github.com/moby/", "github.com/docker/", "github.com/nats-io/", "github.com/aws/", "google.golang.org/grpc", "go.opentelemetry.io/", "cortex.dev/cortex/internal/store", "cortex.dev/cortex/internal/engine"} {
			if strings.HasPrefix(p, heavy) || strings.Contains(p, ".k8s.io/") {
				t.Errorf("the sidecar links %s", p)
			}
		}
	}
}
