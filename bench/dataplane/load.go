package dataplane

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/bench/proc"
)

// run is what one load came to.
type run struct {
	requests float64
	seconds  float64
	used     float64 // microseconds of CPU of the proxy
	p50      float64 // microseconds
	p99      float64
}

func (r run) cpu() float64    { return r.used / r.requests }
func (r run) rate() float64   { return r.requests / r.seconds }
func (r run) median() float64 { return r.p50 }
func (r run) tail() float64   { return r.p99 }

var (
	wrkTotal  = regexp.MustCompile(`(\d+) requests in ([\d.]+)(ms|s|m),`)
	wrkMedian = regexp.MustCompile(`50%\s+([\d.]+)(us|ms|s)`)
	wrkTail   = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`)
)

// load runs wrk against p.
func (b *bed) load(ctx context.Context, p *process, conns int) (run, error) {
	return b.loadOf(conns, b.path, "")(ctx, p)
}

// loadOf returns what loads a proxy with wrk, on a path of its own, or with a script.
func (b *bed) loadOf(conns int, path, script string) func(context.Context, *process) (run, error) {
	return func(ctx context.Context, p *process) (run, error) {
		args := []string{"-t1", "-c" + strconv.Itoa(conns), "-d" + strconv.Itoa(int(b.duration.Seconds())) + "s", "--latency"}
		if script != "" {
			args = append(args, "-s", script)
		}
		if p.header != "" {
			args = append(args, "-H", p.header)
		}
		return b.measured(p, func() (run, error) {
			out, err := pinned(ctx, loadCore, b.wrk, append(args, "http://"+p.addr+path)...).CombinedOutput()
			if err != nil {
				return run{}, fmt.Errorf("running wrk: %w\n%s", err, out)
			}
			return parseWrk(string(out))
		})
	}
}

// parseWrk reads what wrk prints. An answer that is not 200 is an error: the
// fastest proxy is the one that refuses.
func parseWrk(out string) (run, error) {
	total, median, tail := wrkTotal.FindStringSubmatch(out), wrkMedian.FindStringSubmatch(out), wrkTail.FindStringSubmatch(out)
	if total == nil || median == nil || tail == nil {
		return run{}, fmt.Errorf("wrk printed no result:\n%s", out)
	}
	if strings.Contains(out, "Non-2xx") || strings.Contains(out, "Socket errors") {
		return run{}, fmt.Errorf("requests failed:\n%s", out)
	}
	var r run
	r.requests, _ = strconv.ParseFloat(total[1], 64) // digits, says the expression
	r.seconds, _ = strconv.ParseFloat(total[2], 64)
	r.seconds *= map[string]float64{"ms": 1e-3, "s": 1, "m": 60}[total[3]]
	for of, found := range map[*float64][]string{&r.p50: median, &r.p99: tail} {
		*of, _ = strconv.ParseFloat(found[1], 64)
		*of *= map[string]float64{"us": 1, "ms": 1e3, "s": 1e6}[found[2]]
	}
	if r.requests == 0 || r.seconds == 0 {
		return run{}, fmt.Errorf("wrk got no answer:\n%s", out)
	}
	return r, nil
}

// The proxies have a core for themselves; the load and the backend share another,
// or have one each where there are more.
var (
	loadCore    = 0
	proxyCore   = 1 % runtime.NumCPU()
	backendCore = 2 % max(2, runtime.NumCPU())
)

// pinned is a command on one core, where the system can do that.
func pinned(ctx context.Context, core int, name string, args ...string) *exec.Cmd {
	if taskset := find("taskset"); taskset != "" {
		args = append([]string{"-c", strconv.Itoa(core), name}, args...)
		name = taskset
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd
}

// process is a running proxy or backend.
type process struct {
	name string
	addr string
	cmd  *exec.Cmd // nil: not ours to measure
	more []int     // processes that do a part of its work
	// header is a field that requests to it have; empty: none.
	header string
	stop   func()
}

// cpu returns the CPU time that p has used so far.
func (p *process) cpu() (time.Duration, error) {
	pids := p.more
	if p.cmd != nil {
		pids = append([]int{p.cmd.Process.Pid}, pids...)
	}
	var used time.Duration
	for _, pid := range pids {
		of, err := proc.Of(pid)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of %s: %w", p.name, err)
		}
		used += of.CPU
	}
	return used, nil
}
