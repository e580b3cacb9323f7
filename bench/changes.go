package main

import (
	"context"
	"fmt"
	"strings"
	"time"

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

// How an API is loaded while it changes: keep-alive clients at a moderate rate,
// so that what fails is not for want of capacity.
const (
	changeConnections = 16
	changeRate        = 1200 // requests a second
	changeReplicas    = 3
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
	enough := int64(h.Times(20_000, 2_000))
	l := load.Start(ctx, h.endpoint, "/busy", changeConnections, changeRate)
	done := 0
	err := wait(ctx, time.Second)
	for ; err == nil && (l.Sent() < enough || done < 2); done++ {
		err = c.change(ctx, h, done)
	}
	if err == nil {
		err = wait(ctx, time.Second)
	}
	l.End()
	if err != nil {
		return row.Row{}, err
	}
	if least := c.bodies(done); len(l.Seen()) < least {
		return row.Row{}, fmt.Errorf("after %d changes %d different replicas answered, want at least %d", done, len(l.Seen()), least)
	}
	failed, sent := l.Failed(), l.Sent()
	r := row.Row{
		What: c.what, Ours: fmt.Sprintf("%d of %d", failed, sent), Target: fmt.Sprintf("0 of ≥ %d", enough),
		Met:  failed == 0 && sent >= enough,
		Note: fmt.Sprintf("%d changes, %d replicas answered, %d keep-alive connections", done, len(l.Seen()), changeConnections),
	}
	if failed > 0 {
		r.Note += "; the first failures: " + strings.Join(l.Failures(), " | ")
	}
	return r, nil
}
