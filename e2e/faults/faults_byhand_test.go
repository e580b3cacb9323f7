package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"cortex.dev/cortex/internal/workload"
)

// TestDeletedWithoutOperator deletes an API as kubectl does that waits for what belongs to it,
// while no operator runs. Everything of it goes, as Kubernetes itself knows what belongs.
func TestDeletedWithoutOperator(t *testing.T) {
	r := &repository{place: newPlace(t), t: t, dir: t.TempDir()}
	r.deploy(t, api{Name: "forsaken", Replicas: 2})
	r.live(t, "forsaken")
	r.operators(0)
	t.Cleanup(func() { r.operators(2); r.settle(t) })
	until(t, "no operator runs", func() error {
		pods, err := r.podsOf(system, "app.kubernetes.io/name=operator")
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("there are %d", len(pods))
		}
		return err
	})
	r.kubectl("delete", "realtimeapis.cortex.dev", "forsaken", "--cascade=foreground", "--wait=true", "--timeout=90s")
	until(t, "nothing of it is left", func() error {
		_, err := r.client.AppsV1().Deployments(apis).Get(t.Context(), "api-forsaken", metav1.GetOptions{})
		if err == nil {
			err = errors.New("its Deployment is there")
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		if pods := r.replicas(t, "forsaken"); len(pods) > 0 {
			return fmt.Errorf("it has %d pods", len(pods))
		}
		return nil
	})
}

// TestByHand changes by hand what Cortex manages. It is put right at once, an event says
// what it was, and no request is lost: what ends is drained, and what comes meanwhile
// waits.
func TestByHand(t *testing.T) {
	p := newPlace(t)
	deployments := p.client.AppsV1().Deployments(apis)
	patch := func(kind types.PatchType, text string) func(string) error {
		return func(name string) error {
			_, err := deployments.Patch(t.Context(), "api-"+name, kind, []byte(text), metav1.PatchOptions{FieldManager: "kubectl"})
			return err
		}
	}
	for _, tt := range []struct {
		name, api, says string
		do              func(name string) error
	}{
		// What exactly it was, the engine's own test looks at: here the operator may have
		// been writing at that very moment.
		{"scaled to nothing", "scaled", "it was put right", patch(types.MergePatchType, `{"spec":{"replicas":0}}`)},
		{
			"another image", "imaged", "it was put right",
			patch(types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"server","image":"example.com/other:1"}]}}}}`),
		},
		{"deleted", "deleted", "it was put right", func(name string) error {
			return deployments.Delete(t.Context(), "api-"+name, metav1.DeleteOptions{})
		}},
	} {
		t.Run(tt.api, func(t *testing.T) {
			t.Parallel()
			p.deploy(t, api{Name: tt.api, Replicas: 2})
			p.live(t, tt.api)
			want := imageOf(t, p, tt.api)
			l := callAt(t, p.apis+"/"+tt.api, patience)
			if err := tt.do(tt.api); err != nil {
				t.Fatal(err)
			}
			p.happens(t, tt.api, "Drifted", tt.says)
			p.live(t, tt.api)
			l.end(0)
			if got := imageOf(t, p, tt.api); got != want {
				t.Errorf("afterwards the Deployment of %s asks for %s, want %s", tt.api, got, want)
			}
		})
	}
	t.Run("a pod with our labels", func(t *testing.T) {
		t.Parallel()
		p.deploy(t, api{Name: "copied", Replicas: 1})
		p.live(t, "copied")
		pods := p.client.CoreV1().Pods(apis)
		real := p.replicas(t, "copied")[0]
		impostor := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "impostor", Labels: map[string]string{}, Annotations: real.Annotations},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "server", Image: p.image, ImagePullPolicy: corev1.PullNever, Args: []string{"-host", "0.0.0.0"}}}},
		}
		for key, value := range real.Labels {
			if key != appsv1.DefaultDeploymentUniqueLabelKey { // by that its ReplicaSet would take the pod over, and end it
				impostor.Labels[key] = value
			}
		}
		if _, err := pods.Create(t.Context(), impostor, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pods.Delete(context.Background(), "impostor", metav1.DeleteOptions{}) })
		until(t, "the impostor is ready", func() error {
			pod, err := pods.Get(t.Context(), "impostor", metav1.GetOptions{})
			if err != nil || isReady(pod) {
				return err
			}
			return fmt.Errorf("it is %s", pod.Status.Phase)
		})
		l := callAt(t, p.apis+"/copied", patience)
		s := p.shows(t, "copied", "has one replica", isLive)
		if n := len(s.status.Replicas); n != 1 {
			t.Errorf("copied shows %d replicas, want 1: nobody but the operator makes them", n)
		}
		l.end(0)
	})
	t.Run("a Deployment of somebody else", func(t *testing.T) {
		t.Parallel()
		labels := map[string]string{"app": "theirs"}
		none := int32(0)
		theirs := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "api-taken", Labels: labels}, Spec: appsv1.DeploymentSpec{
			Replicas: &none, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}}},
		}}
		if _, err := deployments.Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		remove := func() error {
			return ignoreGone(deployments.Delete(context.Background(), "api-taken", metav1.DeleteOptions{}))
		}
		t.Cleanup(func() {
			if err := remove(); err != nil {
				t.Errorf("removing the Deployment: %v", err)
			}
		})
		p.deploy(t, api{Name: "taken"})
		p.shows(t, "taken", "says what is in its way", func(s seen) bool {
			return s.status.Phase == workload.PhaseUpdating && s.why.Cause != nil && s.why.Cause.Code == "not_applied" &&
				slices.ContainsFunc(s.why.Cause.Evidence, func(e workload.Evidence) bool { return e.Text != "" })
		})
		p.run(t, "delete", "taken", "--force")
		if _, err := deployments.Get(t.Context(), "api-taken", metav1.GetOptions{}); err != nil {
			t.Errorf("after the API was deleted the Deployment of somebody else reads %v, want it there", err)
		}
		p.deploy(t, api{Name: "taken"})
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		p.live(t, "taken")
	})
}

func imageOf(t *testing.T, p *place, name string) string {
	t.Helper()
	image := ""
	until(t, "there is a Deployment of "+name, func() error {
		d, err := p.client.AppsV1().Deployments(apis).Get(t.Context(), "api-"+name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err != nil {
			return err
		}
		image = d.Spec.Template.Spec.Containers[0].Image
		return nil
	})
	return image
}
