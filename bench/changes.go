package main

import (
	"context"
	"fmt"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/row"
	"cortex.dev/cortex/internal/workload"
)

const (
	whatUpdate   = "rolling update under load: failed requests"
	whatRefresh  = "refresh under load: failed requests"
	whatRollback = "rollback under load: failed requests"
	whatScaleIn  = "scale-in under load: failed requests"
)

// How an API is loaded while it changes.
const (
	changeRate     = 1200 // requests a second
	changeReplicas = 3
)

// change is one way to replace or remove replicas. The n-th call counts from 0.
type changing struct {
	what   string
	change func(ctx context.Context, h *home, n int) error
	// bodies is how many different answers (version and process) must at least
	// have been seen after n changes, as the proof that replicas did change.
	bodies func(n int) int
}

func changings() []changing {
	live := func(s workload.Status) bool {
		return s.Phase == workload.PhaseLive && len(s.Replicas) == s.Requested
	}
	settled := func(ctx context.Context, h *home) error {
		return h.untilStatus(ctx, "busy", "the change is over", live)
	}
	deploy := func(ctx context.Context, h *home, replicas int, version string) error {
		if err := h.deploy(ctx, plainSpec("busy", h.server, replicas, version)); err != nil {
			return err
		}
		return settled(ctx, h)
	}
	replaced := func(n int) int { return changeReplicas * (n + 1) }
	return []changing{
		{whatUpdate, func(ctx context.Context, h *home, n int) error {
			return deploy(ctx, h, changeReplicas, fmt.Sprintf("update-%d", n))
		}, replaced},
		{whatRefresh, func(ctx context.Context, h *home, n int) error {
			before, err := h.Describe(ctx, "busy")
			if err != nil {
				return err
			}
			if _, err := h.run(ctx, "refresh", "busy"); err != nil {
				return err
			}
			old := map[string]bool{}
			for _, r := range before.Status.Replicas {
				old[r.ID] = true
			}
			return h.untilStatus(ctx, "busy", "every replica is a new one", func(s workload.Status) bool {
				for _, r := range s.Replicas {
					if old[r.ID] {
						return false
					}
				}
				return live(s)
			})
		}, replaced},
		{whatRollback, func(ctx context.Context, h *home, n int) error {
			if n == 0 { // there has to be something to go back to
				if err := deploy(ctx, h, changeReplicas, "bad"); err != nil {
					return err
				}
			}
			if _, err := h.run(ctx, "rollback", "busy"); err != nil {
				return err
			}
			return settled(ctx, h)
		}, replaced},
		{whatScaleIn, func(ctx context.Context, h *home, n int) error {
			if err := deploy(ctx, h, changeReplicas+1, "1"); err != nil {
				return err
			}
			return deploy(ctx, h, 1, "1")
		}, func(n int) int { return n }},
	}
}

// changes keeps changing a loaded API until enough requests were sent.
func changes(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	for _, c := range changings() {
		if !p.Wants(c.what) {
			continue
		}
		r, err := underLoad(ctx, h, c)
		if err != nil {
			return rows, fmt.Errorf("%s: %w", c.what, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func underLoad(ctx context.Context, h *home, c changing) (row.Row, error) {
	if err := h.deploy(ctx, plainSpec("busy", h.server, changeReplicas, "1")); err != nil {
		return row.Row{}, err
	}
	return load.Change{
		What: c.what, Endpoint: h.endpoint, Path: "/busy", Rate: changeRate, Enough: int64(h.Times(20_000, 2_000)),
		Do:      func(ctx context.Context, n int) error { return c.change(ctx, h, n) },
		Replica: func(body string) string { return body }, Least: c.bodies,
	}.Row(ctx)
}
