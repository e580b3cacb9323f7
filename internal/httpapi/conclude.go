package httpapi

import (
	"context"
	"fmt"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Behind a guard, what becomes of every change is in the audit, beside who was allowed to
// make it: a dry run, a rollback and a deploy that failed are no deploys.

func (s services) Deploy(ctx context.Context, req workload.DeployRequest) ([]workload.DeployResult, error) {
	results, err := s.Service.Deploy(ctx, req)
	operation := "deploy"
	if req.DryRun {
		operation = "dry_run"
	}
	if err != nil {
		s.conclude(ctx, auth.ActionDeploy, operation, "", workload.DeployResult{}, err)
	}
	for _, r := range results {
		s.conclude(ctx, auth.ActionDeploy, operation, r.Name, r, nil)
	}
	return results, err
}

func (s services) Rollback(ctx context.Context, name, id string) (workload.DeployResult, error) {
	r, err := s.Service.Rollback(ctx, name, id)
	s.conclude(ctx, auth.ActionDeploy, "rollback", name, r, err)
	return r, err
}

func (s services) Refresh(ctx context.Context, name string, force bool) (workload.Message, error) {
	m, err := s.Service.Refresh(ctx, name, force)
	s.conclude(ctx, auth.ActionRefresh, "refresh", name, workload.DeployResult{}, err)
	return m, err
}

func (s services) Stop(ctx context.Context, name string) (workload.DeployResult, error) {
	r, err := s.Service.Stop(ctx, name)
	return s.changed(ctx, auth.ActionStop, "stop", name, r, err)
}

func (s services) Start(ctx context.Context, name string) (workload.DeployResult, error) {
	r, err := s.Service.Start(ctx, name)
	return s.changed(ctx, auth.ActionStart, "start", name, r, err)
}

func (s services) Resize(ctx context.Context, name string, n int) (workload.DeployResult, error) {
	r, err := s.Service.Resize(ctx, name, n)
	return s.changed(ctx, auth.ActionScale, "scale", name, r, err)
}

// changed concludes what makes no version, for callers who may not see all that deploy
// shows.
func (s services) changed(ctx context.Context, a auth.Action, operation, name string, r workload.DeployResult, err error) (workload.DeployResult, error) {
	s.conclude(ctx, a, operation, name, workload.DeployResult{Action: r.Action}, err)
	if r.API != nil {
		api := s.shown(ctx, *r.API)
		r.API = &api
	}
	return r, err
}

func (s services) Delete(ctx context.Context, name string, opts workload.DeleteOptions) (workload.Message, error) {
	m, err := s.Service.Delete(ctx, name, opts)
	s.conclude(ctx, auth.ActionDelete, "delete", name, workload.DeployResult{}, err)
	return m, err
}

// conclude writes down what became of a change. What a guard has refused it wrote down
// itself.
func (s services) conclude(ctx context.Context, a auth.Action, operation, name string, r workload.DeployResult, err error) {
	if s.guard == nil || fault.Is(err, fault.Forbidden) {
		return
	}
	c := auth.Conclusion{Action: a, Operation: operation, Resource: auth.Resource{API: name}, Outcome: auth.OutcomeDone, Code: r.Code}
	switch {
	case err != nil:
		c.Outcome, c.Code = auth.OutcomeFailed, fault.From(err).Code
	case r.Error != "":
		c.Outcome = auth.OutcomeFailed
	case r.Action == workload.ActionNone:
		c.Outcome = auth.OutcomeNone
	}
	if r.API != nil && r.API.Spec != nil && r.API.Spec.Number > 0 && c.Outcome == auth.OutcomeDone && operation != "dry_run" {
		c.Version = fmt.Sprintf("v%d", r.API.Spec.Number)
	}
	s.guard.Conclude(ctx, c)
}
