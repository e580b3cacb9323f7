package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/row"
	"cortex.dev/cortex/internal/workload"
)

const (
	whatZero     = "scale from zero: first request, minus the server's own start-up"
	whatBurst    = "1,000 requests at once to an API at zero"
	whatOverflow = "1,000 requests at once to an API at zero that holds 500"
)

// idleSpec is an API that goes to zero at the first tick without a request.
func idleSpec(name, server string, concurrency, queue int, args ...string) string {
	command := strconv.Quote(server)
	for _, a := range args {
		command += ", " + strconv.Quote(a)
	}
	return fmt.Sprintf(`- name: %s
  kind: RealtimeAPI
  pod:
    max_concurrency: %d
    max_queue_length: %d
    containers:
      - name: server
        command: [%s]
  autoscaling:
    min_replicas: 0
    init_replicas: 0
    max_replicas: 1
    window: 10s
    downscale_stabilization_period: 0s
    upscale_stabilization_period: 0s
`, name, concurrency, queue, command)
}

func gone(s workload.Status) bool {
	return s.Requested == 0 && s.Ready == 0 && len(s.Replicas) == 0
}

// fromZero times the first request to an idle API, and in turns the server alone,
// from its start until its port accepts.
func fromZero(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.start(ctx, "--autoscaling-tick", "100ms")
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	if err := h.deploy(ctx, idleSpec("zero", p.server, 1, 100)); err != nil {
		return nil, err
	}
	var whole, bare, own []time.Duration
	for range p.Times(21, 5) {
		if err := h.untilStatus(ctx, "zero", "the API is at zero", gone); err != nil {
			return nil, err
		}
		// An API is idle for a while before a first request, so that a wake-up need
		// not come right after the one before.
		if err := load.Wait(ctx, 1100*time.Millisecond); err != nil {
			return nil, err
		}
		alone, err := startUp(ctx, p.server)
		if err != nil { // somebody may have taken the port that was free a moment ago
			alone, err = startUp(ctx, p.server)
		}
		if err != nil {
			return nil, err
		}
		w, err := load.Dial(ctx, h.endpoint)
		if err != nil {
			return nil, err
		}
		begun := time.Now()
		status, body, err := w.Post("/zero", time.Minute)
		took := time.Since(begun)
		w.Close()
		if err != nil || status != 200 {
			return nil, fmt.Errorf("the first request was answered %d %s %w", status, body, err)
		}
		whole, bare, own = append(whole, took), append(bare, alone), append(own, took-alone)
	}
	mid := row.Median(own)
	return []row.Row{{
		What: whatZero, Ours: row.Millis(mid), Ratio: row.Times(mid, 30*time.Millisecond) + " of target",
		Target: "≤ 30 ms", Met: mid <= 30*time.Millisecond,
		Note: fmt.Sprintf("median of %d; the server alone starts within %s, the whole first request takes %s, at most %s", len(own), row.Millis(row.Median(bare)), row.Millis(row.Median(whole)), row.Millis(slices.Max(whole))),
	}}, nil
}

// startUp is the time from starting the server alone until its port accepts.
func startUp(ctx context.Context, server string) (time.Duration, error) {
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, server)
	cmd.Env = append(os.Environ(), "CORTEX_PORT="+strconv.Itoa(port))
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	ticker := time.NewTicker(200 * time.Microsecond)
	defer ticker.Stop()
	for time.Since(begun) < 10*time.Second {
		if conn, err := net.Dial("tcp", address); err == nil {
			took := time.Since(begun)
			conn.Close()
			return took, nil
		}
		<-ticker.C
	}
	return 0, fmt.Errorf("the bare server did not listen within 10 s")
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// burstAtZero sends a thousand requests at once to an API at zero whose server
// takes a while to start, so that all of them have to be held: once with room for
// all, once with room for half.
func burstAtZero(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()) }()
	const n = 1000
	for _, c := range []struct {
		what, name, target string
		concurrency, queue int
		answered           int
	}{
		{whatBurst, "roomy", "all answered", 50, 950, n},
		{whatOverflow, "tight", "500 answered, 500 refused, 0 lost", 10, 490, 500},
	} {
		if !p.Wants(c.what) {
			continue
		}
		if err := h.deploy(ctx, idleSpec(c.name, p.server, c.concurrency, c.queue, "-start", "1500ms")); err != nil {
			return rows, err
		}
		if err := h.untilStatus(ctx, c.name, "the API is at zero", gone); err != nil {
			return rows, err
		}
		begun := time.Now()
		o, err := load.Burst(ctx, h.endpoint, "/"+c.name, n)
		if err != nil {
			return rows, err
		}
		r := row.Row{
			What: c.what, Ours: fmt.Sprintf("%d answered, %d refused, %d lost", o.Answered, o.Refused, o.Lost), Target: c.target,
			Met: o.Answered == c.answered && o.Refused == n-c.answered && o.Lost == 0,
		}
		if o.Refused > 0 {
			r.Note = fmt.Sprintf("refused with 503 %q; ", o.Refusal)
		}
		if o.Lost > 0 {
			r.Note += fmt.Sprintf("lost with %q; ", o.Loss)
		}
		r.Note += fmt.Sprintf("the server takes 1.5 s to start; everything was over after %s", time.Since(begun).Round(10*time.Millisecond))
		rows = append(rows, r)
		if _, err := h.run(ctx, "delete", c.name, "--force"); err != nil {
			return rows, err
		}
	}
	return rows, nil
}
