package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// starter starts parts that outlive it, and hears of those that end before it.
type starter struct {
	node *node
	died chan error
}

// start runs parts in sessions of their own, so that neither an interrupt at this
// terminal nor its end reaches them.
func (s *starter) start(names ...string) error {
	for _, p := range s.node.parts() {
		if !slices.Contains(names, p.name) {
			continue
		}
		log, err := os.Create(s.node.path("log", p.name+".log"))
		if err != nil {
			return fmt.Errorf("opening the log of %s: %w", p.name, err)
		}
		cmd := exec.Command(s.node.program(p.name), p.args...) //nolint:gosec,noctx // it shall outlive every context of this program
		cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
		cmd.Env = []string{marker + "=" + p.name, "PATH=" + s.node.programs + ":" + os.Getenv("PATH"), "HOME=" + dataDir}
		cmd.Env = append(cmd.Env, p.env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		err = cmd.Start()
		_ = log.Close()
		if err != nil {
			return fmt.Errorf("starting %s: %w", p.name, err)
		}
		// It ends when the part does, or with this program: nobody waits for it.
		go func() {
			err := cmd.Wait()
			s.died <- fmt.Errorf("%s ended (%w): its log says: %s", p.name, errors.Join(err), lastLines(log.Name(), 5))
		}()
	}
	return nil
}

// lastLines are the last lines of a log, for a person to read.
func lastLines(path string, count int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return "\n" + strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// until asks again and again, and gives up when a part ended or time is over. The
// error of the last question that had its time says what was missing.
func (s *starter) until(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		asked, done := context.WithTimeout(ctx, 5*time.Second)
		err := ask(asked)
		done()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case err := <-s.died:
			return err
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("not ready after %s: %w", startPatience, last)
		case <-tick.C:
		}
	}
}

func (s *starter) startContainerd(ctx context.Context) (string, error) {
	if err := s.node.writeConfigs(); err != nil {
		return "", err
	}
	if err := s.start("containerd"); err != nil {
		return "", err
	}
	err := s.until(ctx, func(ctx context.Context) error {
		_, err := command(ctx, s.node.program("ctr"), "--address", socket, "version")
		return err
	})
	if err != nil {
		return "", err
	}
	return "containerd, with the pause image", s.node.loadPause(ctx)
}

func (s *starter) startServer(ctx context.Context) (string, error) {
	if err := s.start("kube-apiserver"); err != nil {
		return "", err
	}
	if err := s.until(ctx, s.node.client); err != nil {
		return "", err
	}
	return s.node.server(), s.node.applyDNS(ctx)
}

func (s *starter) startNode(ctx context.Context) (string, error) {
	if err := s.start("kubelet"); err != nil {
		return "", err
	}
	client, err := s.node.clientset()
	if err != nil {
		return "", err
	}
	err = s.until(ctx, func(ctx context.Context) error {
		node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err //nolint:wrapcheck // until says what was waited for
		}
		if !nodeReady(node) {
			return errors.New("the node is not ready")
		}
		// Without it every pod is refused.
		_, err = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err //nolint:wrapcheck // as above
	})
	if err != nil {
		return "", err
	}
	return "kubelet, ready as " + nodeName, s.until(ctx, s.node.askDNS)
}

func nodeReady(node *corev1.Node) bool {
	// The taint goes a moment after the condition; before it no pod is placed.
	tainted := slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady })
	return !tainted && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}
