// Package dataplane measures what a request costs on its way through the gateway,
// beside HAProxy and a plain httputil.ReverseProxy in the same run: the same
// backend, the same load, one core each, in turns.
//
// It promises that a row whose competitor or load generator is not installed says
// so, and that nothing it started lives on. Its numbers are medians of ratios
// between neighbouring runs, because the machine may be busy with other things.
package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"cortex.dev/cortex/bench/row"
	"cortex.dev/cortex/internal/access"
)

// The rows, by name.
const (
	WhatCPU        = "CPU per forwarded request, 64 connections"
	WhatCPUPlain   = "CPU per forwarded request, beside httputil"
	WhatThroughput = "throughput of one core, 64 connections"
	WhatLatency    = "added latency at one connection, median"
	WhatWorkloads  = "CPU per request with 1,000 workloads and 100 splitters instead of one"
	WhatReplicas   = "CPU per request with 5,000 replicas instead of one"
	WhatTraces     = "CPU per request with traces of 1 in 100"
	WhatAccess     = "CPU per request with a key and three limits"
	WhatAccessTo   = "CPU per request with a key and three limits, beside HAProxy"
)

// Names returns the names of all rows.
func Names() []string {
	return []string{WhatCPU, WhatCPUPlain, WhatThroughput, WhatLatency, WhatWorkloads, WhatReplicas, WhatTraces, WhatAccess, WhatAccessTo}
}

// Options say how to measure. The zero value measures fully and silently.
type Options struct {
	Quick bool                 // a look, not a measurement
	Log   func(string, ...any) // progress; nil: none
}

const connections = 64

// bed is what all measurements need.
type bed struct {
	dir      string
	proxy    string // binary
	haproxy  string // binary; empty: not installed
	wrk      string
	h2load   string
	grpc     string // a file with one message of gRPC
	backend  string // address
	path     string // of the requests
	rounds   int
	duration time.Duration
	log      func(string, ...any)
	stops    []func()
}

// Rows measures all rows. An error says that something could not be measured at
// all; rows measured before it are returned.
func Rows(ctx context.Context, o Options) ([]row.Row, error) {
	b, err := newBed(ctx, o)
	defer b.close()
	if err != nil {
		return nil, err
	}
	if b.wrk == "" {
		return unmeasured(Names(), noWrk), nil
	}
	var rows []row.Row
	for _, measure := range []func(context.Context) ([]row.Row, error){b.besideHAProxy, b.besidePlain, b.latency, b.workloads, b.replicas, b.traces, b.access} {
		measured, err := measure(ctx)
		rows = append(rows, measured...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

func newBed(ctx context.Context, o Options) (*bed, error) {
	b, err := emptyBed(o)
	if err != nil {
		return b, err
	}
	b.proxy = filepath.Join(b.dir, "proxy")
	build := exec.CommandContext(ctx, "go", "build", "-o", b.proxy, "cortex.dev/cortex/bench/dataplane/proxy")
	if out, err := build.CombinedOutput(); err != nil {
		return b, fmt.Errorf("building the proxies: %w\n%s", err, out)
	}
	backend, err := b.startBackend(ctx)
	if err != nil {
		return b, fmt.Errorf("starting the backend: %w", err)
	}
	b.backend = backend.addr
	return b, nil
}

// emptyBed has a folder and the programs of others, and nothing runs.
func emptyBed(o Options) (*bed, error) {
	b := &bed{rounds: 5, duration: 2 * time.Second, path: "/api/predict", log: o.Log}
	if o.Quick {
		b.rounds, b.duration = 2, time.Second
	}
	if b.log == nil {
		b.log = func(string, ...any) {}
	}
	dir, err := os.MkdirTemp("", "cxplane")
	if err != nil {
		return b, fmt.Errorf("making a folder: %w", err)
	}
	b.dir = dir
	b.haproxy, b.wrk = find("haproxy"), find("wrk")
	return b, nil
}

func (b *bed) close() {
	for _, stop := range slices.Backward(b.stops) {
		stop()
	}
	if b.dir != "" {
		_ = os.RemoveAll(b.dir) // a temporary folder
	}
}

// find looks where administrators' programs are, too.
func find(name string) string {
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name, "/opt/homebrew/bin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

// unmeasured are rows that say why nothing was measured.
func unmeasured(names []string, why string) (rows []row.Row) {
	for _, name := range names {
		rows = append(rows, row.Row{What: name, Note: why})
	}
	return rows
}

const noWrk = "wrk is not installed; it makes the load (Debian package wrk)"

const noHAProxy = "HAProxy is not installed (Debian package haproxy), so there is no competitor"

func (b *bed) besideHAProxy(ctx context.Context) ([]row.Row, error) {
	ours, err := b.start(ctx, "gateway", 1)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	cpu := row.Row{What: WhatCPU, Target: "≤ 1.5 × HAProxy"}
	throughput := row.Row{What: WhatThroughput, Target: "≥ 0.7 × HAProxy"}
	if b.haproxy == "" {
		runs, _, err := b.pairs(ctx, ours, nil, connections, b.rounds)
		if err != nil {
			return nil, err
		}
		cpu.Ours, throughput.Ours = micros(middle(runs, run.cpu)), perSecond(middle(runs, run.rate))
		cpu.Note, throughput.Note = noHAProxy, noHAProxy
		return []row.Row{cpu, throughput}, nil
	}
	theirs, err := b.startHAProxy(ctx)
	if err != nil {
		return nil, err
	}
	defer theirs.stop()
	a, z, err := b.pairs(ctx, ours, theirs, connections, b.rounds)
	if err != nil {
		return nil, err
	}
	atMost(&cpu, 1.5, a, z, run.cpu, "HAProxy")
	ratio := ratioOf(a, z, run.rate)
	throughput.Ours, throughput.Theirs = perSecond(middle(a, run.rate)), perSecond(middle(z, run.rate))+" HAProxy"
	throughput.Ratio, throughput.Met = times(ratio), ratio >= 0.7
	cpu.Note = "whole path: route, limit, balance, count; both proxies have one thread"
	return []row.Row{cpu, throughput}, nil
}

func (b *bed) besidePlain(ctx context.Context) ([]row.Row, error) {
	r := row.Row{What: WhatCPUPlain, Target: "≤ 0.25 × httputil"}
	return b.between(ctx, r, 0.25, b.starts("gateway", 1), b.starts("httputil", 1), (b.rounds+1)/2, "httputil")
}

// latency measures what each proxy adds to the way without one.
func (b *bed) latency(ctx context.Context) ([]row.Row, error) {
	r := row.Row{What: WhatLatency, Target: "≤ 1.3 × HAProxy"}
	ours, err := b.start(ctx, "gateway", 1)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	direct := &process{name: "direct", addr: b.backend}
	var theirs *process
	if b.haproxy != "" {
		if theirs, err = b.startHAProxy(ctx); err != nil {
			return nil, err
		}
		defer theirs.stop()
	}
	base, _, err := b.pairs(ctx, direct, nil, 1, 2)
	if err != nil {
		return nil, err
	}
	a, z, err := b.pairs(ctx, ours, theirs, 1, b.rounds)
	if err != nil {
		return nil, err
	}
	bare := middle(base, run.median)
	added := func(r run) float64 { return r.median() - bare }
	if theirs == nil {
		r.Ours, r.Note = micros(middle(a, added)), noHAProxy
		return []row.Row{r}, nil
	}
	atMost(&r, 1.3, a, z, added, "HAProxy")
	r.Note = fmt.Sprintf("beyond %s without a proxy", micros(bare))
	return []row.Row{r}, nil
}

func (b *bed) workloads(ctx context.Context) ([]row.Row, error) {
	r := row.Row{What: WhatWorkloads, Target: "≤ 1.05 ×"}
	// A small difference takes a longer look.
	many := func(ctx context.Context) (*process, error) {
		return b.startGatewayTo(ctx, b.backend, "-workloads", "1000", "-splitters", "100")
	}
	return b.between(ctx, r, 1.05, many, b.starts("gateway", 1), 2*b.rounds, "with one")
}

// replicas measures what it costs to choose among many.
func (b *bed) replicas(ctx context.Context) ([]row.Row, error) {
	r := row.Row{What: WhatReplicas, Target: "≤ 1.05 ×"}
	many := func(ctx context.Context) (*process, error) {
		return b.startGatewayTo(ctx, b.backend, "-replicas", "5000")
	}
	return b.between(ctx, r, 1.05, many, b.starts("gateway", 1), 2*b.rounds, "with one")
}

// atMost fills r, whose target is met when ours is at most bound times theirs, in
// microseconds.
func atMost(r *row.Row, bound float64, ours, theirs []run, of func(run) float64, competitor string) {
	ratio := ratioOf(ours, theirs, of)
	r.Ours, r.Theirs = micros(middle(ours, of)), micros(middle(theirs, of))+" "+competitor
	r.Ratio, r.Met = times(ratio), ratio <= bound
}

// traces measures what it costs that some requests are recorded, and sent.
func (b *bed) traces(ctx context.Context) ([]row.Row, error) {
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is measured has its own tests
	}))
	defer collector.Close()
	with := func(ctx context.Context) (*process, error) {
		return b.startGo(ctx, proxyCore, "gateway with traces", "-kind", "gateway", "-backend", b.backend, "-traces", collector.URL)
	}
	r := row.Row{What: WhatTraces, Target: "≤ 1.10 ×"}
	return b.between(ctx, r, 1.10, with, b.starts("gateway", 1), 2*b.rounds, "without")
}

// access measures what it costs to ask who calls, and how much.
func (b *bed) access(ctx context.Context) ([]row.Row, error) {
	key, _, _ := access.Mint()
	keyed := func(p *process, err error) (*process, error) {
		if err == nil {
			p.header = "Authorization: Bearer " + key
		}
		return p, err
	}
	with := func(ctx context.Context) (*process, error) {
		return keyed(b.startGo(ctx, proxyCore, "gateway with a key", "-kind", "gateway", "-backend", b.backend, "-key", key))
	}
	rows, err := b.between(ctx, row.Row{What: WhatAccess, Target: "≤ 1.15 ×"}, 1.15, with, b.starts("gateway", 1), 2*b.rounds, "without")
	if err != nil {
		return rows, err
	}
	beside := row.Row{What: WhatAccessTo, Target: "≤ 1.0 × HAProxy"}
	if b.haproxy == "" {
		beside.Note = noHAProxy
		return append(rows, beside), nil
	}
	theirs := func(ctx context.Context) (*process, error) { return keyed(b.startGuardedHAProxy(ctx, key)) }
	more, err := b.between(ctx, beside, 1.0, with, theirs, b.rounds, "HAProxy")
	return append(rows, more...), err
}

// starts starts a proxy when it is called.
func (b *bed) starts(kind string, workloads int) func(context.Context) (*process, error) {
	return func(ctx context.Context) (*process, error) { return b.start(ctx, kind, workloads) }
}

// between fills r with what a request costs two proxies that are started for it.
func (b *bed) between(ctx context.Context, r row.Row, bound float64, startOurs, startTheirs func(context.Context) (*process, error), rounds int, competitor string) ([]row.Row, error) {
	ours, err := startOurs(ctx)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	theirs, err := startTheirs(ctx)
	if err != nil {
		return nil, err
	}
	defer theirs.stop()
	a, z, err := b.pairs(ctx, ours, theirs, connections, rounds)
	if err != nil {
		return nil, err
	}
	atMost(&r, bound, a, z, run.cpu, competitor)
	return []row.Row{r}, nil
}

// pairs loads a and z in turns, after a warm-up that is not counted. z may be nil.
func (b *bed) pairs(ctx context.Context, a, z *process, conns, rounds int) (as, zs []run, err error) {
	return b.pairsOf(ctx, a, z, rounds, func(ctx context.Context, p *process) (run, error) { return b.load(ctx, p, conns) })
}

// pairsOf is pairs with a load of any kind.
func (b *bed) pairsOf(ctx context.Context, a, z *process, rounds int, load func(context.Context, *process) (run, error)) (as, zs []run, err error) {
	for i := range rounds + 1 {
		turn := []*process{a, z}
		if i%2 == 1 { // whoever comes second may find a warmer or a busier machine
			slices.Reverse(turn)
		}
		for _, p := range turn {
			if p == nil {
				continue
			}
			r, err := load(ctx, p)
			if err != nil {
				return nil, nil, err
			}
			switch {
			case i == 0: // warming up
			case p == a:
				as = append(as, r)
			default:
				zs = append(zs, r)
			}
		}
	}
	if len(as) == 0 {
		return nil, nil, errors.New("nothing was measured")
	}
	return as, zs, nil
}

// ratioOf is the median of what neighbouring runs have in proportion.
func ratioOf(as, zs []run, of func(run) float64) float64 {
	ratios := make([]float64, min(len(as), len(zs)))
	for i := range ratios {
		ratios[i] = of(as[i]) / of(zs[i])
	}
	return median(ratios)
}

func middle(runs []run, of func(run) float64) float64 {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = of(r)
	}
	return median(values)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func micros(v float64) string    { return fmt.Sprintf("%.1f µs", v) }
func perSecond(v float64) string { return fmt.Sprintf("%.0f/s", v) }
func times(v float64) string     { return fmt.Sprintf("%.2f ×", v) }
