package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/proc"
	"cortex.dev/cortex/bench/row"
)

const (
	whatMemory = "idle daemon with 10 workloads: resident memory"
	whatCPU    = "idle daemon with 10 workloads: CPU"
)

// idles looks at a daemon that has nothing to do: all its processes but the
// users' own servers.
func idles(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	var text strings.Builder
	for i := range 10 {
		text.WriteString(plainSpec(fmt.Sprintf("idle-%d", i), p.server, 1, "1"))
	}
	if err := h.deploy(ctx, text.String()); err != nil {
		return nil, err
	}
	rest := time.Duration(p.Times(10, 3)) * time.Second
	over := time.Duration(p.Times(30, 5)) * time.Second
	if err := load.Wait(ctx, rest); err != nil {
		return nil, err
	}
	before, err := processes(h.daemon.Process.Pid, p.server)
	if err != nil {
		return nil, err
	}
	if err := load.Wait(ctx, over); err != nil {
		return nil, err
	}
	after, err := processes(h.daemon.Process.Pid, p.server)
	if err != nil {
		return nil, err
	}
	share := 100 * float64(after.cpu-before.cpu) / float64(over)
	resident := max(before.resident, after.resident)
	mb := float64(resident) / 1e6
	note := fmt.Sprintf("%d process(es) of the product beside 10 of the user's", after.count)
	return []row.Row{
		{What: whatMemory, Ours: fmt.Sprintf("%.1f MB", mb), Ratio: fmt.Sprintf("%.2f × of target", mb/80), Target: "≤ 80 MB", Met: mb <= 80, Note: note},
		{What: whatCPU, Ours: fmt.Sprintf("%.2f %% of a core", share), Ratio: fmt.Sprintf("%.2f × of target", share), Target: "< 1 % of a core", Met: share < 1,
			Note: fmt.Sprintf("over %s", over)},
	}, nil
}

// usage is what a family of processes uses.
type usage struct {
	count    int
	resident int64 // bytes
	cpu      time.Duration
}

// processes sums up pid and its descendants, without those that run the user's server.
func processes(pid int, server string) (usage, error) {
	all, err := proc.Table()
	if err != nil {
		return usage{}, err
	}
	var u usage
	family := []int{pid}
	for i := 0; i < len(family); i++ {
		for child, p := range all {
			if p.Parent == family[i] && !slices.Contains(family, child) {
				family = append(family, child)
			}
		}
		p, ok := all[family[i]]
		if !ok {
			return usage{}, fmt.Errorf("process %d is gone", family[i])
		}
		if !p.Runs(server) {
			u.count++
			u.resident += p.Resident
			u.cpu += p.CPU
		}
	}
	return u, nil
}
