package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// tries bounds how often one Apply starts anew because the Deployment was removed
// while it worked.
const tries = 5

// Apply implements engine.Engine. A Deployment that is being deleted is waited for
// as long as ctx and goneWithin allow.
func (e *Engine) Apply(ctx context.Context, d engine.Deployment) error {
	if err := e.mayWrite(); err != nil {
		return err
	}
	if err := runnable(d); err != nil {
		return err
	}
	e.applied.begin(d.Revision.Name)
	after, err := e.apply(ctx, d)
	e.applied.end(d.Revision.Name, after)
	if err != nil {
		return err
	}
	if err := e.budget(ctx, d, after); err != nil {
		return failed(ctx, "applying the PodDisruptionBudget of "+d.Revision.Name, err)
	}
	return e.awaitSight(ctx, after)
}

// apply writes the Deployment of d, and returns it as it is then.
func (e *Engine) apply(ctx context.Context, d engine.Deployment) (*appsv1.Deployment, error) {
	doing := "applying the Deployment of " + d.Revision.Name
	for range tries {
		before, err := e.present(ctx, d.Revision.Name)
		if err != nil {
			return nil, failed(ctx, doing, err)
		}
		if before != nil && !isOurs(before, d.Revision.Name) {
			return nil, inTheWay(before, d.Revision.Name)
		}
		serving, err := e.countServing(ctx, d)
		if err != nil {
			return nil, failed(ctx, doing, err)
		}
		runs, pods := templateRevision(d, before, serving), e.cfg.Pods
		if !samePod(before, runs) {
			pods.PullSecrets = e.pullSecrets(ctx)
		}
		if before != nil && int32(min(d.Replicas, math.MaxInt32)) < replicasOf(before) && d.Replicas > 0 {
			e.spare(ctx, d.Revision.Name)
		}
		after, err := e.write(ctx, deploymentOf(pods, d, runs, before), before)
		if isAnother(err) {
			continue
		}
		if err != nil {
			return nil, failed(ctx, doing, err)
		}
		if what, drifted := e.applied.drift(d.Revision.Name, before, after); drifted {
			e.applied.say(d.Revision.Name, workload.Event{
				Time: e.cfg.Now().UTC(), API: d.Revision.Name, Type: "warning", Reason: reasonDrifted,
				Message: "somebody changed what Cortex manages, and it was put right: " + what,
			})
		}
		return after, nil
	}
	return nil, fault.New(fault.Unavailable, "engine.busy", "%s: it is deleted and created again repeatedly", doing)
}

// pullSecrets are those of the installation, or the one that users of cortex 0.42 have
// if it exists: every pod that names one that does not has a warning.
func (e *Engine) pullSecrets(ctx context.Context) []string {
	if e.cfg.Pods.PullSecrets != nil {
		return e.cfg.Pods.PullSecrets
	}
	if _, err := e.client.CoreV1().Secrets(e.cfg.Pods.Namespace).Get(ctx, defaultPullSecret, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return nil
	}
	return []string{defaultPullSecret} // or it cannot be told
}

// inTheWay refuses to take over what belongs to others.
func inTheWay(d *appsv1.Deployment, name string) error {
	owner := "nobody"
	if c := metav1.GetControllerOf(d); c != nil {
		owner = c.Kind + " " + c.Name
	}
	return fault.New(fault.Conflict, "engine.not_ours", "there is a Deployment %s that Cortex did not make (it belongs to %s), so %s cannot run", d.Name, owner, name).
		WithHint("delete or rename that Deployment, or deploy %s under another name; it is tried again", name)
}

func (e *Engine) mayWrite() error {
	if e.cfg.ReadOnly {
		return readOnly()
	}
	select {
	case <-e.down:
		return stopping()
	default:
		return nil
	}
}

// runnable refuses what cannot run here.
func runnable(d engine.Deployment) error {
	if d.Revision == nil || d.Revision.Pod == nil || len(d.Revision.Pod.Containers) == 0 {
		return fault.New(fault.Invalid, "engine.no_pod", "a deployment without containers cannot run")
	}
	if d.Replicas < 0 {
		return fault.New(fault.Invalid, "engine.negative_replicas", "%d replicas cannot run", d.Replicas)
	}
	if name, ok := runsImages(d.Revision); !ok {
		return fault.New(fault.Invalid, "engine.image_required", "container %s of %s has no image; Kubernetes runs images only", name, d.Revision.Name).
			WithHint("build an image of it, push it, and name it in the container's image")
	}
	return nil
}

// countServing returns how many pods of the serving revision there are. It asks the API
// server: what was seen last may be behind.
func (e *Engine) countServing(ctx context.Context, d engine.Deployment) (int, error) {
	if d.Serving == nil || d.Replicas == 0 {
		return 0, nil
	}
	pods, err := e.client.CoreV1().Pods(e.cfg.Pods.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{
		labelAPI: "true", labelName: d.Serving.Name, labelPodID: d.Serving.PodID, labelDeployment: d.Serving.DeploymentID,
	}.String()})
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range pods.Items {
		if pod := &pods.Items[i]; pod.DeletionTimestamp == nil && !isOver(pod) {
			n++
		}
	}
	return n, nil
}

// goneWithin bounds the wait for a Deployment that is being deleted.
const goneWithin = 20 * time.Second

// present returns the Deployment of a workload, or nil.
func (e *Engine) present(ctx context.Context, name string) (*appsv1.Deployment, error) {
	d, err := e.client.AppsV1().Deployments(e.cfg.Pods.Namespace).Get(ctx, objectName(name), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // there is none, which is no error
	case err != nil:
		return nil, err
	case d.DeletionTimestamp != nil:
		return nil, e.awaitEnd(ctx, d)
	}
	return d, nil
}

// awaitEnd returns when d is gone. What is written to an object that is being
// deleted is accepted and lost.
func (e *Engine) awaitEnd(ctx context.Context, d *appsv1.Deployment) error {
	within, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	w, err := e.streams.AppsV1().Deployments(d.Namespace).Watch(within, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, d.Name).String(), ResourceVersion: d.ResourceVersion,
	})
	if err != nil {
		return err
	}
	defer w.Stop()
	for change := range w.ResultChan() {
		if now, ok := change.Object.(*appsv1.Deployment); !ok || now.UID != d.UID || change.Type == "DELETED" {
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fault.New(fault.Unavailable, "engine.being_removed", "the Deployment %s is still being deleted (finalizers: %v)", d.Name, d.Finalizers).
		WithHint("it is tried again; if that lasts, see who holds it: kubectl get deployment %s -n %s -o yaml", d.Name, d.Namespace)
}

// write applies d. With before it is an error if that is not there any more
// (isAnother).
func (e *Engine) write(ctx context.Context, d, before *appsv1.Deployment) (*appsv1.Deployment, error) {
	if before != nil {
		d.UID = before.UID
	}
	text, err := applyJSON(d)
	if err != nil {
		return nil, err
	}
	force := true
	return e.client.AppsV1().Deployments(d.Namespace).Patch(ctx, d.Name, types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
}

// isAnother reports whether err says that the Deployment which was looked at is not
// there any more: there is none, or another of the same name.
func isAnother(err error) bool {
	var status apierrors.APIStatus
	if apierrors.IsConflict(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return apierrors.IsConflict(err)
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}

// applyJSON writes d without a status, which is not ours to own.
func applyJSON(d *appsv1.Deployment) ([]byte, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("writing the Deployment %s: %w", d.Name, err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, fmt.Errorf("writing the Deployment %s: %w", d.Name, err)
	}
	delete(members, "status")
	return json.Marshal(members)
}

// sightWithin bounds how long Apply waits for its own write to come back.
const sightWithin = 2 * time.Second

// awaitSight returns when statuses are of d or of a later one, so that whoever
// applied something does not read the status of before. It is no error when that
// does not come: what was applied is accepted.
func (e *Engine) awaitSight(ctx context.Context, d *appsv1.Deployment) error {
	select {
	case <-e.synced:
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sightWithin)
	defer cancel()
	name := d.Labels[labelName]
	changed, done := e.listen(name)
	defer done()
	for !e.seen.has(name, d) {
		select {
		case <-changed:
		case <-e.down:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// isAsNew reports whether a, an object of the API server, is b or a later version.
func isAsNew(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order >= 0
}

// Remove implements engine.Engine. It takes the Deployment that belongs to the
// workload's resource, and no other: one of the same name that somebody else made, or
// whose resource was deleted without it, stays.
func (e *Engine) Remove(ctx context.Context, name string) error {
	if err := e.mayWrite(); err != nil {
		return err
	}
	doing := "deleting the Deployment of " + name
	deployments := e.client.AppsV1().Deployments(e.cfg.Pods.Namespace)
	for range tries {
		d, err := deployments.Get(ctx, objectName(name), metav1.GetOptions{})
		if apierrors.IsNotFound(err) || err == nil && !(isOurs(d, name) && !isOrphan(d)) {
			e.applied.forget(name)
			return nil
		}
		if err != nil {
			return failed(ctx, doing, err)
		}
		e.applied.forget(name)
		// In the background: the Deployment is gone at once, so that its name is free
		// for the next, and the pods end with their full grace.
		background := metav1.DeletePropagationBackground
		err = deployments.Delete(ctx, d.Name, metav1.DeleteOptions{
			PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &d.UID, ResourceVersion: &d.ResourceVersion},
		})
		switch {
		case err == nil || apierrors.IsNotFound(err):
			return nil
		case !apierrors.IsConflict(err):
			return failed(ctx, doing, err)
		}
	}
	return fault.New(fault.Unavailable, "engine.busy", "%s: it is changed by others all the time", doing)
}
