package autoscaler

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

func simulated(scaling workload.Autoscaling, concurrency, queue int64) workload.Spec {
	return workload.Spec{Name: "iris", Kind: workload.Realtime, Autoscaling: &scaling,
		Pod: &workload.Pod{MaxConcurrency: concurrency, MaxQueueLength: queue}}
}

func parsed(t *testing.T, text string) Trace {
	t.Helper()
	trace, err := ParseTrace("traffic.csv", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// run simulates with a latency of 100 ms where there is none.
func run(t *testing.T, spec workload.Spec, trace Trace, opts SimulateOptions) Result {
	t.Helper()
	if opts.Latency == 0 {
		opts.Latency = 100 * time.Millisecond
	}
	r, err := Simulate(spec, trace, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func fixed(n int32) workload.Autoscaling {
	a := defaultSpec()
	a.MinReplicas, a.MaxReplicas, a.InitReplicas = n, n, n
	return a
}

func TestSimulateServesWhatReplicasCan(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name              string
		spec              workload.Spec
		trace             string
		opts              SimulateOptions
		answered, dropped int64
		waiting           int64
		longest           float64
	}{
		// 10 a second for a minute, each 100 ms, one at a time: exactly what one replica serves.
		{"exactly enough", simulated(fixed(1), 1, 100), "time,rps\n0,10\n60,0\n", SimulateOptions{}, 600, 0, 0, 0},
		{"twice too much", simulated(fixed(1), 1, 100), "time,rps\n0,20\n60,0\n", SimulateOptions{}, 700, 500, 100, 10},
		{"two replicas", simulated(fixed(2), 1, 100), "time,rps\n0,20\n60,0\n", SimulateOptions{}, 1200, 0, 0, 0},
		{"two at once", simulated(fixed(1), 2, 100), "time,rps\n0,20\n60,0\n", SimulateOptions{}, 1200, 0, 0, 0},
		{"slower server", simulated(fixed(1), 1, 100), "time,rps,latency\n0,10,200ms\n60,0,200ms\n", SimulateOptions{}, 400, 200, 100, 20},
		{"latency of the options", simulated(fixed(1), 1, 100), "time,rps\n0,10\n60,0\n", SimulateOptions{Latency: 200 * time.Millisecond}, 400, 200, 100, 20},
		{"nobody comes", simulated(fixed(1), 1, 100), "time,rps\n0,0\n60,0\n", SimulateOptions{}, 0, 0, 0, 0},
		{"before the first point", simulated(fixed(1), 1, 100), "time,rps\n30,10\n60,0\n", SimulateOptions{}, 300, 0, 0, 0},
		{"one point holds a minute", simulated(fixed(1), 1, 100), "time,rps\n0,10\n", SimulateOptions{}, 599, 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := run(t, tt.spec, parsed(t, tt.trace), tt.opts).Summary
			if s.Answered != tt.answered || s.Dropped != tt.dropped || s.MostWaiting != tt.waiting {
				t.Errorf("Simulate(…) answered %d, dropped %d, had %d waiting, want %d, %d, %d",
					s.Answered, s.Dropped, s.MostWaiting, tt.answered, tt.dropped, tt.waiting)
			}
			if d := s.LongestWait - tt.longest; d < -0.2 || d > 0.2 {
				t.Errorf("the longest wait is %vs, want %vs", s.LongestWait, tt.longest)
			}
		})
	}
}

func TestSimulateWakesFromZero(t *testing.T) {
	t.Parallel()
	a := defaultSpec()
	a.MinReplicas, a.InitReplicas = 0, 0
	r := run(t, simulated(a, 8, 100), parsed(t, "time,in_flight\n0,0\n30,1000\n32,0\n62,0\n"), SimulateOptions{ColdStart: 3 * time.Second})
	first := r.Changes[0]
	if first.From != 0 || first.To != 1 || first.Seconds != 30 || !strings.Contains(first.Reason, "first request wakes") {
		t.Errorf("the first change is %+v, want 0 → 1 at 30s by the first request", first)
	}
	if s := r.Summary; s.MostWaiting != 108 || s.Answered != 108 || s.LongestWait < 3 {
		t.Errorf("%d waited, %d answered, %vs at most, want max_concurrency + max_queue_length = 108 of each and 3s or more",
			s.MostWaiting, s.Answered, s.LongestWait)
	}
	held := run(t, simulated(a, 8, 100), parsed(t, "time,in_flight\n0,50\n1,0\n"), SimulateOptions{Hold: 20, ColdStart: 500 * time.Millisecond})
	if held.Summary.MostWaiting != 20 || held.Summary.Dropped != 30 {
		t.Errorf("with Hold 20: %d waited and %d were dropped, want 20 and 30", held.Summary.MostWaiting, held.Summary.Dropped)
	}
}

// The simulation must come to the very decisions of the loop.
func TestSimulateDecidesAsDecide(t *testing.T) {
	t.Parallel()
	a := defaultSpec()
	r := run(t, simulated(a, 1, 30000), parsed(t, "time,in_flight\n0,1\n5m,12\n30m,1\n50m,1\n"), SimulateOptions{})
	state, requested := Start(DefaultTick, DefaultStart), 1
	var want []Move
	for now := time.Second; now <= 70*time.Minute; now += time.Second {
		load := 1.0
		if now > 5*time.Minute && now <= 30*time.Minute {
			load = 12
		}
		state = state.Observe(load, DefaultStart.Add(now))
		if now%DefaultTick == 0 {
			var d Decision
			if d, state = Decide(a, state, requested, DefaultStart.Add(now)); d.Changed {
				want = append(want, Move{Seconds: now.Seconds(), From: requested, To: d.Replicas, Reason: d.Reason()})
				requested = d.Replicas
			}
		}
	}
	moves := func(ms []Move) (out []Move) {
		for _, m := range ms {
			out = append(out, Move{Seconds: m.Seconds, From: m.From, To: m.To}) // a client that leaves is a step late in the text
		}
		return out
	}
	if diff := cmp.Diff(moves(want), moves(r.Changes)); diff != "" || len(want) < 8 {
		t.Errorf("changes (-decide +simulate):\n%s", diff)
	}
}

func TestSimulateLosesNoRequest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := simulated(drawSpec(t), rapid.Int64Range(1, 20).Draw(t, "max_concurrency"), rapid.Int64Range(1, 200).Draw(t, "max_queue_length"))
		spec.Autoscaling.InitReplicas = spec.Autoscaling.MinReplicas
		trace := Trace{Name: "t", Unit: rapid.SampledFrom([]Unit{RPS, InFlight}).Draw(t, "unit")}
		at := time.Duration(0)
		for _, load := range rapid.SliceOfN(rapid.Float64Range(0, 300), 1, 6).Draw(t, "loads") {
			trace.Points = append(trace.Points, Point{At: at, Load: load,
				Latency: time.Duration(rapid.IntRange(0, 900).Draw(t, "latency")) * time.Millisecond})
			at += time.Duration(rapid.IntRange(1, 25).Draw(t, "seconds")) * time.Second
		}
		r, err := Simulate(spec, trace, SimulateOptions{Latency: time.Second / 10, ColdStart: time.Duration(rapid.IntRange(0, 20).Draw(t, "cold")) * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		s := r.Summary
		if s.Requests != s.Answered+s.Dropped+s.StillInFlight {
			t.Fatalf("%d requests, and %d answered + %d dropped + %d in flight", s.Requests, s.Answered, s.Dropped, s.StillInFlight)
		}
		for _, row := range r.Rows {
			if row.Ready < 0 || row.Ready > row.Requested || row.Requested > int(spec.Autoscaling.MaxReplicas) || row.Waiting < 0 {
				t.Fatalf("a row that cannot be: %+v", row)
			}
		}
		if len(r.Rows) > maxRows+1 {
			t.Fatalf("%d rows, want at most %d", len(r.Rows), maxRows+1)
		}
	})
}

// A trace of a month must not blur what requests take: one more than half a
// request long would show twice the load there is.
func TestSimulateStepsResolveRequests(t *testing.T) {
	t.Parallel()
	for latency, want := range map[time.Duration]time.Duration{
		time.Second: 30 * time.Millisecond, 100 * time.Millisecond: 30 * time.Millisecond,
	} {
		month := parsed(t, "time,rps\n0,1\n360h,2\n")
		s := newSimulation(simulated(fixed(1), 1, 100), month, SimulateOptions{Latency: latency})
		if s.step != want || s.step > s.coarsest() {
			t.Errorf("a month of requests of %s goes in steps of %s, want %s and at most %s", latency, s.step, want, s.coarsest())
		}
		if rows := month.End() / s.rowTime; rows > maxRows {
			t.Errorf("it has %d rows, want at most %d", rows, maxRows)
		}
	}
}

func TestSimulateRefuses(t *testing.T) {
	t.Parallel()
	good := parsed(t, "time,rps\n0,1\n")
	task := workload.Spec{Name: "t", Kind: workload.Task, Pod: &workload.Pod{}}
	tests := []struct {
		name  string
		spec  workload.Spec
		trace Trace
		opts  SimulateOptions
		code  string
	}{
		{"kind", task, good, SimulateOptions{}, "resources.operation_is_only_supported_for_kind"},
		{"no traffic", simulated(fixed(1), 1, 1), Trace{}, SimulateOptions{}, "simulate.empty_trace"},
		{"tick", simulated(fixed(1), 1, 1), good, SimulateOptions{Tick: time.Millisecond}, "simulate.tick_too_short"},
		{"latency", simulated(fixed(1), 1, 1), good, SimulateOptions{}, "simulate.out_of_range"},
		{"cold start", simulated(fixed(1), 1, 1), good, SimulateOptions{Latency: time.Second, ColdStart: -1}, "simulate.out_of_range"},
		{"replicas", simulated(fixed(1), 1, 1), good, SimulateOptions{Latency: time.Second, Replicas: -1}, "simulate.out_of_range"},
		{"length", simulated(fixed(1), 1, 1), Trace{Points: []Point{{At: 1000 * time.Hour}, {At: 3000 * time.Hour}}}, SimulateOptions{}, "simulate.trace_too_large"},
		{"resolution", simulated(fixed(1), 1, 1), Trace{Points: []Point{{}, {At: 360 * time.Hour}}}, SimulateOptions{Latency: 2 * time.Millisecond}, "simulate.trace_too_large"},
	}
	for _, tt := range tests {
		if _, err := Simulate(tt.spec, tt.trace, tt.opts); fault.Code(err) != tt.code {
			t.Errorf("Simulate(%s) = %v (code %q), want code %q", tt.name, err, fault.Code(err), tt.code)
		}
	}
}

func dayResult(t *testing.T) Result {
	t.Helper()
	text, err := os.ReadFile("testdata/day.csv")
	if err != nil {
		t.Fatal(err)
	}
	trace, err := ParseTrace("day.csv", bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	a := defaultSpec()
	a.MinReplicas, a.InitReplicas, a.MaxReplicas, a.TargetInFlight = 0, 1, 20, 4
	return run(t, simulated(a, 4, 50), trace, SimulateOptions{ColdStart: 5 * time.Second})
}

func TestReportGolden(t *testing.T) {
	t.Parallel()
	r := dayResult(t)
	var table, plot, narrow bytes.Buffer
	for _, err := range []error{r.WriteTable(&table), r.WritePlot(&plot, 100), r.WritePlot(&narrow, 1)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "day.table.txt", table.String())
	golden(t, "day.plot.txt", plot.String())
	for line := range strings.SplitSeq(plot.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > 100 {
			t.Errorf("WritePlot(…, 100) wrote a line of %d columns", n)
		}
	}
	for line := range strings.SplitSeq(narrow.String(), "\n") {
		if n := utf8.RuneCountInString(line); n > minPlotWidth {
			t.Errorf("WritePlot(…, 1) wrote a line of %d columns, want at most %d", n, minPlotWidth)
		}
	}
	if err := (Result{}).WritePlot(&plot, 80); err != nil {
		t.Errorf("plotting nothing: %v", err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; go test -update writes it anew):\n%s", name, diff)
	}
}

func TestResultJSON(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(dayResult(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`"api":"iris"`, `"unit":"rps"`, `"rows":[{"seconds":0,`, `"changes":[{"seconds":`, `"summary":{"seconds":`} {
		if !bytes.Contains(data, []byte(key)) {
			t.Errorf("JSON lacks %s: %.300s", key, data)
		}
	}
}

// Ten requests of 0.3 s at each full second are three in flight, as the gateway measures.
func TestSimulateSeesTheIntegral(t *testing.T) {
	t.Parallel()
	trace := "time,rps\n"
	for second := range 400 {
		trace += fmt.Sprintf("%d,1000\n%d.01,0\n", second, second)
	}
	spec := defaultSpec()
	spec.TargetInFlight = 1
	r := run(t, simulated(spec, 100, 100), parsed(t, trace), SimulateOptions{Latency: 300 * time.Millisecond})
	last := r.Rows[len(r.Rows)-2]
	if math.Abs(last.InFlight-3) > 0.05 || last.Requested != 3 {
		t.Errorf("%v in flight and %d replicas, want 3 and 3", last.InFlight, last.Requested)
	}
}
