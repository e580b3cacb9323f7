package httpapi

import (
	"context"
	"slices"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/workload"
)

// Behind a guard, an answer about an API has no more than what its caller may ask for:
// log lines are for those with the action logs. Values of variables, which are often
// passwords, are for those with deploy, who could read them anyway; others see Masked.

func (s services) List(ctx context.Context) ([]workload.APIResponse, error) {
	all, err := s.Service.List(ctx)
	for i := range all {
		all[i] = s.shown(ctx, all[i])
	}
	return all, err
}

func (s services) Get(ctx context.Context, name string) (workload.APIResponse, error) {
	api, err := s.Service.Get(ctx, name)
	return s.shown(ctx, api), err
}

func (s services) Describe(ctx context.Context, name string) (workload.APIResponse, error) {
	api, err := s.Service.Describe(ctx, name)
	return s.shown(ctx, api), err
}

func (s services) Version(ctx context.Context, name, id string) (workload.APIResponse, error) {
	api, err := s.Service.Version(ctx, name, id)
	return s.shown(ctx, api), err
}

func (s services) Explain(ctx context.Context, name string) (workload.Explanation, error) {
	e, err := s.Service.Explain(ctx, name)
	if s.guard != nil && !s.guard.May(ctx, auth.ActionLogs, auth.Resource{API: e.Name, Kind: string(e.Kind)}) {
		e.Cause = withoutLogs(e.Cause)
	}
	return e, err
}

func (s services) shown(ctx context.Context, api workload.APIResponse) workload.APIResponse {
	var of auth.Resource
	switch {
	case s.guard == nil:
		return api
	case api.Metadata != nil:
		of = auth.Resource{API: api.Metadata.Name, Kind: string(api.Metadata.Kind)}
	case api.Spec != nil:
		of = auth.Resource{API: api.Spec.Name, Kind: string(api.Spec.Kind)}
	default:
		return api
	}
	if api.Spec != nil && !s.guard.May(ctx, auth.ActionDeploy, of) {
		api.Spec = masked(api.Spec)
	}
	if api.Status != nil && len(api.Status.Replicas) > 0 && !s.guard.May(ctx, auth.ActionLogs, of) {
		status := *api.Status // others read it too
		status.Replicas = slices.Clone(status.Replicas)
		for i := range status.Replicas {
			status.Replicas[i].Reason = withoutLogs(status.Replicas[i].Reason)
		}
		api.Status = &status
	}
	return api
}

func withoutLogs(r *workload.Reason) *workload.Reason {
	if r == nil {
		return nil
	}
	c := *r
	c.Evidence = slices.DeleteFunc(slices.Clone(r.Evidence), func(e workload.Evidence) bool { return e.Kind == "log" })
	return &c
}

// masked is a revision without the values of its variables.
func masked(r *workload.Deployed) *workload.Deployed {
	c := *r
	c.SubmittedAPISpec = withoutValues(r.SubmittedAPISpec, false)
	if r.Pod == nil {
		return &c
	}
	pod := *r.Pod
	pod.Containers = slices.Clone(pod.Containers)
	for i := range pod.Containers {
		pod.Containers[i] = pod.Containers[i].Masked()
	}
	c.Pod = &pod
	return &c
}

// withoutValues copies what a user submitted, and masks what is in an env.
func withoutValues(v any, inEnv bool) any {
	switch v := v.(type) {
	case map[string]any:
		if _, refers := v["secret"]; inEnv && refers && len(v) == 1 {
			return v
		}
		c := make(map[string]any, len(v))
		for key, inner := range v {
			c[key] = withoutValues(inner, inEnv || key == "env")
		}
		return c
	case []any:
		c := make([]any, len(v))
		for i, inner := range v {
			c[i] = withoutValues(inner, inEnv)
		}
		return c
	}
	if inEnv && v != nil {
		return workload.Masked
	}
	return v
}
