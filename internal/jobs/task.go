package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/workload"
)

// Pauses between the runs of a task.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// resultWithin is how long a run that has ended has to say what it left.
const resultWithin = 30 * time.Second

// runTask runs the worker of a task until it succeeds or may not run again. No status: ctx
// has ended, and says why.
func (j *job) runTask(ctx context.Context) (workload.JobStatus, *workload.ItemReason) {
	// The process before this one may have died between what became of its last run and what
	// became of the job: that run has ended, and is not made again.
	latest := j.snapshot()
	if status, reason, again := latest.verdict(); status != "" && !again {
		return status, reason
	}
	there, err := j.there(ctx)
	if err != nil {
		return "", nil
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if ctx.Err() != nil {
			return "", nil
		}
		n := 0
		if err := j.must(ctx, nil, func(r *record) { n = r.begin(there) }); err != nil {
			return "", nil // it cannot be written for so long only because ctx has ended
		}
		if len(there) > 0 {
			if err := j.endRuns(ctx, runOf(n)); err != nil {
				j.s.log.Warn("earlier workers of a task cannot be ended", "job", j.rec.ID, "error", err)
			}
			there = nil
		}
		run, err := j.attempt(ctx, n)
		var end engine.RunEnd
		id, warning := "", ""
		if err == nil {
			if end, id = run.End(), run.ID(); end.Left {
				return "", nil // it goes on, and is the next process's to follow
			}
			if !end.Stopped {
				warning = j.keepResult(ctx, run, n > 1)
			}
		}
		status, reason, again := j.judge(ctx, end, err)
		if err := j.must(ctx, nil, func(r *record) { j.note(ctx, r, end, id, status, reason, warning) }); err != nil {
			return "", nil
		}
		if run != nil {
			run.Forget(context.WithoutCancel(ctx))
		}
		if !again {
			return status, reason
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// runOf is the id of the run of an attempt.
func runOf(attempt int) string { return strconv.Itoa(attempt) }

// begin notes that an attempt begins, and returns its number: that of the latest, if its
// run is there.
func (r *record) begin(there []string) int {
	r.Status = workload.JobRunning
	if len(r.Attempts) > 0 {
		if last := r.Attempts[len(r.Attempts)-1]; last.Outcome == "" && slices.Contains(there, runOf(last.N)) {
			return last.N
		}
	}
	for i := range r.Attempts { // the process that ran it is gone
		if r.Attempts[i].Outcome == "" {
			r.Attempts[i].Outcome = "interrupted"
		}
	}
	r.Runs++
	r.Attempts = append(r.Attempts, workload.JobAttempt{N: r.Runs, StartedAt: time.Now().UTC()})
	r.Attempts = r.Attempts[max(0, len(r.Attempts)-shownAttempts):]
	return r.Runs
}

// verdict is what follows from the latest attempt, as it was written down. No status: it has
// not come to an end of its own.
func (r *record) verdict() (status workload.JobStatus, reason *workload.ItemReason, again bool) {
	if len(r.Attempts) == 0 {
		return "", nil, true
	}
	a := &r.Attempts[len(r.Attempts)-1]
	switch {
	case a.ExitCode == nil: // it was ended, or never begun
		return "", nil, true
	case a.Outcome == "succeeded":
		return workload.JobSucceeded, nil, false
	case a.Outcome == "oom":
		status = workload.JobWorkerOOM
	default:
		status = workload.JobWorkerError
	}
	return status, a.Reason, r.Retry.Again(int32(*a.ExitCode), r.Charged) //nolint:gosec // an exit code
}

// attempt runs the worker once, to its end or until it is left.
func (j *job) attempt(ctx context.Context, n int) (engine.Running, error) {
	run, err := j.startRun(ctx, runOf(n), map[string]string{"CORTEX_ATTEMPT": strconv.Itoa(n)})
	if err != nil {
		return nil, err
	}
	defer j.isGone(run)
	stop := endsWith(ctx, run)
	defer stop()
	if run.AwaitReady(ctx) {
		j.isReady(run)
	}
	<-run.Done()
	return run, nil
}

// keepResult keeps what a run left as its result, and says why if it does not. An earlier
// run may have left one, which is replaced.
func (j *job) keepResult(ctx context.Context, run engine.Running, again bool) string {
	lasting, cancel := outlasting(ctx)
	defer cancel()
	asking, done := context.WithTimeout(lasting, resultWithin)
	defer done()
	data, err := run.Result(asking, workload.MaxInlineResult)
	warning := ""
	if len(data) > workload.MaxInlineResult {
		data, warning = nil, fmt.Sprintf("its result has more than the %d bytes that are kept, and was dropped", workload.MaxInlineResult)
	}
	if err == nil && (len(data) > 0 || again) {
		err = j.patiently(lasting, func() error {
			_, err := j.s.cfg.Files.Put(lasting, j.rec.key().file(fileResult), bytes.NewReader(data))
			return err
		})
	}
	if err != nil {
		return "its result could not be kept: " + err.Error()
	}
	return warning
}

// judge decides what follows from the end of a run. No status, and not again: ctx says it.
func (j *job) judge(ctx context.Context, end engine.RunEnd, err error) (status workload.JobStatus, reason *workload.ItemReason, again bool) {
	r := j.snapshot()
	switch {
	case ctx.Err() != nil && (err != nil || end.Stopped):
		return "", nil, false
	case err != nil:
		return workload.JobUnexpectedError, &workload.ItemReason{Code: "worker_not_started", Message: "its worker could not be started: " + err.Error()}, false
	case end.Stopped: // by the engine, which is stopping
		return "", nil, false
	case end.Unmade:
		return workload.JobWorkerError, reasonOf(end.Reason), r.Retry.Again(0, r.Charged+1) && len(r.Retry.OnExit) == 0
	case end.Code == 0:
		return workload.JobSucceeded, nil, false
	case end.OOM:
		status = workload.JobWorkerOOM
	default:
		status = workload.JobWorkerError
	}
	return status, reasonOf(end.Reason), r.Retry.Again(int32(end.Code), r.Charged+1) //nolint:gosec // an exit code
}

// note writes down what became of the latest run.
func (j *job) note(ctx context.Context, r *record, end engine.RunEnd, id string, status workload.JobStatus, reason *workload.ItemReason, warning string) {
	a := &r.Attempts[len(r.Attempts)-1]
	a.Replica, a.Duration = id, time.Since(a.StartedAt).Round(time.Millisecond).String()
	if status != "" && !end.Unmade && id != "" {
		code := end.Code
		a.ExitCode = &code
	}
	a.Reason, r.Warning = reason, warning
	switch status {
	case workload.JobSucceeded:
		a.Outcome = "succeeded"
	case workload.JobWorkerOOM:
		a.Outcome = "oom"
	case "":
		a.Outcome = "interrupted"
		if cause := context.Cause(ctx); errors.Is(cause, errTimedOut) {
			a.Outcome = "timeout"
		} else if errors.Is(cause, errStopped) || errors.Is(cause, errDeleted) {
			a.Outcome = "stopped"
		}
		return
	default:
		a.Outcome = "error"
	}
	r.Charged++
}
