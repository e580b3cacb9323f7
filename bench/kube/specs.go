package main

import (
	"fmt"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// The container asks for little, so that many fit onto one small node.
const compute = "{cpu: 20m, mem: 20Mi}"

// plainSpec is an API with a fixed number of replicas. The version is all that
// differs between two of its revisions.
func plainSpec(name, image string, replicas int, version string, args ...string) string {
	return fmt.Sprintf(`- name: %s
  kind: RealtimeAPI
  pod:
    max_concurrency: 100
    max_queue_length: 1000
    containers:
      - name: server
        image: %s
        %s
        env: {VERSION: %q}
        compute: %s
  autoscaling: {min_replicas: %d, max_replicas: %d}
`, name, image, command("/server", args...), version, compute, replicas, replicas)
}

// idleSpec is an API that goes to zero soon after its last request.
func idleSpec(name, image string) string {
	return fmt.Sprintf(`- name: %s
  kind: RealtimeAPI
  pod:
    containers:
      - name: server
        image: %s
        %s
        compute: %s
  autoscaling:
    min_replicas: 0
    init_replicas: 0
    max_replicas: 1
    window: 10s
    downscale_stabilization_period: 0s
    upscale_stabilization_period: 0s
`, name, image, command("/server"), compute)
}

// simulatedSpec is an API whose pods ask for a device that only simulated nodes
// have, and tolerate what keeps everything else off these nodes.
func simulatedSpec(name, image, endpoint string, replicas int) string {
	return fmt.Sprintf(`- name: %s
  kind: RealtimeAPI
  networking: {endpoint: %s}
  pod:
    containers:
      - name: server
        image: %s
        %s
        compute: {cpu: 20m, mem: 20Mi, gpu: 1}
  autoscaling: {min_replicas: %d, max_replicas: %d}
`, name, endpoint, image, command("/server"), replicas, replicas)
}

// fastSpec is an API with one replica that answers everything at once, so that it is
// not what is measured.
func fastSpec(name, image string) string {
	return fmt.Sprintf(`- name: %s
  kind: RealtimeAPI
  pod:
    max_concurrency: 1000
    max_queue_length: 1000
    containers:
      - name: server
        image: %s
        %s
        compute: %s
`, name, image, command("/proxy", "-kind", "backend", "-listen", fmt.Sprintf("127.0.0.1:%d", workload.DefaultPort)), compute)
}

func command(program string, args ...string) string {
	var quoted []string
	for _, a := range append([]string{program}, args...) {
		quoted = append(quoted, strconv.Quote(a))
	}
	return "command: [" + strings.Join(quoted, ", ") + "]"
}
