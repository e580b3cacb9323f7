package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// job is one that has not ended.
type job struct {
	s    *Service
	rev  *workload.Revision // nil: it cannot be read
	over chan struct{}      // closed when it has ended

	saving sync.Mutex // held while the record is written, so that the latest is written last

	mu      sync.Mutex
	rec     record
	cancel  context.CancelCauseFunc // ends execute; nil: it does not run
	workers map[engine.Running]bool // that run; true: ready
	work    *batches                // nil of tasks, and before there are any
}

func newJob(s *Service, r record) *job {
	return &job{s: s, rec: r, over: make(chan struct{}), workers: map[engine.Running]bool{}}
}

func (j *job) snapshot() record {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.rec
	r.Attempts = slices.Clone(r.Attempts)
	return r
}

// change changes the record, on the disk and then in memory, with other records beside it:
// nobody is told what a crash could take back. fn is called for each, and does the same.
func (j *job) change(ctx context.Context, more map[string][]byte, fn func(*record)) error {
	j.saving.Lock()
	defer j.saving.Unlock()
	r := j.snapshot()
	fn(&r)
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	changes := map[string][]byte{r.key().record(): data}
	for key, data := range more {
		changes[key] = data
	}
	if err := j.s.cfg.Records.Write(ctx, "writing down what became of the job "+r.ID, changes); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	fn(&j.rec) // and not all of r: who it is is read without the lock
	return nil
}

// must is change, again and again until it succeeds or ctx has ended for a while: nobody
// else would write it.
func (j *job) must(ctx context.Context, more map[string][]byte, fn func(*record)) error {
	lasting, cancel := outlasting(ctx)
	defer cancel()
	for {
		err := j.change(lasting, more, fn)
		if err == nil {
			return nil
		}
		j.s.log.Warn("a job cannot be written down now", "api", j.rec.API, "job", j.rec.ID, "error", err)
		select {
		case <-lasting.Done():
			return err
		case <-time.After(writeAgain):
		}
	}
}

// outlasting is a context that ends a while after another: what is to be written then may
// still be.
func outlasting(ctx context.Context) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(lastWriteWithin):
			cancel()
		case <-lasting.Done():
		}
	})
	return lasting, func() {
		stop()
		cancel()
	}
}

// patiently does something with what is kept of the job, again and again as long as that is
// away, until ctx ends. No job fails because of it.
func (j *job) patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || !fault.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return err
		}
		j.s.log.Warn("what is kept of a job is away; it waits", "api", j.rec.API, "job", j.rec.ID, "error", err)
		wait(ctx, writeAgain)
	}
}

// statusOf is how a job ends whose run was ended for a reason.
func statusOf(why error) (workload.JobStatus, *workload.ItemReason) {
	var early *earlyEnd
	switch {
	case errors.As(why, &early):
		return early.status, &early.reason
	case errors.Is(why, errTimedOut):
		return workload.JobTimedOut, &workload.ItemReason{Code: "timed_out", Message: why.Error()}
	case errors.Is(why, errDeleted):
		return workload.JobStopped, &workload.ItemReason{Code: "api_deleted", Message: why.Error()}
	}
	return workload.JobStopped, &workload.ItemReason{Code: "stopped", Message: errStopped.Error()}
}

// earlyEnd ends a job for what its work has come to.
type earlyEnd struct {
	status workload.JobStatus
	reason workload.ItemReason
}

func (e *earlyEnd) Error() string { return e.reason.Message }

// hasEnded reports whether its end is on the disk.
func (j *job) hasEnded() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.rec.Ended.IsZero()
}

// end has the job end before its time; that it is to is on the disk then.
func (j *job) end(ctx context.Context, why error) error {
	status, reason := statusOf(why)
	err := j.change(ctx, nil, func(r *record) {
		if r.Ending == "" {
			r.Ending, r.Reason = string(status), reason
		}
	})
	j.mu.Lock()
	cancel := j.cancel
	j.mu.Unlock()
	if cancel != nil {
		cancel(why)
		return err
	}
	j.s.mu.Lock() // it waits for its turn, and need not any more
	i := slices.Index(j.s.waiting, j)
	if i >= 0 {
		j.s.waiting = slices.Delete(j.s.waiting, i, i+1)
	}
	j.s.mu.Unlock()
	if i >= 0 {
		j.finish(ctx, status, reason)
	}
	return err
}

// execute runs the job until it has ended, or this process is to.
func (j *job) execute(life context.Context) {
	ctx, cancel := context.WithCancelCause(life)
	defer cancel(nil)
	j.mu.Lock()
	j.cancel = cancel
	ending, kind := j.rec.Ending, j.rec.Kind
	if j.rec.Started.IsZero() {
		j.rec.Started = time.Now().UTC()
	}
	timeout, started, reason := j.rec.Timeout, j.rec.Started, j.rec.Reason
	j.mu.Unlock()
	switch {
	case ending != "": // it was to end when the process before this one did
		j.finish(life, workload.JobStatus(ending), reason)
		return
	case j.rev == nil:
		j.finish(life, workload.JobUnexpectedError, &workload.ItemReason{Code: "job_unreadable", Message: "the version of the API that it runs cannot be read any more"})
		return
	}
	if timeout != nil {
		late := time.AfterFunc(time.Until(started.Add(time.Duration(*timeout)*time.Second)), func() { cancel(errTimedOut) })
		defer late.Stop()
	}
	var status workload.JobStatus
	var why *workload.ItemReason
	if kind == workload.TaskJob {
		status, why = j.runTask(ctx)
	} else {
		status, why = j.runBatches(ctx)
	}
	if status == "" && ctx.Err() == nil { // the engine stops before us
		<-ctx.Done()
	}
	cause := context.Cause(ctx)
	if status == "" && errors.Is(cause, errShutdown) {
		j.mu.Lock()
		j.cancel = nil
		j.mu.Unlock()
		return // it goes on in the next process
	}
	if status == "" {
		status, why = statusOf(cause)
	}
	j.finish(life, status, why)
}

// finish writes down the end of the job.
func (j *job) finish(ctx context.Context, status workload.JobStatus, reason *workload.ItemReason) {
	if j.mail(ctx, status, reason) {
		j.mu.Lock()
		j.cancel = nil
		j.mu.Unlock()
		return // it goes on in the next process
	}
	if r := j.snapshot(); r.Kind == workload.BatchJob { // before anybody hears that it has ended
		r.Status = status
		if err := j.s.writeManifest(context.WithoutCancel(ctx), r); err != nil {
			j.s.log.Warn("the manifest of a job cannot be written", "job", r.ID, "error", err)
		}
	}
	now := time.Now().UTC()
	if err := j.must(ctx, nil, func(r *record) {
		r.Status, r.Reason, r.Ended, r.Ending = status, reason, now, ""
		for i := range r.Attempts { // one that was under way in an earlier process
			if r.Attempts[i].Outcome == "" {
				r.Attempts[i].Outcome = "interrupted"
			}
		}
	}); err != nil {
		return // the next process finds it open
	}
	if err := j.endRuns(context.WithoutCancel(ctx), ""); err != nil {
		j.s.log.Warn("the workers of a job cannot be ended; they are with the next start", "job", j.rec.ID, "error", err)
	}
	r := j.snapshot()
	j.s.mu.Lock()
	delete(j.s.open, r.key())
	j.s.mu.Unlock()
	close(j.over)
	j.s.counts.ended(r)
	if err := j.s.forget(ctx, r.API, now); err != nil {
		j.s.log.Warn("dropping jobs that were kept for long enough", "error", err)
	}
}

// startRun starts a worker, or takes over the one of that id.
func (j *job) startRun(ctx context.Context, id string, env map[string]string) (engine.Running, error) {
	k := j.rec.key()
	var spec []byte
	if err := j.patiently(ctx, func() (err error) {
		spec, err = j.s.readFile(ctx, k, fileJob)
		return err
	}); err != nil {
		return nil, fmt.Errorf("reading what its workers are told: %w", err)
	}
	run := engine.Run{
		RunName: engine.RunName{Name: k.runs(), ID: id}, Revision: j.rev, Env: map[string]string{"CORTEX_JOB_ID": k.id},
		Files: []engine.RunFile{{Target: "/cortex/spec/job.json", Variable: "CORTEX_JOB_SPEC", Data: spec}},
	}
	maps.Copy(run.Env, j.rec.variables())
	maps.Copy(run.Env, env)
	if j.rec.Kind == workload.TaskJob {
		run.Result = &engine.RunFile{Target: "/cortex/result", Variable: "CORTEX_RESULT"}
	}
	if w, err := j.s.cfg.Deployed.Get(ctx, k.api); err == nil { // else it is being deleted, and the job ends
		run.Owner = w.Owner
	}
	r, err := j.s.cfg.Runner.StartRun(ctx, run)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	j.workers[r] = false
	j.mu.Unlock()
	return r, nil
}

// endsWith has a run end with ctx, for its reason, or be left, until stop is called.
func endsWith(ctx context.Context, run engine.Running) (stop func() bool) {
	return context.AfterFunc(ctx, func() { endRun(ctx, run, context.Cause(ctx).Error()) })
}

// endRun has a run end, or leaves it where this process is to end.
func endRun(ctx context.Context, run engine.Running, why string) {
	if errors.Is(context.Cause(ctx), errShutdown) {
		run.Leave()
		return
	}
	run.Stop(why)
}

// there returns the ids of the workers of this job that are there, from a process before
// this one: it asks until it knows, as nobody may begin again what still runs.
func (j *job) there(ctx context.Context) ([]string, error) {
	for {
		ids, err := j.runs(ctx)
		if err == nil {
			return ids, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		j.s.log.Warn("which workers of a job run is not known now", "api", j.rec.API, "job", j.rec.ID, "error", err)
		wait(ctx, writeAgain)
	}
}

// endRuns ends the workers of this job that are there, but for one.
func (j *job) endRuns(ctx context.Context, but string) error {
	ids, err := j.runs(ctx)
	for _, id := range ids {
		if id != but {
			err = errors.Join(err, j.s.cfg.Runner.EndRun(ctx, engine.RunName{Name: j.rec.key().runs(), ID: id}))
		}
	}
	return err
}

// runs returns the ids of the workers of this job that are there now.
func (j *job) runs(ctx context.Context) (ids []string, _ error) {
	all, err := j.s.cfg.Runner.Runs(ctx)
	for _, r := range all {
		if r.Name == j.rec.key().runs() {
			ids = append(ids, r.ID)
		}
	}
	return ids, err
}

// isReady notes that a worker is, and isGone that it is not there any more.
func (j *job) isReady(r engine.Running) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.workers[r] = true
}

func (j *job) isGone(r engine.Running) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.workers, r)
}

func (j *job) workerCounts() *workload.WorkerCounts {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := &workload.WorkerCounts{}
	for _, ready := range j.workers {
		if ready {
			c.Ready++
		} else {
			c.Creating++
		}
	}
	if j.rec.Status == workload.JobPending {
		c.Pending = int(j.rec.Workers)
	}
	return c
}

// hindrance is why workers that are to work do not; nil: nothing is known to keep them.
func (j *job) hindrance() *workload.ItemReason {
	j.mu.Lock()
	defer j.mu.Unlock()
	for r, ready := range j.workers {
		if why := r.Reason(); !ready && why != nil && why.Code != engine.CodeStarting && why.Code != engine.CodeTerminating {
			return reasonOf(why)
		}
	}
	return nil
}

func (j *job) progress(p *workload.JobProgress) {
	j.mu.Lock()
	work := j.work
	j.mu.Unlock()
	if work != nil {
		work.progress(p)
	}
}

// reasonOf is the reason of an engine as jobs show it.
func reasonOf(r *workload.Reason) *workload.ItemReason {
	if r == nil {
		return nil
	}
	return &workload.ItemReason{Code: r.Code, Message: r.Message}
}
