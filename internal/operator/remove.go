package operator

import (
	"context"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Delete forgets an API; its replicas drain and stop as soon as Run sees that.
func (o *Operator) Delete(ctx context.Context, name string, opts workload.DeleteOptions) (message workload.Message, err error) {
	err = o.change(ctx, func(ctx context.Context) error {
		w, err := o.store.Get(ctx, name)
		if err != nil {
			return err
		}
		if err := o.unused(ctx, name); err != nil {
			return err
		}
		if opts.KeepCache {
			if err := o.remember(ctx, w); err != nil {
				return err
			}
		}
		if err := o.forget(ctx, name, opts.KeepCache); err != nil {
			return err
		}
		o.remembered.Delete(name)
		o.record(ctx, w.Revision.Subject(), normal, "Deleted", "deleted")
		message.Message = "deleting " + name
		return nil
	})
	return message, err
}

// unused refuses while a splitter sends traffic to the API.
func (o *Operator) unused(ctx context.Context, name string) error {
	list, err := o.store.List(ctx)
	if err != nil {
		return err
	}
	var users []string
	for _, w := range list {
		if slices.ContainsFunc(w.Revision.APIs, func(t workload.Target) bool { return t.Name == name }) {
			users = append(users, w.Name())
		}
	}
	if len(users) == 0 {
		return nil
	}
	names := strings.Join(users, ", ")
	return fault.New(fault.Conflict, codeUsedBySplitter, "%s is used by the TrafficSplitter %s", name, names).
		WithHint("delete %s first, or deploy it without this API", names)
}

// forget deletes the record, again when Scale or Wake wrote it in between.
func (o *Operator) forget(ctx context.Context, name string, keepHistory bool) error {
	for range attempts {
		w, err := o.store.Get(ctx, name)
		if err != nil {
			return err
		}
		err = o.store.Delete(ctx, name, w.Version, keepHistory)
		if fault.Code(err) != store.CodeVersionConflict {
			return err
		}
	}
	return fault.New(fault.Conflict, store.CodeVersionConflict, "%s is being changed by others all the time", name).WithHint("try again")
}
