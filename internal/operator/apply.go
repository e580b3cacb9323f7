package operator

import (
	"context"
	"reflect"
	"strings"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// plannedChange is a revision on its way to be the current one.
type plannedChange struct {
	name   string
	next   *workload.Revision
	cause  string
	event  string // that it leaves behind when it replaces another
	force  bool   // replace an update that is under way
	dryRun bool
	// unproven leaves it to the first request to find out whether next can become ready.
	unproven bool
	// again takes the code anew, to try once more what has failed: who deploys it asks
	// whether it works now. Nil: it tries on by itself only.
	again func() (*workload.Code, error)
}

// apply makes c the current revision, unless it is already. The caller holds
// o.changes, so only Scale and Wake can get in between.
func (o *Operator) apply(ctx context.Context, c plannedChange, was *store.Workload) (workload.DeployResult, error) {
	spec := &c.next.Spec
	if was == nil {
		return o.create(ctx, c)
	}
	es, err := o.engineStatus(ctx, *was)
	if err != nil {
		return workload.DeployResult{}, err
	}
	updating := isUpdating(*was, es)
	if c.again != nil && !spec.Stopped && c.next.SamePod(was.Revision) && failureOf(*was, es, statusOf(*was, es)) != nil {
		return o.tryAgain(ctx, c, *was, es)
	}
	if c.next.SpecID == was.Revision.SpecID {
		if spec.Stopped != (was.Stopped != nil) {
			return o.switchTo(ctx, *was, spec.Stopped, workload.BySpec, c.dryRun)
		}
		message := label(spec) + " is up to date"
		if updating {
			message = label(spec) + " is already updating"
		}
		if o.codeChanged(was.Revision) {
			message += "; " + changedSince(was.Revision)
		}
		return o.result(ctx, *was, workload.ActionNone, nil, message)
	}
	if updating && !c.force {
		return workload.DeployResult{}, errUpdating(spec)
	}
	changes := changesBetween(was.Revision, c.next)
	if c.dryRun {
		planned := store.Workload{Revision: c.next}
		o.place(&planned, c.next, replicasFor(spec, askedFor(*was)))
		return o.result(ctx, planned, workload.ActionUpdate, changes, "would update "+label(spec)+alsoStarts(was, spec))
	}
	now, err := o.replace(ctx, *was, es, c.next, c.cause, c.unproven)
	if err != nil {
		return workload.DeployResult{}, err
	}
	o.record(ctx, spec.Subject(), normal, c.event, "%s, version %s; changed: %s", c.cause, c.next.ID, strings.Join(workload.Paths(changes), ", "))
	return o.result(ctx, now, workload.ActionUpdate, changes, doing(spec.Kind, "updat")+" "+label(spec)+alsoStarts(was, spec))
}

// tryAgain replaces what has failed by the same, with the code that its folder holds now,
// and with what else c changes. Nothing that was found before says anything of it.
func (o *Operator) tryAgain(ctx context.Context, c plannedChange, was store.Workload, es *engine.Status) (workload.DeployResult, error) {
	spec := &c.next.Spec
	changes := changesBetween(was.Revision, c.next)
	would, does := "would try "+label(spec)+" again, which has failed", "trying "+label(spec)+" again, which has failed"
	if len(changes) > 0 {
		would, does = "would update "+label(spec), "updating "+label(spec)
	}
	if c.dryRun {
		planned := store.Workload{Revision: c.next, Replicas: replicasFor(spec, askedFor(was))}
		return o.result(ctx, planned, workload.ActionUpdate, changes, would)
	}
	code, err := c.again()
	if err != nil {
		return workload.DeployResult{}, err
	}
	next := c.next.Refreshed(code, o.now())
	now, err := o.replace(ctx, was, es, next, c.cause, c.unproven)
	if err != nil {
		return workload.DeployResult{}, err
	}
	o.record(ctx, spec.Subject(), normal, c.event, "%s, version %s: what has failed is tried again", c.cause, next.ID)
	return o.result(ctx, now, workload.ActionUpdate, changes, does)
}

// replace makes next the wanted revision of the workload, and keeps in the history
// what became of the one before: also what es shows and Run has not written down yet,
// as somebody may deploy at the very moment at which it is live.
func (o *Operator) replace(ctx context.Context, was store.Workload, es *engine.Status, next *workload.Revision, cause string, unproven bool) (store.Workload, error) {
	learn(&was, es, o.now())
	var err error
	if next.Number, err = o.nextNumber(ctx, was.Name(), &was); err != nil {
		return was, err
	}
	takenWith(next)
	if err := o.remember(ctx, was); err != nil {
		return was, err
	}
	_, now, err := o.mutate(ctx, was.Name(), func(w *store.Workload) (bool, error) {
		learn(w, es, o.now())
		if next.DeploymentID == w.Revision.DeploymentID || w.Stopped != nil { // as many as before on a refresh
			o.place(w, next, replicasFor(&next.Spec, askedFor(*w)))
		}
		supersede(w, next, cause, unproven, o.now())
		return true, nil
	})
	if err != nil {
		return was, err
	}
	o.settled(ctx, now)
	return now, nil
}

func (o *Operator) create(ctx context.Context, c plannedChange) (workload.DeployResult, error) {
	spec := &c.next.Spec
	w := store.Workload{Revision: c.next, Cause: c.cause, Unproven: c.unproven}
	o.place(&w, c.next, replicasFor(spec, 0))
	if c.dryRun {
		return o.result(ctx, w, workload.ActionCreate, nil, "would create "+label(spec))
	}
	var err error
	if c.next.Number, err = o.nextNumber(ctx, c.name, nil); err != nil {
		return workload.DeployResult{}, err
	}
	takenWith(c.next)
	if !spec.Kind.Scales() {
		w.Outcome = workload.BecameLive(o.now())
	}
	if w.Version, err = o.store.Put(ctx, w); err != nil {
		return workload.DeployResult{}, err
	}
	o.remembered.Store(c.name, remembered{}) // this revision is in no history yet
	o.settled(ctx, w)
	o.record(ctx, spec.Subject(), normal, "Deployed", "deployed version %s", c.next.ID)
	return o.result(ctx, w, workload.ActionCreate, nil, doing(spec.Kind, "creat")+" "+label(spec))
}

// settled finishes a change that is already durable. What fails here is repaired
// by the next change and by Run, so it does not fail the change.
func (o *Operator) settled(ctx context.Context, w store.Workload) {
	if err := o.remember(ctx, w); err != nil {
		o.log.Warn("the history will be repaired later", "api", w.Name(), "error", err)
	}
}

// doing is the word for what begins with replicas and is done at once without.
func doing(k workload.Kind, stem string) string {
	if k.Scales() {
		return stem + "ing"
	}
	return stem + "ed"
}

func errUpdating(s *workload.Spec) error {
	code := "realtimeapi.api_updating"
	if s.Kind == workload.Async {
		code = "asyncapi.api_updating"
	}
	return fault.New(fault.Conflict, code, "%s is updating", s.Name).WithHint("wait until it is live, or override with --force")
}

// replicasFor is how many replicas a new revision begins with: as many as now, or
// init_replicas where there are none, within its bounds (REFERENCE 6).
func replicasFor(s *workload.Spec, now int) int {
	a := s.Autoscaling
	if a == nil {
		return 0
	}
	if now <= 0 {
		now = int(a.InitReplicas)
	}
	return within(a, now)
}

func within(a *workload.Autoscaling, n int) int {
	return min(max(n, int(a.MinReplicas)), int(a.MaxReplicas))
}

// changesBetween returns what differs. The folder, the programs and the code of processes
// are among it.
func changesBetween(a, b *workload.Revision) []workload.Difference {
	changes := workload.Differences(&a.Spec, &b.Spec)
	if a.Directory != b.Directory && (len(changes) == 0 || b.Pod.RunsProcesses()) {
		changes = append(changes, workload.Difference{Path: "directory", From: a.Directory, To: b.Directory})
	}
	if !reflect.DeepEqual(a.Programs, b.Programs) {
		changes = append(changes, workload.Difference{Path: "programs"})
	}
	if a.CodeDigest() != b.CodeDigest() {
		changes = append(changes, workload.Difference{Path: "code", From: a.CodeDigest(), To: b.CodeDigest()})
	}
	return changes
}

// result is the answer about one API after a change.
func (o *Operator) result(ctx context.Context, w store.Workload, action workload.Action, changes []workload.Difference, message string) (workload.DeployResult, error) {
	api, err := o.brief(ctx, w)
	if err != nil {
		// The change is made; only its status is not known right now.
		api = workload.APIResponse{Metadata: metadata(w.Revision)}
		o.log.Warn("status after a deploy", "api", w.Name(), "error", err)
	}
	api.Spec, api.Endpoint, api.HostEndpoint = w.Revision.Shown(), o.endpoint(w.Revision), o.hostEndpoint(w.Revision)
	return workload.DeployResult{Name: w.Name(), API: &api, Action: action, Changes: workload.Paths(changes), Differences: changes, Message: message}, nil
}
