package operator

import (
	"context"
	"fmt"

	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

// Rollback deploys the spec of an earlier version again. It replaces an update
// that is under way: that is what it is most often needed for.
func (o *Operator) Rollback(ctx context.Context, name, id string) (result workload.DeployResult, err error) {
	err = o.change(ctx, func(ctx context.Context) error {
		result, err = o.rollBack(ctx, name, id)
		return err
	})
	return result, err
}

func (o *Operator) rollBack(ctx context.Context, name, id string) (workload.DeployResult, error) {
	none := workload.DeployResult{}
	w, err := o.store.Get(ctx, name)
	if err != nil {
		return none, err
	}
	es, err := o.engineStatus(ctx, w)
	if err != nil {
		return none, err
	}
	learn(&w, es, o.now()) // what is live may not be written down yet: then what served before it is no way back
	list, err := o.past(ctx, &w, name)
	if err != nil {
		return none, err
	}
	var target entry
	if id == "" {
		target, err = lastLive(list, w)
	} else {
		target, err = find(list, name, id)
	}
	if err != nil {
		return none, err
	}
	old := target.Revision
	if err := o.stillFits(ctx, old); err != nil {
		return none, err
	}
	if err := o.codeKept(old); err != nil {
		return none, err
	}
	next := workload.NewRevision(old.Spec, w.Revision, workload.Origin{
		Index: old.Index, FileName: old.FileName, Directory: old.Directory, Programs: old.Programs, Code: old.Code, Submitted: old.SubmittedAPISpec,
	}, o.now())
	result, err := o.apply(ctx, plannedChange{name: name, next: next, cause: "rollback to " + old.ID, event: "RolledBack", force: true}, &w)
	if err == nil && result.Action == workload.ActionUpdate {
		result.Message = fmt.Sprintf("rolling back %s to %s", label(&old.Spec), target.version())
		if id == "" {
			result.Message += ", the last version that was live before"
		}
		result.Message += alsoStarts(&w, &old.Spec)
	}
	return result, err
}

// stillFits checks an earlier revision against what is deployed now.
func (o *Operator) stillFits(ctx context.Context, r *workload.Revision) error {
	deployed, err := o.store.List(ctx)
	if err != nil {
		return err
	}
	file := &manifest.File{Entries: []manifest.Entry{{Spec: r.Spec}}}
	if err := o.permittedBeside(ctx, file, deployed); err != nil {
		return err
	}
	if err := o.permittedSecrets(ctx, file); err != nil {
		return err
	}
	if err := o.permittedVolumes(ctx, file); err != nil {
		return err
	}
	return o.check(ctx, file, r.Directory, deployed, inHistory)
}
