package operator

import (
	"context"
	"fmt"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Types of events.
const (
	normal  = "normal"
	warning = "warning"
)

// record notes what happened. An event that cannot be kept fails nothing.
func (o *Operator) record(ctx context.Context, s workload.Subject, kind, reason, format string, args ...any) {
	e := workload.Event{Time: o.now().UTC(), API: s.Name, Kind: s.Kind, Type: kind, Reason: reason, Message: fmt.Sprintf(format, args...)}
	if err := o.store.Record(ctx, e); err != nil {
		o.log.Warn("an event was lost", "api", s.Name, "event", reason, "error", err)
	}
}

// Events calls fn for what happened to a workload, or to all.
func (o *Operator) Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	if q.Name != "" {
		if err := o.known(ctx, q.Name); err != nil {
			return err
		}
	}
	return o.store.Events(ctx, q, fn)
}

// known fails for a name that is neither deployed nor has left anything behind.
func (o *Operator) known(ctx context.Context, name string) error {
	_, err := o.store.Get(ctx, name)
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	found := false
	if err := o.store.Events(ctx, workload.EventQuery{Name: name}, func(workload.Event) error {
		found = true
		return nil
	}); err != nil || found {
		return err
	}
	return notDeployed(name)
}

// Logs calls fn for the lines that the replicas of a workload wrote; also of an API
// that was deleted while its logs were kept.
func (o *Operator) Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	w, err := o.store.Get(ctx, q.Name)
	if err == nil {
		if hasJobs(w.Revision.Kind) {
			return o.jobLogs(ctx, q, fn)
		}
		if q.Job != "" {
			return notJobs(&w.Revision.Spec)
		}
		if !w.Revision.Kind.Scales() {
			return onlyFor("logs", &w.Revision.Spec)
		}
		return o.engine.Logs(ctx, q, fn)
	}
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	q.Follow = false // nothing more will come
	found := false
	err = o.engine.Logs(ctx, q, func(line workload.LogLine) error {
		found = true
		return fn(line)
	})
	if !found && (err == nil || fault.Is(err, fault.NotFound)) {
		return notDeployed(q.Name)
	}
	return err
}
