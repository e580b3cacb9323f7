package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// runTask runs the worker of a task until it succeeds or may not run again. No status: ctx
// has ended, and says why.
func (j *job) runTask(ctx context.Context) (workload.JobStatus, *workload.ItemReason) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if ctx.Err() != nil {
			return "", nil
		}
		n := 0
		if err := j.must(ctx, nil, func(r *record) {
			for i := range r.Attempts { // the process that ran it is gone
				if r.Attempts[i].Outcome == "" {
					r.Attempts[i].Outcome = "interrupted"
				}
			}
			r.Status = workload.JobRunning
			r.Runs++
			n = r.Runs
			r.Attempts = append(r.Attempts, workload.JobAttempt{N: n, StartedAt: time.Now().UTC()})
			r.Attempts = r.Attempts[max(0, len(r.Attempts)-shownAttempts):]
		}); err != nil {
			return "", nil // it cannot be written for so long only because ctx has ended
		}
		end, id, err := j.attempt(ctx, n)
		status, reason, again := j.judge(ctx, end, err)
		if err := j.must(ctx, nil, func(r *record) { j.note(ctx, r, end, id, status, reason) }); err != nil {
			return "", nil
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

// attempt runs the worker once.
func (j *job) attempt(ctx context.Context, n int) (end engine.RunEnd, id string, _ error) {
	run, err := j.startRun(ctx, map[string]string{"CORTEX_ATTEMPT": strconv.Itoa(n)})
	if err != nil {
		return end, "", err
	}
	defer j.isGone(run)
	stop := context.AfterFunc(ctx, func() { run.Stop(context.Cause(ctx).Error()) })
	defer stop()
	if run.AwaitReady(ctx) {
		j.isReady(run)
	}
	<-run.Done()
	return run.End(), run.ID(), nil
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
func (j *job) note(ctx context.Context, r *record, end engine.RunEnd, id string, status workload.JobStatus, reason *workload.ItemReason) {
	a := &r.Attempts[len(r.Attempts)-1]
	a.Replica, a.Duration = id, time.Since(a.StartedAt).Round(time.Millisecond).String()
	if status != "" && !end.Unmade && id != "" {
		code := end.Code
		a.ExitCode = &code
	}
	a.Reason = reason
	switch status {
	case workload.JobSucceeded:
		a.Outcome = "succeeded"
		r.Warning = j.checkResult()
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

// checkResult drops a result that is too large, and says so.
func (j *job) checkResult() string {
	path := filepath.Join(j.s.dir(j.rec.key()), fileResult)
	info, err := os.Stat(path)
	if err != nil || info.Size() <= workload.MaxInlineResult {
		return ""
	}
	_ = os.Truncate(path, 0) // it is not shown, whatever is left
	return fmt.Sprintf("its result has %d bytes, more than the %d that are kept, and was dropped", info.Size(), workload.MaxInlineResult)
}
