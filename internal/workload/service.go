package workload

import (
	"context"
	"time"
)

// Service is everything a front end can ask for. The operator implements it;
// the HTTP client implements it over the wire with the same errors.
//
// Every error that a user can cause is a fault with a stable code. A name that
// is not deployed is fault.NotFound with code resources.api_not_deployed.
type Service interface {
	Info(ctx context.Context) (Info, error)
	// Deploy validates the whole file first and changes nothing when any of it is
	// wrong; after that each API succeeds or fails on its own (DeployResult.Error).
	Deploy(ctx context.Context, req DeployRequest) ([]DeployResult, error)
	List(ctx context.Context) ([]APIResponse, error)
	// Get returns spec, status, endpoint and the ten newest versions.
	Get(ctx context.Context, name string) (APIResponse, error)
	// Version returns one earlier revision; id is its number (v12), its id or any part
	// of that which fits no other.
	Version(ctx context.Context, name, id string) (APIResponse, error)
	// Describe adds replica counts and the reason of every replica that is not ready.
	Describe(ctx context.Context, name string) (APIResponse, error)
	// History returns every kept version, newest first.
	History(ctx context.Context, name string) ([]APIVersion, error)
	// Rollback deploys the spec of an earlier version again as a new one. An empty
	// id means the last version that was live.
	Rollback(ctx context.Context, name, id string) (DeployResult, error)
	// Refresh replaces every replica without changing the spec. Processes run the code
	// that their folder holds now.
	Refresh(ctx context.Context, name string, force bool) (Message, error)
	Delete(ctx context.Context, name string, opts DeleteOptions) (Message, error)
	// Logs calls fn for each line in order of time and returns when there are no
	// more, when ctx ends (nil) or when fn fails (its error).
	Logs(ctx context.Context, q LogQuery, fn func(LogLine) error) error
	// Events is like Logs, for what happened to a workload.
	Events(ctx context.Context, q EventQuery, fn func(Event) error) error
	Explain(ctx context.Context, name string) (Explanation, error)
}

// Info describes the environment that answers.
type Info struct {
	Environment     string    `json:"environment"` // "local"
	Version         string    `json:"version"`
	APIEndpoint     string    `json:"api_endpoint"`               // http://localhost:8888
	MetricsEndpoint string    `json:"metrics_endpoint,omitempty"` // http://127.0.0.1:9464/metrics; empty: none of its own
	StateDir        string    `json:"state_dir,omitempty"`
	PID             int       `json:"pid,omitempty"`
	StartedAt       time.Time `json:"started_at"`
	APIs            int       `json:"apis"`
	Replicas        int       `json:"replicas"`
	Engines         []Engine  `json:"engines"`
}

// Engine is one way in which containers run here.
type Engine struct {
	Name      string `json:"name"` // process, docker
	Available bool   `json:"available"`
	Detail    string `json:"detail,omitempty"` // version, or why it is not available
}

// DeployRequest carries a whole cortex.yaml.
type DeployRequest struct {
	FileName  string `json:"file_name"`           // as the user named it; shown in errors
	Directory string `json:"directory,omitempty"` // absolute; processes run there (one machine only)
	Path      string `json:"path,omitempty"`      // the caller's PATH, for processes; used only where callers are users of this machine
	Config    string `json:"config"`              // the file's text, at most MaxConfigBytes
	Force     bool   `json:"force,omitempty"`     // replace an update that is under way
	DryRun    bool   `json:"dry_run,omitempty"`   // say what would happen, change nothing
	// NoVerify leaves an API that is at zero there: its first request finds out whether
	// the new version can become ready.
	NoVerify bool `json:"no_verify,omitempty"`
}

// MaxConfigBytes and MaxAPIs bound a cortex.yaml.
const (
	MaxConfigBytes = 8 << 20
	MaxAPIs        = 2000
)

// Subject is what a deploy is about: an API of the file, or another one that it touches.
type Subject struct {
	Name string
	Kind Kind // empty: there is none of that name
}

// Subject is the API that a specification is of.
func (s *Spec) Subject() Subject { return Subject{s.Name, s.Kind} }

// Action is what a deploy did, or would do, to one API.
type Action string

// The actions of a deploy.
const (
	ActionCreate Action = "create"
	ActionUpdate Action = "update"
	ActionNone   Action = "none"
)

// DeployResult is the outcome for one API of the file.
type DeployResult struct {
	Name        string       `json:"name,omitempty"`
	API         *APIResponse `json:"api"`
	Action      Action       `json:"action,omitempty"`
	Changes     []string     `json:"changes,omitempty"`     // key paths that differ from what is deployed
	Differences []Difference `json:"differences,omitempty"` // the same with their values
	Message     string       `json:"message"`               // "creating iris (RealtimeAPI)"
	Error       string       `json:"error"`                 // begins with "error: "; empty on success
	Code        string       `json:"code,omitempty"`        // of the error
}

// APIResponse is one workload as front ends show it; empty members are omitted.
type APIResponse struct {
	Spec                      *Deployed    `json:"spec,omitempty"`
	Metadata                  *Metadata    `json:"metadata,omitempty"`
	Status                    *Status      `json:"status,omitempty"`
	NumTrafficSplitterTargets *int         `json:"num_traffic_splitter_targets,omitempty"`
	Endpoint                  string       `json:"endpoint,omitempty"`
	DashboardURL              string       `json:"dashboard_url,omitempty"`
	APIVersions               []APIVersion `json:"api_versions,omitempty"`
	// CodeChanged says that the folder of the API holds other code than what was
	// deployed, which Refresh would take.
	CodeChanged bool `json:"code_changed,omitempty"`
	// Refused says that somebody wrote a specification of this API past this service, and
	// that it was refused. What was deployed before stays; without Status nothing was.
	Refused *Refused `json:"refused,omitempty"`
}

// Refused is why a specification was refused that somebody wrote where it is not
// answered: a custom resource.
type Refused struct {
	Resource string    `json:"resource"` // such as realtimeapis.cortex.dev/iris
	Message  string    `json:"message"`
	Since    time.Time `json:"since"`
	// Waiting says that it is refused for now, because of what else is deployed, and
	// judged again when that changes.
	Waiting bool `json:"waiting,omitempty"`
}

// Metadata names a deployed workload.
type Metadata struct {
	Name         string `json:"name"`
	Kind         Kind   `json:"kind"`
	ID           string `json:"id"`
	DeploymentID string `json:"deployment_id,omitempty"`
	LastUpdated  int64  `json:"last_updated"` // Unix seconds
}

// APIVersion is one line of a workload's history.
type APIVersion struct {
	APIID       string `json:"api_id"`
	SpecID      string `json:"spec_id"`
	Number      int    `json:"number"`       // users read it as v12
	LastUpdated int64  `json:"last_updated"` // Unix seconds
	Current     bool   `json:"current"`
	Serving     bool   `json:"serving"` // answers requests: the last that was live
	Cause       string `json:"cause"`   // deploy, rollback to <id>, refresh
	Result      Result `json:"result"`
	Reason      string `json:"reason,omitempty"`     // why it failed
	FirstLive   int64  `json:"first_live,omitempty"` // Unix seconds; absent: never
}

// Result is what became of a version, in one word.
type Result string

// The results of a version.
const (
	ResultLive       Result = "live"       // it was live at least once
	ResultFailed     Result = "failed"     // it never became ready, and why is known
	ResultSuperseded Result = "superseded" // another was deployed before it was live
	ResultPending    Result = "pending"    // it is the current one, and not live yet
	ResultUnknown    Result = ""           // an earlier version of Cortex did not write it down
)

// Message is the answer to an operation that has no other.
type Message struct {
	Message string `json:"message"`
}

// DeleteOptions qualify a deletion.
type DeleteOptions struct {
	KeepCache bool `json:"keep_cache,omitempty"` // keep history and events; log files age out by themselves
}

// LogQuery selects log lines of one workload.
type LogQuery struct {
	Name     string
	Follow   bool          // wait for more
	Since    time.Duration // only lines this young; 0 = all that are kept
	Tail     int           // only the last n lines; 0 = all
	Previous bool          // of the previous run of each container
	Replica  string        // one replica, by id or unique prefix; empty = all
}

// LogLine is one line a container wrote.
type LogLine struct {
	Time      time.Time `json:"time"`
	Replica   string    `json:"replica"`
	Container string    `json:"container"`
	Stream    string    `json:"stream"` // stdout, stderr
	Text      string    `json:"text"`
}

// EventQuery selects events. An empty name means every workload.
type EventQuery struct {
	Name   string
	Follow bool
	Since  time.Duration
}

// Event is something that happened to a workload.
type Event struct {
	Time    time.Time `json:"time"`
	API     string    `json:"api"`
	Kind    Kind      `json:"kind,omitempty"` // of the API; empty in events of earlier builds
	Type    string    `json:"type"`           // normal, warning
	Reason  string    `json:"reason"`         // CamelCase, stable: Deployed, ScaledUp, ReplicaFailed, …
	Message string    `json:"message"`
	Replica string    `json:"replica,omitempty"`
}
