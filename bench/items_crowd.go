package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/row"
)

// What a long queue costs those who are not to blame for it.
const (
	whatCrowdAccept = "items: durable submits with 100,000 queued, p99"
	whatCrowdRate   = "items: no-op items from a queue of 100,000"
	whatFair        = "items: a caller's wait beside 100,000 of another one, p95"
	whatCancel      = "items: DELETE of one that waits, p99"
	whatCancelRuns  = "items: DELETE of one that runs, until its container sees it, p99"
)

const crowd = 100_000

// crowds measures acceptance and execution with many items that wait, beside few.
func crowds(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.startItems(ctx, itemSpec("few", p.server, 0)+itemSpec("asleep", p.server, 0))
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	n, many, rounds := p.Times(2000, 500), p.Times(crowd, 5_000), p.Times(5, 2)
	accepts := func() (all []figures, err error) {
		for range rounds + 1 {
			f, err := h.submitMany(ctx, "/few", waits, 8, n)
			if err != nil {
				return nil, err
			}
			h.Log("accepted %d: p99 %.0f µs, %.0f/s", n, f.p99, f.rate)
			all = append(all, f)
		}
		return all[1:], nil
	}
	few, err := accepts()
	if err != nil {
		return nil, err
	}
	if _, err := h.submitMany(ctx, "/asleep", waits, callers, many); err != nil {
		return nil, err
	}
	full, err := accepts()
	if err != nil {
		return nil, err
	}
	slower := middle(full, p99) / middle(few, p99)
	rows = append(rows, row.Row{
		What: whatCrowdAccept, Ours: inMicros(middle(full, p99)), Theirs: inMicros(middle(few, p99)) + " with few", Ratio: fmt.Sprintf("%.2f ×", slower),
		Target: "≤ 1.1 ×", Met: slower <= 1.1, Note: fmt.Sprintf("8 callers, %d items a turn", n),
	})
	if !p.Wants(whatCrowdRate) {
		return rows, nil
	}
	// What waits of few is as many as are timed of the others.
	timed := n * (rounds + 1) * 2
	small, err := h.drains(ctx, "few", p.server, timed)
	if err != nil {
		return rows, err
	}
	if err := h.deploy(ctx, itemSpec("few", p.server, 0)+itemSpec("asleep", p.server, 0)); err != nil {
		return rows, err
	}
	large, err := h.drains(ctx, "asleep", p.server, min(timed, many))
	if err != nil {
		return rows, err
	}
	ratio := large / small
	rows = append(rows, row.Row{
		What: whatCrowdRate, Ours: aSecond(large), Theirs: aSecond(small) + fmt.Sprintf(" from %d", timed), Ratio: fmt.Sprintf("%.2f ×", ratio), Target: "≥ 0.9 ×", Met: ratio >= 0.9,
	})
	return rows, nil
}

// drains starts a replica for what waits, and returns how fast the items end from the second
// tenth to the ninth of so many.
func (h *home) drains(ctx context.Context, api, server string, items int) (float64, error) {
	other := "few"
	if api == other {
		other = "asleep"
	}
	if err := h.deploy(ctx, itemSpec(api, server, 1)+itemSpec(other, server, 0)); err != nil {
		return 0, err
	}
	var from time.Time
	began := 0
	for {
		n, err := h.succeeded(ctx, api)
		switch {
		case err != nil:
			return 0, err
		case from.IsZero() && n >= items/10:
			from, began = time.Now(), n
		case n >= items*9/10:
			return float64(n-began) / time.Since(from).Seconds(), nil
		}
		if err := load.Wait(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// fair compares how long items of one caller wait alone and beside those of another one.
func fair(ctx context.Context, p *place) (rows []row.Row, err error) {
	const places, takes = 4, "25ms"
	spec := strings.Replace(itemSpec("shared", p.server, 1, "-clock", "-work", takes), fmt.Sprintf("max_concurrency: %d", workers), fmt.Sprintf("max_concurrency: %d", places), 1)
	h, err := p.startItems(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	n := p.Times(10, 3)
	wait := func() (time.Duration, error) {
		var all []time.Duration
		for range n {
			some, err := h.waitsOf(ctx, "/shared", "b", 10)
			if err != nil {
				return 0, err
			}
			all = append(all, some...)
		}
		return row.Quantile(all, 0.95), nil
	}
	alone, err := wait()
	if err != nil {
		return nil, err
	}
	many := p.Times(crowd, 5_000)
	if _, err := h.submitMany(ctx, "/shared", "X-Cortex-Caller: a\r\n", callers, many); err != nil {
		return nil, err
	}
	beside, err := wait()
	if err != nil {
		return nil, err
	}
	return []row.Row{{
		What: whatFair, Ours: row.Millis(beside), Theirs: row.Millis(alone) + " alone", Ratio: row.Times(beside, alone), Target: "≤ 2 ×", Met: beside <= 2*alone,
		Note: fmt.Sprintf("10 items at once, %d times, to %d places that each item has for %s", n, places, takes),
	}}, nil
}

// waitsOf submits items of a caller at once, and returns how long each waited until its
// container had it.
func (h *home) waitsOf(ctx context.Context, path, caller string, items int) ([]time.Duration, error) {
	took := make([]time.Duration, 0, items)
	var mu sync.Mutex
	err := h.onWires(ctx, items, func(w *load.Wire) error {
		one := time.Now()
		status, answer, err := w.Ask("POST "+path, "Prefer: wait=60\r\nX-Cortex-Caller: "+caller+"\r\n", []byte("x"), 2*time.Minute)
		var item struct{ Result struct{ At int64 } }
		if err != nil || json.Unmarshal([]byte(answer), &item) != nil || item.Result.At == 0 {
			return fmt.Errorf("an item was answered %d %s %w", status, answer, err)
		}
		mu.Lock()
		took = append(took, time.Unix(0, item.Result.At).Sub(one))
		mu.Unlock()
		return nil
	})
	return took, err
}

// cancels measures how long it takes to end an item that somebody does not want any more.
func cancels(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.startItems(ctx, itemSpec("asleep", p.server, 0)+itemSpec("held", p.server, 1, "-hold"))
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	n := p.Times(200, 20)
	var queued, running []time.Duration
	err = h.onWires(ctx, 1, func(w *load.Wire) error {
		for range n {
			one, err := endsQueued(w)
			if err != nil {
				return err
			}
			queued = append(queued, one)
			if one, err = endsRunning(ctx, w); err != nil {
				return err
			}
			running = append(running, one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	of := func(what string, took []time.Duration, most time.Duration) row.Row {
		at := row.Quantile(took, 0.99)
		return row.Row{
			What: what, Ours: row.Millis(at), Ratio: row.Times(at, most) + " of target", Target: "≤ " + row.Bound(most), Met: at <= most && slices.Min(took) > 0,
			Note: strconv.Itoa(n) + " items, one after the other; median " + row.Millis(row.Median(took)),
		}
	}
	return []row.Row{of(whatCancel, queued, 50*time.Millisecond), of(whatCancelRuns, running, time.Second)}, nil
}

// asked is what is read of an item.
type asked struct {
	ID, State string
	Result    struct{ At int64 }
}

func askFor(w *load.Wire, request, fields, body string) (item asked, _ error) {
	status, answer, err := w.Ask(request, fields, []byte(body), time.Minute)
	if err != nil || status != http.StatusOK && status != http.StatusAccepted {
		return item, fmt.Errorf("%s was answered %d %s %w", request, status, answer, err)
	}
	return item, json.Unmarshal([]byte(answer), &item)
}

// endsQueued returns how long the DELETE of an item takes that waits.
func endsQueued(w *load.Wire) (time.Duration, error) {
	item, err := askFor(w, "POST /asleep", waits, "x")
	if err != nil {
		return 0, err
	}
	one := time.Now()
	_, err = askFor(w, "DELETE /asleep/"+item.ID, "", "")
	return time.Since(one), err
}

// endsRunning returns how long it takes from the DELETE of an item that runs until its
// container sees that its connection is closed.
func endsRunning(ctx context.Context, w *load.Wire) (time.Duration, error) {
	item, err := askFor(w, "POST /held", "", "x")
	path := " /held/" + item.ID
	for err == nil && item.State != "running" {
		item, err = askFor(w, "GET"+path, "", "")
	}
	if err == nil {
		err = load.Wait(ctx, 20*time.Millisecond) // its container has it
	}
	if err != nil {
		return 0, err
	}
	one := time.Now()
	if _, err = askFor(w, "DELETE"+path, "", ""); err == nil {
		_, err = askFor(w, "GET"+path+"?wait=30s", "", "")
	}
	if err != nil {
		return 0, err
	}
	item, err = askFor(w, "POST /held", "Prefer: wait=30\r\n", "when")
	return time.Unix(0, item.Result.At).Sub(one), err
}
