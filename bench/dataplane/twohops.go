package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strconv"

	"cortex.dev/cortex/bench/row"
)

// WhatTwoHops is the row of TwoHops.
const WhatTwoHops = "two hops (gateway and sidecar): CPU per request"

// Hop is a program on the way, in a network of its own.
type Hop struct {
	Address string // host:port
	PID     int
}

// Hops are a gateway, the sidecar of a replica and its server, as they run in pods.
type Hops struct {
	Gateway, Sidecar, Server Hop
	// Endpoint is that of the one workload whose replica this is; without a slash at
	// its end.
	Endpoint string
}

// Where the competitors listen, in the networks of gateway and replica.
const (
	frontPort  = "21081"
	behindPort = "21082"
)

// What the second HAProxy is asked to do is what a sidecar does: bound what the
// server takes at once.
const behindFrontend = `
frontend beside
  bind %s
  default_backend server
backend server
  server server %s maxconn 1000 maxqueue 1000
`

// TwoHops measures what a request costs on its way through a gateway and the sidecar
// of a replica, beside two HAProxies in a row: the first in the network of the
// gateway's pod, the second in that of the replica's, before the same server. All
// four share one core, load and server another. It takes root.
func TwoHops(ctx context.Context, h Hops, o Options) ([]row.Row, error) {
	b, err := emptyBed(o)
	defer b.close()
	if err != nil {
		return nil, err
	}
	r := row.Row{What: WhatTwoHops, Target: "≤ 1.6 × two HAProxies"}
	if b.wrk == "" {
		r.Note = "wrk is not installed; it makes the load (Debian package wrk)"
		return []row.Row{r}, nil
	}
	b.path = h.Endpoint + "/predict"
	unpin, err := h.pin(ctx)
	defer unpin()
	if err != nil {
		return nil, err
	}
	ours := &process{name: "gateway and sidecar", addr: h.Gateway.Address, more: []int{h.Gateway.PID, h.Sidecar.PID}}
	if b.haproxy == "" {
		runs, _, err := b.pairs(ctx, ours, nil, connections, b.rounds)
		r.Ours, r.Note = micros(middle(runs, run.cpu)), noHAProxy
		return []row.Row{r}, err
	}
	theirs, err := b.startTwoHAProxies(ctx, h)
	if err != nil {
		return nil, err
	}
	defer theirs.stop()
	a, z, err := b.pairs(ctx, ours, theirs, connections, b.rounds)
	if err != nil {
		return nil, err
	}
	atMost(&r, 1.6, a, z, run.cpu, "two HAProxies")
	r.Note = fmt.Sprintf("in the pods of a cluster, %d connections; %s answers through ours, %s through theirs, all four on one core",
		connections, perSecond(middle(a, run.rate)), perSecond(middle(z, run.rate)))
	return []row.Row{r}, nil
}

// startTwoHAProxies starts the second one first, which the first asks.
func (b *bed) startTwoHAProxies(ctx context.Context, h Hops) (*process, error) {
	beside, err := h.Sidecar.at(behindPort)
	if err != nil {
		return nil, err
	}
	front, err := h.Gateway.at(frontPort)
	if err != nil {
		return nil, err
	}
	second, err := b.haproxyAt(ctx, beside, h.Sidecar.PID, proxyCore, "HAProxy-beside", "/predict", func(bind string) string {
		return fmt.Sprintf(behindFrontend, bind, h.Server.Address)
	})
	if err != nil {
		return nil, err
	}
	first, err := b.haproxyAt(ctx, front, h.Gateway.PID, proxyCore, "HAProxy-front", b.path, func(bind string) string {
		return fmt.Sprintf(proxyFrontend, bind, h.Endpoint, beside)
	})
	if err != nil {
		second.stop()
		return nil, err
	}
	first.name = "two HAProxies"
	first.more = []int{second.cmd.Process.Pid}
	stop := first.stop
	first.stop = func() { stop(); second.stop() }
	return first, nil
}

// at is another port of the same pod.
func (h Hop) at(port string) (string, error) {
	host, _, err := net.SplitHostPort(h.Address)
	if err != nil {
		return "", fmt.Errorf("reading the address of a hop: %w", err)
	}
	return net.JoinHostPort(host, port), nil
}

// pin puts the programs onto the cores that their competitors have, and returns what
// undoes that.
func (h Hops) pin(ctx context.Context) (undo func(), err error) {
	all := "0-" + strconv.Itoa(runtime.NumCPU()-1)
	undo = func() {
		for _, hop := range []Hop{h.Gateway, h.Sidecar, h.Server} {
			_ = setCores(context.WithoutCancel(ctx), all, hop.PID) // it may have ended
		}
	}
	return undo, errors.Join(
		setCores(ctx, strconv.Itoa(proxyCore), h.Gateway.PID),
		setCores(ctx, strconv.Itoa(proxyCore), h.Sidecar.PID),
		setCores(ctx, strconv.Itoa(backendCore), h.Server.PID),
	)
}

func setCores(ctx context.Context, cores string, pid int) error {
	taskset := find("taskset")
	if taskset == "" {
		return errors.New("taskset is not installed, which puts a program onto one core (Debian package util-linux)")
	}
	out, err := exec.CommandContext(ctx, taskset, "--all-tasks", "--cpu-list", "--pid", cores, strconv.Itoa(pid)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("putting process %d onto core %s: %w: %s", pid, cores, err, out)
	}
	return nil
}
