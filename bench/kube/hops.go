package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"cortex.dev/cortex/bench/dataplane"
	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/proc"
	"cortex.dev/cortex/bench/row"
	"cortex.dev/cortex/internal/workload"
)

const (
	whatIdleMemory = "sidecar without requests: resident memory"
	whatLoadMemory = "sidecar under 64 connections: resident memory"
)

// The bounds of a sidecar's memory, in bytes: it is paid once for each replica.
const (
	idleBound = 15e6
	loadBound = 40e6
)

// hops measures the way of a request through gateway and sidecar, and the sidecar
// before and after it.
func hops(ctx context.Context, c *cluster) (rows []row.Row, err error) {
	const name = prefix + "hops"
	if err := c.deploy(ctx, name, fastSpec(name, c.fast)); err != nil {
		return nil, err
	}
	h, err := c.findHops(ctx, name)
	if err != nil {
		return nil, err
	}
	rest := time.Duration(c.Times(20, 5)) * time.Second
	if err := load.Wait(ctx, rest); err != nil {
		return nil, err
	}
	idle, err := proc.Of(h.Sidecar.PID)
	if err != nil {
		return nil, err
	}
	if rows, err = dataplane.TwoHops(ctx, h, dataplane.Options{Quick: c.Quick, Log: c.Log}); err != nil {
		return rows, err
	}
	most, err := proc.Peak(h.Sidecar.PID)
	if err != nil {
		return rows, err
	}
	after, err := proc.Of(h.Sidecar.PID)
	if err != nil {
		return rows, err
	}
	bounded := func(what string, bytes int64, bound float64, note string) row.Row {
		return row.Row{
			What: what, Ours: row.Megabytes(bytes), Ratio: fmt.Sprintf("%.2f × of target", float64(bytes)/bound),
			Target: fmt.Sprintf("≤ %.0f MB", bound/1e6), Met: float64(bytes) <= bound, Note: note,
		}
	}
	rows = append(rows,
		bounded(whatIdleMemory, idle.Resident, idleBound, fmt.Sprintf("%s after its replica was ready; the pages of its program included", rest)),
		bounded(whatLoadMemory, most, loadBound, fmt.Sprintf("the most it ever had; %s right after the load", row.Megabytes(after.Resident))),
	)
	return rows, c.remove(ctx, name)
}

// findHops finds one gateway and the one replica of an API, and their processes.
func (c *cluster) findHops(ctx context.Context, name string) (h dataplane.Hops, err error) {
	h.Endpoint = "/" + name
	gateways, err := c.program(ctx, "gateway")
	if err != nil {
		return h, err
	}
	replicas, err := c.pods(ctx, name)
	if err != nil {
		return h, err
	}
	if len(gateways) == 0 || len(replicas) == 0 {
		return h, errors.New("there is no gateway, or no replica")
	}
	port := func(n int32) string { return fmt.Sprint(n) }
	at := func(pod *corev1.Pod, program, address string) dataplane.Hop {
		pid, e := processIn(pod, program)
		err = errors.Join(err, e)
		return dataplane.Hop{Address: address, PID: pid}
	}
	gateway, replica := &gateways[0], &replicas[0]
	h.Gateway = at(gateway, "/cortex-gateway", net.JoinHostPort(gateway.Status.PodIP, "8080"))
	h.Sidecar = at(replica, "/cortex-sidecar", net.JoinHostPort(replica.Status.PodIP, port(workload.SidecarPort)))
	h.Server = at(replica, "/proxy", net.JoinHostPort("127.0.0.1", port(workload.DefaultPort)))
	return h, err
}

// processIn is the process of a pod that runs a program, on this machine.
func processIn(pod *corev1.Pod, program string) (int, error) {
	found, err := proc.InGroup("pod" + string(pod.UID))
	if err != nil {
		return 0, err
	}
	for _, pid := range slices.Sorted(maps.Keys(found)) {
		if of, _, _ := strings.Cut(found[pid].Command, " "); strings.HasSuffix(of, program) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process of the pod %s on this machine runs %s", pod.Name, program)
}
