package main

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cortex.dev/cortex/bench/proc"
	"cortex.dev/cortex/bench/row"
)

const whatLost = "items: kill -9 of all workers under 1,000 running, until all run again"

// atWork is how many items run when their workers are killed.
const atWork = 1000

// lost compares how long it takes until items run again whose workers were killed.
func lost(ctx context.Context, p *place) (rows []row.Row, err error) {
	replicas := p.Times(atWork, 200) / workers
	spec := strings.Replace(itemSpec("long", p.server, replicas, "-work", "10m"), "max_replicas: 1", "max_replicas: "+strconv.Itoa(replicas), 1)
	o, h, err := p.beside(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()); o.stop() }()
	n := replicas * workers
	if _, err := h.submitMany(ctx, "/long", "", callers, n); err != nil {
		return nil, err
	}
	run := func(lost int) func() (bool, error) {
		return func() (bool, error) {
			active, err := h.metric(ctx, `cortex_async_active\{api_name="long"\}`)
			if err != nil || active != n {
				return false, err
			}
			had, err := h.metric(ctx, `cortex_async_attempts_total\{api_name="long",outcome="lost"\}`)
			return had == lost, err
		}
	}
	if err := h.until(ctx, time.Minute, "all items run", run(0)); err != nil {
		return nil, err
	}
	all, err := proc.Table()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	killed := 0
	for pid, one := range all {
		if one.Runs(p.server) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	if err := h.until(ctx, 2*time.Minute, "all items run again", run(n)); err != nil {
		return nil, err
	}
	ours := time.Since(began)
	r := row.Row{What: whatLost, Ours: row.Millis(ours), Target: "≤ 0.5 × Asynq", Note: fmt.Sprintf("%d items, %d processes of ours were killed, and are started anew in that time", n, killed)}
	if why := o.absent[asynq]; why != "" {
		r.Absent, r.Note = true, r.Note+"; "+why+", so "+asynq+" is not measured"
		return []row.Row{r}, nil
	}
	theirs, err := o.loses(ctx, n)
	if err != nil {
		return nil, err
	}
	ratio := float64(ours) / float64(theirs)
	r.Theirs, r.Ratio, r.Met = row.Millis(theirs)+" "+asynq, fmt.Sprintf("%.2f ×", ratio), ratio <= 0.5
	return []row.Row{r}, nil
}

// loses kills Asynq's workers, starts others at once, and returns how long it took until all
// items had begun with those.
func (o *peers) loses(ctx context.Context, n int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	begin := func(args ...string) (stop func(), err error) {
		cmd := o.peer(ctx, asynq, "hold", append([]string{"-workers", strconv.Itoa(n), "-items", strconv.Itoa(n), "-callers", strconv.Itoa(callers)}, args...)...)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			return nil, fmt.Errorf("starting Asynq: %w", err)
		}
		stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() } // it is killed
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			stop()
			return nil, fmt.Errorf("waiting until Asynq's items run: %w", err)
		}
		return stop, nil
	}
	kill, err := begin("-submit")
	if err != nil {
		return 0, err
	}
	began := time.Now()
	kill()
	if kill, err = begin(); err != nil {
		return 0, err
	}
	took := time.Since(began)
	kill()
	return took, nil
}

// metric is what a metric says, of which a pattern is given; 0: it is not there.
func (h *home) metric(ctx context.Context, pattern string) (int, error) {
	text, err := h.scrape(ctx)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`(?m)^` + pattern + ` (\S+)$`).FindSubmatch(text)
	if found == nil {
		return 0, nil
	}
	n, err := strconv.ParseFloat(string(found[1]), 64)
	return int(n), err
}
