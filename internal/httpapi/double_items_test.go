package httpapi_test

import (
	"context"

	"cortex.dev/cortex/internal/workload"
)

func (d *double) Items(_ context.Context, q workload.ItemQuery) ([]workload.Item, error) {
	d.saw("Items", q)
	return reply[[]workload.Item](d)
}

func (d *double) Item(_ context.Context, name, id string) (workload.Item, error) {
	d.saw("Item", name, id)
	return reply[workload.Item](d)
}

func (d *double) CancelItems(_ context.Context, name string, s workload.ItemSelection) (workload.ItemsChanged, error) {
	d.saw("CancelItems", name, s)
	return reply[workload.ItemsChanged](d)
}

func (d *double) RetryItems(_ context.Context, name string, s workload.ItemSelection) (workload.ItemsChanged, error) {
	d.saw("RetryItems", name, s)
	return reply[workload.ItemsChanged](d)
}

func (d *double) PurgeItems(_ context.Context, name string, p workload.ItemPurge) (workload.ItemsPurged, error) {
	d.saw("PurgeItems", name, p)
	return reply[workload.ItemsPurged](d)
}

func (d *double) Webhooks(_ context.Context, q workload.HookQuery) ([]workload.Hook, error) {
	d.saw("Webhooks", q)
	return reply[[]workload.Hook](d)
}

func (d *double) RedeliverWebhooks(_ context.Context, name string, s workload.HookSelection) (workload.ItemsChanged, error) {
	d.saw("RedeliverWebhooks", name, s)
	return reply[workload.ItemsChanged](d)
}
