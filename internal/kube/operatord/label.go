package operatord

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// leaderLabel is what the operator's services select: the pod that answers.
const leaderLabel = "cortex.dev/leader"

const (
	labelEvery  = 10 * time.Second // a label that somebody removed comes back
	labelAgain  = 500 * time.Millisecond
	labelWithin = 2 * time.Second
)

// podLabel says in the labels of this replica's pod whether it is the one that answers.
// Every replica that could take over is ready, so that a rollout waits for it and a
// disruption budget counts it; the label is what tells the one that leads.
type podLabel struct {
	pods typedcorev1.PodInterface
	pod  string
	log  *slog.Logger
}

// set writes the label, or takes it away. A program that is no pod needs none: no
// service could select it.
func (l podLabel) set(ctx context.Context, answers bool) error {
	ctx, cancel := context.WithTimeout(ctx, labelWithin)
	defer cancel()
	value := "null" // takes a key away, in a merge patch
	if answers {
		value = `"true"`
	}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, leaderLabel, value)
	_, err := l.pods.Patch(ctx, l.pod, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("labelling the pod %s: %w", l.pod, err)
	}
	return nil
}

// clear takes the label away, and waits for an API server that does not answer until
// ctx ends: a program that ended instead would be started again ever more slowly, and
// be late when the API server is back. What it may not do it reports at once.
func (l podLabel) clear(ctx context.Context) error {
	for {
		err := l.set(ctx, false)
		if err == nil || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return err
		}
		l.log.Warn("will try again", "error", err)
		select {
		case <-time.After(labelAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run keeps the label until ctx ends, takes it away then, and returns ctx's error.
func (l podLabel) run(ctx context.Context) error {
	said := false
	for {
		next := labelEvery
		if err := l.set(ctx, true); err != nil && ctx.Err() == nil {
			next = labelAgain
			if !said {
				l.log.Warn("services may not find this replica yet", "error", err)
			}
			said = true
		} else {
			said = false
		}
		select {
		case <-time.After(next):
			continue
		case <-ctx.Done():
		}
		if err := l.set(context.WithoutCancel(ctx), false); err != nil {
			l.log.Warn("services may send requests here until this replica has ended", "error", err)
		}
		return ctx.Err()
	}
}
