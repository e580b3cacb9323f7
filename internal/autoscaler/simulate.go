package autoscaler

import (
	"math"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// SimulateOptions describe what a trace file does not say.
type SimulateOptions struct {
	Tick      time.Duration // between decisions; 0 is DefaultTick
	Start     time.Time     // when the trace begins, for floors; zero is DefaultStart
	Latency   time.Duration // what the server takes for one request, 1ms to 1h; a latency in the trace wins
	ColdStart time.Duration // from asking for a replica to its first request, at most 1h
	// Hold bounds the requests that wait while no replica is ready; 0 is
	// max_concurrency + max_queue_length.
	Hold int64
	// Replicas at the start, all ready; 0 without AtZero is init_replicas.
	Replicas int
	AtZero   bool // start with no replica
}

// Result is what would have happened.
type Result struct {
	API        string  `json:"api"`
	Trace      string  `json:"trace"`
	Unit       Unit    `json:"unit"`
	RowSeconds float64 `json:"row_seconds"` // what one row covers
	Rows       []Row   `json:"rows"`        // over time, evenly spaced
	Changes    []Move  `json:"changes"`     // every decision that changed something, at most maxMoves
	Summary    Summary `json:"summary"`
}

// Row sums up one slice of time.
type Row struct {
	Seconds   float64 `json:"seconds"`   // when it begins
	Offered   float64 `json:"offered"`   // mean load in the trace's unit
	InFlight  float64 `json:"in_flight"` // mean of running and waiting
	Requested int     `json:"requested"` // at its end
	Ready     int     `json:"ready"`     // at its end
	Waiting   int64   `json:"waiting"`   // the most at any moment
	Answered  int64   `json:"answered"`
	Dropped   int64   `json:"dropped"` // refused with 503
}

// Move is one change of the number of requested replicas.
type Move struct {
	Seconds float64 `json:"seconds"`
	From    int     `json:"from"`
	To      int     `json:"to"`
	Reason  string  `json:"reason"`
}

// Summary is the whole run in a few numbers.
type Summary struct {
	Seconds        float64 `json:"seconds"`
	Requests       int64   `json:"requests"`
	Answered       int64   `json:"answered"`
	Dropped        int64   `json:"dropped"`
	StillInFlight  int64   `json:"still_in_flight"` // when the trace ended
	MostWaiting    int64   `json:"most_waiting"`
	LongestWait    float64 `json:"longest_wait"` // seconds
	MeanWait       float64 `json:"mean_wait"`    // seconds, of the requests that started
	P95Wait        float64 `json:"p95_wait"`     // seconds, of the requests that started
	MostReplicas   int     `json:"most_replicas"`
	ReplicaSeconds float64 `json:"replica_seconds"` // requested, whether ready or not
}

// Bounds of a result.
const (
	maxRows  = 2000
	maxMoves = 2000
	maxSteps = 100_000_000 // some seconds of work
)

// Simulate runs a workload's spec against a trace on a virtual clock: the rules
// are Decide itself, the replicas a queueing model. A replica serves up to
// max_concurrency requests at once, each for the server's latency; up to
// max_queue_length more wait for it, and past that a request is refused. While no
// replica is ready requests are held, and the first one wakes an API at zero. What
// the rules see is the mean of each second, not one moment of it.
// Kinds that have no replicas are refused, as are traces beyond its bounds.
func Simulate(spec workload.Spec, trace Trace, opts SimulateOptions) (Result, error) {
	if !spec.Kind.Scales() || spec.Autoscaling == nil || spec.Pod == nil {
		return Result{}, fault.New(fault.Invalid, "resources.operation_is_only_supported_for_kind",
			"%s is a %s, which has no replicas that follow its load", spec.Name, spec.Kind).
			WithHint("simulate a RealtimeAPI or an AsyncAPI")
	}
	if len(trace.Points) == 0 || trace.End() <= 0 {
		return Result{}, fault.New(fault.Invalid, "simulate.empty_trace", "the trace has no traffic in it")
	}
	if trace.End() > 2*maxTraceTime {
		return Result{}, fault.New(fault.Invalid, "simulate.trace_too_large", "the trace is longer than %s", 2*maxTraceTime)
	}
	if opts.Tick != 0 && opts.Tick < MinTick {
		return Result{}, fault.New(fault.Usage, "simulate.tick_too_short", "the tick is %s, and must be at least %s", opts.Tick, MinTick)
	}
	if opts.Latency < time.Millisecond || opts.Latency > maxTraceLatency {
		return Result{}, outOfRange("the latency is %s, and must be from 1ms to %s", opts.Latency, words(maxTraceLatency))
	}
	if opts.ColdStart < 0 || opts.ColdStart > maxTraceLatency {
		return Result{}, outOfRange("the cold start is %s, and must be from 0s to %s", opts.ColdStart, words(maxTraceLatency))
	}
	if opts.Tick > maxTraceLatency || opts.Hold < 0 || opts.Replicas < 0 || opts.Replicas > math.MaxInt32 {
		return Result{}, outOfRange("the tick is at most %s, and numbers of requests and replicas are not negative", words(maxTraceLatency))
	}
	s := newSimulation(spec, trace, opts)
	if coarsest := s.coarsest(); s.step > coarsest {
		return Result{}, fault.New(fault.Invalid, "simulate.trace_too_large",
			"the trace lasts %s, and with requests as short or ticks as frequent as these it may last %s", words(trace.End()), words(coarsest*maxSteps)).
			WithHint("cut the trace, or give a longer latency or tick")
	}
	s.run()
	return s.result, nil
}

func outOfRange(format string, args ...any) error {
	return fault.New(fault.Usage, "simulate.out_of_range", format, args...)
}

// simulation is the clock and what is counted; line is the queueing model.
type simulation struct {
	spec      workload.Autoscaling
	trace     Trace
	tick      time.Duration
	step      time.Duration
	latency   time.Duration
	coldStart time.Duration
	state     State
	line      line
	start     time.Time // of the virtual clock
	requested int
	ready     int
	starting  []starting // in order of time
	point     int        // index of the present point, -1 before the first
	arrivals  float64    // a fraction of a request that has not arrived yet
	sampled   float64    // in flight, summed over the steps since the latest sample
	samples   float64
	service   workload.ServiceTime
	result    Result
	row       Row
	rowTime   time.Duration // length of a row
	rowEnd    time.Duration
	rowSteps  float64
}

// starting are replicas that become ready at one moment.
type starting struct {
	at    time.Duration
	count int
}

// DefaultStart is when the virtual clock begins: midnight of a Monday, for floors.
var DefaultStart = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func newSimulation(spec workload.Spec, trace Trace, opts SimulateOptions) *simulation {
	s := &simulation{
		spec: *spec.Autoscaling, trace: trace, point: -1,
		start: opts.Start, tick: opts.Tick, latency: opts.Latency, coldStart: opts.ColdStart,
		result: Result{API: spec.Name, Trace: trace.Name, Unit: trace.Unit, Changes: []Move{}},
	}
	if s.tick == 0 {
		s.tick = DefaultTick
	}
	if s.start.IsZero() {
		s.start = DefaultStart
	}
	end := trace.End()
	fine := max(min(s.shortest()/5, 10*time.Millisecond).Truncate(time.Millisecond), time.Millisecond)
	s.step = roundUp(max(end/maxSteps, fine), fine)
	s.rowTime = roundUp(round(max(end/maxRows, min(s.tick, time.Second))), s.step)
	s.rowEnd = s.rowTime
	s.line = line{concurrency: max(spec.Pod.MaxConcurrency, 1), queue: max(spec.Pod.MaxQueueLength, 0), hold: opts.Hold, step: s.step}
	if spec.Async != nil {
		s.line.most = spec.Async.MaxQueueLength
	}
	if s.line.hold == 0 {
		s.line.hold = s.line.concurrency + s.line.queue
	}
	s.requested = int(s.spec.InitReplicas)
	if opts.Replicas > 0 {
		s.requested = opts.Replicas
	}
	if opts.AtZero {
		s.requested = 0
	}
	s.ready = s.requested
	s.state = Start(s.tick, s.start)
	return s
}

// shortest is the least time a request takes.
func (s *simulation) shortest() time.Duration {
	shortest := s.latency
	for _, p := range s.trace.Points {
		if p.Latency > 0 {
			shortest = min(shortest, p.Latency)
		}
	}
	return shortest
}

// coarsest is the longest step that still tells requests and ticks apart.
func (s *simulation) coarsest() time.Duration {
	return max(min(s.shortest()/2, s.tick), time.Millisecond)
}

// round returns the next length of time that people like to read.
func round(d time.Duration) time.Duration {
	for _, nice := range []time.Duration{100 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
		30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour} {
		if d <= nice {
			return nice
		}
	}
	return roundUp(d, 6*time.Hour)
}

func roundUp(d, unit time.Duration) time.Duration { return (d + unit - 1) / unit * unit }

func (s *simulation) run() {
	end := s.trace.End()
	nextSample, nextTick := min(SampleEvery, s.tick), s.tick
	s.result.Summary.MostReplicas = s.requested
	s.result.RowSeconds = s.rowTime.Seconds()
	for now := time.Duration(0); now < end; now += s.step {
		s.advance(now)
		s.sampled += float64(s.line.inFlight())
		s.samples++
		after := now + s.step
		if after >= nextSample {
			s.state = s.state.Observe(s.sampled/s.samples, s.start.Add(after)).
				ObserveBacklog(workload.Backlog{Queued: int(s.line.waiting), Running: int(s.line.running), Service: s.service.Known()})
			s.sampled, s.samples = 0, 0
			nextSample += min(SampleEvery, s.tick)
			if after < nextTick && byQueue(s.spec, s.state.backlog) {
				s.decide(after)
			}
		}
		if after >= nextTick {
			s.decide(after)
			nextTick += s.tick
		}
		s.count(now)
	}
	if s.rowSteps > 0 {
		s.closeRow()
	}
	sum := &s.result.Summary
	sum.Seconds = end.Seconds()
	sum.StillInFlight = s.line.inFlight()
	sum.LongestWait = s.line.longest.Seconds()
	sum.P95Wait = s.line.p95().Seconds()
	if s.line.started > 0 {
		sum.MeanWait = s.line.waited / float64(s.line.started)
	}
}

// advance lets one step pass: replicas become ready, requests end, arrive and start.
func (s *simulation) advance(now time.Duration) {
	var submitted int64
	for s.point+1 < len(s.trace.Points) && s.trace.Points[s.point+1].At <= now {
		s.point++
		submitted += int64(s.trace.Points[s.point].Load)
	}
	for len(s.starting) > 0 && s.starting[0].at <= now {
		s.ready += s.starting[0].count
		s.starting = s.starting[1:]
	}
	ended := s.line.finish()
	s.row.Answered += ended
	var load float64
	latency := s.latency
	if s.point >= 0 {
		load = s.trace.Points[s.point].Load
		if l := s.trace.Points[s.point].Latency; l > 0 {
			latency = l
		}
	}
	s.learn(latency, ended)
	n := s.arriving(load)
	if s.trace.Unit == Items {
		n, load = submitted, float64(submitted)/s.step.Seconds()
	}
	if n > 0 && s.requested == 0 {
		least, _ := s.spec.Least(s.start.Add(now))
		s.scale(max(1, least), now, "the first request wakes an API at zero")
	}
	refused := s.line.arrive(n, s.ready, now)
	s.line.start(s.ready, latency, now)
	s.row.Dropped += refused
	s.result.Summary.Dropped += refused
	s.result.Summary.Requests += n
	s.row.Offered += load
}

// learn notes what items take that have ended, as whoever executes them does.
func (s *simulation) learn(latency time.Duration, ended int64) {
	for range min(ended, 100) {
		s.service.Observe(latency)
	}
}

// arriving returns how many requests arrive in this step.
func (s *simulation) arriving(load float64) int64 {
	if s.trace.Unit == InFlight {
		// Each client has one request under way; one that was refused waits a second.
		return max(int64(load)-s.line.inFlight()-s.line.refusedClients(), 0)
	}
	s.arrivals += load * s.step.Seconds()
	n := int64(s.arrivals + 1e-9)
	s.arrivals -= float64(n)
	return n
}

func (s *simulation) decide(now time.Duration) {
	var d Decision
	d, s.state = Decide(s.spec, s.state, s.requested, s.start.Add(now))
	if d.Changed {
		s.scale(d.Replicas, now, d.Reason())
	}
}

func (s *simulation) scale(n int, now time.Duration, reason string) {
	if len(s.result.Changes) < maxMoves {
		s.result.Changes = append(s.result.Changes, Move{Seconds: now.Seconds(), From: s.requested, To: n, Reason: reason})
	}
	if n > s.requested {
		s.starting = append(s.starting, starting{at: now + s.coldStart, count: n - s.requested})
	}
	surplus := max(s.requested-n, 0)
	for k := len(s.starting); surplus > 0 && k > 0; k-- { // the youngest go first
		gone := min(surplus, s.starting[k-1].count)
		s.starting[k-1].count -= gone
		surplus -= gone
		if s.starting[k-1].count == 0 {
			s.starting = s.starting[:k-1]
		}
	}
	s.ready -= surplus
	s.requested = n
	s.result.Summary.MostReplicas = max(s.result.Summary.MostReplicas, n)
}

// count adds the step to the present row.
func (s *simulation) count(now time.Duration) {
	s.rowSteps++
	s.row.InFlight += float64(s.line.inFlight())
	s.row.Waiting = max(s.row.Waiting, s.line.waiting)
	s.result.Summary.MostWaiting = max(s.result.Summary.MostWaiting, s.line.waiting)
	s.result.Summary.ReplicaSeconds += float64(s.requested) * s.step.Seconds()
	if now+s.step >= s.rowEnd {
		s.closeRow()
	}
}

func (s *simulation) closeRow() {
	s.row.Seconds = (s.rowEnd - s.rowTime).Seconds()
	s.row.Offered /= s.rowSteps
	s.row.InFlight /= s.rowSteps
	s.row.Requested, s.row.Ready = s.requested, s.ready
	s.result.Summary.Answered += s.row.Answered
	s.result.Rows = append(s.result.Rows, s.row)
	s.row, s.rowSteps = Row{}, 0
	s.rowEnd += s.rowTime
}
