package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// leaders are the operators that say of themselves that they answer.
func (p *place) leaders() ([]corev1.Pod, error) {
	return p.podsOf(system, "app.kubernetes.io/name=operator,cortex.dev/leader=true")
}

// leader waits until one operator leads, and it is not the given one.
func (p *place) leader(t *testing.T, other string) corev1.Pod {
	t.Helper()
	var leader corev1.Pod
	until(t, "one operator leads", func() error {
		list, err := p.leaders()
		if err != nil {
			return err
		}
		if len(list) != 1 || !isReady(&list[0]) {
			return fmt.Errorf("%d operators lead", len(list))
		}
		lease, err := p.lease(t.Context())
		if err != nil {
			return err
		}
		if leader = list[0]; leader.Name == other || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != leader.Name {
			return fmt.Errorf("%s answers, and the lease is %v's", leader.Name, lease.Spec.HolderIdentity)
		}
		return nil
	})
	return leader
}

func (p *place) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	return p.client.CoordinationV1().Leases(system).Get(ctx, "cortex-operator", metav1.GetOptions{})
}

// TestLeaderIsKilled ends the operator that leads, without a word, in the middle of a
// deploy. What was accepted is carried out once.
func TestLeaderIsKilled(t *testing.T) {
	p := newPlace(t)
	before := p.marks(t, "steady")
	l := p.load(t, "steady")
	leader := p.leader(t, "")
	p.deploy(t, api{Name: "accepted"})
	killContainer(t, &leader)
	p.live(t, "accepted")
	if history := p.versions(t, "accepted"); history != 1 {
		t.Errorf("accepted has %d versions, want 1: it was deployed once", history)
	}
	p.leader(t, "")
	p.settle(t)
	l.end(0)
	if after := p.marks(t, "steady"); after != before {
		t.Errorf("afterwards steady is\n%s\nwant it unchanged:\n%s", after, before)
	}
}

// TestTwoFightForTheLease takes the lease away from the operator that leads, and keeps
// it for some time, as another one would that believes to be it. The first must stop
// and not come back by itself; when the thief is gone one leads again.
func TestTwoFightForTheLease(t *testing.T) {
	p := newPlace(t)
	before := p.marks(t, "steady")
	l := p.load(t, "steady")
	leader := p.leader(t, "")
	restarts := leader.Status.ContainerStatuses[0].RestartCount
	p.deploy(t, api{Name: "fought-over", Replicas: 2})
	p.steal(t)
	until(t, "nobody leads", func() error {
		list, err := p.leaders()
		if err != nil {
			return err
		}
		p.steal(t)
		for _, pod := range list {
			if isReady(&pod) && pod.Status.ContainerStatuses[0].RestartCount == restarts {
				return fmt.Errorf("%s still answers", pod.Name)
			}
		}
		return nil
	})
	if out, err := p.try("get", "steady"); err == nil {
		t.Errorf("cortex get while nobody leads = %q, want an error", out)
	}
	p.leader(t, "")
	p.live(t, "fought-over")
	if history := p.versions(t, "fought-over"); history != 1 {
		t.Errorf("fought-over has %d versions, want 1: it was deployed once", history)
	}
	p.settle(t)
	l.end(0)
	if after := p.marks(t, "steady"); after != before {
		t.Errorf("afterwards steady is\n%s\nwant it unchanged:\n%s", after, before)
	}
}

// steal makes the lease somebody else's, as of now.
func (p *place) steal(t *testing.T) {
	t.Helper()
	until(t, "the lease is stolen", func() error {
		lease, err := p.lease(t.Context())
		if err != nil {
			return err
		}
		thief, now := "thief", metav1.NewMicroTime(time.Now())
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != thief {
			lease.Spec.AcquireTime = &now
		}
		lease.Spec.HolderIdentity, lease.Spec.RenewTime = &thief, &now
		_, err = p.client.CoordinationV1().Leases(system).Update(t.Context(), lease, metav1.UpdateOptions{})
		return err
	})
}

// versions is how often an API was deployed.
func (p *place) versions(t *testing.T, name string) int {
	t.Helper()
	var list []struct {
		ID string `json:"api_id"`
	}
	until(t, "reading the history of "+name, func() error {
		out, err := p.try("history", name, "-o", "json")
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(out), &list)
	})
	return len(list)
}

// TestBrokenPolicy rolls operators out that cannot read their policy, past every check of
// an upgrade: none of them becomes ready, so the ones before go on, and an upgrade
// repairs it.
func TestBrokenPolicy(t *testing.T) {
	p := newPlace(t)
	l := p.load(t, "steady")
	t.Cleanup(func() { p.upgrade(t, p.cortex, "--set", "policy=") })
	p.upgrade(t, p.cortex, "--set", "policy=permit(principal\\, action\\, resource);")
	p.settle(t)
	leader := p.leader(t, "")
	ctx := t.Context()
	broken := []byte(`{"data":{"policy.cedar":"permit(nobody knows);"}}`)
	if _, err := p.client.CoreV1().ConfigMaps(system).Patch(ctx, "cortex-policy", types.MergePatchType, broken, metav1.PatchOptions{FieldManager: "kubectl"}); err != nil {
		t.Fatal(err)
	}
	restart := []byte(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
	if _, err := p.client.AppsV1().Deployments(system).Patch(ctx, "cortex-operator", types.StrategicMergePatchType, restart, metav1.PatchOptions{FieldManager: "kubectl"}); err != nil {
		t.Fatal(err)
	}
	until(t, "the new operator says what is wrong", func() error {
		pods, err := p.podsOf(system, "app.kubernetes.io/name=operator")
		if err != nil {
			return err
		}
		for i := range pods {
			for _, c := range pods[i].Status.ContainerStatuses {
				if ended := c.LastTerminationState.Terminated; ended != nil && strings.Contains(ended.Message, "policy") {
					if isReady(&pods[i]) {
						t.Errorf("%s is ready with a policy that does not parse", pods[i].Name)
					}
					return nil
				}
			}
		}
		return fmt.Errorf("none of %d does", len(pods))
	})
	if now := p.leader(t, ""); now.Name != leader.Name {
		t.Errorf("%s leads, want still %s", now.Name, leader.Name)
	}
	p.run(t, "get", "steady")
	p.upgrade(t, p.cortex, "--set", "policy=permit(principal\\, action\\, resource);")
	p.settle(t)
	l.end(0)
}
