package httpapi

import (
	"context"
	"net/http"
	"net/url"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

var callRoutes = []route{
	answers(route{
		id: "listUsage", method: http.MethodGet, path: "/v1/usage", action: auth.ActionListUsage, each: true,
		summary: "List who called which API, by the hour",
		about:   "Of APIs that ask who calls. What is older than 400 days is not kept, and what is younger than ten seconds may not be there yet.",
		query:   []param{paramAPI, paramCaller, paramSince},
		faults:  []fault.Kind{fault.Invalid},
	}, func(ctx context.Context, s services, in input) ([]workload.Calls, error) {
		return s.Calls(ctx, workload.CallsQuery{API: in.query.api, Caller: in.query.caller, Since: in.query.since})
	}),
}

// Calls leaves out APIs whose usage the caller may not list.
func (s services) Calls(ctx context.Context, q workload.CallsQuery) ([]workload.Calls, error) {
	all, err := s.Service.Calls(ctx, q)
	if err != nil || s.guard == nil {
		return all, err
	}
	of := s.resourcesOf(ctx)
	return visible(ctx, s.guard, auth.ActionListUsage, all, func(c *workload.Calls) []auth.Resource { return of(c.API) })
}

// Calls implements workload.Service.
func (c *Client) Calls(ctx context.Context, q workload.CallsQuery) (out []workload.Calls, err error) {
	values := url.Values{}
	for name, value := range map[string]string{"api": q.API, "caller": q.Caller} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if q.Since > 0 {
		values.Set("since", q.Since.String())
	}
	err = c.do(ctx, call{method: http.MethodGet, path: "/v1/usage", query: values, out: &out})
	return out, err
}
