package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

//go:embed stages.yaml
var stages []byte

// The device of simulated nodes. Pods that ask for one tolerate the taint of its
// name; no other pod does, and the real node has no such device: so what is simulated
// and what is real keep apart by the rules of any cluster with devices.
const device = "nvidia.com/gpu"

const (
	simulatedLabel = "cortex.dev/bench=simulated" // on the nodes
	podsOnNode     = 110                          // what Kubernetes is meant for
	devicesOnNode  = 16
	// Addresses that are set aside for benchmarks (RFC 2544): nobody is there.
	simulatedNetwork = "198.18.0.0/15"
	nodeAddress      = "198.19.255.254"
)

// simulated are nodes that exist only in the API server, and who plays them.
type simulated struct {
	c    *cluster
	kwok *exec.Cmd
	log  *os.File
}

// simulate starts KWOK and makes that many nodes. end must be called.
func (c *cluster) simulate(ctx context.Context, nodes int) (s *simulated, err error) {
	program, err := c.kwokProgram(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.dir, "stages.yaml")
	if err := os.WriteFile(file, stages, 0o600); err != nil {
		return nil, err
	}
	s = &simulated{c: c}
	if s.log, err = os.Create(filepath.Join(c.dir, "kwok.log")); err != nil {
		return nil, err
	}
	s.kwok = exec.Command(program, "--kubeconfig", c.Kubeconfig, "--config", file, "--cidr", simulatedNetwork, "--node-ip", nodeAddress,
		"--manage-nodes-with-label-selector", simulatedLabel,
		// Renewed after a quarter of it, which is within the 50 s of the node controller.
		"--node-lease-duration-seconds", "120")
	s.kwok.Dir, s.kwok.Stdout, s.kwok.Stderr = c.dir, s.log, s.log
	// By this mark `make kube-down` ends it too, should the benchmark have been killed.
	s.kwok.Env = append(os.Environ(), "CORTEX_KUBE_NODE=bench", "HOME="+c.dir)
	s.kwok.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for the benchmark
	if err := s.kwok.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting KWOK: %w", err), s.log.Close())
	}
	if err := s.makeNodes(ctx, nodes); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// kwokProgram is KWOK, which is built when it is not there.
func (c *cluster) kwokProgram(ctx context.Context) (string, error) {
	places := []string{filepath.Join(filepath.Dir(c.Kubectl), "kwok"), filepath.Join("bin", "kube", "programs", "kwok")}
	for range 2 {
		for _, place := range places {
			if _, err := os.Stat(place); err == nil {
				return filepath.Abs(place)
			}
		}
		if _, err := c.output(exec.CommandContext(ctx, "go", "run", "./scripts/kube", "kwok")); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("there is no KWOK in %v", places)
}

func (s *simulated) makeNodes(ctx context.Context, count int) error {
	amounts := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("512Gi"),
		corev1.ResourcePods: *resource.NewQuantity(podsOnNode, resource.DecimalSI), device: *resource.NewQuantity(devicesOnNode, resource.DecimalSI),
	}
	nodes := s.c.client.CoreV1().Nodes()
	for i := range count {
		name := fmt.Sprintf("%ssimulated-%d", prefix, i)
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
				"cortex.dev/bench": "simulated", corev1.LabelHostname: name, corev1.LabelOSStable: "linux",
			}},
			Spec:   corev1.NodeSpec{Taints: []corev1.Taint{{Key: device, Value: "true", Effect: corev1.TaintEffectNoSchedule}}},
			Status: corev1.NodeStatus{Capacity: amounts, Allocatable: amounts},
		}
		if _, err := nodes.Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making the node %s: %w", name, err)
		}
	}
	return s.c.until(ctx, 10*time.Minute, "the simulated nodes are ready", func() (bool, error) {
		list, err := nodes.List(ctx, metav1.ListOptions{LabelSelector: simulatedLabel})
		if err != nil {
			return false, err
		}
		ready := 0
		for i := range list.Items {
			if takesPods(&list.Items[i]) {
				ready++
			}
		}
		return ready >= count, nil
	})
}

// takesPods says whether a node is ready and its first taint, not-ready, is gone.
func takesPods(n *corev1.Node) bool {
	for _, t := range n.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady {
			return false
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// end takes the nodes away, and then who played them.
func (s *simulated) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := s.c.client.CoreV1().Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: simulatedLabel})
	_ = s.kwok.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(20*time.Second, func() { _ = s.kwok.Process.Kill() })
	_ = s.kwok.Wait() // how it ends says nothing
	late.Stop()
	if err != nil {
		err = fmt.Errorf("taking the simulated nodes away: %w", err)
	}
	return errors.Join(err, s.log.Close())
}
