package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/workload"
)

// part does something to a part of the node: stop, kill, start or slow.
func (p *place) part(t *testing.T, verb, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, p.program, verb, name).CombinedOutput(); err != nil { //nolint:gosec // named by make faults
		t.Fatalf("%s %s %s: %v\n%s", p.program, verb, name, err, out)
	}
}

// without ends a part, and has it back when the test ends at the latest.
func (p *place) without(t *testing.T, verb, name string) {
	t.Helper()
	t.Cleanup(func() { p.part(t, "start", name) })
	p.part(t, verb, name)
}

// pause lets a fault last.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(d):
	}
}

func (p *place) podsOf(namespace, selector string) ([]corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	list, err := p.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// replicas are the pods of an API.
func (p *place) replicas(t *testing.T, name string) []corev1.Pod {
	t.Helper()
	pods, err := p.podsOf(apis, "apiName="+name)
	if err != nil {
		t.Fatal(err)
	}
	return pods
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// killContainer ends the main process of a container, without a word.
func killContainer(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	_, id, found := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if !found {
		t.Fatalf("pod %s has no container", pod.Name)
	}
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if groups, err := os.ReadFile(file); err != nil || !strings.Contains(string(groups), id) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			t.Fatalf("killing %s: %v", pod.Name, err)
		}
		return
	}
	t.Fatalf("no process of %s was found", pod.Name)
}

// marks is what must be the same before and after a fault that took nothing away:
// somebody who writes anything twice, or starts anything anew, changes it.
func (p *place) marks(t *testing.T, name string) string {
	t.Helper()
	var marks []string
	until(t, "reading the objects of "+name, func() error {
		marks = nil
		d, err := p.client.AppsV1().Deployments(apis).Get(t.Context(), "api-"+name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		marks = append(marks, fmt.Sprintf("deployment %s, generation %d", d.UID, d.Generation))
		pods, err := p.podsOf(apis, "apiName="+name)
		if err != nil {
			return err
		}
		for _, pod := range pods {
			marks = append(marks, fmt.Sprintf("pod %s, %d restarts", pod.UID, pod.Status.ContainerStatuses[0].RestartCount))
		}
		slices.Sort(marks)
		history, err := p.try("history", name, "-o", "json")
		marks = append(marks, history)
		return err
	})
	return strings.Join(marks, "\n")
}

// TestParts takes single parts of the node away. What runs is not theirs: it goes on
// answering, and is neither started anew nor changed.
func TestParts(t *testing.T) {
	for _, tt := range []struct {
		part, name string
		fault      func(t *testing.T, p *place)
		during     func(t *testing.T, p *place)
	}{
		{
			"kubelet", "stopped for a moment",
			func(t *testing.T, p *place) { p.without(t, "stop", "kubelet"); pause(t, 10*time.Second) },
			func(t *testing.T, p *place) { p.live(t, "steady") },
		},
		{
			"containerd", "killed",
			func(t *testing.T, p *place) { p.without(t, "kill", "containerd"); pause(t, 10*time.Second) },
			func(t *testing.T, p *place) { p.live(t, "steady") },
		},
		{
			"kube-scheduler", "stopped",
			func(t *testing.T, p *place) { p.without(t, "stop", "kube-scheduler") },
			func(t *testing.T, p *place) {
				p.deploy(t, api{Name: "unseen"})
				p.shows(t, "unseen", "waits for a node", func(s seen) bool {
					return s.status.Phase == workload.PhaseUpdating && s.status.ReplicaCounts.Pending == 1 && strings.Contains(s.status.Reason, "waits for a node to be chosen")
				})
			},
		},
		{
			"kube-apiserver", "killed, and away for long enough that no operator leads",
			func(t *testing.T, p *place) { p.without(t, "kill", "kube-apiserver"); pause(t, 15*time.Second) },
			func(t *testing.T, p *place) {
				if out, err := p.try("get", "steady"); err == nil {
					t.Errorf("cortex get without an API server = %q, want an error", out)
				}
			},
		},
		{
			"etcd", "slow",
			func(t *testing.T, p *place) {
				t.Cleanup(func() { p.part(t, "start", "etcd") }) // lets it go on
				slowed := make(chan struct{})
				t.Cleanup(func() { <-slowed })
				go func() { defer close(slowed); p.part(t, "slow", "etcd") }()
				pause(t, time.Second)
			},
			func(t *testing.T, p *place) {
				p.deploy(t, api{Name: "patient"})
				p.live(t, "patient")
			},
		},
	} {
		t.Run(strings.ReplaceAll(tt.part+" "+tt.name, " ", "_"), func(t *testing.T) {
			p := newPlace(t)
			before := p.marks(t, "steady")
			l := p.load(t, "steady")
			tt.fault(t, p)
			tt.during(t, p)
			p.part(t, "start", tt.part)
			p.settle(t)
			l.end(0)
			if after := p.marks(t, "steady"); after != before {
				t.Errorf("afterwards steady is\n%s\nwant it unchanged:\n%s", after, before)
			}
			// What the part is for works again.
			p.deploy(t, api{Name: "afterwards"})
			p.live(t, "afterwards")
		})
	}
}

// TestNodeLost takes the kubelet away for longer than Kubernetes waits for it. Nobody
// knows then whether the replica lives, and that is what must be said; what is asked
// of it meanwhile is kept until it is known again.
func TestNodeLost(t *testing.T) {
	p := newPlace(t)
	before := p.marks(t, "steady")
	// Services leave the pods of a lost node out, all at once: the operator that leads
	// is asked itself, and later a gateway.
	if err := p.connect("https://" + p.podOf(t, "app.kubernetes.io/name=operator,cortex.dev/leader=true", "8443")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.connect(p.known.Operator) }) // settle has done so, unless something failed before
	p.without(t, "stop", "kubelet")
	s := p.shows(t, "steady", "is on a lost node", func(s seen) bool {
		return s.status.ReplicaCounts.Unknown == 1 && s.why.Cause != nil && s.why.Cause.Code == "node_lost"
	})
	if s.status.Phase != workload.PhaseUpdating || !strings.Contains(s.why.Cause.Fix, "kubectl describe node cortex") {
		t.Errorf("on a lost node steady shows %s, want phase updating, and to look at the node", s)
	}
	l := callAt(t, "http://"+p.podOf(t, "app.kubernetes.io/name=gateway", "8080")+"/steady", patience)
	pause(t, 5*time.Second)
	p.part(t, "start", "kubelet")
	p.settle(t)
	l.end(0)
	if after := p.marks(t, "steady"); after != before {
		t.Errorf("afterwards steady is\n%s\nwant it unchanged:\n%s", after, before)
	}
}

// podOf is the address of one of our pods itself.
func (p *place) podOf(t *testing.T, selector, port string) string {
	t.Helper()
	pods, err := p.podsOf(system, selector)
	if err == nil && len(pods) == 0 {
		err = errors.New("there is none")
	}
	if err != nil {
		t.Fatalf("finding a pod that is %s: %v", selector, err)
	}
	return net.JoinHostPort(pods[0].Status.PodIP, port)
}

// TestWakeWithoutAPIServer has a request come to an API at zero while nothing can be
// started: it waits, and is answered when that is over.
func TestWakeWithoutAPIServer(t *testing.T) {
	p := newPlace(t)
	p.deploy(t, api{Name: "asleep", Replicas: -1})
	p.shows(t, "asleep", "sleeps", func(s seen) bool { return s.status.Phase == workload.PhaseIdle })
	p.without(t, "kill", "kube-apiserver")
	l := callAt(t, p.apis+"/asleep", patience)
	pause(t, 5*time.Second)
	p.part(t, "start", "kube-apiserver")
	p.live(t, "asleep")
	l.end(0)
}
