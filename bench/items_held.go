package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/proc"
	"cortex.dev/cortex/bench/row"
)

const (
	whatQueued   = "items: memory with 100,000 queued items of 1 KiB"
	whatLarge    = "items: 1 GiB in and out, peak memory of the daemon"
	whatPolls    = "items: 1,000 callers that poll once a second, CPU"
	whatLongPoll = "items: 1,000 callers that wait (?wait=60s), CPU"
)

// queued compares the memory of a daemon and of Redis with Asynq when many items wait.
func queued(ctx context.Context, p *place) (rows []row.Row, err error) {
	o, h, err := p.beside(ctx, itemSpec("asleep", p.server, 0))
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()); o.stop() }()
	n := p.Times(100_000, 5_000)
	pid := h.daemon.Process.Pid
	empty, err := proc.Private(pid)
	if err != nil {
		return nil, err
	}
	if _, err := h.submitMany(ctx, "/asleep", waits, callers, n); err != nil {
		return nil, err
	}
	ours, err := proc.Private(pid)
	if err != nil {
		return nil, err
	}
	whole, err := proc.Of(pid)
	if err != nil {
		return nil, err
	}
	mapped := max(whole.Resident-ours, 0)
	r := row.Row{
		What: whatQueued, Ours: row.Megabytes(ours), Target: "≤ 0.5 × Redis and Asynq",
		Note: fmt.Sprintf("%d items; without any it has %s; private memory, beside which up to %s of files are mapped, which the system takes back when it needs them", n, row.Megabytes(empty), row.Megabytes(mapped)),
	}
	if why := o.absent[asynq]; why != "" {
		r.Absent, r.Note = true, r.Note+"; "+why+", so "+asynq+" is not measured"
		return []row.Row{r}, nil
	}
	if _, err := o.ask(ctx, asynq, "submit", "-callers", strconv.Itoa(callers), "-items", strconv.Itoa(n)); err != nil {
		return nil, err
	}
	// Workers of another queue: these items wait.
	worker, stop, err := o.startAsynq(ctx, "-queue", "other")
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := load.Wait(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	theirs := int64(0)
	for _, pid := range []int{o.redis.pid, worker} {
		used, err := proc.Private(pid)
		if err != nil {
			return nil, err
		}
		theirs += used
	}
	ratio := float64(ours) / float64(theirs)
	r.Theirs, r.Ratio, r.Met = row.Megabytes(theirs)+" Redis and Asynq", fmt.Sprintf("%.2f ×", ratio), ratio <= 0.5
	return []row.Row{r}, nil
}

// large sends one large item and fetches its result, which is as large.
func large(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.startItems(ctx, itemSpec("echo", p.server, 1, "-echo"))
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	pid, size := h.daemon.Process.Pid, int64(p.Times(1<<30, 1<<26))
	if err := h.roundTrip(ctx, "/echo", 1<<20); err != nil { // warming up
		return nil, err
	}
	if err := proc.ForgetPeak(pid); err != nil {
		return nil, err
	}
	before, err := proc.Peak(pid)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := h.roundTrip(ctx, "/echo", size); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := proc.Peak(pid)
	if err != nil {
		return nil, err
	}
	more := after - before
	return []row.Row{{
		What: whatLarge, Ours: "+" + row.Megabytes(more), Ratio: fmt.Sprintf("%.2f × of target", float64(more)/32e6), Target: "≤ +32 MB", Met: more <= 32e6,
		Note: fmt.Sprintf("%d MiB; submitted, executed, its result fetched, within %s", size>>20, took.Round(100*time.Millisecond)),
	}}, nil
}

// zeros are so many bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// roundTrip submits an item of a size and fetches its result.
func (h *home) roundTrip(ctx context.Context, path string, size int64) error {
	id, err := h.submitSized(ctx, path, size)
	if err != nil {
		return err
	}
	if err := h.until(ctx, 5*time.Minute, "a large item has ended", func() (bool, error) {
		item, err := h.Item(ctx, strings.TrimPrefix(path, "/"), id)
		if err == nil && item.Status == "failed" {
			err = fmt.Errorf("the item failed: %+v", item.Reason)
		}
		return item.Status == "completed", err
	}); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.endpoint+path+"/"+id+"/result", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if n, err := io.Copy(io.Discard, answer.Body); err != nil || n != size || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the result was answered %d, %d bytes of %d: %w", answer.StatusCode, n, size, err)
	}
	return nil
}

func (h *home) submitSized(ctx context.Context, path string, size int64) (id string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.endpoint+path, io.LimitReader(zeros{}, size))
	if err != nil {
		return "", err
	}
	req.ContentLength = size
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("a submission was answered %d %s %w", answer.StatusCode, text, err)
	}
	var item struct{ ID string }
	return item.ID, json.Unmarshal(text, &item)
}

// asking is how many callers ask for an item of their own.
const asking = 1000

// polls measures what callers cost who ask again and again, or wait, while nothing happens.
func polls(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.startItems(ctx, itemSpec("asleep", p.server, 0))
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	ids := make(chan string, asking)
	if err := h.onWires(ctx, 1, func(w *load.Wire) error {
		for range asking {
			status, answer, err := w.Ask("POST /asleep", waits, []byte("x"), time.Minute)
			var item struct{ ID string }
			if err == nil {
				err = json.Unmarshal([]byte(answer), &item)
			}
			if err != nil {
				return fmt.Errorf("a submission was answered %d %s %w", status, answer, err)
			}
			ids <- item.ID
		}
		return nil
	}); err != nil {
		return nil, err
	}
	close(ids)
	var all []string
	for id := range ids {
		all = append(all, id)
	}
	over := time.Duration(p.Times(60, 5)) * time.Second
	for _, c := range []struct {
		what, query string
		every       time.Duration
		most        float64 // percent of a core
	}{
		{whatPolls, "", time.Second, 5},
		{whatLongPoll, "?wait=60s", 0, 1},
	} {
		if !p.Wants(c.what) {
			continue
		}
		share, asked, err := h.asks(ctx, all, c.query, c.every, over)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row.Row{
			What: c.what, Ours: fmt.Sprintf("%.2f %% of a core", share), Ratio: fmt.Sprintf("%.2f × of target", share/c.most),
			Target: fmt.Sprintf("≤ %g %% of a core", c.most), Met: share <= c.most, Note: fmt.Sprintf("%d requests within %s", asked, over),
		})
	}
	return rows, nil
}

// asks has a caller for each item ask for it, and returns which share of a core the daemon
// needs for that, once all are there.
func (h *home) asks(ctx context.Context, ids []string, query string, every, over time.Duration) (share float64, asked int, _ error) {
	ctx, stop := context.WithCancel(ctx)
	var callers sync.WaitGroup
	defer callers.Wait()
	defer stop()
	failed := make(chan error, len(ids))
	var answered atomic.Int64
	pace := max(every, 10*time.Second) / time.Duration(len(ids))
	for i, id := range ids {
		w, err := load.Dial(ctx, h.endpoint)
		if err != nil {
			return 0, 0, fmt.Errorf("connecting caller %d: %w", i, err)
		}
		callers.Go(func() {
			defer w.Close()
			stopped := context.AfterFunc(ctx, w.Close) // who waits for an answer is not to
			defer stopped()
			wait := time.Duration(i) * pace // not all at once
			for load.Wait(ctx, wait) == nil {
				status, answer, err := w.Ask("GET /asleep/"+id+query, "", nil, 2*time.Minute)
				if ctx.Err() != nil {
					return
				}
				if err != nil || status != http.StatusOK {
					failed <- fmt.Errorf("a caller was answered %d %s %w", status, answer, err)
					return
				}
				answered.Add(1)
				wait = every
			}
		})
	}
	if err := load.Wait(ctx, 12*time.Second); err != nil { // all have begun
		return 0, 0, err
	}
	answered.Store(0)
	before, err := cpuOfAll(h.daemon.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	if err := load.Wait(ctx, over); err != nil {
		return 0, 0, err
	}
	asked = int(answered.Load())
	after, err := cpuOfAll(h.daemon.Process.Pid)
	if err != nil {
		return 0, 0, err
	}
	stop()
	callers.Wait()
	select {
	case err := <-failed:
		return 0, 0, err
	default:
	}
	return 100 * float64(after-before) / float64(over), asked, nil
}
