package operator

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// entry is one version of a workload's history.
type entry struct {
	store.Past
	number int // of its revision, or counted for it
}

// version is how users call it: v12.
func (e entry) version() string { return fmt.Sprintf("v%d", e.number) }

// wasLive reports whether it was ever live, as far as that is known.
func (e entry) wasLive() bool { return wasLive(e.Revision, e.Outcome) }

// past returns every kept revision of a workload, newest first, each once. The
// current one is among them even when this process died before it was remembered.
func (o *Operator) past(ctx context.Context, w *store.Workload, name string) ([]entry, error) {
	kept, err := o.store.History(ctx, name)
	if err != nil {
		return nil, err
	}
	var list []entry
	if w != nil { // the record knows more of it than the history may do yet
		list = append(list, entry{Past: store.Past{Revision: w.Revision, Cause: w.Cause, Outcome: w.Outcome}})
	}
	for _, p := range kept {
		list = append(list, entry{Past: p})
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(a.Revision.ID, b.Revision.ID) })
	list = slices.CompactFunc(list, func(a, b entry) bool { return a.Revision.ID == b.Revision.ID })
	number(list)
	return list, nil
}

// number numbers a history. Revisions of a version of Cortex that did not count are
// numbered down from the oldest that has a number, so that theirs stay the same when
// older ones are dropped.
func number(list []entry) {
	first := len(list)
	for i, e := range list {
		if n := e.Revision.Number; n > 0 {
			first = n + i
		}
	}
	for i := range list {
		if list[i].number = list[i].Revision.Number; list[i].number == 0 {
			list[i].number = max(first-i, 0)
		}
	}
}

// nextNumber is the number of the revision after prev, nil for the first of a name;
// its history may have been kept.
func (o *Operator) nextNumber(ctx context.Context, name string, prev *store.Workload) (int, error) {
	if prev != nil && prev.Revision.Number > 0 {
		return prev.Revision.Number + 1, nil
	}
	list, err := o.past(ctx, prev, name)
	if err != nil || len(list) == 0 {
		return 1, err
	}
	return list[0].number + 1, nil
}

func (o *Operator) versions(ctx context.Context, w *store.Workload, name string) ([]workload.APIVersion, error) {
	list, err := o.past(ctx, w, name)
	if err != nil {
		return nil, err
	}
	versions := make([]workload.APIVersion, 0, len(list))
	for _, p := range list {
		v := workload.APIVersion{
			APIID: p.Revision.ID, SpecID: p.Revision.SpecID, Number: p.number, LastUpdated: p.Revision.LastUpdated.Unix(),
			Current: w != nil && p.Revision.ID == w.Revision.ID, Cause: p.Cause,
		}
		v.Serving = v.Current && p.Outcome.WasLive() || w != nil && w.Serving != nil && p.Revision.ID == w.Serving.ID
		switch {
		case p.Outcome.WasLive():
			v.Result, v.FirstLive = workload.ResultLive, p.Outcome.Live.Unix()
		case p.Outcome.Failed != nil:
			v.Result, v.Reason = workload.ResultFailed, p.Outcome.Failed.Message
		case v.Current:
			v.Result = workload.ResultPending
		case p.Revision.Number > 0: // otherwise nobody wrote it down
			v.Result = workload.ResultSuperseded
		}
		versions = append(versions, v)
	}
	return versions, nil
}

// deployedOrPast returns the record of a workload, nil when only its history is left.
func (o *Operator) deployedOrPast(ctx context.Context, name string) (*store.Workload, []entry, error) {
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
	return workload.APIResponse{Spec: p.Revision.Shown(), Metadata: metadata(p.Revision), Endpoint: o.endpoint(p.Revision), HostEndpoint: o.hostEndpoint(p.Revision)}, nil
}

// find returns the revision that id names: a number (v12), or a part of an id that
// fits no other. A part that fits several revisions of one content names the newest
// of them.
func find(list []entry, name, id string) (entry, error) {
	var fits []entry
	for _, p := range list {
		if p.Revision.ID == id || p.version() == id {
			return p, nil
		}
		if id != "" && strings.Contains(p.Revision.ID, id) {
			fits = append(fits, p)
		}
	}
	if len(fits) == 0 {
		return entry{}, fault.New(fault.NotFound, "resources.api_id_not_found", "%s has no version %q", name, id).
			WithHint("cortex history %s shows the versions that are kept", name)
	}
	for _, p := range fits[1:] {
		if p.Revision.SpecID != fits[0].Revision.SpecID {
			return entry{}, fault.New(fault.Invalid, "resources.api_id_not_unique", "%q stands for %d versions of %s", id, len(fits), name).
				WithHint("give its number, such as %s, or more characters of the id; cortex history %s shows them", fits[0].version(), name)
		}
	}
	return fits[0], nil
}

// lastLive returns the last version that was live and differs from the wanted one: what
// serves in place of one that is not live, otherwise the one before it. A refresh in
// between does not count, and neither does what never became ready.
func lastLive(list []entry, w store.Workload) (entry, error) {
	for _, p := range list {
		switch {
		case w.Serving != nil && p.Revision.ID == w.Serving.ID:
			return p, nil
		case w.Serving != nil || p.Revision.ID <= w.Revision.ID || p.Revision.SpecID == w.Revision.SpecID:
		case p.wasLive():
			return p, nil
		}
	}
	if w.Serving != nil { // older than what is kept
		return entry{Past: store.Past{Revision: w.Serving}, number: w.Serving.Number}, nil
	}
	return entry{}, fault.New(fault.Conflict, "resources.no_previous_version", "%s has no earlier version that was live", w.Name()).
		WithHint("cortex history %s shows the versions that are kept; cortex rollback %s VERSION deploys any of them", w.Name(), w.Name())
}

// remembered is what is known to be in the history of a workload.
type remembered struct {
	id      string
	outcome workload.Outcome
}

// remember puts the current revision of a workload into its history, with what became
// of it, unless it is there. The caller holds o.changes.
func (o *Operator) remember(ctx context.Context, w store.Workload) error {
	now := remembered{w.Revision.ID, w.Outcome}
	before, known := o.remembered.Load(w.Name())
	if known && reflect.DeepEqual(before, now) {
		return nil
	}
	if !known {
		list, err := o.store.History(ctx, w.Name())
		if err != nil {
			return err
		}
		known = slices.ContainsFunc(list, func(p store.Past) bool {
			return p.Revision.ID == w.Revision.ID && reflect.DeepEqual(p.Outcome, w.Outcome)
		})
		if known {
			o.remembered.Store(w.Name(), now)
			return nil
		}
	}
	if err := o.store.Remember(ctx, store.Past{Revision: w.Revision, Cause: w.Cause, Outcome: w.Outcome}); err != nil {
		return err
	}
	o.remembered.Store(w.Name(), now)
	return nil
}
