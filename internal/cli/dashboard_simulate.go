package cli

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/dashboard"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// recorded simulates an API with what it had to do in the last hour, or a multiple of it, by
// the rules of `cortex simulate`.
func recorded(ctx context.Context, svc workload.Service, name string, r dashboard.SimulateRequest) (any, error) {
	api, err := svc.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if api.Spec == nil || api.Spec.Autoscaling == nil || api.Spec.Pod == nil {
		return nil, fault.New(fault.Invalid, "resources.operation_is_only_supported_for_kind", "%s has no replicas that follow its load", name).
			WithHint("simulate a RealtimeAPI or an AsyncAPI")
	}
	past, err := svc.Series(ctx, workload.SeriesQuery{Name: name})
	if err != nil {
		return nil, err
	}
	trace := autoscaler.Trace{Name: "the last hour", Unit: autoscaler.RPS}
	step, some := time.Duration(past.StepSeconds)*time.Second, false
	for i, v := range past.Requests {
		if v < 0 && !some {
			continue // before anything was measured
		}
		some = true
		trace.Points = append(trace.Points, autoscaler.Point{At: time.Duration(len(trace.Points)) * step, Load: max(0, float64(v)) * r.Factor})
		if i == len(past.Requests)-1 { // it lasts until the next one
			trace.Points = append(trace.Points, autoscaler.Point{At: time.Duration(len(trace.Points)) * step})
		}
	}
	if !some {
		return nil, fault.New(fault.Unavailable, "dashboard.nothing_recorded", "nothing was measured of %s in the last hour", name).
			WithHint("it is measured every ten seconds, where the front door is the same program; `cortex simulate` takes traffic from a file")
	}
	spec := api.Spec.Spec
	scaling := *spec.Autoscaling
	scaling.MinReplicas, scaling.MaxReplicas, scaling.TargetInFlight = r.MinReplicas, r.MaxReplicas, r.TargetInFlight
	scaling.InitReplicas = min(max(scaling.InitReplicas, r.MinReplicas), r.MaxReplicas)
	spec.Autoscaling = &scaling
	if broken := spec.Validate(); len(broken) > 0 {
		return nil, fault.New(fault.Invalid, "dashboard.simulate", "%s", broken[0].Message)
	}
	return autoscaler.Simulate(spec, trace, autoscaler.SimulateOptions{
		Latency: time.Duration(r.Latency * float64(time.Second)), ColdStart: time.Duration(r.ColdStart * float64(time.Second)),
		Replicas: int(scaling.InitReplicas), AtZero: scaling.InitReplicas == 0, Start: past.From,
	})
}
