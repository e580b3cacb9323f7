package kube

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/workload"
)

// settle sets the conditions that follow from the rest of a status, Accepted among it,
// and from what has become of the deployed revision. They are for people and for tools
// that know nothing of Cortex: kubectl wait, and the rules of kstatus by which Flux and
// Helm wait. By those a resource with Reconciling is on its way, one with Stalled has
// failed, and one without either and with Ready is done.
func settle(s *status, kind workload.Kind, outcome workload.Outcome) {
	ready := metav1.Condition{Status: metav1.ConditionFalse, Reason: camelCase(s.Phase), Message: s.Reason}
	onItsWay, stuck := false, false
	switch verdict := meta.FindStatusCondition(s.Conditions, crd.Accepted); {
	case verdict == nil: // nobody has looked at the specification
		return
	case verdict.Status == metav1.ConditionFalse:
		ready.Reason, ready.Message = verdict.Reason, verdict.Message
		onItsWay, stuck = s.Waiting, !s.Waiting
	case serves(s, kind, outcome):
		ready.Status = metav1.ConditionTrue
		ready.Message = cmp.Or(ready.Message, "the specification is served")
		if s.Phase == string(workload.PhaseUpdating) { // of its replicas, not of it
			ready.Reason = camelCase(string(workload.PhaseLive))
		}
	default:
		stuck = s.Phase == string(workload.PhaseFailed) || s.Phase == string(workload.PhaseDegraded)
		onItsWay = !stuck
	}
	stand(&s.Conditions, ready, s.ObservedGeneration, onItsWay, stuck)
	if kind.Scales() && s.Deployed != nil {
		scaled := metav1.Condition{
			Type: crd.Scaled, Status: metav1.ConditionTrue, Reason: "Scaled", ObservedGeneration: s.ObservedGeneration,
			Message: fmt.Sprintf("%d of %d replicas ready", s.Ready, s.Requested),
		}
		if s.Ready != s.Requested {
			scaled.Status, scaled.Reason = metav1.ConditionFalse, "Scaling"
		}
		meta.SetStatusCondition(&s.Conditions, scaled)
	}
}

// stand sets Ready, and of Reconciling and Stalled the one that holds; the other goes.
func stand(conditions *[]metav1.Condition, ready metav1.Condition, generation int64, onItsWay, stuck bool) {
	ready.Type, ready.ObservedGeneration = crd.Ready, generation
	meta.SetStatusCondition(conditions, ready)
	ready.Status = metav1.ConditionTrue
	for condition, holds := range map[string]bool{crd.Reconciling: onItsWay, crd.Stalled: stuck} {
		if ready.Type = condition; holds {
			meta.SetStatusCondition(conditions, ready)
		} else {
			meta.RemoveStatusCondition(conditions, condition)
		}
	}
}

// serves reports whether the specification that was accepted last answers requests, or
// will on the first one. How many replicas do is no part of it: more that are started
// for more load are no outage.
func serves(s *status, kind workload.Kind, outcome workload.Outcome) bool {
	switch workload.Phase(s.Phase) {
	case workload.PhaseIdle, workload.PhaseLive:
		return true
	case workload.PhaseStopped: // as somebody wants it: nothing is missing, and nobody is to wait
		return true
	case workload.PhaseUpdating:
		return outcome.WasLive() && s.UpToDate > 0
	}
	return false
}
