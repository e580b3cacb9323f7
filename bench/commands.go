package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/bench/row"
	"cortex.dev/cortex/internal/workload"
)

const (
	whatDeploy   = "cortex deploy of a server that starts at once, to ready"
	whatValidate = "cortex validate of 1,000 APIs"
	whatPlan     = "cortex cluster plan of 100 node groups"
)

// plainSpec is an API with a fixed number of replicas.
func plainSpec(name, server string, replicas int, version string) string {
	return fmt.Sprintf(`- name: %s
  kind: RealtimeAPI
  pod:
    max_concurrency: 16
    max_queue_length: 1000
    containers:
      - name: server
        command: [%q, -work, 2ms, -slow, 80ms]
        env: {VERSION: %q}
  autoscaling: {min_replicas: %d, max_replicas: %d}
`, name, server, version, replicas, replicas)
}

// deploys times the whole command, from the start of its process to its end, with
// the daemon already running.
func deploys(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	var took []time.Duration
	for i := range p.Times(15, 3) {
		name := fmt.Sprintf("quick-%d", i)
		path, err := h.file(name+".yaml", plainSpec(name, p.server, 1, "1"))
		if err != nil {
			return nil, err
		}
		begun := time.Now()
		if _, err := h.run(ctx, "deploy", path); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
		api, err := h.Get(ctx, name)
		if err != nil || api.Status == nil || api.Status.Phase != workload.PhaseLive {
			return nil, fmt.Errorf("cortex deploy returned and %s is not live: %+v %w", name, api.Status, err)
		}
		if _, err := h.run(ctx, "delete", name, "--force"); err != nil {
			return nil, err
		}
	}
	mid := row.Median(took)
	return []row.Row{{
		What: whatDeploy, Ours: row.Millis(mid), Ratio: row.Times(mid, 400*time.Millisecond) + " of target", Target: "≤ 400 ms", Met: mid <= 400*time.Millisecond,
		Note: fmt.Sprintf("median of %d, at most %s", len(took), row.Millis(slices.Max(took))),
	}}, nil
}

// validates times the whole command on one file.
func validates(ctx context.Context, p *place) ([]row.Row, error) {
	h, err := p.newHome()
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for i := range 1000 {
		text.WriteString(plainSpec(fmt.Sprintf("api-%d", i), "./server", 1, "1"))
	}
	path, err := h.file("many.yaml", text.String())
	if err != nil {
		return nil, err
	}
	return timed(ctx, h, whatValidate, 300*time.Millisecond, strings.Count(text.String(), "\n"), "validate", path)
}

// timed times a whole command on a file of so many lines.
func timed(ctx context.Context, h *home, what string, target time.Duration, lines int, words ...string) ([]row.Row, error) {
	var took []time.Duration
	for range h.place.Times(15, 5) {
		begun := time.Now()
		if _, err := h.run(ctx, words...); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	mid := row.Median(took)
	return []row.Row{{
		What: what, Ours: row.Millis(mid), Ratio: row.Times(mid, target) + " of target", Target: "≤ " + row.Millis(target), Met: mid <= target,
		Note: fmt.Sprintf("median of %d, at most %s; %d lines", len(took), row.Millis(slices.Max(took)), lines),
	}}, nil
}

// planFacts is an account that has what the plan of plans asks for, and tells no quota.
const planFacts = `{
  "account": "111122223333", "region": "us-west-2", "zones": [{"name": "us-west-2a", "id": "usw2-az1"}, {"name": "us-west-2b", "id": "usw2-az2"}],
  "kubernetes_versions": [{"version": "1.36", "status": "STANDARD_SUPPORT", "releases": {"AL2023_x86_64_STANDARD": "1.36.1-20260714"},
    "addons": {"vpc-cni": "v1", "kube-proxy": "v1", "eks-pod-identity-agent": "v1", "coredns": "v1"}}],
  "instance_types": {
    "t3.medium": {"vcpus": 2, "memory_mib": 4096, "architectures": ["x86_64"], "network_interfaces": 3, "addresses_per_interface": 6},
    "m5.large": {"vcpus": 2, "memory_mib": 8192, "architectures": ["x86_64"], "network_interfaces": 3, "addresses_per_interface": 10}},
  "policies": ["arn:aws:iam::aws:policy/AmazonS3FullAccess"]
}`

// plans times the whole command on the largest file that there may be, offline.
func plans(ctx context.Context, p *place) ([]row.Row, error) {
	h, err := p.newHome()
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	text.WriteString("region: us-west-2\nnode_groups:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "- {name: group-%d, instance_type: m5.large, min_instances: 1, max_instances: 2, spot: %v}\n", i, i%2 == 0)
	}
	path, err := h.file("cluster.yaml", text.String())
	if err != nil {
		return nil, err
	}
	facts, err := h.file("facts.json", planFacts)
	if err != nil {
		return nil, err
	}
	return timed(ctx, h, whatPlan, 150*time.Millisecond, strings.Count(text.String(), "\n"), "cluster", "plan", path, "--facts", facts)
}
