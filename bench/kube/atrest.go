package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/proc"
	"cortex.dev/cortex/bench/row"
)

const memoryBound = 400e6

// look is what a program has used at one moment.
type look struct {
	at time.Time
	of proc.Process
}

func lookAt(pid int) (look, error) {
	p, err := proc.Of(pid)
	return look{time.Now(), p}, err
}

// since is the share of a core that was used between two looks, in percent.
func (l look) since(before look) float64 {
	return 100 * float64(l.of.CPU-before.of.CPU) / float64(l.at.Sub(before.at))
}

// atRest looks at a cluster in which nothing changes.
func (c *cluster) atRest(ctx context.Context, s size) ([]row.Row, error) {
	operator, standby, err := c.operatorPIDs(ctx)
	if err != nil {
		return nil, err
	}
	gateways, err := c.program(ctx, "gateway")
	if err != nil {
		return nil, err
	}
	gateway, err := processIn(&gateways[0], "/cortex-gateway")
	if err != nil {
		return nil, err
	}
	if err := load.Wait(ctx, time.Duration(c.Times(30, 10))*time.Second); err != nil {
		return nil, err
	}
	asked, err := c.requests(ctx)
	if err != nil {
		return nil, err
	}
	watched := []int{operator, gateway}
	var before, after [2]look
	for i, pid := range watched {
		if before[i], err = lookAt(pid); err != nil {
			return nil, err
		}
	}
	span := time.Duration(c.Times(60, 15)) * time.Second
	if err := load.Wait(ctx, span); err != nil {
		return nil, err
	}
	for i, pid := range watched {
		if after[i], err = lookAt(pid); err != nil {
			return nil, err
		}
	}
	now, err := c.requests(ctx)
	if err != nil {
		return nil, err
	}
	most, err := proc.Peak(operator)
	if err != nil {
		return nil, err
	}
	waiting := "none"
	if p, err := proc.Of(standby); err == nil {
		waiting = row.Megabytes(p.Resident)
	}
	operators, gates, overall := now.since(asked)
	names := s.names()
	return []row.Row{
		{
			What: names[0], Ours: row.Megabytes(most), Ratio: fmt.Sprintf("%.2f × of target", float64(most)/memoryBound),
			Target: fmt.Sprintf("≤ %.0f MB", memoryBound/1e6), Met: float64(most) <= memoryBound,
			Note: fmt.Sprintf("the most it ever had; at rest %s, the one that waits to take over %s, a gateway %s",
				row.Megabytes(after[0].of.Resident), waiting, row.Megabytes(after[1].of.Resident)),
		},
		{What: names[3], Ours: fmt.Sprintf("%.1f %% of a core", after[0].since(before[0])), Note: fmt.Sprintf("over %s", span)},
		{What: names[4], Ours: fmt.Sprintf("%.1f %% of a core", after[1].since(before[1])), Note: fmt.Sprintf("over %s", span)},
		{What: names[5], Ours: fmt.Sprintf("%.1f/s", operators+gates),
			Note: fmt.Sprintf("the operators %.1f/s, the gateways %.1f/s, beside %.0f/s of everybody, the simulated nodes among them", operators, gates, overall)},
	}, nil
}

// operatorPIDs are the process of the operator that leads, and that of another one;
// 0 when there is none.
func (c *cluster) operatorPIDs(ctx context.Context) (leads, waits int, err error) {
	lease, err := c.client.CoordinationV1().Leases(systemNamespace).Get(ctx, "cortex-operator", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return 0, 0, fmt.Errorf("finding the operator that leads: %w", err)
	}
	pods, err := c.program(ctx, "operator")
	if err != nil {
		return 0, 0, err
	}
	for i := range pods {
		pid, err := processIn(&pods[i], "/cortex-operator")
		if err != nil {
			return 0, 0, err
		}
		if pods[i].Name == *lease.Spec.HolderIdentity {
			leads = pid
		} else {
			waits = pid
		}
	}
	if leads == 0 {
		return 0, 0, fmt.Errorf("the operator that leads, %s, is not there", *lease.Spec.HolderIdentity)
	}
	return leads, waits, nil
}
