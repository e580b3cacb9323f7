package operator

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// target is what is known of one target of a splitter; status is nil when it is
// not deployed.
type target struct {
	workload.Target
	status *workload.Status
}

func (o *Operator) targets(ctx context.Context, list []workload.Target) ([]target, error) {
	targets := make([]target, 0, len(list))
	for _, t := range list {
		w, err := o.store.Get(ctx, t.Name)
		if fault.Is(err, fault.NotFound) {
			targets = append(targets, target{Target: t})
			continue
		}
		if err != nil {
			return nil, err
		}
		es, err := o.engineStatus(ctx, w)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target{Target: t, status: statusOf(w, es)})
	}
	return targets, nil
}

// explainSplitter is healthy when every target that gets requests can answer them,
// now or after it was woken.
func explainSplitter(w store.Workload, targets []target, endpoint string, at time.Time) workload.Explanation {
	e := workload.Explanation{Name: w.Name(), Kind: w.Revision.Kind, At: at.UTC()}
	var shares []string
	for _, t := range targets {
		shares = append(shares, share(t.Target))
	}
	e.Steps = []workload.Step{{
		Layer: layerNames[layerSpec], OK: true,
		Detail: fmt.Sprintf("version %s from %s: %s", w.Revision.ID, w.Revision.FileName, strings.Join(shares, ", ")),
	}}
	for _, t := range targets {
		ok, words := serves(t.status)
		e.Steps = append(e.Steps, workload.Step{Layer: layerNames[layerTraffic], OK: ok, Detail: fmt.Sprintf("%s: %s", share(t.Target), words)})
		if ok || e.Cause != nil || t.Weight == 0 {
			continue
		}
		e.Cause = &workload.Reason{
			Code: codeTarget, Message: fmt.Sprintf("%s %s", t.Name, words),
			Evidence: []workload.Evidence{{Kind: "engine", Text: share(t.Target)}},
			Fix:      fmt.Sprintf("cortex explain %s says why, and what to do", t.Name),
		}
		switch {
		case t.status != nil && t.status.Stopped != nil:
			e.Cause.Fix = fmt.Sprintf("%s; or deploy %s without it", startAgain(t.Name), w.Name())
		case t.status == nil:
			e.Cause.Fix = fmt.Sprintf("deploy %s again, or deploy %s without it", t.Name, w.Name())
		}
	}
	e.Healthy = e.Cause == nil
	e.Summary = fmt.Sprintf("%s divides the requests to %s among %s that can all answer.", w.Name(), endpoint, count(len(targets), "API"))
	if !e.Healthy {
		e.Summary = fmt.Sprintf("%s sends requests where none is answered: %s.", w.Name(), strings.TrimSuffix(e.Cause.Message, "."))
	}
	return e
}

func share(t workload.Target) string {
	if t.Shadow {
		return fmt.Sprintf("a copy of %d%% to %s", t.Weight, t.Name)
	}
	return fmt.Sprintf("%d%% to %s", t.Weight, t.Name)
}

// serves says in words whether a target answers requests.
func serves(s *workload.Status) (bool, string) {
	switch {
	case s == nil:
		return false, "is not deployed"
	case s.Stopped != nil:
		return false, "is " + s.Stopped.String()
	case s.Phase == workload.PhaseFailed:
		return false, "has failed: " + s.Reason
	case s.Phase == workload.PhaseDegraded:
		return true, "could not be updated: " + s.Reason
	case s.Ready > 0:
		return true, fmt.Sprintf("is %s, %s ready", s.Phase, count(s.Ready, "replica"))
	case s.Phase == workload.PhaseIdle:
		return true, "is at zero; the first request starts a replica"
	default:
		return false, fmt.Sprintf("is %s: %s", s.Phase, s.Reason)
	}
}
