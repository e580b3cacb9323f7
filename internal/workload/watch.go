package workload

// WatchQuery says where a stream of Watch begins.
type WatchQuery struct {
	// After is the ID of the last line that the caller has. Empty: none.
	After string
}

// Watched is one line of Watch. It replaces everything that the caller knows, or says what
// has changed since the line before, or since the line that the caller had last.
type Watched struct {
	ID       string       `json:"id" doc:"of this line: what comes after it can be asked for with Last-Event-ID"`
	Snapshot bool         `json:"snapshot" doc:"apis is everything there is; otherwise it is those that are new or have changed"`
	APIs     []WatchedAPI `json:"apis"`
	Gone     []string     `json:"gone,omitempty" doc:"names of those that are not there any more"`
}

// WatchedAPI is one workload as Watch shows it.
type WatchedAPI struct {
	Metadata
	Endpoint    string   `json:"endpoint,omitempty"`
	Status      *Status  `json:"status,omitempty"` // of kinds that have replicas, without the replicas
	Rates       *Rates   `json:"rates,omitempty"`
	Targets     *int     `json:"num_traffic_splitter_targets,omitempty"`
	RunningJobs *int     `json:"running_jobs,omitempty"` // of kinds that have jobs
	Refused     *Refused `json:"refused,omitempty"`
	LastEvent   *Event   `json:"last_event,omitempty"`
}

// Rates is what an API did in the last seconds.
type Rates struct {
	Requests float64 `json:"requests_per_second"`
	Latency  float64 `json:"latency_seconds,omitempty"` // the mean; 0: there was no request
	// The times that 50, 90 and 99 of 100 requests took at most, as Prometheus estimates them
	// from the histogram of the front door.
	P50 float64 `json:"p50_seconds,omitempty"`
	P90 float64 `json:"p90_seconds,omitempty"`
	P99 float64 `json:"p99_seconds,omitempty"`
	// ErrorShare is which share of all requests was answered with 500 and above, whoever
	// answered: 0 to 1.
	ErrorShare float64 `json:"error_share,omitempty"`
}

// CodeTooManyWatches is the code of the fault that no other stream of Watch can begin now.
const CodeTooManyWatches = "watch.too_many"

// LineID is the ID.
func (w Watched) LineID() string { return w.ID }
