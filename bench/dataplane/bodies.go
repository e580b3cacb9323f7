package dataplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"cortex.dev/cortex/bench/row"
)

// The rows of BodyRows.
const (
	WhatEvent      = "streams of events, 400 at once, 20 a second each: CPU per event"
	WhatEventDelay = "streams of events, 400 at once, 20 a second each: median delay"
	WhatLargeRate  = "answers of 1 MiB, 16 connections: throughput"
	WhatLargeCPU   = "answers of 1 MiB, 16 connections: CPU"
	WhatUploadRate = "uploads of 1 MiB, 16 connections: throughput"
	WhatUploadCPU  = "uploads of 1 MiB, 16 connections: CPU"
	WhatPostCPU    = "POST of 4 KiB, 64 connections: CPU"
	WhatPostRate   = "POST of 4 KiB, 64 connections: throughput"
	WhatPostMedian = "POST of 4 KiB, 64 connections: median"
	WhatPostTail   = "POST of 4 KiB, 64 connections: 99 of 100 within"
	WhatSmallRate  = "45 bytes, 64 connections: throughput"
	WhatSmallHalf  = "45 bytes, 64 connections: median"
	WhatSmallTail  = "45 bytes, 64 connections: 99 of 100 within"
	WhatManyHalf   = "45 bytes, 1,000 connections: median"
	WhatManyTail   = "45 bytes, 1,000 connections: 99 of 100 within"
)

// metric is a row of a load: what is measured of it, and what it has to be beside HAProxy.
type metric struct {
	what  string
	of    func(run) float64
	bound float64
	least bool // at least the bound; else at most
	show  func(float64) string
}

func (m metric) row(ours, theirs []run) row.Row {
	ratio := ratioOf(ours, theirs, m.of)
	r := row.Row{What: m.what, Ours: m.show(middle(ours, m.of)), Theirs: m.show(middle(theirs, m.of)) + " HAProxy", Ratio: times(ratio), Met: ratio <= m.bound}
	sign := "≤"
	if m.least {
		r.Met, sign = ratio >= m.bound, "≥"
	}
	r.Target = fmt.Sprintf("%s %.1f × HAProxy", sign, m.bound)
	return r
}

// bodyLoad is a load, and what is measured of it.
type bodyLoad struct {
	backend string // of bench/dataplane/proxy; empty: the one that answers with 45 bytes
	conns   int
	path    string
	upload  int // bytes of the body of each request
	metrics []metric
}

const eventStreams = 400

// bodyLoads are the loads of BodyRows, but for streams of events.
var bodyLoads = []bodyLoad{
	{"bodies", 16, "/api/large", 0, []metric{
		{WhatLargeRate, run.rate, 1, true, perSecond}, {WhatLargeCPU, run.cpu, 0.6, false, micros},
	}},
	{"bodies", 16, "/api/large", 1 << 20, []metric{
		{WhatUploadRate, run.rate, 1, true, perSecond}, {WhatUploadCPU, run.cpu, 0.6, false, micros},
	}},
	{"bodies", connections, "/api/predict", 4 << 10, []metric{
		{WhatPostCPU, run.cpu, 1, false, micros}, {WhatPostRate, run.rate, 1, true, perSecond},
		{WhatPostMedian, run.median, 1.1, false, micros}, {WhatPostTail, run.tail, 1.1, false, micros},
	}},
	{"", connections, "/api/predict", 0, []metric{
		{WhatSmallRate, run.rate, 1, true, perSecond}, {WhatSmallHalf, run.median, 1.1, false, micros}, {WhatSmallTail, run.tail, 1.1, false, micros},
	}},
	{"", 1000, "/api/predict", 0, []metric{
		{WhatManyHalf, run.median, 1.1, false, micros}, {WhatManyTail, run.tail, 1.1, false, micros},
	}},
}

var eventMetrics = []metric{{WhatEvent, run.cpu, 1, false, micros}, {WhatEventDelay, run.median, 1.1, false, micros}}

// promptly has HAProxy pass on an event when it comes. Without it, it lets the kernel wait for
// more of an answer in chunks.
const promptly = "  option http-no-delay\n"

// BodyNames returns the names of the rows of BodyRows.
func BodyNames() []string {
	var names []string
	for _, l := range append([]bodyLoad{{metrics: eventMetrics}}, bodyLoads...) {
		for _, m := range l.metrics {
			names = append(names, m.what)
		}
	}
	return names
}

// BodyRows measures streams of events, bodies of all sizes, and how long the slowest wait,
// beside HAProxy.
func BodyRows(ctx context.Context, o Options) ([]row.Row, error) {
	b, err := newBed(ctx, o)
	defer b.close()
	if err != nil {
		return nil, err
	}
	missing := ""
	if b.wrk == "" {
		missing = noWrk
	}
	if b.haproxy == "" {
		missing = noHAProxy
	}
	if missing != "" {
		return unmeasured(BodyNames(), missing), nil
	}
	rows, err := b.events(ctx)
	for _, l := range bodyLoads {
		if err != nil {
			return rows, err
		}
		script := ""
		if l.upload > 0 {
			if script, err = b.script(l.upload); err != nil {
				return rows, err
			}
		}
		var more []row.Row
		more, err = b.besideOf(ctx, l.backend, proxyFrontend, b.loadOf(l.conns, l.path, script), l.metrics)
		rows = append(rows, more...)
	}
	return rows, err
}

// script has wrk send a body of that size.
func (b *bed) script(size int) (string, error) {
	path := filepath.Join(b.dir, fmt.Sprintf("upload-%d.lua", size))
	text := fmt.Sprintf("wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/octet-stream\"\nwrk.body = string.rep(\"x\", %d)\n", size)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("writing a script for wrk: %w", err)
	}
	return path, nil
}

// events measures streams of events, beside an HAProxy that passes each on when it comes; a
// note says what one does that nobody told so.
func (b *bed) events(ctx context.Context) ([]row.Row, error) {
	rows, err := b.besideOf(ctx, "events", proxyFrontend+promptly, b.hears, eventMetrics)
	if err != nil {
		return rows, err
	}
	untold := *b
	untold.rounds = 1
	lazy, err := untold.besideOf(ctx, "events", proxyFrontend, b.hears, eventMetrics)
	for i := range lazy {
		rows[i].Note = "it has option http-no-delay; without, " + lazy[i].Theirs
	}
	return rows, err
}

// besideOf measures a load of both proxies before a backend of that kind.
func (b *bed) besideOf(ctx context.Context, kind, config string, load func(context.Context, *process) (run, error), metrics []metric) ([]row.Row, error) {
	addr := b.backend
	if kind != "" {
		backend, err := b.startGo(ctx, backendCore, kind, "-kind", kind)
		if err != nil {
			return nil, err
		}
		defer backend.stop()
		addr = backend.addr
	}
	ours, err := b.startGatewayTo(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	theirs, err := b.haproxyWith(ctx, proxyCore, "HAProxy", func(bind string) string { return fmt.Sprintf(config, bind, "/api", addr) })
	if err != nil {
		return nil, err
	}
	defer theirs.stop()
	a, z, err := b.pairsOf(ctx, ours, theirs, b.rounds, load)
	if err != nil {
		return nil, err
	}
	var rows []row.Row
	for _, m := range metrics {
		rows = append(rows, m.row(a, z))
	}
	return rows, nil
}

// hears is the load of many streams of events.
func (b *bed) hears(ctx context.Context, p *process) (run, error) {
	return b.measured(p, func() (run, error) {
		out, err := pinned(ctx, loadCore, b.proxy, "-kind", "hear", "-backend", p.addr, "-streams", strconv.Itoa(eventStreams), "-for", b.duration.String()).Output()
		if err != nil {
			return run{}, fmt.Errorf("hearing events from %s: %w", p.name, err)
		}
		r := run{seconds: b.duration.Seconds()}
		_, err = fmt.Sscan(string(out), &r.requests, &r.p50, &r.p99)
		return r, err
	})
}
