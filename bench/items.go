package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/row"
)

// What asynchronous work costs, beside other queues: all of them have on the disk what they
// accept before they say so.
const (
	whatSubmit     = "items: durable submit, one caller, median"
	whatSubmits    = "items: durable submits, 64 callers"
	whatTogether   = "items: durable submits, 64 callers to one"
	whatBegins     = "items: submit to start of execution, idle, median"
	whatBeginsLate = "items: submit to start of execution, idle, p99"
	whatItems      = "items: no-op items end to end, 100 at once"
	whatItemCPU    = "items: CPU per no-op item, end to end"
)

const (
	itemSize = 1024 // bytes
	callers  = 64
	workers  = 100
)

// itemSpec is an AsyncAPI, of one replica or of none: to zero it goes at the first tick
// without an item.
func itemSpec(name, server string, replicas int, args ...string) string {
	command := strconv.Quote(server)
	for _, a := range args {
		command += ", " + strconv.Quote(a)
	}
	return fmt.Sprintf(`- name: %[1]s
  kind: AsyncAPI
  pod:
    max_concurrency: %[2]d
    containers:
      - name: server
        command: [%[3]s]
  autoscaling:
    min_replicas: %[4]d
    init_replicas: %[4]d
    max_replicas: 1
    window: 10s
    downscale_stabilization_period: 0s
    upscale_stabilization_period: 0s
  async: {max_queue_length: 1000000}
`, name, workers, command, replicas)
}

// Items of this priority start no replica: at zero they wait.
const waits = "X-Cortex-Priority: idle\r\n"

// figures are what one turn of a contender came to; of what it did not measure, zero.
type figures struct {
	p50, p99 float64 // microseconds
	rate     float64 // items a second
	cpu      float64 // microseconds an item
}

// contender is one of those that do the same, in turns.
type contender struct {
	name string
	do   func(context.Context) (figures, error)
}

// contest is what turns came to, ours under the name "".
type contest struct {
	*peers
	turns map[string][]figures
}

// hold has contenders take turns, after a round that is not counted. Those that are not
// there do nothing.
func (o *peers) hold(ctx context.Context, rounds int, all ...contender) (contest, error) {
	c := contest{o, map[string][]figures{}}
	for i := range rounds + 1 {
		turn := slices.Clone(all)
		if i%2 == 1 { // whoever comes second may find a warmer or a busier machine
			slices.Reverse(turn)
		}
		for _, one := range turn {
			if o.absent[one.name] != "" {
				continue
			}
			f, err := one.do(ctx)
			if err != nil {
				return c, err
			}
			o.Log("%q: %.0f items/s, median %.0f µs, p99 %.0f µs, CPU %.1f µs", one.name, f.rate, f.p50, f.p99, f.cpu)
			if i > 0 {
				c.turns[one.name] = append(c.turns[one.name], f)
			}
		}
	}
	return c, nil
}

// target is what a figure has to be beside a competitor: at least so many times his, or,
// where less is better, at most.
type target struct {
	name  string
	bound float64
}

// measure is how a figure is read.
type measure struct {
	of   func(figures) float64
	unit func(float64) string
	less bool // is better
}

func (m measure) within(v, bound float64) bool {
	if m.less {
		return v <= bound
	}
	return v >= bound
}

func (m measure) sign() string {
	if m.less {
		return "≤"
	}
	return "≥"
}

// row compares ours with each of the others by the median of what neighbouring turns have
// in proportion; of ours alone it has to be within most, unless that is 0.
func (c contest) row(what string, m measure, most float64, targets ...target) row.Row {
	ours := middle(c.turns[""], m.of)
	r := row.Row{What: what, Ours: m.unit(ours), Met: true}
	var theirs, ratios, bounds, notes []string
	if most != 0 {
		bounds, r.Met = append(bounds, m.sign()+" "+m.unit(most)), m.within(ours, most)
	}
	for _, t := range targets {
		bounds = append(bounds, fmt.Sprintf("%s %g × %s", m.sign(), t.bound, t.name))
		if why := c.absent[t.name]; why != "" {
			notes = append(notes, why+", so "+t.name+" is not measured")
			r.Absent = true
			continue
		}
		ratio := inProportion(c.turns[""], c.turns[t.name], m.of)
		theirs = append(theirs, m.unit(middle(c.turns[t.name], m.of))+" "+t.name)
		ratios = append(ratios, fmt.Sprintf("%.2f ×", ratio))
		r.Met = r.Met && m.within(ratio, t.bound)
	}
	r.Absent = r.Absent && r.Met
	r.Met = r.Met && !r.Absent
	r.Theirs, r.Ratio, r.Target, r.Note = strings.Join(theirs, ", "), strings.Join(ratios, ", "), strings.Join(bounds, ", "), strings.Join(notes, "; ")
	return r
}

func middle(turns []figures, of func(figures) float64) float64 {
	values := make([]float64, len(turns))
	for i, f := range turns {
		values[i] = of(f)
	}
	return median(values)
}

func inProportion(ours, theirs []figures, of func(figures) float64) float64 {
	ratios := make([]float64, min(len(ours), len(theirs)))
	for i := range ratios {
		ratios[i] = of(ours[i]) / of(theirs[i])
	}
	return median(ratios)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func inMicros(v float64) string  { return fmt.Sprintf("%.0f µs", v) }
func inMillis(v float64) string  { return fmt.Sprintf("%.3g ms", v/1e3) }
func aSecond(v float64) string   { return fmt.Sprintf("%.0f/s", v) }
func p50(f figures) float64      { return f.p50 }
func p99(f figures) float64      { return f.p99 }
func rate(f figures) float64     { return f.rate }
func cpuOfOne(f figures) float64 { return f.cpu }

// submits compares how fast items are accepted that nobody executes.
func submits(ctx context.Context, p *place) (rows []row.Row, err error) {
	o, h, err := p.beside(ctx, itemSpec("asleep", p.server, 0))
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()); o.stop() }()
	with := func(n, items int) []contender {
		asked := []string{"-callers", strconv.Itoa(n), "-items", strconv.Itoa(items)}
		return []contender{
			{"", func(ctx context.Context) (figures, error) { return h.submitMany(ctx, "/asleep", waits, n, items) }},
			{river, o.asks(river, "submit", asked...)},
			{asynq, o.asks(asynq, "submit", asked...)},
		}
	}
	rounds := p.Times(5, 2)
	one, err := o.hold(ctx, rounds, with(1, p.Times(500, 100))...)
	if err != nil {
		return nil, err
	}
	many, err := o.hold(ctx, rounds, with(callers, p.Times(8000, 1000))...)
	if err != nil {
		return nil, err
	}
	times := inProportion(many.turns[""], one.turns[""], rate)
	return []row.Row{
		one.row(whatSubmit, measure{p50, inMicros, true}, 0, target{asynq, 1.5}),
		many.row(whatSubmits, measure{rate, aSecond, false}, 0, target{river, 1}, target{asynq, 0.5}),
		{
			What: whatTogether, Ours: aSecond(middle(many.turns[""], rate)), Theirs: aSecond(middle(one.turns[""], rate)) + " by one", Ratio: fmt.Sprintf("%.1f ×", times),
			Target: "≥ 8 ×", Met: times >= 8,
		},
	}, nil
}

// begins compares how long it takes from a submission until a worker that has nothing else
// to do begins.
func begins(ctx context.Context, p *place) (rows []row.Row, err error) {
	o, h, err := p.beside(ctx, itemSpec("clock", p.server, 1, "-clock"))
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()); o.stop() }()
	n := p.Times(100, 20)
	c, err := o.hold(ctx, p.Times(5, 2),
		contender{"", func(ctx context.Context) (figures, error) { return h.beginMany(ctx, "/clock", n) }},
		contender{river, o.asks(river, "begin", "-items", strconv.Itoa(n))},
		// It looks once a second.
		contender{asynq, o.asks(asynq, "begin", "-items", strconv.Itoa(max(n/10, 5)))},
	)
	if err != nil {
		return nil, err
	}
	targets := []target{{river, 1}, {asynq, 1}}
	return []row.Row{
		c.row(whatBegins, measure{p50, inMillis, true}, 10_000, targets...),
		c.row(whatBeginsLate, measure{p99, inMillis, true}, 30_000, targets...),
	}, nil
}

// ends compares what items cost that do nothing, from their submission to their end.
func ends(ctx context.Context, p *place) (rows []row.Row, err error) {
	o, h, err := p.beside(ctx, itemSpec("noop", p.server, 1))
	if err != nil {
		return nil, err
	}
	defer func() { err = first(err, h.stop()); o.stop() }()
	n := p.Times(8000, 1000)
	asked := []string{"-callers", strconv.Itoa(callers), "-items", strconv.Itoa(n)}
	c, err := o.hold(ctx, p.Times(5, 1),
		contender{"", func(ctx context.Context) (figures, error) { return h.endMany(ctx, "noop", n) }},
		contender{river, o.asks(river, "all", asked...)},
		contender{celery, func(ctx context.Context) (figures, error) {
			stop, err := o.startCelery(ctx)
			if err != nil {
				return figures{}, err
			}
			defer stop()
			items := n / 2                                       // it takes longer
			if _, err := o.celerySeconds(ctx, 100); err != nil { // its processes have started
				return figures{}, err
			}
			seconds, err := o.celerySeconds(ctx, items)
			return figures{rate: float64(items) / seconds}, err
		}},
		contender{asynq, func(ctx context.Context) (figures, error) {
			pid, stop, err := o.startAsynq(ctx)
			if err != nil {
				return figures{}, err
			}
			defer stop()
			before, err := cpuOfAll(pid, o.redis.pid)
			if err != nil {
				return figures{}, err
			}
			f, err := o.asks(asynq, "all", asked...)(ctx)
			if err != nil {
				return f, err
			}
			after, err := cpuOfAll(pid, o.redis.pid)
			f.cpu = float64((after - before).Microseconds()) / float64(n)
			return f, err
		}},
	)
	if err != nil {
		return nil, err
	}
	return []row.Row{
		c.row(whatItems, measure{rate, aSecond, false}, 0, target{celery, 5}, target{river, 0.3}),
		c.row(whatItemCPU, measure{cpuOfOne, inMicros, true}, 0, target{asynq, 1.5}),
	}, nil
}

// beside starts the others and a daemon that serves an API.
func (p *place) beside(ctx context.Context, text string) (*peers, *home, error) {
	o, err := p.startPeers(ctx)
	if err != nil {
		return nil, nil, err
	}
	h, err := p.startItems(ctx, text)
	if err != nil {
		o.stop()
	}
	return o, h, err
}

// startItems starts a daemon that serves an API.
func (p *place) startItems(ctx context.Context, text string) (*home, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	metrics := "127.0.0.1:" + strconv.Itoa(port)
	h, err := p.start(ctx, "--metrics-listen", metrics)
	if err != nil {
		return nil, err
	}
	h.metrics = "http://" + metrics + "/metrics"
	err = h.deploy(ctx, text)
	if name := "asleep"; err == nil && strings.Contains(text, name) {
		err = h.untilStatus(ctx, name, "the API is at zero", gone)
	}
	if err != nil {
		return nil, errors.Join(err, h.stop())
	}
	return h, nil
}

// asks is a contender's turn that bench/peers takes.
func (o *peers) asks(system, what string, args ...string) func(context.Context) (figures, error) {
	return func(ctx context.Context) (figures, error) {
		r, err := o.ask(ctx, system, what, args...)
		return figures{p50: r.P50, p99: r.P99, rate: float64(r.Items) / r.Seconds}, err
	}
}

// submitMany has callers submit items, each on a connection of its own.
func (h *home) submitMany(ctx context.Context, path, fields string, callers, items int) (figures, error) {
	took := make([]time.Duration, items)
	body := slices.Repeat([]byte{'x'}, itemSize)
	var next atomic.Int64
	began := time.Now()
	err := h.onWires(ctx, callers, func(w *load.Wire) error {
		for i := next.Add(1) - 1; i < int64(items); i = next.Add(1) - 1 {
			one := time.Now()
			if status, answer, err := w.Ask("POST "+path, fields, body, time.Minute); err != nil || status != http.StatusOK {
				return fmt.Errorf("a submission was answered %d %s %w", status, answer, err)
			}
			took[i] = time.Since(one)
		}
		return nil
	})
	all := time.Since(began)
	return figures{p50: micros(row.Median(took)), p99: micros(row.Quantile(took, 0.99)), rate: float64(items) / all.Seconds()}, err
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// onWires calls do at once on so many connections.
func (h *home) onWires(ctx context.Context, n int, do func(*load.Wire) error) error {
	var all sync.WaitGroup
	errs := make([]error, n)
	wires := make([]*load.Wire, n)
	for i := range wires {
		w, err := load.Dial(ctx, h.endpoint)
		if err != nil {
			return err
		}
		defer w.Close()
		wires[i] = w
	}
	for i, w := range wires {
		all.Go(func() { errs[i] = do(w) })
	}
	all.Wait()
	return first(errs...)
}

// beginMany submits items one after the other, and asks when each began: its container says.
func (h *home) beginMany(ctx context.Context, path string, items int) (figures, error) {
	took := make([]time.Duration, 0, items)
	body := slices.Repeat([]byte{'x'}, itemSize)
	err := h.onWires(ctx, 1, func(w *load.Wire) error {
		for range items {
			if err := load.Wait(ctx, 25*time.Millisecond); err != nil {
				return err
			}
			one := time.Now()
			status, answer, err := w.Ask("POST "+path, "Prefer: wait=30\r\n", body, time.Minute)
			if err != nil {
				return err
			}
			var item struct{ Result struct{ At int64 } }
			if err := json.Unmarshal([]byte(answer), &item); err != nil || item.Result.At == 0 {
				return fmt.Errorf("an item was answered %d %s %w", status, answer, err)
			}
			took = append(took, time.Unix(0, item.Result.At).Sub(one))
		}
		return nil
	})
	return figures{p50: micros(row.Median(took)), p99: micros(row.Quantile(took, 0.99))}, err
}

// endMany submits items and waits until all have ended.
func (h *home) endMany(ctx context.Context, api string, items int) (figures, error) {
	had, err := h.succeeded(ctx, api)
	if err != nil {
		return figures{}, err
	}
	before, err := processes(h.daemon.Process.Pid, h.server)
	if err != nil {
		return figures{}, err
	}
	began := time.Now()
	if _, err := h.submitMany(ctx, "/"+api, "", callers, items); err != nil {
		return figures{}, err
	}
	for n := 0; n < had+items; {
		if err := load.Wait(ctx, 20*time.Millisecond); err != nil {
			return figures{}, err
		}
		if n, err = h.succeeded(ctx, api); err != nil {
			return figures{}, err
		}
	}
	seconds := time.Since(began).Seconds()
	after, err := processes(h.daemon.Process.Pid, h.server)
	return figures{rate: float64(items) / seconds, cpu: micros(after.cpu-before.cpu) / float64(items)}, err
}

// succeeded is how many items of an API have, as the metrics say.
func (h *home) succeeded(ctx context.Context, api string) (int, error) {
	return h.metric(ctx, `cortex_async_items_total\{api_name="`+api+`",.*state="succeeded"\}`)
}

// scrape reads the metrics.
func (h *home) scrape(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.metrics, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	return io.ReadAll(answer.Body)
}
