package workload

import "time"

// ReplicaState is the word users read for what a replica is doing (REFERENCE 4.5).
type ReplicaState string

// The states of a replica.
const (
	Pending        ReplicaState = "pending"           // not yet placed
	Creating       ReplicaState = "creating"          // being started
	NotReady       ReplicaState = "not_ready"         // running, its probes do not pass
	Ready          ReplicaState = "ready"             // receives requests
	ReadyOutOfDate ReplicaState = "ready_out_of_date" // receives requests, of an older revision
	ErrImagePull   ReplicaState = "err_image_pull"
	Terminating    ReplicaState = "terminating"
	Failed         ReplicaState = "failed"     // exited, or could not start
	Killed         ReplicaState = "killed"     // exit 129, 130, 137 or 143, not by us
	KilledOOM      ReplicaState = "killed_oom" // out of memory
	Stalled        ReplicaState = "stalled"    // unschedulable for 15 minutes
	Unknown        ReplicaState = "unknown"
)

// Counts is the number of replicas in each state.
type Counts struct {
	Requested      int `json:"requested"`
	Pending        int `json:"pending"`
	Creating       int `json:"creating"`
	NotReady       int `json:"not_ready"`
	Ready          int `json:"ready"`
	ReadyOutOfDate int `json:"ready_out_of_date"`
	ErrImagePull   int `json:"err_image_pull"`
	Terminating    int `json:"terminating"`
	Failed         int `json:"failed"`
	Killed         int `json:"killed"`
	KilledOOM      int `json:"killed_oom"`
	Stalled        int `json:"stalled"`
	Unknown        int `json:"unknown"`
}

// Phase is the state of a whole workload, in one word.
type Phase string

// The phases of a workload.
const (
	PhaseLive     Phase = "live"     // as many up-to-date replicas are ready as requested, and no older one
	PhaseUpdating Phase = "updating" // on the way there
	PhaseIdle     Phase = "idle"     // scaled to zero on purpose; the first request wakes it
	PhaseDegraded Phase = "degraded" // the current revision cannot become ready, and an earlier one serves in its place
	PhaseStopped  Phase = "stopped"  // by somebody: nothing runs, and requests are refused until it is started
	PhaseFailed   Phase = "failed"   // the current revision cannot become ready, and nothing serves; see Explain
)

// Status is what a workload is doing now.
type Status struct {
	Ready         int       `json:"ready"`      // replicas that receive requests, of any revision
	Requested     int       `json:"requested"`  // replicas there should be
	UpToDate      int       `json:"up_to_date"` // ready replicas of the current revision
	Phase         Phase     `json:"phase"`
	Reason        string    `json:"reason,omitempty"` // why the phase is what it is, in one sentence
	ReplicaCounts *Counts   `json:"replica_counts,omitempty"`
	Replicas      []Replica `json:"replicas,omitempty"` // Describe only
	Traffic       *Traffic  `json:"traffic,omitempty"`  // absent where the front doors are programs of their own
	Warning       string    `json:"warning,omitempty"`  // what is not in order though requests are answered
	Stopped       *Stopped  `json:"stopped,omitempty"`  // nil: it is not
}

// Stopped is since when an API is stopped: nothing of it runs, and no request wakes it.
type Stopped struct {
	At time.Time `json:"at"`
	// By is the ARN of who stopped it, or BySpec; empty where nobody has to prove who
	// they are.
	By string `json:"by,omitempty"`
	// Replicas is how many there were to be, and are again when it is started.
	Replicas int `json:"replicas"`
}

// BySpec is Stopped.By of an API whose specification says that it is stopped.
const BySpec = "specification"

// Since says in words since when, and by whom.
func (s *Stopped) Since() string {
	since := "since " + s.At.UTC().Format(time.RFC3339)
	switch s.By {
	case "":
		return since
	case BySpec:
		return since + ", by its specification"
	}
	return since + ", by " + s.By
}

// String is s in words.
func (s *Stopped) String() string { return "stopped " + s.Since() }

// Traffic is what an API has to do, as its front door counts it.
type Traffic struct {
	InFlight int     `json:"in_flight"`        // requests running, waiting and held
	Requests uint64  `json:"requests"`         // that containers worked on, since the front door started
	Seconds  float64 `json:"seconds"`          // how long they took together
	Over     uint64  `json:"over,omitempty"`   // requests that are over, whoever answered
	Failed   uint64  `json:"failed,omitempty"` // of these, with a status of 500 and above
}

// Copies is what became of the copies for a shadow, since the front door started.
type Copies struct {
	Answered uint64 `json:"answered"`
	// Dropped are those that were not made, because the request could not be copied or too
	// many were under way, and those that nobody answered.
	Dropped uint64 `json:"dropped"`
}

// Replica is what users see of one running copy.
type Replica struct {
	ID       string       `json:"id"`
	APIID    string       `json:"api_id"`
	UpToDate bool         `json:"up_to_date"`
	State    ReplicaState `json:"state"`
	Reason   *Reason      `json:"reason,omitempty"` // nil when ready
	Restarts int          `json:"restarts"`
	Since    time.Time    `json:"since"` // of the state
	Address  string       `json:"address,omitempty"`
	Usage    *Usage       `json:"usage,omitempty"`   // Describe only
	Warning  string       `json:"warning,omitempty"` // what is not in order though it may be ready
}

// Usage is what a replica takes and does now. What is not known is absent.
type Usage struct {
	MemoryBytes int64   `json:"memory_bytes,omitempty"`
	CPUSeconds  float64 `json:"cpu_seconds,omitempty"` // since its processes started
	InFlight    *int    `json:"in_flight,omitempty"`   // requests that it works on
}

// Reason is a cause with its evidence. Code is one of the table in docs/explain.md.
type Reason struct {
	Code     string     `json:"code"`    // stable: crash_loop, missing_executable, port_in_use, …
	Message  string     `json:"message"` // the cause in one sentence
	Evidence []Evidence `json:"evidence,omitempty"`
	Fix      string     `json:"fix,omitempty"` // what to do
}

// Evidence is one fact that supports a reason.
type Evidence struct {
	Kind string `json:"kind"` // log, exit, probe, port, engine
	Text string `json:"text"`
}

// Explanation walks from the file to the probe and stops at the first cause.
type Explanation struct {
	Name    string    `json:"name"`
	Kind    Kind      `json:"kind"`
	Healthy bool      `json:"healthy"`
	Summary string    `json:"summary"`         // one sentence
	Cause   *Reason   `json:"cause,omitempty"` // nil when healthy
	Steps   []Step    `json:"steps"`           // every layer looked at, in order
	At      time.Time `json:"at"`
}

// Step is one layer of an explanation.
type Step struct {
	Layer string `json:"layer"` // spec, engine, process, port, probe, traffic
	OK    bool   `json:"ok"`
	// Pending says that it is not in order yet, and may come to be by waiting.
	Pending bool   `json:"pending,omitempty"`
	Detail  string `json:"detail"`
}
