package operator

import (
	"context"
	"fmt"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// An API that is stopped asks for nothing and remembers what it asked for. What deploys
// it, a rollback too, makes it what the specification says: running, unless that says
// `stopped: true`.

// place gives w the replicas that next is to have: n, or none while it is stopped.
func (o *Operator) place(w *store.Workload, next *workload.Revision, n int) {
	w.Replicas, w.Stopped = n, nil
	if next.Stopped {
		w.Replicas, w.Stopped = 0, &workload.Stopped{At: o.now().UTC(), By: workload.BySpec, Replicas: n}
	}
}

// askedFor is how many replicas there are to be when w is not stopped.
func askedFor(w store.Workload) int {
	if w.Stopped != nil {
		return w.Stopped.Replicas
	}
	return w.Replicas
}

// alsoStarts is the end of a message about a change that starts what was stopped.
func alsoStarts(was *store.Workload, next *workload.Spec) string {
	if was.Stopped != nil && !next.Stopped {
		return ", which was stopped, and is started"
	}
	return ""
}

func startAgain(name string) string { return fmt.Sprintf("`cortex start %s` starts it again", name) }

func errStopped(w *store.Workload, why string) error {
	return fault.New(fault.Conflict, "resources.api_stopped", "%s is %s, and %s", w.Name(), w.Stopped, why).
		WithHint("start it first: cortex start %s", w.Name())
}

// Stop leaves an API without replicas, and its requests without an answer.
func (o *Operator) Stop(ctx context.Context, name string) (workload.DeployResult, error) {
	return o.switched(ctx, name, true)
}

// Start asks again for what there was to be before Stop.
func (o *Operator) Start(ctx context.Context, name string) (workload.DeployResult, error) {
	return o.switched(ctx, name, false)
}

func (o *Operator) switched(ctx context.Context, name string, off bool) (result workload.DeployResult, err error) {
	by := o.caller(ctx)
	err = o.change(ctx, func(ctx context.Context) error {
		w, err := o.store.Get(ctx, name)
		if err != nil {
			return err
		}
		if !w.Revision.Kind.Scales() {
			return onlyFor(onOff(off, "stop", "start"), &w.Revision.Spec)
		}
		result, err = o.switchTo(ctx, w, off, by, false)
		return err
	})
	return result, err
}

// switchTo stops what runs or starts what is stopped, and changes nothing else. By is who
// wants it.
func (o *Operator) switchTo(ctx context.Context, was store.Workload, off bool, by string, dryRun bool) (workload.DeployResult, error) {
	spec := &was.Revision.Spec
	if off == (was.Stopped != nil) {
		return o.result(ctx, was, workload.ActionNone, nil, label(spec)+" is "+onOff(off, "stopped", "not stopped"))
	}
	edit := func(w *store.Workload) (bool, error) {
		switch {
		case off == (w.Stopped != nil):
			return false, nil
		case off:
			w.Stopped = &workload.Stopped{At: o.now().UTC(), By: by, Replicas: w.Replicas}
			w.Replicas = 0
		default:
			w.Replicas = within(w.Revision.Autoscaling, w.Stopped.Replicas)
			w.Stopped = nil
		}
		return true, nil
	}
	if dryRun {
		planned := was
		_, _ = edit(&planned) // has no way to fail
		return o.result(ctx, planned, workload.ActionUpdate, nil, "would "+onOff(off, "stop ", "start ")+label(spec))
	}
	_, now, err := o.mutate(ctx, was.Name(), edit)
	if err != nil {
		return workload.DeployResult{}, err
	}
	o.record(ctx, spec.Subject(), normal, onOff(off, "Stopped", "Started"), "%s%s", onOff(off, "stopped", "started"), named(by))
	return o.result(ctx, now, workload.ActionUpdate, nil, onOff(off, "stopping ", "starting ")+label(spec))
}

func onOff(off bool, stop, start string) string {
	if off {
		return stop
	}
	return start
}

func named(by string) string {
	if by == "" {
		return ""
	}
	return " by " + by
}

// Resize asks for n replicas on somebody's word. To the autoscaler that is a decision as
// its own are, so it holds for as long.
func (o *Operator) Resize(ctx context.Context, name string, n int) (result workload.DeployResult, err error) {
	by := o.caller(ctx)
	err = o.change(ctx, func(ctx context.Context) error {
		w, err := o.store.Get(ctx, name)
		if err != nil {
			return err
		}
		if err := resizable(&w, n); err != nil {
			return err
		}
		spec := &w.Revision.Spec
		if n == w.Replicas {
			result, err = o.result(ctx, w, workload.ActionNone, nil, fmt.Sprintf("%s asks for %s already", label(spec), count(n, "replica")))
			return err
		}
		if err := o.Scale(ctx, name, n, "asked for"+named(by)); err != nil {
			return err
		}
		from := w.Replicas
		if w, err = o.store.Get(ctx, name); err != nil {
			return err
		}
		result, err = o.result(ctx, w, workload.ActionUpdate, nil, fmt.Sprintf("scaling %s from %d to %s", label(spec), from, count(n, "replica")))
		return err
	})
	return result, err
}

// resizable says why w cannot have n replicas.
func resizable(w *store.Workload, n int) error {
	a := w.Revision.Autoscaling
	switch {
	case a == nil:
		return onlyFor("scaling", &w.Revision.Spec)
	case w.Stopped != nil:
		return errStopped(w, "has no replicas")
	case n < int(a.MinReplicas):
		return outOfRange(w.Name(), n, "less", "min_replicas", a.MinReplicas)
	case n > int(a.MaxReplicas):
		return outOfRange(w.Name(), n, "more", "max_replicas", a.MaxReplicas)
	}
	return nil
}

func outOfRange(name string, n int, compared, key string, bound int32) error {
	return fault.New(fault.Invalid, "resources.replicas_out_of_range", "%s cannot have %s: that is %s than its %s of %d",
		name, count(n, "replica"), compared, key, bound).
		WithHint("set autoscaling.%s in its file and deploy that", key)
}
