package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/backoff"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// waiter follows deployed APIs until each is live or has failed, and shows it.
type waiter struct {
	app     *app
	svc     workload.Service
	timeout time.Duration
	quiet   bool  // the answer is data; say nothing
	board   board // on a terminal
	now     func() time.Time
	started time.Time
}

// followed is one API on its way.
type followed struct {
	result *workload.DeployResult
	name   string
	kind   workload.Kind
	id     string // of the revision that was deployed
	status *workload.Status
	lines  string // last said about it
	said   time.Time
	fix    string // what to do about what keeps it, where waiting may not help
	fixOf  string // the reason for which that was asked
	done   bool
	err    error // why it will not be live
	told   bool  // that, and the cause
}

func newWaiter(a *app, svc workload.Service, o deployOptions) *waiter {
	_, live := terminal(a.streams.Out)
	return &waiter{
		app: a, svc: svc, timeout: o.timeout, quiet: o.out != pretty, now: time.Now,
		board: board{out: a.streams.Out, on: live && a.getenv("TERM") != "dumb" && o.out == pretty},
	}
}

// wait returns when every API of the results is live or has failed. It writes
// the last status into the results, explains failures, and returns errReported
// if there were any.
func (w *waiter) wait(ctx context.Context, results []workload.DeployResult) error {
	w.started = w.now()
	apis := w.follow(results)
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	err := w.poll(limited, ctx, apis)
	if ctx.Err() != nil {
		w.sayGoesOn(apis)
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	failed := false
	for _, f := range apis {
		if !f.done && f.err == nil {
			f.err = fault.New(fault.Unavailable, "cli.deploy_timeout", "%s is not live after %s (%s)", f.name, w.timeout, summary(f.status)).
				WithHint("it is still on its way: `cortex get %s --watch`", f.name)
		}
		w.tellFailed(ctx, f)
		failed = failed || f.err != nil
	}
	if failed {
		return errReported
	}
	return nil
}

func (w *waiter) follow(results []workload.DeployResult) []*followed {
	var apis []*followed
	for i := range results {
		r := &results[i]
		if r.Error != "" || r.API == nil {
			continue
		}
		f := &followed{result: r, name: apiName(r.API)}
		switch m := r.API.Metadata; {
		case m != nil:
			f.kind, f.id = m.Kind, m.ID
		case r.API.Spec != nil:
			f.kind, f.id = r.API.Spec.Kind, r.API.Spec.ID
		}
		apis = append(apis, f)
	}
	return apis
}

// sayGoesOn says after an interruption what it did not interrupt.
func (w *waiter) sayGoesOn(apis []*followed) {
	if w.quiet {
		return
	}
	w.board.end()
	for _, f := range apis {
		if f.done || f.err != nil {
			continue
		}
		undo := "cortex rollback " + f.name
		if f.result.Action == workload.ActionCreate {
			undo = "cortex delete " + f.name
		}
		w.app.note("%s goes on without this command: `cortex get %s` shows how it is doing, `%s` undoes it", f.name, f.name, undo)
	}
}

// poll looks until nothing is left to wait for or limited ends; what has failed is told
// at once.
func (w *waiter) poll(limited, ctx context.Context, apis []*followed) error {
	for _, f := range apis {
		w.tell(f, f.result.Message)
	}
	for wait := (backoff.Backoff{}); ; {
		list, err := w.svc.List(limited)
		if err != nil {
			return err
		}
		open := false
		for _, f := range apis {
			w.look(f, list)
			if f.done || f.err != nil {
				continue
			}
			open = true
			w.findFix(limited, f)
		}
		w.show(apis)
		if !open {
			return nil
		}
		for _, f := range apis {
			w.tellFailed(ctx, f)
		}
		if err := wait.Next(limited); err != nil {
			return err
		}
	}
}

// look takes over what the list says about f.
func (w *waiter) look(f *followed, list []workload.APIResponse) {
	if f.done || f.err != nil {
		return
	}
	i := slices.IndexFunc(list, func(r workload.APIResponse) bool { return apiName(&r) == f.name })
	if i < 0 {
		f.err = fault.New(fault.NotFound, "resources.api_not_deployed", "%s was deleted while it was being deployed", f.name)
		return
	}
	m, s := list[i].Metadata, list[i].Status
	if m != nil && f.id != "" && m.ID != f.id {
		// Ids sort newest first.
		if m.ID < f.id {
			f.err = fault.New(fault.Conflict, "cli.deploy_superseded", "%s was deployed again by someone else in the meantime", f.name).
				WithHint("see `cortex history %s`", f.name)
		}
		return
	}
	f.status = s
	if s == nil { // this kind has no replicas
		f.done = true
		return
	}
	f.result.API.Status = s
	switch s.Phase {
	case workload.PhaseLive, workload.PhaseIdle, workload.PhaseStopped:
		f.done = true
	case workload.PhaseFailed, workload.PhaseDegraded:
		f.err = fault.New(fault.Unavailable, "cli.deploy_failed", "%s did not become ready: %s", f.name, orElse(s.Reason, "its replicas fail"))
	}
}

// findFix asks what to do about what keeps f, once for each reason.
func (w *waiter) findFix(ctx context.Context, f *followed) {
	if w.quiet || f.status == nil || f.status.Reason == "" || f.status.Reason == f.fixOf {
		return
	}
	f.fixOf, f.fix = f.status.Reason, ""
	e, err := w.svc.Explain(ctx, f.name)
	if err != nil || e.Cause == nil || slices.ContainsFunc(e.Steps, func(s workload.Step) bool { return s.Pending }) {
		return
	}
	f.fix = e.Cause.Fix
}

// show redraws the board on a terminal, or writes a line about what changed.
func (w *waiter) show(apis []*followed) {
	for _, f := range apis {
		if f.err == nil && (f.status != nil || f.done) {
			w.tell(f, fmt.Sprintf("%s: %s", f.name, summary(f.status)))
		}
	}
	if !w.board.on {
		return
	}
	var lines []string
	for _, f := range apis {
		lines = append(lines, w.block(f)...)
	}
	w.board.draw(lines)
}

// reminder is how long nothing is said while nothing changes: a log without a new line
// for minutes looks like one that has ended.
const reminder = 30 * time.Second

func (w *waiter) tell(f *followed, line string) {
	if w.quiet || w.board.on {
		return
	}
	if f.status != nil && f.fix != "" && !f.done {
		line += "\n  what to do: " + f.fix
	}
	now := w.now()
	same := line == f.lines
	if same && (f.done || now.Sub(f.said) < reminder) {
		return
	}
	f.lines, f.said = line, now
	if same {
		line = fmt.Sprintf("%s (for %s)", strings.SplitN(line, "\n", 2)[0], w.elapsed(now))
	}
	w.app.say("%s", line)
}

func (w *waiter) elapsed(now time.Time) time.Duration { return now.Sub(w.started).Round(time.Second) }

// block is what the board shows of one API: its state, and the reason for it.
func (w *waiter) block(f *followed) []string {
	p := w.app.paint
	mark, state := p.yellow("•"), "updating"
	if f.status != nil {
		state = string(f.status.Phase)
	}
	switch {
	case f.err != nil:
		mark, state = p.red("✗"), p.red("failed")
	case f.done:
		mark, state = p.green("✓"), p.green(state)
	}
	line := fmt.Sprintf("%s %s %s  %s", mark, p.bold(f.name), p.dim("("+string(f.kind)+")"), state)
	if s := f.status; s != nil {
		line += fmt.Sprintf("  %d/%d ready", s.Ready, s.Requested)
		if f.done || f.err != nil {
			return []string{line}
		}
		lines := []string{line + "  " + p.dim(w.elapsed(w.now()).String())}
		if s.Reason != "" {
			lines = append(lines, "  "+p.dim(s.Reason))
		}
		if f.fix != "" {
			lines = append(lines, "  "+p.dim("what to do: ")+f.fix)
		}
		return lines
	}
	return []string{line}
}

// tellFailed tells once why f is not live. The board goes on below it.
func (w *waiter) tellFailed(ctx context.Context, f *followed) {
	if f.err == nil || f.told {
		return
	}
	f.told = true
	w.board.end()
	w.explain(ctx, f)
}

// explain tells why f is not live, and puts the cause into its result.
func (w *waiter) explain(ctx context.Context, f *followed) {
	cause := fault.From(f.err)
	f.result.Error, f.result.Code = "error: "+cause.Message, cause.Code
	e, err := w.svc.Explain(ctx, f.name)
	explained := err == nil && e.Cause != nil
	if explained {
		f.result.Error, f.result.Code = fmt.Sprintf("error: %s: %s", f.name, e.Cause.Message), e.Cause.Code
	}
	w.app.printError(cause)
	if explained && !w.quiet {
		writeCause(w.app.streams.Err, newPainter(w.app.streams.Err, w.app.getenv), e.Cause)
	}
}

func orElse(text, other string) string {
	if strings.TrimSpace(text) == "" {
		return other
	}
	return text
}
