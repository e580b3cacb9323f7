package kube

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
	markEvery  = 10 * time.Second // a label that somebody removed comes back
	markAgain  = 500 * time.Millisecond
	markWithin = 2 * time.Second
)

// mark says in the labels of this replica's pod whether it is the one that answers.
// Every replica that could take over is ready, so that a rollout waits for it and a
// disruption budget counts it; the label is what tells the one that leads.
type mark struct {
	pods typedcorev1.PodInterface
	pod  string
	log  *slog.Logger
}

// set writes the label, or takes it away. A program that is no pod needs none: no
// service could select it.
func (m mark) set(ctx context.Context, answers bool) error {
	ctx, cancel := context.WithTimeout(ctx, markWithin)
	defer cancel()
	value := "null" // takes a key away, in a merge patch
	if answers {
		value = `"true"`
	}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, leaderLabel, value)
	_, err := m.pods.Patch(ctx, m.pod, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("labelling the pod %s: %w", m.pod, err)
	}
	return nil
}

// clear takes the label away, and waits for an API server that does not answer until
// ctx ends: a program that ended instead would be started again ever more slowly, and
// be late when the API server is back. What it may not do it reports at once.
func (m mark) clear(ctx context.Context) error {
	for {
		err := m.set(ctx, false)
		if err == nil || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return err
		}
		m.log.Warn("will try again", "error", err)
		select {
		case <-time.After(markAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run keeps the label until ctx ends, takes it away then, and returns ctx's error.
func (m mark) run(ctx context.Context) error {
	said := false
	for {
		next := markEvery
		if err := m.set(ctx, true); err != nil && ctx.Err() == nil {
			next = markAgain
			if !said {
				m.log.Warn("services may not find this replica yet", "error", err)
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
		if err := m.set(context.WithoutCancel(ctx), false); err != nil {
			m.log.Warn("services may send requests here until this replica has ended", "error", err)
		}
		return ctx.Err()
	}
}
