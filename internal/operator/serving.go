package operator

import (
	"context"
	"fmt"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// supersede makes next the wanted revision of w. What was live before it stays the
// serving one until next is live, however many are deployed in between.
func supersede(w *store.Workload, next *workload.Revision, cause string, unproven bool, now time.Time) {
	was := w.Revision
	w.Revision, w.Cause, w.Unproven = next, cause, unproven
	switch {
	case !next.Kind.Scales():
		w.Outcome, w.Serving = workload.BecameLive(now), nil
		return
	case next.SamePod(was): // what runs is what ran, and so is what becomes of it
		if w.Outcome.WasLive() {
			w.Outcome = workload.BecameLive(now)
		}
		return
	case wasLive(was, w.Outcome):
		w.Serving = was
	}
	w.Outcome = workload.Outcome{}
	if w.Serving != nil && next.SamePod(w.Serving) {
		w.Outcome, w.Serving = workload.BecameLive(now), nil
	}
}

// wasLive reports whether a revision was ever live. One of a version of Cortex that
// did not write that down is taken to have been, as most are.
func wasLive(r *workload.Revision, o workload.Outcome) bool {
	return o.WasLive() || r.Number == 0 && !o.IsKnown()
}

// isTrial reports whether one replica of a workload at zero is to prove that the
// wanted revision can become ready: otherwise the first request would find out.
func isTrial(w store.Workload) bool {
	return w.Revision.Kind.Scales() && w.Replicas == 0 && w.Stopped == nil && !w.Unproven && !w.Outcome.IsKnown() && w.Revision.Number > 0
}

// deploymentOf is what the engine is to make of a record.
func deploymentOf(w store.Workload) engine.Deployment {
	d := engine.Deployment{Revision: w.Revision, Replicas: w.Replicas, Serving: w.Serving, Trial: isTrial(w), Owner: w.Owner}
	if w.Outcome.HasFailed() {
		d.Failed = w.Outcome.Failed
	}
	return d
}

// outcomeOf returns what has become of the wanted revision, and whether that is
// news to the record. It is live once it serves alone, and has failed once it cannot
// become ready; one that recovers later is live then.
func outcomeOf(w store.Workload, es *engine.Status, now time.Time) (workload.Outcome, bool) {
	if es == nil || es.Removed || es.Revision != w.Revision.ID || w.Outcome.WasLive() {
		return w.Outcome, false
	}
	s := statusOf(w, es)
	switch {
	case s.UpToDate > 0 && s.Ready == s.UpToDate:
		return workload.BecameLive(now), true
	case es.Failed != nil && w.Outcome.Failed == nil:
		return workload.Outcome{Failed: es.Failed, FailedAt: now.UTC()}, true
	}
	return w.Outcome, false
}

// hasNews reports whether a status of the engine asks for work: something has become
// of the wanted revision, somebody else changed what runs, or an engine that is under
// way from one revision to the next may have its next step to take.
func (o *Operator) hasNews(es engine.Status) bool {
	w, ok, _ := o.cache.want(es.Name)
	if !ok {
		return false
	}
	if es.Drifted {
		return true
	}
	_, news := outcomeOf(w, &es, o.now())
	return news || w.Serving != nil
}

// note writes down what has become of the wanted revision, if that is news.
func (o *Operator) note(ctx context.Context, name string) error {
	w, ok, _ := o.cache.want(name)
	es := o.cache.status(name)
	if !ok || !w.Revision.Kind.Scales() {
		return nil
	}
	if _, news := outcomeOf(w, es, o.now()); !news {
		return nil
	}
	before, after, err := o.mutate(ctx, name, func(w *store.Workload) (bool, error) {
		return learn(w, es, o.now()), nil
	})
	if err == nil && isTrial(before) && after.Outcome.WasLive() {
		o.record(ctx, after.Revision.Subject(), normal, "Live", "1 replica ready: this version has proven itself")
	}
	return err
}

// learn writes into w what has become of its revision, and reports whether that is news.
func learn(w *store.Workload, es *engine.Status, now time.Time) bool {
	outcome, news := outcomeOf(*w, es, now)
	if !news {
		return false
	}
	if isTrial(*w) && outcome.WasLive() {
		w.Replicas = 1 // until the autoscaler finds that nobody asks for it
	}
	if w.Outcome = outcome; outcome.WasLive() {
		w.Serving, w.Unproven = nil, false
	}
	return true
}

// failureOf returns why the wanted revision cannot become ready; nil when that is not
// so, or not known.
func failureOf(w store.Workload, es *engine.Status, s *workload.Status) *workload.Reason {
	switch {
	case es != nil && es.Revision == w.Revision.ID && es.Failed != nil:
		return es.Failed
	case w.Outcome.HasFailed() && s.UpToDate == 0:
		return w.Outcome.Failed // also when nothing of it is left that tries
	}
	return nil
}

// fallsBack says in words that an earlier version serves, or will on the first
// request, in place of one that has failed; ok is false when none does.
func fallsBack(w store.Workload, es *engine.Status, s *workload.Status) (words string, ok bool) {
	switch old := s.Ready - s.UpToDate; {
	case old > 0:
		return stillAnswers(old), true
	case w.Serving == nil:
		return "", false
	case w.Replicas == 0:
		return fmt.Sprintf("; %s answers requests, the first of which starts a replica", version(w.Serving)), true
	}
	for _, r := range replicasOf(w, es) {
		if !r.UpToDate && hasFailed(r.State) {
			return "", false
		}
	}
	return fmt.Sprintf("; %s is being started to answer requests", version(w.Serving)), true
}

// version is how a revision is called: v12.
func version(r *workload.Revision) string {
	if r.Number == 0 {
		return r.ID
	}
	return fmt.Sprintf("v%d", r.Number)
}
