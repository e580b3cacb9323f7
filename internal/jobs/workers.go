package jobs

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of the work on batches.
const (
	redeliver     = 3                // workers that a batch may be lost with, before it fails
	startsInVain  = 3                // starts of a worker in a row that come to nothing
	readyWithin   = 20 * time.Minute // for a worker to receive requests
	maxAnswer     = 1 << 30          // bytes
	inlineAnswer  = 1 << 20          // in the file of results; larger ones are files of their own
	maxSaid       = 2 << 10          // of an answer that is no success
	maxItemsShown = 2 << 10          // bytes of the items of a batch that failed
	unreachedWait = 200 * time.Millisecond
	maxUnreached  = 25
)

// runBatches works on the batches of a job until each has an outcome. No status: ctx has
// ended, and says why.
func (j *job) runBatches(ctx context.Context) (workload.JobStatus, *workload.ItemReason) {
	if status, why := j.enqueueAll(ctx); status != "" || ctx.Err() != nil {
		return status, why
	}
	broken := func(err error) (workload.JobStatus, *workload.ItemReason) {
		return workload.JobUnexpectedError, &workload.ItemReason{Code: "results_unwritable", Message: err.Error()}
	}
	var b *batches
	if err := j.patiently(ctx, func() (err error) {
		b, err = openBatches(ctx, j.s, j.snapshot())
		return err
	}); err != nil {
		if ctx.Err() != nil {
			return "", nil
		}
		return broken(err)
	}
	defer b.close()
	j.mu.Lock()
	j.work = b
	j.mu.Unlock()
	if err := j.must(ctx, nil, func(r *record) { r.Status = workload.JobRunning }); err != nil {
		return "", nil
	}
	early := j.workOn(ctx, b)
	if err := b.commit(ctx, j); err != nil {
		return broken(err)
	}
	var end *earlyEnd
	if errors.As(early, &end) {
		return end.status, &end.reason
	}
	if ctx.Err() != nil {
		return "", nil
	}
	if _, bad, total := b.counted(); bad > 0 {
		return workload.JobWithFailures, &workload.ItemReason{Code: "batches_failed", Message: fmt.Sprintf("%d of %d batches failed", bad, total)}
	}
	return workload.JobSucceeded, nil
}

// workOn has workers work on what is left, and then one of them on the end of the job. It
// returns why that ended before its time.
func (j *job) workOn(parent context.Context, b *batches) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	r := j.snapshot()
	b.mu.Lock()
	n := min(int(r.Workers), b.left)
	b.mu.Unlock()
	w := &crew{j: j, b: b, cancel: cancel}
	if err := w.takeOver(ctx, max(n, 1)); err != nil {
		return nil // ctx has ended
	}
	var workers, committing sync.WaitGroup
	for i := range max(n, 1) { // one for the end of the job, when all batches have one
		workers.Go(func() { w.worker(ctx, i == 0) })
	}
	done := make(chan struct{})
	committing.Go(func() {
		t := time.NewTicker(j.s.cfg.CommitEvery)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
			}
			if err := b.commit(ctx, j); err != nil {
				cancel(&earlyEnd{workload.JobUnexpectedError, workload.ItemReason{Code: "results_unwritable", Message: err.Error()}})
			}
			if _, bad, total := b.counted(); workload.TooManyFailures(r.MaxFailures, bad, total) {
				cancel(&earlyEnd{workload.JobWithFailures, workload.ItemReason{Code: "too_many_failures", Message: fmt.Sprintf("%d of %d batches failed, which is more than max_failures allows (%s)", bad, total, r.MaxFailures)}})
			}
		}
	})
	if r.DeadLetter != nil {
		p := &post{j: j}
		defer p.close()
		committing.Go(func() { p.posts(ctx, done) })
	}
	workers.Wait()
	close(done)
	committing.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// crew is the workers of a job.
type crew struct {
	j      *job
	b      *batches
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	there []worker // of a process before this one, that are to go on
}

// worker is one that is there, and the batches that it has.
type worker struct {
	run engine.Running
	has []item
}

// takeOver takes the workers over that are there, with what they have, and ends those that
// are more than so many and have nothing.
func (w *crew) takeOver(ctx context.Context, most int) error {
	ids, err := w.j.there(ctx)
	var idle []worker
	for _, id := range ids {
		run, err := w.j.startRun(ctx, id, nil)
		if err != nil {
			continue // another one takes its place
		}
		took := worker{run: run}
		sent, err := run.Sent(ctx)
		if err != nil {
			w.j.s.log.Warn("what a worker has is not known: it is worked on again", "job", w.j.rec.ID, "worker", id, "error", err)
		}
		var over []string
		for _, id := range sent {
			if it, ok := w.b.claim(ctx, id); ok {
				took.has = append(took.has, it)
			} else if id != completeID {
				over = append(over, id)
			}
		}
		run.Settle(ctx, over)
		if len(took.has) > 0 {
			w.there = append(w.there, took)
		} else {
			idle = append(idle, took)
		}
	}
	for _, took := range idle {
		if len(w.there) < most {
			w.there = append(w.there, took)
			continue
		}
		w.end(ctx, took.run, "its job needs it no more")
	}
	return err
}

// end ends a worker, or leaves it, and returns how it ended.
func (w *crew) end(ctx context.Context, run engine.Running, why string) engine.RunEnd {
	endRun(ctx, run, why)
	<-run.Done()
	w.j.isGone(run)
	end := run.End()
	if !end.Left {
		run.Forget(context.WithoutCancel(ctx))
	}
	return end
}

// next returns a worker: one that is there, or a new one.
func (w *crew) next(ctx context.Context) (worker, error) {
	w.mu.Lock()
	if len(w.there) > 0 {
		took := w.there[0]
		w.there = w.there[1:]
		w.mu.Unlock()
		return took, nil
	}
	w.mu.Unlock()
	run, err := w.j.startRun(ctx, strings.ToLower(rand.Text()[:8]), nil)
	return worker{run: run}, err
}

// worker keeps one worker running for as long as there are batches. The last of the job,
// if it is this one's, follows on the last batch.
func (w *crew) worker(ctx context.Context, closes bool) {
	for vain := 0; ctx.Err() == nil; {
		b := w.b
		b.mu.Lock()
		left := b.left
		b.mu.Unlock()
		if left == 0 && !closes {
			return
		}
		served, over, end := w.once(ctx, closes)
		switch {
		case over || ctx.Err() != nil:
			return
		case served:
			vain = 0
		default:
			vain++
		}
		if vain < startsInVain {
			wait(ctx, time.Duration(vain)*firstPause)
			continue
		}
		status, reason := workload.JobWorkerError, reasonOf(end.Reason)
		if end.OOM {
			status = workload.JobWorkerOOM
		}
		if reason == nil {
			reason = &workload.ItemReason{Code: "exited", Message: "the worker ended with exit code 0: it has to serve until it is stopped"}
		}
		w.cancel(&earlyEnd{status, *reason})
		return
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// once runs a worker, until it ends or there is nothing for it any more (over). It served
// if it had a batch, whatever became of that.
func (w *crew) once(ctx context.Context, closes bool) (served, over bool, end engine.RunEnd) {
	took, err := w.next(ctx)
	run := took.run
	if err != nil {
		return false, false, engine.RunEnd{Reason: &workload.Reason{Code: "worker_not_started", Message: "a worker could not be started: " + err.Error()}}
	}
	stop := endsWith(ctx, run)
	late, cancel := context.WithTimeout(ctx, readyWithin)
	ready := run.AwaitReady(late)
	cancel()
	if ready {
		w.j.isReady(run)
		served, over = w.serve(ctx, took, closes)
	} else {
		w.giveBack(took.has)
	}
	why := run.Reason()
	stop()
	if end = w.end(ctx, run, "its job needs it no more"); end.Stopped && !ready && ctx.Err() == nil { // it was we, because it took too long
		end = engine.RunEnd{Reason: why}
	}
	return served, over, end
}

// giveBack returns batches that a worker had and does not work on.
func (w *crew) giveBack(has []item) {
	for _, it := range has {
		w.b.giveBack(it, it.tries, nil)
	}
}

// serve sends batches to a worker that is ready.
func (w *crew) serve(ctx context.Context, took worker, closes bool) (served, over bool) {
	unreached, run := 0, took.run
	defer func() { w.giveBack(took.has) }()
	for {
		var it item
		if len(took.has) > 0 {
			it, took.has = took.has[0], took.has[1:]
		} else {
			next, ok := w.b.take(ctx)
			if !ok {
				break
			}
			it = next
		}
		result := w.send(ctx, run, it)
		if w.settle(ctx, run, it, result) || result.kind == lost { // each loss is charged to a batch
			served, unreached = true, 0
		}
		if result.kind == answered || ctx.Err() != nil {
			continue
		}
		if unreached++; result.kind == lost || unreached > maxUnreached {
			return served, false // what it is now is not known: another one takes its place
		}
		select {
		case <-run.Done():
			return served, false
		case <-time.After(unreachedWait):
		}
	}
	if ctx.Err() != nil || !closes || w.b.commit(ctx, w.j) != nil {
		return served, true
	}
	return w.complete(ctx, run)
}

// kind is how a request to a worker ended.
type kind int

const (
	answered kind = iota
	lost          // the worker was, after the request was sent
	notSent
)

// result is what a batch came to.
type result struct {
	kind     kind
	status   int
	body     []byte // of at most inlineAnswer
	bodyFile string
	reason   *workload.ItemReason
	customID string // of what was asked; see record.asked
}

// send has a worker work on a batch. Where there is no place now for what it answered it is
// asked for that again.
func (w *crew) send(ctx context.Context, run engine.Running, it item) result {
	at, customID, body := w.b.rec.asked(it)
	for {
		r, err := w.try(ctx, run, it, at, body)
		if err == nil {
			r.customID = customID
			return r
		}
		w.j.s.log.Warn("an answer cannot be kept now; it waits", "api", w.j.rec.API, "job", w.j.rec.ID, "batch", it.index, "error", err)
		if wait(ctx, writeAgain); ctx.Err() != nil {
			return result{kind: notSent}
		}
	}
}

// try is send, once: an error says that there is no place for the answer now.
func (w *crew) try(ctx context.Context, run engine.Running, it item, at string, body []byte) (result, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://worker"+at, bytes.NewReader(body))
	if err != nil {
		return result{kind: notSent}, nil
	}
	id := w.j.rec.ID
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Cortex-Job-ID", id)
	req.Header.Set("X-Cortex-Request-ID", id+"/"+strconv.Itoa(it.index))
	req.Header.Set("X-Cortex-Attempt", strconv.Itoa(it.tries.Errors+it.tries.Losses+1))
	resp, err := run.Send(req, it.id())
	switch {
	case unreached(err):
		return result{kind: notSent}, nil
	case err != nil:
		return lostWith("the worker went away before it answered: " + bareURL(err).Error()), nil
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, maxSaid)) // as much as there is
		return result{status: resp.StatusCode, body: said, reason: &workload.ItemReason{Code: fmt.Sprintf("upstream_%d", resp.StatusCode), Message: fmt.Sprintf("the worker answered with status %d", resp.StatusCode)}}, nil
	}
	r := result{status: resp.StatusCode}
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, inlineAnswer+1))
	switch {
	case err != nil:
		return lostWith("the worker went away while it answered: " + err.Error()), nil
	case len(r.body) > inlineAnswer:
		return w.keep(ctx, it, r, resp.Body)
	}
	return r, nil
}

// keep puts an answer that is too large for a line into a file of its own.
func (w *crew) keep(ctx context.Context, it item, r result, rest io.Reader) (result, error) {
	most := w.j.s.cfg.MaxAnswer
	if w.b.rec.OpenAI != nil { // whose files have every answer in its line
		return tooLarge(r.status, inlineAnswer), nil
	}
	from := &answering{Reader: io.LimitReader(rest, most)}
	name := bodyFile(it.index)
	size, err := w.j.s.cfg.Files.Put(ctx, w.b.rec.key().file(name), io.MultiReader(bytes.NewReader(r.body), from))
	switch {
	case from.err != nil:
		return lostWith("the worker went away while it answered: " + from.err.Error()), nil
	case fault.Is(err, fault.Unavailable):
		return result{}, err
	case err != nil && ctx.Err() == nil:
		w.b.mu.Lock()
		w.b.fail(err)
		w.b.mu.Unlock()
	}
	if err != nil {
		return result{kind: notSent}, nil
	}
	if size > most {
		return tooLarge(r.status, most), nil
	}
	return result{status: r.status, bodyFile: name}, nil
}

// bodyFile is the name of the answer to a batch that is too large for a line.
func bodyFile(batch int) string { return path.Join(dirBodies, strconv.Itoa(batch)) }

// answering is what somebody sends, and what kept it from being read to its end.
type answering struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (a *answering) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		a.err = err
	}
	return n, err
}

func tooLarge(status int, most int64) result {
	return result{status: status, reason: &workload.ItemReason{Code: "result_too_large", Message: fmt.Sprintf("the answer has more than %d bytes: keep what is larger elsewhere, and answer where", most)}}
}

func lostWith(message string) result {
	return result{kind: lost, reason: &workload.ItemReason{Code: "worker_lost", Message: message}}
}

// unreached reports whether err says that no connection could be opened, so that nothing
// was sent.
func unreached(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func bareURL(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
}

// settle decides what a result makes of a batch, and reports whether it has an outcome.
func (w *crew) settle(ctx context.Context, run engine.Running, it item, r result) bool {
	t := it.tries
	attempts := 1
	answer := &answer{run: run, id: it.id()}
	if q := w.b.rec.DeadLetter; q != nil {
		attempts = int(q.MaxReceiveCount)
	}
	switch {
	case r.kind == notSent, r.kind == lost && ctx.Err() != nil: // nobody's fault
		w.b.giveBack(it, t, nil)
		return false
	case r.kind == lost:
		if t.Losses++; t.Losses <= redeliver {
			w.b.giveBack(it, t, answer)
			return false
		}
		r.reason = &workload.ItemReason{Code: "losses_exhausted", Message: fmt.Sprintf("%d workers were lost with it; the last time %s", t.Losses, r.reason.Message)}
	case r.reason != nil:
		if t.Errors++; t.Errors < attempts {
			w.b.giveBack(it, t, answer)
			return false
		}
	default:
		line := workload.JobLine{CustomID: r.customID, Status: r.status, BodyFile: r.bodyFile}
		if len(r.body) > 0 {
			line.Body = asJSON(r.body)
		}
		w.b.done(it, true, line, answer)
		return true
	}
	line := workload.JobLine{CustomID: r.customID, Attempts: t.Errors + t.Losses, HTTPStatus: r.status, Reason: r.reason}
	if len(r.body) > 0 {
		line.Body = asJSON(r.body)
	}
	if len(it.body) <= maxItemsShown {
		line.Items = it.body
	}
	w.b.done(it, false, line, answer)
	return true
}

// completeID is the id of the request by which a worker is told that the job is at its end.
const completeID = "complete"

// complete tells a worker that the job is at its end. A worker that knows nothing of that
// answers 404.
func (w *crew) complete(ctx context.Context, run engine.Running) (served, over bool) {
	if w.b.rec.OpenAI != nil { // whose servers know of no jobs
		return true, true
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://worker/on-job-complete", http.NoBody)
	if err != nil {
		return false, true
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Cortex-Job-ID", w.j.rec.ID)
	resp, err := run.Send(req, completeID)
	switch {
	case ctx.Err() != nil:
		return true, true
	case unreached(err):
		wait(ctx, unreachedWait)
		return false, false // another worker is told
	case err != nil:
		w.cancel(&earlyEnd{workload.JobWithFailures, workload.ItemReason{Code: "on_job_complete_failed", Message: "the worker went away before it answered to /on-job-complete: " + bareURL(err).Error()}})
		return true, true
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxSaid)) // nothing is done with it
	resp.Body.Close()
	if ok := resp.StatusCode >= 200 && resp.StatusCode <= 299; !ok && resp.StatusCode != http.StatusNotFound {
		w.cancel(&earlyEnd{workload.JobWithFailures, workload.ItemReason{Code: "on_job_complete_failed", Message: fmt.Sprintf("the worker answered to /on-job-complete with status %d", resp.StatusCode)}})
	}
	return true, true
}
