package dataplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"cortex.dev/cortex/bench/proc"
	"cortex.dev/cortex/bench/row"
)

// The rows of HTTP2Rows.
const (
	WhatH2CPU     = "HTTP/2, 8 connections of 32 streams: CPU per request"
	WhatH2Rate    = "HTTP/2, 8 connections of 32 streams: throughput of one core"
	WhatH2Single  = "HTTP/2, 64 connections of 1 stream: CPU per request"
	WhatCall      = "gRPC unary, 8 connections of 32 streams: CPU per call"
	WhatCallRate  = "gRPC unary, 8 connections of 32 streams: throughput of one core"
	WhatCallAlone = "gRPC unary, 64 connections of 1 stream: CPU per call"
	WhatCallHops  = "gRPC unary, gateway and sidecar, 8 × 32: CPU per call"
	WhatMessage   = "gRPC streams, 64 at once: CPU per message there and back"
	WhatRest      = "idle gRPC streams, 10,000: memory of each"
	WhatRestPlain = "idle streams of events over HTTP/1.1, 10,000: memory of each"
)

// HTTP2Names returns the names of the rows of HTTP2Rows.
func HTTP2Names() []string {
	return []string{WhatH2CPU, WhatH2Rate, WhatH2Single, WhatCall, WhatCallRate, WhatCallAlone, WhatCallHops, WhatMessage, WhatRest, WhatRestPlain}
}

// HTTP2Rows measures what HTTP/2 and gRPC cost, beside HAProxy.
func HTTP2Rows(ctx context.Context, o Options) ([]row.Row, error) {
	b, err := newBed(ctx, o)
	defer b.close()
	if err != nil {
		return nil, err
	}
	missing := ""
	if b.h2load = find("h2load"); b.h2load == "" {
		missing = "h2load is not installed; it makes the load (Debian package nghttp2-client)"
	}
	if b.haproxy == "" {
		missing = noHAProxy
	}
	if missing != "" {
		return unmeasured(HTTP2Names(), missing), nil
	}
	b.grpc = filepath.Join(b.dir, "message")
	if err := os.WriteFile(b.grpc, []byte("\x00\x00\x00\x00\x05hello"), 0o600); err != nil {
		return nil, fmt.Errorf("writing a message: %w", err)
	}
	var rows []row.Row
	for _, measure := range []func(context.Context) ([]row.Row, error){b.requestsOfHTTP2, b.calls, b.callsOverHops, b.messages, b.rest} {
		measured, err := measure(ctx)
		rows = append(rows, measured...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// The answer of a gRPC server: a message of 45 bytes.
const callFrontend = `
frontend answer
  bind %s
  http-request return status 200 content-type application/grpc hdr grpc-status 0 string "1234567890123456789012345678901234567890123456789\n"
`

// proxyHTTP2 is proxyFrontend to a server that speaks HTTP/2.
const proxyHTTP2 = `
frontend door
  bind %[1]s
  use_backend api if { path %[2]s } or { path_beg %[2]s/ }
backend api
  option forwardfor
  http-request replace-path %[2]s(/)?(.*) /\2
  server replica %[3]s proto h2 maxconn 1000 maxqueue 1000
`

const behindHTTP2 = `
frontend beside
  bind %s
  default_backend server
backend server
  server server %s proto h2 maxconn 1000 maxqueue 1000
`

var (
	h2Total = regexp.MustCompile(`finished in ([\d.]+)(ms|s|m)`)
	h2Done  = regexp.MustCompile(`requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded`)
)

// loadHTTP2 returns what loads a proxy with h2load, with calls of gRPC if asked.
func (b *bed) loadHTTP2(conns, streams int, calls bool) func(context.Context, *process) (run, error) {
	return func(ctx context.Context, p *process) (run, error) {
		args := []string{"-c" + strconv.Itoa(conns), "-m" + strconv.Itoa(streams), "-D" + strconv.Itoa(int(b.duration.Seconds()))}
		path := b.path
		if calls {
			args = append(args, "-H", "content-type: application/grpc", "-H", "te: trailers", "-d", b.grpc)
			path = "/api/bench.Service/Say"
		}
		return b.measured(p, func() (run, error) {
			out, err := pinned(ctx, loadCore, b.h2load, append(args, "http://"+p.addr+path)...).CombinedOutput()
			if err != nil {
				return run{}, fmt.Errorf("running h2load: %w\n%s", err, out)
			}
			return parseH2load(string(out))
		})
	}
}

// measured adds to what load came to the CPU time that p has used meanwhile.
func (b *bed) measured(p *process, load func() (run, error)) (run, error) {
	before, err := p.cpu()
	if err != nil {
		return run{}, err
	}
	r, err := load()
	if err != nil {
		return r, err
	}
	after, err := p.cpu()
	r.used = (after - before).Seconds() * 1e6
	b.log("%s: %.0f requests, %.2f µs CPU each, median %.0f µs, 99 %% %.0f µs", p.name, r.requests, r.cpu(), r.p50, r.p99)
	return r, err
}

// parseH2load reads what h2load prints. As with wrk, an answer that is not 200 is an error.
func parseH2load(out string) (run, error) {
	total, done := h2Total.FindStringSubmatch(out), h2Done.FindStringSubmatch(out)
	if total == nil || done == nil {
		return run{}, fmt.Errorf("h2load printed no result:\n%s", out)
	}
	if done[2] != done[3] || done[2] == "0" {
		return run{}, fmt.Errorf("requests failed:\n%s", out)
	}
	var r run
	r.requests, _ = strconv.ParseFloat(done[3], 64) // digits, says the expression
	r.seconds, _ = strconv.ParseFloat(total[1], 64)
	r.seconds *= map[string]float64{"ms": 1e-3, "s": 1, "m": 60}[total[2]]
	return r, nil
}

// requestsOfHTTP2 measures requests that are not gRPC. Their server speaks HTTP/1.1, as most
// do; both proxies ask it so.
func (b *bed) requestsOfHTTP2(ctx context.Context) ([]row.Row, error) {
	ours, err := b.start(ctx, "gateway", 1)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	theirs, err := b.startHAProxy(ctx)
	if err != nil {
		return nil, err
	}
	defer theirs.stop()
	rows, err := b.beside(ctx, ours, theirs, WhatH2CPU, WhatH2Rate, WhatH2Single, false)
	for i := range rows {
		rows[i].Note = "their server speaks HTTP/1.1, and both proxies ask it so"
	}
	return rows, err
}

// beside measures the three rows that requests and calls have.
func (b *bed) beside(ctx context.Context, ours, theirs *process, many, rate, single string, calls bool) ([]row.Row, error) {
	a, z, err := b.pairsOf(ctx, ours, theirs, b.rounds, b.loadHTTP2(8, 32, calls))
	if err != nil {
		return nil, err
	}
	rows := []row.Row{{What: many, Target: "≤ 1.5 × HAProxy"}, {What: rate, Target: "≥ 0.9 × HAProxy"}, {What: single, Target: "≤ 1.5 × HAProxy"}}
	atMost(&rows[0], 1.5, a, z, run.cpu, "HAProxy")
	ratio := ratioOf(a, z, run.rate)
	rows[1].Ours, rows[1].Theirs = perSecond(middle(a, run.rate)), perSecond(middle(z, run.rate))+" HAProxy"
	rows[1].Ratio, rows[1].Met = times(ratio), ratio >= 0.9
	if a, z, err = b.pairsOf(ctx, ours, theirs, b.rounds, b.loadHTTP2(64, 1, calls)); err != nil {
		return rows[:2], err
	}
	atMost(&rows[2], 1.5, a, z, run.cpu, "HAProxy")
	return rows, nil
}

func (b *bed) startCallee(ctx context.Context) (*process, error) {
	return b.haproxyWith(ctx, backendCore, "callee", func(bind string) string { return fmt.Sprintf(callFrontend, bind) })
}

func (b *bed) startGatewayTo(ctx context.Context, addr string, more ...string) (*process, error) {
	return b.startGo(ctx, proxyCore, "gateway", append([]string{"-kind", "gateway", "-backend", addr}, more...)...)
}

func (b *bed) startHAProxyTo(ctx context.Context, name, addr string) (*process, error) {
	return b.haproxyWith(ctx, proxyCore, name, func(bind string) string { return fmt.Sprintf(proxyHTTP2, bind, "/api", addr) })
}

func (b *bed) calls(ctx context.Context) ([]row.Row, error) {
	callee, err := b.startCallee(ctx)
	if err != nil {
		return nil, err
	}
	defer callee.stop()
	ours, err := b.startGatewayTo(ctx, callee.addr)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	theirs, err := b.startHAProxyTo(ctx, "HAProxy", callee.addr)
	if err != nil {
		return nil, err
	}
	defer theirs.stop()
	return b.beside(ctx, ours, theirs, WhatCall, WhatCallRate, WhatCallAlone, true)
}

// callsOverHops measures a gateway and a sidecar, all on one core, beside two HAProxies.
func (b *bed) callsOverHops(ctx context.Context) ([]row.Row, error) {
	callee, err := b.startCallee(ctx)
	if err != nil {
		return nil, err
	}
	defer callee.stop()
	sidecar, err := b.startGo(ctx, proxyCore, "sidecar", "-kind", "sidecar", "-backend", callee.addr)
	if err != nil {
		return nil, err
	}
	defer sidecar.stop()
	ours, err := b.startGatewayTo(ctx, sidecar.addr, "-sidecars")
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	ours.more = []int{sidecar.cmd.Process.Pid}
	second, err := b.haproxyWith(ctx, proxyCore, "HAProxy-beside", func(bind string) string { return fmt.Sprintf(behindHTTP2, bind, callee.addr) })
	if err != nil {
		return nil, err
	}
	defer second.stop()
	theirs, err := b.startHAProxyTo(ctx, "HAProxy-front", second.addr)
	if err != nil {
		return nil, err
	}
	defer theirs.stop()
	theirs.more = []int{second.cmd.Process.Pid}
	a, z, err := b.pairsOf(ctx, ours, theirs, b.rounds, b.loadHTTP2(8, 32, true))
	if err != nil {
		return nil, err
	}
	r := row.Row{What: WhatCallHops, Target: "≤ 1.6 × two HAProxies"}
	atMost(&r, 1.6, a, z, run.cpu, "two HAProxies")
	return []row.Row{r}, nil
}

// messages measures streams on which a client and a server talk in turns.
func (b *bed) messages(ctx context.Context) ([]row.Row, error) {
	ours, theirs, stop, err := b.beforeAnEcho(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	a, z, err := b.pairsOf(ctx, ours, theirs, b.rounds, func(ctx context.Context, p *process) (run, error) {
		return b.measured(p, func() (run, error) {
			out, err := pinned(ctx, loadCore, b.proxy, "-kind", "talk", "-backend", p.addr, "-streams", "64", "-for", b.duration.String()).Output()
			if err != nil {
				return run{}, fmt.Errorf("talking to %s: %w", p.name, err)
			}
			r := run{seconds: b.duration.Seconds()}
			_, err = fmt.Sscan(string(out), &r.requests)
			return r, err
		})
	})
	if err != nil {
		return nil, err
	}
	r := row.Row{What: WhatMessage, Target: "≤ 1.0 × HAProxy", Note: "eight streams on each of eight connections"}
	atMost(&r, 1.0, a, z, run.cpu, "HAProxy")
	return []row.Row{r}, nil
}

// beforeAnEcho starts both proxies before a server that says again what it hears.
func (b *bed) beforeAnEcho(ctx context.Context) (ours, theirs *process, stop func(), err error) {
	var started []*process
	stop = func() {
		for _, p := range started {
			p.stop()
		}
	}
	add := func(p *process, err error) (*process, error) {
		if err == nil {
			started = append(started, p)
		}
		return p, err
	}
	echo, err := add(b.startGo(ctx, backendCore, "echo", "-kind", "echo"))
	if err == nil {
		ours, err = add(b.startGatewayTo(ctx, echo.addr))
	}
	if err == nil {
		theirs, err = add(b.startHAProxyTo(ctx, "HAProxy", echo.addr))
	}
	if err != nil {
		stop()
		return nil, nil, func() {}, err
	}
	return ours, theirs, stop, nil
}

// resting is how many streams rest in the rows of them.
const resting = 10_000

func (b *bed) rest(ctx context.Context) ([]row.Row, error) {
	var rows []row.Row
	for _, of := range []struct {
		what, server, client, config, note string
		n                                  int
	}{
		{WhatRest, "echo", "rest", proxyHTTP2, "after one message there and back on each", resting},
		{WhatRestPlain, "events", "rest-events", proxyFrontend, "after one event on each; a connection on either side", within(resting)},
	} {
		r, err := b.restOf(ctx, of.server, of.client, of.config, of.n)
		if err != nil {
			return rows, err
		}
		if r.What, r.Note = of.what, of.note; of.n < resting {
			r.Note += fmt.Sprintf("; %d of them, which is what the bound of open files allows", of.n)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// within is how many streams with two connections each a proxy may have.
func within(n int) int {
	const others = 100 // files
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Max > uint64(2*n+others) {
		return n
	}
	return int(l.Max-others) / 2 //nolint:gosec // it is less than 2n
}

func (b *bed) restOf(ctx context.Context, server, client, config string, n int) (row.Row, error) {
	behind, err := b.startGo(ctx, backendCore, server, "-kind", server)
	if err != nil {
		return row.Row{}, err
	}
	defer behind.stop()
	ours, err := b.startGatewayTo(ctx, behind.addr, "-concurrency", strconv.Itoa(2*resting))
	if err != nil {
		return row.Row{}, err
	}
	defer ours.stop()
	// What a small table of connections would refuse.
	large := strings.ReplaceAll("global\n  maxconn 30000"+config, "maxconn 1000", "maxconn 30000")
	theirs, err := b.haproxyWith(ctx, proxyCore, "HAProxy", func(bind string) string { return fmt.Sprintf(large, bind, "/api", behind.addr) })
	if err != nil {
		return row.Row{}, err
	}
	defer theirs.stop()
	mine, err := b.grows(ctx, ours, client, n)
	if err != nil {
		return row.Row{}, err
	}
	other, err := b.grows(ctx, theirs, client, n)
	if err != nil {
		return row.Row{}, err
	}
	const target = 20 << 10
	return row.Row{
		Ours: fmt.Sprintf("%.1f KiB", mine/1024), Theirs: fmt.Sprintf("%.1f KiB HAProxy", other/1024),
		Ratio: times(mine/target) + " of target", Target: "≤ 20 KiB", Met: mine <= target,
	}, nil
}

// grows returns how much memory each of n resting streams takes from p.
func (b *bed) grows(ctx context.Context, p *process, client string, n int) (float64, error) {
	before, err := proc.Of(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	cmd := pinned(ctx, loadCore, b.proxy, "-kind", client, "-backend", p.addr, "-streams", strconv.Itoa(n))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // how it ends says nothing
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, fmt.Errorf("resting at %s: %w", p.name, err)
	}
	after, err := proc.Of(p.cmd.Process.Pid)
	return float64(after.Resident-before.Resident) / float64(n), err
}
