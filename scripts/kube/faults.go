package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The rhythm of a part that is slow, and the longest that one may be: at its end the
// part works again, so that nobody can forget it.
const (
	slowStopped = 400 * time.Millisecond
	slowRunning = 100 * time.Millisecond
	slowFor     = 20 * time.Second
)

// How long a part that is told to end may take: an API server waits a minute for the
// requests that are under way.
const stopPatience = 90 * time.Second

// stopPart ends a part in order, as whoever restarts it does.
func stopPart(ctx context.Context, n *node, name string) error {
	return n.endPart(ctx, "stop", name, syscall.SIGTERM)
}

// killPart ends a part without a word. What it had started goes on.
func killPart(ctx context.Context, n *node, name string) error {
	return n.endPart(ctx, "kill", name, syscall.SIGKILL)
}

// endPart sends a signal to a part and waits until it has ended. A part that does
// not run is none of its business: that is what the caller wants.
func (n *node) endPart(ctx context.Context, verb, name string, signal syscall.Signal) error {
	if err := n.requirePart(verb, name); err != nil {
		return err
	}
	pid, runs := running()[name]
	if !runs {
		fmt.Fprintf(n.out, "%s does not run\n", name)
		return nil
	}
	if err := syscall.Kill(pid, signal); err != nil {
		return fmt.Errorf("ending %s: %w", name, err)
	}
	_ = syscall.Kill(pid, syscall.SIGCONT) // one that is slow just now hears it too
	err := goneWithin(ctx, stopPatience, func() int {
		if now, runs := running()[name]; runs && now == pid {
			return 1
		}
		return 0
	})
	if err != nil {
		return fmt.Errorf("ending %s, process %d: %w: kube kill %s ends it", name, pid, err, name)
	}
	fmt.Fprintf(n.out, "%s, process %d, has ended\n", name, pid)
	return nil
}

// startPart starts a part that does not run, and waits until it works. It has the
// place, the settings and the data that it had before.
func startPart(ctx context.Context, n *node, name string) error {
	if err := n.requirePart("start", name); err != nil {
		return err
	}
	if _, err := os.Stat(n.pki("ca.crt")); err != nil {
		return errors.New("there is no node whose part could be started: make kube-up starts one")
	}
	if pid, runs := running()[name]; runs {
		_ = syscall.Kill(pid, syscall.SIGCONT) // it may have been left stopped
		fmt.Fprintf(n.out, "%s runs already, as process %d\n", name, pid)
		return nil
	}
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return fmt.Errorf("setting the path: %w", err) // the proxy needs iptables
	}
	log := n.path("log", name+".log")
	_ = os.Rename(log, log+".1") // what it said before is why somebody starts it
	s := &starter{node: n, died: make(chan error, 1)}
	if err := s.start(name); err != nil {
		return err
	}
	if err := s.until(ctx, func(ctx context.Context) error { return n.works(ctx, name) }); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	fmt.Fprintf(n.out, "%s works again after %.1f s\n", name, time.Since(n.started).Seconds())
	return n.giveBack()
}

// works says whether a part does what it is for, as far as that can be asked.
func (n *node) works(ctx context.Context, name string) error {
	switch name {
	case "containerd":
		_, err := command(ctx, n.program("ctr"), "--address", socket, "version")
		return err
	case "etcd", "kube-apiserver":
		if _, runs := running()["kube-apiserver"]; !runs {
			return nil
		}
		return n.client(ctx)
	case "kubelet":
		return n.kubeletWorks(ctx)
	}
	if _, runs := running()[name]; !runs {
		return errors.New("it does not run")
	}
	return nil
}

// kubeletWorks says whether the node was heard of since the kubelet was started.
func (n *node) kubeletWorks(ctx context.Context) error {
	client, err := n.clientset()
	if err != nil {
		return err
	}
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("asking for the node: %w", err)
	}
	lease, err := client.CoordinationV1().Leases("kube-node-lease").Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("asking for the node: %w", err)
	}
	if !nodeReady(node) || lease.Spec.RenewTime == nil || lease.Spec.RenewTime.Before(&metav1.MicroTime{Time: n.started}) {
		return errors.New("the node is not ready")
	}
	return nil
}

// slowPart makes a part slow for some time: it is stopped and goes on in turns. When
// this ends, also when it is interrupted, the part goes on.
func slowPart(ctx context.Context, n *node, name string) error {
	if err := n.requirePart("slow", name); err != nil {
		return err
	}
	pid, runs := running()[name]
	if !runs {
		return fmt.Errorf("%s does not run: kube start %s starts it", name, name)
	}
	fmt.Fprintf(n.out, "%s, process %d, works one fifth of the time for %s\n", name, pid, slowFor)
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	over := time.NewTimer(slowFor)
	defer over.Stop()
	for {
		for _, turn := range []struct {
			signal syscall.Signal
			last   time.Duration
		}{{syscall.SIGSTOP, slowStopped}, {syscall.SIGCONT, slowRunning}} {
			if err := syscall.Kill(pid, turn.signal); err != nil {
				return fmt.Errorf("%s ended while it was slow: %w", name, err)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-over.C:
				return nil
			case <-time.After(turn.last):
			}
		}
	}
}

// requirePart refuses who is not root, and names that no part has.
func (n *node) requirePart(verb, name string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("the parts of the node are root's: run `sudo bin/kube-node %s %s`", verb, name)
	}
	var names []string
	for _, p := range n.parts() {
		names = append(names, p.name)
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("%q is no part of the node: %s", name, strings.Join(names, ", "))
	}
	return nil
}
