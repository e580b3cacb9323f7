package cli

import (
	"context"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

func (c *canned) Items(_ context.Context, q workload.ItemQuery) ([]workload.Item, error) {
	var list []workload.Item
	for _, i := range c.ItemList {
		if (len(q.States) == 0 || q.States[0] == i.State) && (q.Limit == 0 || len(list) < q.Limit) {
			list = append(list, i)
		}
	}
	return list, c.call("Items", q.Name, q.States, q.Labels, q.Since, q.Limit)
}

func (c *canned) Item(_ context.Context, name, id string) (workload.Item, error) {
	err := c.call("Item", name, id)
	for _, i := range c.ItemList {
		if i.ID == id {
			return i, err
		}
	}
	return workload.Item{}, fault.New(fault.NotFound, "items.not_found", "%s has no item %s", name, id)
}

func (c *canned) CancelItems(_ context.Context, name string, s workload.ItemSelection) (workload.ItemsChanged, error) {
	return workload.ItemsChanged{Changed: s.IDs}, c.call("CancelItems", name, s.IDs, s.States)
}

func (c *canned) RetryItems(_ context.Context, name string, s workload.ItemSelection) (workload.ItemsChanged, error) {
	return workload.ItemsChanged{Changed: s.IDs}, c.call("RetryItems", name, s.IDs, s.States)
}

func (c *canned) PurgeItems(_ context.Context, name string, p workload.ItemPurge) (workload.ItemsPurged, error) {
	c.purges++
	return workload.ItemsPurged{Purged: 3, More: c.purges%2 == 1}, c.call("PurgeItems", name, p.EndedFor)
}

func (c *canned) Webhooks(_ context.Context, q workload.HookQuery) ([]workload.Hook, error) {
	return c.HookList, c.call("Webhooks", q.Name, q.States, q.Limit)
}

func (c *canned) RedeliverWebhooks(_ context.Context, name string, s workload.HookSelection) (workload.ItemsChanged, error) {
	return workload.ItemsChanged{Changed: s.IDs}, c.call("RedeliverWebhooks", name, s.IDs)
}
