package workload

import "time"

// SeriesQuery asks what an API did lately.
type SeriesQuery struct {
	Name  string
	Since time.Duration // 0: an hour
}

// How long it is known what an API did: in steps of ten seconds, and then of a minute.
const (
	SeriesStep       = 10 * time.Second
	SeriesFine       = time.Hour
	SeriesCoarseStep = time.Minute
	SeriesKept       = 24 * time.Hour
	// MaxSeriesAPIs is of how many it is known.
	MaxSeriesAPIs = 1000
)

// CodeSeriesOutOfRange is the code of the fault that more is asked for than is kept.
const CodeSeriesOutOfRange = "series.out_of_range"

// Series is what an API did over time: a value for each step, -1 where it is not known.
type Series struct {
	API         string    `json:"api"`
	From        time.Time `json:"from"` // when the first step begins
	StepSeconds int       `json:"step_seconds"`
	Requests    []float32 `json:"requests"`  // a second, that containers worked on
	Errors      []float32 `json:"errors"`    // a second, that were answered with 500 and above, whoever answered
	P50         []float32 `json:"p50"`       // seconds, as Prometheus estimates it from the histogram of the front door
	P99         []float32 `json:"p99"`       // likewise
	InFlight    []float32 `json:"in_flight"` // running, waiting and held
	Ready       []float32 `json:"ready"`     // replicas
	Requested   []float32 `json:"requested"` // replicas
}

// Range is Since, or what it is when nobody says.
func (q SeriesQuery) Range() time.Duration {
	if q.Since == 0 {
		return SeriesFine
	}
	return q.Since
}
