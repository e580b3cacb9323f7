package httpapi

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

var itemRoutes = []route{
	answers(route{
		id: "listItems", method: http.MethodGet, path: "/v1/apis/{name}/items", action: auth.ActionListItems,
		summary: "List the items of an AsyncAPI, the newest first",
		about:   "Without their results, which whoever has the id gets from the API itself. A list that has as many items as were asked for goes on before its last one.",
		query:   []param{paramState, paramLabel, paramSince, paramBefore, paramLimit},
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) ([]workload.Item, error) {
		return s.Items(ctx, workload.ItemQuery{Name: in.name, States: in.query.states, Labels: in.query.labels, Since: in.query.since, Before: in.query.before, Limit: in.query.limit})
	}),

	answers(route{
		id: "getItem", method: http.MethodGet, path: "/v1/apis/{name}/items/{id}", action: auth.ActionListItems,
		summary: "Describe one item of an AsyncAPI, without its result",
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.Item, error) {
		return s.Item(ctx, in.name, in.id)
	}),

	answers(route{
		id: "cancelItems", method: http.MethodPost, path: "/v1/apis/{name}/cancel-items", action: auth.ActionCancelItems,
		summary: "Cancel items of an AsyncAPI, by their ids or all in some states",
		about:   "The connection to a container that works on one is closed. What has ended stays as it is.",
		body:    func() any { return new(workload.ItemSelection) },
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.ItemsChanged, error) {
		return s.CancelItems(ctx, in.name, *in.body.(*workload.ItemSelection))
	}),

	answers(route{
		id: "retryItems", method: http.MethodPost, path: "/v1/apis/{name}/retry-items", action: auth.ActionRetryItems,
		summary: "Try items of an AsyncAPI again that failed, were cancelled or have expired",
		body:    func() any { return new(workload.ItemSelection) },
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Conflict, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.ItemsChanged, error) {
		return s.RetryItems(ctx, in.name, *in.body.(*workload.ItemSelection))
	}),

	answers(route{
		id: "purgeItems", method: http.MethodPost, path: "/v1/apis/{name}/purge-items", action: auth.ActionPurgeItems,
		summary: "Forget items of an AsyncAPI that have ended, with their payloads and results",
		about:   "The oldest ends first, up to a thousand in one call. Who asks for one of them is told for a week that it is gone.",
		body:    func() any { return new(workload.ItemPurge) },
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.ItemsPurged, error) {
		return s.PurgeItems(ctx, in.name, *in.body.(*workload.ItemPurge))
	}),

	answers(route{
		id: "listWebhooks", method: http.MethodGet, path: "/v1/apis/{name}/webhooks", action: auth.ActionListItems,
		summary: "List the webhook messages about items of an AsyncAPI, those about the latest items first",
		query:   []param{paramHookState, paramBefore, paramLimit},
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) ([]workload.Hook, error) {
		return s.Webhooks(ctx, workload.HookQuery{Name: in.name, States: in.query.states, Before: in.query.before, Limit: in.query.limit})
	}),

	answers(route{
		id: "redeliverWebhooks", method: http.MethodPost, path: "/v1/apis/{name}/redeliver-webhooks", action: auth.ActionRedeliver,
		summary: "Have webhook messages sent again, from the first try on",
		body:    func() any { return new(workload.HookSelection) },
		faults:  []fault.Kind{fault.NotFound, fault.Invalid, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.ItemsChanged, error) {
		return s.RedeliverWebhooks(ctx, in.name, *in.body.(*workload.HookSelection))
	}),
}

func (s services) CancelItems(ctx context.Context, name string, sel workload.ItemSelection) (workload.ItemsChanged, error) {
	c, err := s.Service.CancelItems(ctx, name, sel)
	s.conclude(ctx, auth.ActionCancelItems, "cancel_items", name, workload.DeployResult{}, err)
	return c, err
}

func (s services) RetryItems(ctx context.Context, name string, sel workload.ItemSelection) (workload.ItemsChanged, error) {
	c, err := s.Service.RetryItems(ctx, name, sel)
	s.conclude(ctx, auth.ActionRetryItems, "retry_items", name, workload.DeployResult{}, err)
	return c, err
}

func (s services) PurgeItems(ctx context.Context, name string, p workload.ItemPurge) (workload.ItemsPurged, error) {
	c, err := s.Service.PurgeItems(ctx, name, p)
	s.conclude(ctx, auth.ActionPurgeItems, "purge_items", name, workload.DeployResult{}, err)
	return c, err
}

func (s services) RedeliverWebhooks(ctx context.Context, name string, sel workload.HookSelection) (workload.ItemsChanged, error) {
	c, err := s.Service.RedeliverWebhooks(ctx, name, sel)
	s.conclude(ctx, auth.ActionRedeliver, "redeliver_webhooks", name, workload.DeployResult{}, err)
	return c, err
}

// Items implements workload.Service.
func (c *Client) Items(ctx context.Context, q workload.ItemQuery) ([]workload.Item, error) {
	var out []workload.Item
	values := url.Values{}
	if len(q.States) > 0 {
		values.Set("state", strings.Join(q.States, ","))
	}
	if q.Since > 0 {
		values.Set("since", q.Since.String())
	}
	if len(q.Labels) > 0 {
		var labels []string
		for _, name := range slices.Sorted(maps.Keys(q.Labels)) {
			labels = append(labels, name+"="+q.Labels[name])
		}
		values.Set("label", strings.Join(labels, ","))
	}
	if q.Before != "" {
		values.Set("before", q.Before)
	}
	if q.Limit > 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	err := c.about(ctx, q.Name, "/items", call{method: http.MethodGet, query: values, out: &out})
	return out, err
}

// Item implements workload.Service.
func (c *Client) Item(ctx context.Context, name, id string) (workload.Item, error) {
	var out workload.Item
	if !isSegment(id) {
		return out, fault.New(fault.NotFound, "items.not_found", "%s has no item %q", name, clip(id)).WithHint("list its items with cortex items %s", name)
	}
	err := c.about(ctx, name, "/items/"+url.PathEscape(id), call{method: http.MethodGet, out: &out})
	return out, err
}

// CancelItems implements workload.Service.
func (c *Client) CancelItems(ctx context.Context, name string, s workload.ItemSelection) (workload.ItemsChanged, error) {
	var out workload.ItemsChanged
	err := c.about(ctx, name, "/cancel-items", call{method: http.MethodPost, body: s, out: &out})
	return out, err
}

// RetryItems implements workload.Service.
func (c *Client) RetryItems(ctx context.Context, name string, s workload.ItemSelection) (workload.ItemsChanged, error) {
	var out workload.ItemsChanged
	err := c.about(ctx, name, "/retry-items", call{method: http.MethodPost, body: s, out: &out})
	return out, err
}

// PurgeItems implements workload.Service.
func (c *Client) PurgeItems(ctx context.Context, name string, p workload.ItemPurge) (workload.ItemsPurged, error) {
	var out workload.ItemsPurged
	err := c.about(ctx, name, "/purge-items", call{method: http.MethodPost, body: p, out: &out})
	return out, err
}

// Webhooks implements workload.Service.
func (c *Client) Webhooks(ctx context.Context, q workload.HookQuery) ([]workload.Hook, error) {
	var out []workload.Hook
	values := url.Values{}
	if len(q.States) > 0 {
		values.Set("state", strings.Join(q.States, ","))
	}
	if q.Before != "" {
		values.Set("before", q.Before)
	}
	if q.Limit > 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	err := c.about(ctx, q.Name, "/webhooks", call{method: http.MethodGet, query: values, out: &out})
	return out, err
}

// RedeliverWebhooks implements workload.Service.
func (c *Client) RedeliverWebhooks(ctx context.Context, name string, s workload.HookSelection) (workload.ItemsChanged, error) {
	var out workload.ItemsChanged
	err := c.about(ctx, name, "/redeliver-webhooks", call{method: http.MethodPost, body: s, out: &out})
	return out, err
}
