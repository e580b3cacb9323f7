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
	var took []time.Duration
	for range p.Times(15, 5) {
		begun := time.Now()
		if _, err := h.run(ctx, "validate", path); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
	}
	mid := row.Median(took)
	return []row.Row{{
		What: whatValidate, Ours: row.Millis(mid), Ratio: row.Times(mid, 300*time.Millisecond) + " of target", Target: "≤ 300 ms", Met: mid <= 300*time.Millisecond,
		Note: fmt.Sprintf("median of %d, at most %s; %d lines", len(took), row.Millis(slices.Max(took)), strings.Count(text.String(), "\n")),
	}}, nil
}
