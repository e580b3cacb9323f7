package operator

import (
	"context"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"

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
	if err := o.permittedSecrets(ctx, file); err != nil {
		return nil, err
	}
	if err := o.permittedVolumes(ctx, file); err != nil {
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
		if err := o.check(ctx, file, req.Directory, deployed, inFile); err != nil {
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
	return manifest.ParseWith(req.FileName, []byte(req.Config), manifest.Sent(req.EnvFiles))
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
		if w.Stopped != nil {
			return errStopped(&w, "has no replicas to replace")
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
