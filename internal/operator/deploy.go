package operator

import (
	"context"
	"path"
	"reflect"
	"strings"

	"golang.org/x/sync/errgroup"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Deploy checks the whole file and then applies it, splitters last.
func (o *Operator) Deploy(ctx context.Context, req workload.DeployRequest) ([]workload.DeployResult, error) {
	if len(req.Config) > workload.MaxConfigBytes {
		return nil, fault.New(fault.Malformed, "configreader.too_long", "%s has %d bytes, more than the %d that a file may have",
			req.FileName, len(req.Config), workload.MaxConfigBytes).WithHint("split it into several files")
	}
	file, err := o.read(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := o.permitted(ctx, file); err != nil {
		return nil, err
	}
	var results []workload.DeployResult
	err = o.change(ctx, func(ctx context.Context) error {
		deployed, err := o.store.List(ctx)
		if err != nil {
			return err
		}
		if err := o.permittedBeside(ctx, file, deployed); err != nil {
			return err
		}
		if err := o.check(file, deployed, inFile); err != nil {
			return err
		}
		results = o.applyAll(ctx, req, file, deployed)
		if !req.DryRun {
			o.collectLater(ctx)
		}
		return nil
	})
	return results, err
}

// readAtOnce bounds the memory for files, of which the largest take a few hundred MB:
// whoever may do nothing can send them too.
const readAtOnce = 2

// read reads a file, which needs nothing that another change could alter.
func (o *Operator) read(ctx context.Context, req workload.DeployRequest) (*manifest.File, error) {
	select {
	case o.reading <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-o.reading }()
	return manifest.Parse(req.FileName, []byte(req.Config))
}

// permitted asks for every API of the file, so that a file is deployed whole or not
// at all, before what is deployed is looked at.
func (o *Operator) permitted(ctx context.Context, file *manifest.File) error {
	if o.permit == nil {
		return nil
	}
	all := make([]workload.Subject, len(file.Entries))
	for i, e := range file.Entries {
		all[i] = e.Spec.Subject()
	}
	return o.permit(ctx, all)
}

// permittedBeside asks for the APIs that are not in the file and that it touches all the
// same: the targets of splitters, which get traffic, show their state and can no longer
// be deleted; and those above whose endpoint there is another now, which loses them
// requests.
func (o *Operator) permittedBeside(ctx context.Context, file *manifest.File, deployed []store.Workload) error {
	if o.permit == nil {
		return nil
	}
	inFile := make(map[string]bool, len(file.Entries))
	for _, e := range file.Entries {
		inFile[e.Spec.Name] = true
	}
	kinds := make(map[string]workload.Kind, len(deployed))
	at := make(map[string]string, len(deployed)) // names by endpoint
	for _, w := range deployed {
		kinds[w.Name()] = w.Revision.Kind
		if n := w.Revision.Networking; n != nil {
			at[strings.TrimRight(n.Endpoint, "/")] = w.Name()
		}
	}
	var beside []workload.Subject
	touch := func(name string) {
		if name != "" && !inFile[name] {
			inFile[name] = true // once is enough
			beside = append(beside, workload.Subject{Name: name, Kind: kinds[name]})
		}
	}
	for _, e := range file.Entries {
		for _, t := range e.Spec.APIs {
			touch(t.Name)
		}
		if n := e.Spec.Networking; n != nil {
			for above := path.Dir(strings.TrimRight(n.Endpoint, "/")); len(above) > 1; above = path.Dir(above) {
				touch(at[above])
			}
		}
	}
	if len(beside) == 0 {
		return nil
	}
	return o.permit(ctx, beside)
}

// applyAll applies the APIs of the file, some at a time because each waits for several
// answers of the store, and answers in the order of the file.
// Splitters wait for everything that they may divide traffic among.
func (o *Operator) applyAll(ctx context.Context, req workload.DeployRequest, file *manifest.File, deployed []store.Workload) []workload.DeployResult {
	current := make(map[string]*store.Workload, len(deployed))
	for i := range deployed {
		current[deployed[i].Name()] = &deployed[i]
	}
	results := make([]workload.DeployResult, len(file.Entries))
	d := deploying{DeployRequest: req, missing: map[string]bool{}, code: o.takeOnce(req.Directory)}
	for _, splitters := range []bool{false, true} {
		var wave errgroup.Group
		wave.SetLimit(atOnce)
		for i, e := range file.Entries {
			if splitters != (e.Spec.Kind == workload.Splitter) {
				continue
			}
			wave.Go(func() error {
				results[i] = o.applyOne(ctx, d, e, current[e.Spec.Name])
				return nil
			})
		}
		_ = wave.Wait() // each result holds its own error
		for i, e := range file.Entries {
			d.missing[e.Spec.Name] = results[i].Error != "" && current[e.Spec.Name] == nil
		}
	}
	return results
}

// deploying is what the APIs of a file have in common.
type deploying struct {
	workload.DeployRequest
	// missing holds those that could not be created: a splitter to one of them would
	// lead nowhere.
	missing map[string]bool
	code    func() (workload.Code, error) // takes the copy of their folder
}

// applyOne deploys one API, or says in the result why it could not.
func (o *Operator) applyOne(ctx context.Context, d deploying, e manifest.Entry, was *store.Workload) workload.DeployResult {
	result, err := o.tryApply(ctx, d, e, was)
	if err == nil {
		return result
	}
	f := fault.From(err)
	result = workload.DeployResult{Name: e.Spec.Name, Error: "error: " + f.Message, Code: f.Code}
	if f.Hint != "" {
		result.Error += " (" + f.Hint + ")"
	}
	return result
}

// tryApply deploys one API.
func (o *Operator) tryApply(ctx context.Context, d deploying, e manifest.Entry, was *store.Workload) (workload.DeployResult, error) {
	for _, t := range e.Spec.APIs {
		if d.missing[t.Name] {
			return workload.DeployResult{}, fault.New(fault.Conflict, codeTargetMissing, "%s could not be deployed, so %s cannot send it traffic", t.Name, e.Spec.Name)
		}
	}
	next, err := o.revisionOf(d, e, was)
	if err != nil {
		return workload.DeployResult{}, err
	}
	c := plannedChange{name: e.Spec.Name, next: next, cause: "deploy", event: "Updated", force: d.Force, dryRun: d.DryRun, unproven: d.NoVerify}
	c.again = func() (*workload.Code, error) { return o.codeOf(e.Spec.Pod, d.Directory, d.code) }
	return o.apply(ctx, c, was)
}

// revisionOf is the revision that deploying an entry makes. It has the code that its
// folder holds now where it replaces replicas, and otherwise the code that they run:
// whoever changes a bound of the autoscaler restarts nothing.
func (o *Operator) revisionOf(d deploying, e manifest.Entry, was *store.Workload) (*workload.Revision, error) {
	from := workload.Origin{Index: e.Index, FileName: d.FileName, Directory: d.Directory, Submitted: e.Submitted}
	if o.locate != nil && d.Path != "" && e.Spec.Pod.RunsProcesses() {
		from.Programs = o.locate(e.Spec.Pod, d.Directory, d.Path)
	}
	var prev *workload.Revision
	if was != nil {
		prev = was.Revision
		from.Code = prev.Code
	}
	next := workload.NewRevision(e.Spec, prev, from, o.now())
	if d.DryRun || prev != nil && next.SamePod(prev) {
		return next, nil
	}
	code, err := o.codeOf(e.Spec.Pod, d.Directory, d.code)
	if err != nil {
		return nil, err
	}
	return next.WithCode(code), nil
}

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
	if c.again != nil && c.next.SamePod(was.Revision) && failureOf(*was, es, statusOf(*was, es)) != nil {
		return o.tryAgain(ctx, c, *was, es)
	}
	if c.next.SpecID == was.Revision.SpecID {
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
		planned := store.Workload{Revision: c.next, Replicas: replicasFor(spec, was.Replicas)}
		return o.result(ctx, planned, workload.ActionUpdate, changes, "would update "+label(spec))
	}
	now, err := o.replace(ctx, *was, es, c.next, c.cause, c.unproven)
	if err != nil {
		return workload.DeployResult{}, err
	}
	o.record(ctx, spec.Subject(), normal, c.event, "%s, version %s; changed: %s", c.cause, c.next.ID, strings.Join(workload.Paths(changes), ", "))
	return o.result(ctx, now, workload.ActionUpdate, changes, doing(spec.Kind, "updat")+" "+label(spec))
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
		planned := store.Workload{Revision: c.next, Replicas: replicasFor(spec, was.Replicas)}
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
		if next.DeploymentID == w.Revision.DeploymentID { // as many as before on a refresh
			w.Replicas = replicasFor(&next.Spec, w.Replicas)
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
	w := store.Workload{Revision: c.next, Replicas: replicasFor(spec, 0), Cause: c.cause, Unproven: c.unproven}
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
	api.Spec, api.Endpoint = w.Revision.Shown(), o.endpoint(w.Revision)
	return workload.DeployResult{Name: w.Name(), API: &api, Action: action, Changes: workload.Paths(changes), Differences: changes, Message: message}, nil
}

// Refresh replaces every replica without changing the spec. Processes run the code that
// their folder holds now.
func (o *Operator) Refresh(ctx context.Context, name string, force bool) (message workload.Message, err error) {
	err = o.change(ctx, func(ctx context.Context) error {
		w, err := o.store.Get(ctx, name)
		if err != nil {
			return err
		}
		spec := &w.Revision.Spec
		if !spec.Kind.Scales() {
			return onlyFor("refresh", spec)
		}
		es, err := o.engineStatus(ctx, w)
		if err != nil {
			return err
		}
		if isUpdating(w, es) && !force {
			return errUpdating(spec)
		}
		code, err := o.codeOf(spec.Pod, w.Revision.Directory, o.takeOnce(w.Revision.Directory))
		if err != nil {
			return err
		}
		next := w.Revision.Refreshed(code, o.now())
		if _, err := o.replace(ctx, w, es, next, "refresh", false); err != nil {
			return err
		}
		o.record(ctx, spec.Subject(), normal, "Refreshed", "replacing every replica, version %s", next.ID)
		message.Message = "updating " + label(spec)
		if next.CodeDigest() != w.Revision.CodeDigest() {
			message.Message += " to the code that is now in " + next.Directory
		}
		o.collectLater(ctx)
		return nil
	})
	return message, err
}
