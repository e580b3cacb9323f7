package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// The layers of an explanation, in the order in which they are looked at. Traffic
// is always told: a broken update may well leave an earlier version answering.
const (
	layerSpec = iota
	layerEngine
	layerProcess
	layerPort
	layerProbe
	layerTraffic
)

var layerNames = [...]string{"spec", "engine", "process", "port", "probe", "traffic"}

// Codes of the reasons that are given here; the others are the engine's.
const (
	codeNotApplied = "not_applied"
	codeStarting   = "starting"
	codeTarget     = "target_not_serving"
	codeStopped    = "stopped"
)

// layerOfCode is the layer at which a reason of the engine belongs.
var layerOfCode = map[string]int{
	"docker_unavailable": layerEngine, "processes_unavailable": layerEngine,
	"image_pull": layerEngine, "image_not_found": layerEngine, "devices_unavailable": layerEngine,
	"state_dir_unwritable": layerEngine, "disk_full": layerEngine,
	codeNotApplied: layerEngine, engine.CodeVolume: layerEngine,
	"missing_executable": layerProcess, "not_executable": layerProcess, "bad_working_directory": layerProcess,
	engine.CodeStartFailed: layerProcess, "crash_loop": layerProcess, "exited": layerProcess,
	"killed": layerProcess, "oom_killed": layerProcess,
	"port_in_use": layerPort, "never_listened": layerPort,
	"probe_failing": layerProbe, "liveness_failing": layerProbe,
}

// layerOf is the layer of a reason; one that is not known is placed by the state
// of the replica that gave it.
func layerOf(r *workload.Reason, state workload.ReplicaState) int {
	if layer, ok := layerOfCode[r.Code]; ok {
		return layer
	}
	switch state {
	case workload.Pending, workload.Stalled, workload.ErrImagePull:
		return layerEngine
	case workload.NotReady:
		return layerProbe
	default:
		return layerProcess
	}
}

// Explain walks from the file to the probe and says what is wrong first.
func (o *Operator) Explain(ctx context.Context, name string) (workload.Explanation, error) {
	w, err := o.store.Get(ctx, name)
	if err != nil {
		return o.explainRefused(name, err)
	}
	e, err := o.explainDeployed(ctx, w)
	if r, ok := o.refusals()[name]; ok && err == nil {
		sayRefused(&e, r)
	}
	return e, err
}

func (o *Operator) explainDeployed(ctx context.Context, w store.Workload) (workload.Explanation, error) {
	if w.Revision.Kind == workload.Splitter {
		targets, err := o.targets(ctx, w.Revision.APIs)
		if err != nil {
			return workload.Explanation{}, err
		}
		return explainSplitter(w, targets, o.reached(w.Revision), o.now()), nil
	}
	if hasJobs(w.Revision.Kind) && o.runJobs != nil {
		list, err := o.runJobs.List(ctx, workload.JobQuery{API: w.Name()})
		return explainJobs(w, list, o.reached(w.Revision), o.now()), err
	}
	es, err := o.engineStatus(ctx, w)
	if err != nil {
		return workload.Explanation{}, err
	}
	e := explain(w, es, o.cache.why(w.Name()), o.reached(w.Revision), o.now())
	if w.Stopped == nil && o.codeChanged(w.Revision) {
		sayChanged(&e, w.Revision)
	}
	if a := w.Revision.Autoscaling; a != nil && w.Stopped == nil {
		if least, floor := a.Least(o.now()); floor != nil {
			e.Steps[layerSpec].Detail += fmt.Sprintf("; the floor %s holds at least %s", floor, count(least, "replica"))
		}
	}
	if w.Revision.Kind == workload.Async && o.items != nil {
		last := &e.Steps[len(e.Steps)-1] // traffic, or where a start has come to
		last.Detail += "; " + waiting(o.items.Waiting(w.Name()), o.now())
	}
	return e, nil
}

// waiting is what an AsyncAPI has to do, in words.
func waiting(w workload.Waiting, now time.Time) string {
	text := count(w.Queued, "item") + " queued"
	if !w.Oldest.IsZero() {
		text += fmt.Sprintf(", the oldest for %s", max(now.Sub(w.Oldest), 0).Round(time.Second))
	}
	text += fmt.Sprintf(", %d running", w.Running)
	if w.Idle > 0 {
		text += fmt.Sprintf("; %d of the queued are idle: they start no replica, and wait for one that has nothing else to do", w.Idle)
	}
	if w.Limited > 0 {
		text += fmt.Sprintf("; %d of the queued wait because their callers have as many executed as async.concurrency.per_caller allows", w.Limited)
	}
	return text
}

// sayChanged adds to an explanation that the folder holds other code: whoever has mended
// it there may be waiting for that to help.
func sayChanged(e *workload.Explanation, r *workload.Revision) {
	e.Steps[layerSpec].Detail += "; " + changedSince(r)
	if e.Cause != nil && e.Cause.Fix != "" {
		cause := *e.Cause
		cause.Fix += fmt.Sprintf("; if it is mended in %s, take that: cortex refresh %s", r.Directory, r.Name)
		e.Cause = &cause
	}
}

// explain is the explanation of a workload with replicas: a pure function of its
// record, of the engine's status (nil: not known to the engine) and of what stood in
// the way when the engine was last asked (nil: nothing).
func explain(w store.Workload, es *engine.Status, trouble error, endpoint string, at time.Time) workload.Explanation {
	s := statusOf(w, es)
	e := workload.Explanation{Name: w.Name(), Kind: w.Revision.Kind, At: at.UTC(), Steps: []workload.Step{}}
	cause, layer, pending := causeOf(w, es, trouble, s, at)
	e.Cause, e.Healthy = cause, cause == nil
	for l := range layerTraffic {
		switch {
		case cause != nil && l == layer:
			e.Steps = append(e.Steps, workload.Step{Layer: layerNames[l], Detail: cause.Message, Pending: pending})
		case cause == nil || l < layer:
			e.Steps = append(e.Steps, workload.Step{Layer: layerNames[l], OK: true, Detail: fineDetail(l, w, es, s, at)})
		}
	}
	e.Steps = append(e.Steps, traffic(w, s, endpoint))
	e.Summary = summary(w, s, cause)
	if s.Warning != "" {
		e.Summary += " But " + s.Warning + "."
	}
	return e
}

// causeOf returns what keeps the current revision from being ready, and its layer;
// nil when nothing does. Pending says that waiting may be all that it takes. Among
// several replicas the earliest layer speaks: what does not run cannot listen.
func causeOf(w store.Workload, es *engine.Status, trouble error, s *workload.Status, at time.Time) (cause *workload.Reason, layer int, pending bool) {
	switch {
	case w.Stopped != nil:
		return &workload.Reason{Code: codeStopped, Message: "it is " + w.Stopped.String(), Fix: startAgain(w.Name())}, layerSpec, false
	case s.Phase == workload.PhaseLive || s.Phase == workload.PhaseIdle:
		return nil, 0, false
	case failureOf(w, es, s) != nil:
		failure := failureOf(w, es, s)
		return withWayBack(w, failure), layerOf(failure, workload.Failed), false
	case es == nil || es.Revision != w.Revision.ID:
		return notApplied(trouble), layerEngine, trouble == nil
	}
	layer = layerTraffic
	for _, r := range replicasOf(w, es) {
		if !r.UpToDate || r.Reason == nil || r.State == workload.Ready || r.State == workload.Terminating || r.Reason.Code == codeStarting {
			continue
		}
		if l := layerOf(r.Reason, r.State); l < layer {
			layer = l
			cause, pending = r.Reason, false
			if !w.Outcome.WasLive() {
				cause, pending = stillLoading(r, at)
			}
		}
	}
	switch {
	case cause != nil:
		return cause, layer, pending
	case es.Shortage != nil:
		return es.Shortage, layerEngine, false
	}
	running := 0
	for _, r := range replicasOf(w, es) {
		if r.UpToDate && (r.State == workload.NotReady || r.State == workload.Ready) {
			running++
		}
	}
	starting := &workload.Reason{
		Code:    codeStarting,
		Message: fmt.Sprintf("%d of %s ready, the others are being started", s.UpToDate, count(w.Replicas, "replica")),
		Fix:     "nothing: wait until they are ready",
	}
	if isTrial(w) {
		starting.Message = "one replica is being started to prove that this version can become ready"
		starting.Fix = "nothing: wait until it is ready"
	}
	if running >= max(w.Replicas, 1) {
		return starting, layerProbe, true
	}
	return starting, layerProcess, true
}

// stillLoading is the reason of a replica that does not answer, with its age where that
// may be all there is to it: large models take minutes.
func stillLoading(r workload.Replica, at time.Time) (*workload.Reason, bool) {
	silent := r.Reason.Code == engine.CodeNeverListened || r.Reason.Code == engine.CodeProbe
	if r.State != workload.NotReady || !silent || slices.ContainsFunc(r.Reason.Evidence, func(e workload.Evidence) bool { return e.Kind == "port" }) {
		return r.Reason, false
	}
	reason := *r.Reason
	reason.Message += fmt.Sprintf("; it was started %s ago and may still be loading", max(0, at.Sub(r.Since)).Round(time.Second))
	return &reason, true
}

// withWayBack adds to what to do about an update that failed that one can go back.
func withWayBack(w store.Workload, failure *workload.Reason) *workload.Reason {
	if w.Serving == nil {
		return failure
	}
	r := *failure
	if r.Fix != "" {
		r.Fix += "; or "
	}
	r.Fix += fmt.Sprintf("go back to %s, which was live: cortex rollback %s", version(w.Serving), w.Name())
	return &r
}

// notApplied says why the engine does not have the newest version yet.
func notApplied(trouble error) *workload.Reason {
	r := &workload.Reason{
		Code: codeNotApplied, Message: "this version is not being started yet",
		Fix: "nothing: it takes a moment; when it lasts, look at the log of the daemon",
	}
	if trouble != nil {
		r.Message = "this version cannot be started yet; it is tried again: " + trouble.Error()
		r.Evidence = []workload.Evidence{{Kind: "engine", Text: trouble.Error()}}
		if hint := fault.From(trouble).Hint; hint != "" {
			r.Fix = hint
		}
	}
	return r
}

// fineDetail says what was found at a layer that is in order.
func fineDetail(layer int, w store.Workload, es *engine.Status, s *workload.Status, at time.Time) string {
	r := w.Revision
	switch layer {
	case layerSpec:
		age := at.Sub(r.LastUpdated).Round(time.Second)
		return fmt.Sprintf("version %s from %s, deployed %v ago, asks for %s", r.ID, r.FileName, max(0, age), count(w.Replicas, "replica"))
	case layerEngine:
		if es == nil {
			return "nothing runs, and nothing is asked for"
		}
		now, before := 0, 0
		for _, r := range replicasOf(w, es) {
			if r.UpToDate {
				now++
			} else {
				before++
			}
		}
		if before > 0 {
			return fmt.Sprintf("has %s of this version and %d of earlier ones", count(now, "replica"), before)
		}
		return fmt.Sprintf("has %s of this version", count(now, "replica"))
	case layerProcess:
		if w.Replicas == 0 && !isTrial(w) {
			return "nothing runs, as nothing is asked for"
		}
		return "the containers run"
	case layerPort:
		if list := addresses(w, es); len(list) > 0 {
			return "listening on " + strings.Join(list, ", ")
		}
		return "nothing has to listen"
	default:
		if w.Replicas == 0 {
			return "nothing to ask"
		}
		return fmt.Sprintf("%d of %s ready", s.UpToDate, count(w.Replicas, "replica"))
	}
}

// shownAddresses bounds how many addresses an explanation lists.
const shownAddresses = 5

func addresses(w store.Workload, es *engine.Status) []string {
	var list []string
	for _, r := range replicasOf(w, es) {
		if r.UpToDate && r.Address != "" && r.State != workload.Terminating {
			list = append(list, r.Address)
		}
	}
	if len(list) > shownAddresses {
		list = append(list[:shownAddresses], fmt.Sprintf("and %d more", len(list)-shownAddresses))
	}
	return list
}

func traffic(w store.Workload, s *workload.Status, endpoint string) workload.Step {
	step := workload.Step{Layer: layerNames[layerTraffic], OK: true}
	old := s.Ready - s.UpToDate
	switch {
	case s.Phase == workload.PhaseStopped:
		step.OK, step.Detail = false, endpoint+": requests are refused with 503 (stopped)"
	case s.UpToDate > 0 && old > 0:
		step.Detail = fmt.Sprintf("%s: answered by %d of this version and %d of an earlier one", endpoint, s.UpToDate, old)
	case s.UpToDate > 0:
		step.Detail = fmt.Sprintf("%s: answered by %s", endpoint, count(s.UpToDate, "replica"))
	case old > 0:
		step.Detail = fmt.Sprintf("%s: still answered by %s of an earlier version", endpoint, count(old, "replica"))
	case s.Phase == workload.PhaseIdle:
		step.Detail = endpoint + ": the first request starts a replica and waits for it"
	case s.Phase == workload.PhaseDegraded && w.Replicas == 0:
		step.Detail = fmt.Sprintf("%s: the first request starts a replica of %s and waits for it", endpoint, version(w.Serving))
	default:
		step.OK, step.Detail = false, endpoint+": no replica answers; requests wait for one"
	}
	return step
}

func summary(w store.Workload, s *workload.Status, cause *workload.Reason) string {
	name := w.Name()
	switch {
	case s.Phase == workload.PhaseStopped:
		return fmt.Sprintf("%s is %s.", name, w.Stopped)
	case s.Phase == workload.PhaseIdle:
		return name + " is scaled to zero on purpose; the first request starts a replica."
	case cause == nil:
		return fmt.Sprintf("%s is live: %d of %s ready.", name, s.UpToDate, count(w.Replicas, "replica"))
	case s.Phase == workload.PhaseDegraded:
		return fmt.Sprintf("%s could not be updated, and an earlier version serves: %s.", name, strings.TrimSuffix(cause.Message, "."))
	case s.Phase == workload.PhaseFailed:
		return fmt.Sprintf("%s has failed: %s.", name, strings.TrimSuffix(cause.Message, "."))
	default:
		return fmt.Sprintf("%s is not ready yet: %s.", name, strings.TrimSuffix(cause.Message, "."))
	}
}
