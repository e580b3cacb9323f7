package operator

import (
	"context"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Items is who keeps the items of AsyncAPIs.
type Items interface {
	// List returns items, and One a single one, as callers see them.
	List(ctx context.Context, q workload.ItemQuery) ([]workload.Item, error)
	One(ctx context.Context, api, id string) (workload.Item, error)
	// CancelMany and RetryMany change items and return the ids of those that they changed.
	CancelMany(ctx context.Context, api string, s workload.ItemSelection) (workload.ItemsChanged, error)
	RetryMany(ctx context.Context, api string, s workload.ItemSelection) (workload.ItemsChanged, error)
	// Purge forgets items that ended so long ago, up to MaxItems of them.
	Purge(ctx context.Context, api string, endedFor time.Duration) (workload.ItemsPurged, error)
	// ListHooks returns webhook messages; RedeliverHooks has some sent again.
	ListHooks(ctx context.Context, q workload.HookQuery) ([]workload.Hook, error)
	RedeliverHooks(ctx context.Context, api string, ids []string) (workload.ItemsChanged, error)
	// Waiting says how many items wait for a place, how many are executed, and when the one
	// that waits longest was accepted.
	Waiting(api string) workload.Waiting
}

// codeSelection is the code of a selection that selects nothing that there can be.
const codeSelection = "items.selection_invalid"

// itemsOf returns who keeps the items of an API.
func (o *Operator) itemsOf(ctx context.Context, name string) (Items, string, error) {
	w, err := o.store.Get(ctx, name)
	if err != nil {
		return nil, "", err
	}
	if w.Revision.Kind != workload.Async {
		return nil, "", fault.New(fault.Invalid, "resources.operation_is_only_supported_for_kind", "only an AsyncAPI has items, and %s is a %s", name, w.Revision.Kind)
	}
	if o.items == nil {
		return nil, "", fault.New(fault.Unsupported, codeKindNotRunning, "%s cannot run in this environment yet", plural(workload.Async))
	}
	return o.items, o.endpoint(w.Revision), nil
}

// Items implements workload.Service.
func (o *Operator) Items(ctx context.Context, q workload.ItemQuery) ([]workload.Item, error) {
	items, endpoint, err := o.itemsOf(ctx, q.Name)
	if err != nil {
		return nil, err
	}
	if err := known(q.States, workload.ItemStates(), "an item"); err != nil {
		return nil, err
	}
	list, err := items.List(ctx, q)
	for i := range list {
		fetchedAt(&list[i], endpoint)
	}
	return list, err
}

// Item implements workload.Service.
func (o *Operator) Item(ctx context.Context, name, id string) (workload.Item, error) {
	items, endpoint, err := o.itemsOf(ctx, name)
	if err != nil {
		return workload.Item{}, err
	}
	item, err := items.One(ctx, name, id)
	fetchedAt(&item, endpoint)
	return item, err
}

// fetchedAt says where the result of an item is.
func fetchedAt(i *workload.Item, endpoint string) {
	if i.Status == "completed" {
		i.ResultURL = endpoint + "/" + i.ID + "/result"
	}
}

// CancelItems implements workload.Service.
func (o *Operator) CancelItems(ctx context.Context, name string, s workload.ItemSelection) (workload.ItemsChanged, error) {
	return o.changeItems(ctx, name, s, Items.CancelMany)
}

// RetryItems implements workload.Service.
func (o *Operator) RetryItems(ctx context.Context, name string, s workload.ItemSelection) (workload.ItemsChanged, error) {
	return o.changeItems(ctx, name, s, Items.RetryMany)
}

// PurgeItems implements workload.Service.
func (o *Operator) PurgeItems(ctx context.Context, name string, p workload.ItemPurge) (workload.ItemsPurged, error) {
	items, _, err := o.itemsOf(ctx, name)
	if err != nil {
		return workload.ItemsPurged{}, err
	}
	if p.EndedFor < 0 {
		return workload.ItemsPurged{}, fault.New(fault.Invalid, codeSelection, "ended_for is %s, and cannot be negative", p.EndedFor)
	}
	return items.Purge(ctx, name, time.Duration(p.EndedFor))
}

func (o *Operator) changeItems(ctx context.Context, name string, s workload.ItemSelection, change func(Items, context.Context, string, workload.ItemSelection) (workload.ItemsChanged, error)) (workload.ItemsChanged, error) {
	items, _, err := o.itemsOf(ctx, name)
	if err != nil {
		return workload.ItemsChanged{}, err
	}
	if err := known(s.States, workload.ItemStates(), "an item"); err != nil {
		return workload.ItemsChanged{}, err
	}
	switch {
	case (len(s.IDs) == 0) == (len(s.States) == 0):
		return workload.ItemsChanged{}, fault.New(fault.Invalid, codeSelection, "either ids or states have to be given").
			WithHint("name items by their ids, or all of them that are in some states")
	case len(s.IDs) > workload.MaxItems:
		return workload.ItemsChanged{}, fault.New(fault.Invalid, codeSelection, "there are %d ids, and at most %d are changed at a time", len(s.IDs), workload.MaxItems)
	}
	changed, err := change(items, ctx, name, s)
	if changed.Changed == nil {
		changed.Changed = []string{}
	}
	return changed, err
}

// known refuses a state that nothing can be in.
func known(states, all []string, of string) error {
	for _, s := range states {
		if !slices.Contains(all, s) {
			return fault.New(fault.Invalid, codeSelection, "%q is no state of %s", s, of).WithHint("states are %s", strings.Join(all, ", "))
		}
	}
	return nil
}

// Webhooks implements workload.Service.
func (o *Operator) Webhooks(ctx context.Context, q workload.HookQuery) ([]workload.Hook, error) {
	items, _, err := o.itemsOf(ctx, q.Name)
	if err != nil {
		return nil, err
	}
	if err := known(q.States, workload.HookStates(), "a webhook message"); err != nil {
		return nil, err
	}
	return items.ListHooks(ctx, q)
}

// RedeliverWebhooks implements workload.Service.
func (o *Operator) RedeliverWebhooks(ctx context.Context, name string, s workload.HookSelection) (workload.ItemsChanged, error) {
	items, _, err := o.itemsOf(ctx, name)
	if err != nil {
		return workload.ItemsChanged{}, err
	}
	if len(s.IDs) == 0 || len(s.IDs) > workload.MaxItems {
		return workload.ItemsChanged{}, fault.New(fault.Invalid, codeSelection, "there are %d ids of messages, and there may be 1 to %d", len(s.IDs), workload.MaxItems)
	}
	return items.RedeliverHooks(ctx, name, s.IDs)
}
