package operator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// minPrefix is the shortest part of an id that may stand for it.
const minPrefix = 6

// past returns every kept revision of a workload, newest first, each once. The
// current one is among them even when this process died before it was remembered.
func (o *Operator) past(ctx context.Context, w *store.Workload, name string) ([]store.Past, error) {
	list, err := o.store.History(ctx, name)
	if err != nil {
		return nil, err
	}
	if w != nil {
		list = append(list, store.Past{Revision: w.Revision, Cause: w.Cause})
	}
	slices.SortStableFunc(list, func(a, b store.Past) int { return cmp.Compare(a.Revision.ID, b.Revision.ID) })
	return slices.CompactFunc(list, func(a, b store.Past) bool { return a.Revision.ID == b.Revision.ID }), nil
}

func (o *Operator) versions(ctx context.Context, w *store.Workload, name string) ([]workload.APIVersion, error) {
	list, err := o.past(ctx, w, name)
	if err != nil {
		return nil, err
	}
	versions := make([]workload.APIVersion, 0, len(list))
	for _, p := range list {
		versions = append(versions, workload.APIVersion{
			APIID: p.Revision.ID, SpecID: p.Revision.SpecID, LastUpdated: p.Revision.LastUpdated.Unix(),
			Current: w != nil && p.Revision.ID == w.Revision.ID, Cause: p.Cause,
		})
	}
	return versions, nil
}

// deployedOrPast returns the record of a workload, nil when only its history is left.
func (o *Operator) deployedOrPast(ctx context.Context, name string) (*store.Workload, []store.Past, error) {
	var current *store.Workload
	w, err := o.store.Get(ctx, name)
	switch {
	case err == nil:
		current = &w
	case !fault.Is(err, fault.NotFound):
		return nil, nil, err
	}
	list, err := o.past(ctx, current, name)
	if err != nil {
		return nil, nil, err
	}
	if len(list) == 0 {
		return nil, nil, notDeployed(name)
	}
	return current, list, nil
}

// History returns every kept version, newest first; also of an API that was
// deleted while its history was kept.
func (o *Operator) History(ctx context.Context, name string) ([]workload.APIVersion, error) {
	current, _, err := o.deployedOrPast(ctx, name)
	if err != nil {
		return nil, err
	}
	return o.versions(ctx, current, name)
}

// Version returns one earlier revision.
func (o *Operator) Version(ctx context.Context, name, id string) (workload.APIResponse, error) {
	_, list, err := o.deployedOrPast(ctx, name)
	if err != nil {
		return workload.APIResponse{}, err
	}
	p, err := find(list, name, id)
	if err != nil {
		return workload.APIResponse{}, err
	}
	return workload.APIResponse{Spec: p.Revision, Metadata: metadata(p.Revision), Endpoint: o.endpoint(p.Revision)}, nil
}

// find returns the revision that id names: a whole id, or the beginning of an id,
// of what follows its first dash or of its spec id. A beginning that fits several
// revisions of one content names the newest of them.
func find(list []store.Past, name, id string) (store.Past, error) {
	var fits []store.Past
	for _, p := range list {
		if p.Revision.ID == id {
			return p, nil
		}
		_, tail, _ := strings.Cut(p.Revision.ID, "-")
		if len(id) >= minPrefix && (strings.HasPrefix(p.Revision.ID, id) || strings.HasPrefix(tail, id) || strings.HasPrefix(p.Revision.SpecID, id)) {
			fits = append(fits, p)
		}
	}
	if len(fits) == 0 {
		hint := fmt.Sprintf("cortex history %s shows the versions that are kept", name)
		if len(id) < minPrefix {
			hint = fmt.Sprintf("give at least %d characters; %s", minPrefix, hint)
		}
		return store.Past{}, fault.New(fault.NotFound, "resources.api_id_not_found", "%s has no version %q", name, id).WithHint("%s", hint)
	}
	for _, p := range fits[1:] {
		if p.Revision.SpecID != fits[0].Revision.SpecID {
			return store.Past{}, fault.New(fault.Invalid, "resources.api_id_not_unique", "%q stands for %d versions of %s", id, len(fits), name).
				WithHint("give more characters of the id; cortex history %s shows them", name)
		}
	}
	return fits[0], nil
}

// previous returns the version before the current one that differs from it, so
// that a refresh in between does not count.
func previous(list []store.Past, current *workload.Revision) (store.Past, error) {
	for _, p := range list {
		if p.Revision.ID > current.ID && p.Revision.SpecID != current.SpecID {
			return p, nil
		}
	}
	return store.Past{}, fault.New(fault.Conflict, "resources.no_previous_version", "%s has no earlier version", current.Name).
		WithHint("cortex history %s shows the versions that are kept", current.Name)
}

// remember puts the current revision of a workload into its history, unless it is
// there. The caller holds o.changes.
func (o *Operator) remember(ctx context.Context, w store.Workload) error {
	if id, _ := o.remembered.Load(w.Name()); id == w.Revision.ID {
		return nil
	}
	list, err := o.store.History(ctx, w.Name())
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(list, func(p store.Past) bool { return p.Revision.ID == w.Revision.ID })
	if !known {
		if err := o.store.Remember(ctx, store.Past{Revision: w.Revision, Cause: w.Cause}); err != nil {
			return err
		}
	}
	o.remembered.Store(w.Name(), w.Revision.ID)
	return nil
}
