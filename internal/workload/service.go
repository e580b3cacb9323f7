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
	// Stop leaves an API without replicas, and refuses its requests, until Start or the
	// next deploy. Start asks for the replicas that there were to be before.
	Stop(ctx context.Context, name string) (DeployResult, error)
	Start(ctx context.Context, name string) (DeployResult, error)
	// Resize asks for n replicas within the bounds of the spec. The autoscaler goes on
	// from there.
	Resize(ctx context.Context, name string, n int) (DeployResult, error)
	Delete(ctx context.Context, name string, opts DeleteOptions) (Message, error)
	// Logs calls fn for each line in order of time and returns when there are no
	// more, when ctx ends (nil) or when fn fails (its error).
	Logs(ctx context.Context, q LogQuery, fn func(LogLine) error) error
	// Events is like Logs, for what happened to a workload.
	Events(ctx context.Context, q EventQuery, fn func(Event) error) error
	// Watch calls fn with everything that is deployed and how it is doing, and then with what
	// changes, until ctx ends (nil) or fn fails (its error). While fn takes its time changes
	// come together: nothing is queued. After a line that is not known any more it begins
	// with everything again.
	Watch(ctx context.Context, q WatchQuery, fn func(Watched) error) error
	// Series returns what an API did lately, over time. More than is kept is fault.Invalid,
	// code series.out_of_range.
	Series(ctx context.Context, q SeriesQuery) (Series, error)
	Explain(ctx context.Context, name string) (Explanation, error)
	// Exec runs a command in a container of an API, with its environment and within its
	// limits, and returns its exit code. The command ends when ctx does, and with its
	// replica.
	Exec(ctx context.Context, req ExecRequest, streams ExecStreams) (code int, err error)

	// Items returns items of an AsyncAPI without their results, the newest first. Another
	// kind of API is fault.Invalid.
	Items(ctx context.Context, q ItemQuery) ([]Item, error)
	// Item returns one item; one that is not there is fault.NotFound, code items.not_found.
	Item(ctx context.Context, name, id string) (Item, error)
	// CancelItems ends items, or has their executions ended; those that have ended stay as
	// they are. RetryItems has items tried again that failed, were cancelled or expired.
	CancelItems(ctx context.Context, name string, s ItemSelection) (ItemsChanged, error)
	RetryItems(ctx context.Context, name string, s ItemSelection) (ItemsChanged, error)
	// PurgeItems forgets items that have ended, with their payloads and results.
	PurgeItems(ctx context.Context, name string, p ItemPurge) (ItemsPurged, error)

	// SubmitJob accepts a job of a BatchAPI or TaskAPI; Job returns one with its result,
	// and Jobs those of an API, the newest first. One that is not there is fault.NotFound,
	// code job.not_found.
	SubmitJob(ctx context.Context, name string, req JobRequest) (JobSubmitted, error)
	Jobs(ctx context.Context, q JobQuery) ([]Job, error)
	Job(ctx context.Context, name, id string) (JobResponse, error)
	// StopJob ends a job before its time; what it has done stays. One that has ended is
	// fault.Conflict, code job.job_is_not_in_progress.
	StopJob(ctx context.Context, name, id string) (Message, error)
	// RetryJob submits a job for the batches of another one that failed and, but with
	// onlyFailed, those that it never came to.
	RetryJob(ctx context.Context, name, id string, onlyFailed bool) (JobSubmitted, error)
	// JobLines calls fn for what the batches of a job were answered with, or for those that
	// failed.
	JobLines(ctx context.Context, q JobLinesQuery, fn func(JobLine) error) error
	// JobAnswer calls fn for the parts of what one batch of a job was answered with, where
	// that is in a file of its own; else it is fault.NotFound, code job.no_body_file.
	JobAnswer(ctx context.Context, q JobAnswerQuery, fn func(JobPart) error) error

	// Schedules returns the schedules of an API, by name. A kind that has none is
	// fault.Invalid.
	Schedules(ctx context.Context, api string) ([]ScheduleStatus, error)
	// RunSchedule begins a run at once; a schedule that is not there is fault.NotFound,
	// code schedules.not_found.
	RunSchedule(ctx context.Context, api, name string) (ScheduleRun, error)
	// PauseSchedule has nothing begin until ResumeSchedule; what was due in between is not
	// begun then.
	PauseSchedule(ctx context.Context, api, name string) (ScheduleStatus, error)
	ResumeSchedule(ctx context.Context, api, name string) (ScheduleStatus, error)
	// BackfillSchedule begins the runs of a time that has passed, one after the other.
	BackfillSchedule(ctx context.Context, api, name string, r BackfillRequest) (ScheduleStatus, error)

	// Webhooks returns messages about the ends of items, those about the latest items first.
	Webhooks(ctx context.Context, q HookQuery) ([]Hook, error)
	// RedeliverWebhooks has messages sent again, also those that were delivered.
	RedeliverWebhooks(ctx context.Context, name string, s HookSelection) (ItemsChanged, error)

	// Secrets returns every secret, by name and without its value: nothing here returns one.
	Secrets(ctx context.Context) ([]Secret, error)
	// SetSecret keeps a value; no error and no answer repeats it.
	SetSecret(ctx context.Context, name string, value []byte) (SecretSet, error)
	// DeleteSecret forgets a secret to which nothing that is deployed refers, or any with
	// force. One that is not there is fault.NotFound, code secrets.not_found.
	DeleteSecret(ctx context.Context, name string, force bool) (Message, error)

	// Keys returns what is known of every access key, by name and, of one name, the oldest
	// first. One that has expired is among them for 30 days.
	Keys(ctx context.Context) ([]Key, error)
	// CreateKey makes a key. Its text is in this answer, and nowhere else ever. A name that
	// there is already is fault.Conflict, code keys.already_exists.
	CreateKey(ctx context.Context, req KeyRequest) (KeyMade, error)
	// RotateKey makes a key in place of another, for the same APIs and, if r does not say
	// for how long, for as long as that was made for. Beside it the one before is good for
	// the grace, and no other of that name. One that is not there is fault.NotFound, code
	// keys.not_found.
	RotateKey(ctx context.Context, name string, r KeyRotation) (KeyMade, error)
	// RevokeKey makes all keys of a name worthless, and forgets them.
	RevokeKey(ctx context.Context, name string) (Message, error)

	// Calls returns who called which API how often, by API, hour and caller.
	Calls(ctx context.Context, q CallsQuery) ([]Calls, error)

	// Volumes returns every volume that this machine keeps, by name.
	Volumes(ctx context.Context) ([]VolumeInfo, error)
	// DeleteVolume deletes one and everything in it. One that an API or a replica has is
	// fault.Conflict, code volumes.in_use; one that is not there volumes.not_found.
	DeleteVolume(ctx context.Context, name string) (Message, error)
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
	// EnvFiles are the texts of the files that env_file names, by the paths that stand
	// there: at most MaxEnvFiles, of MaxEnvFileBytes each.
	EnvFiles map[string]string `json:"env_files,omitempty"`
	Force    bool              `json:"force,omitempty"`   // replace an update that is under way
	DryRun   bool              `json:"dry_run,omitempty"` // say what would happen, change nothing
	// NoVerify leaves an API that is at zero there: its first request finds out whether
	// the new version can become ready.
	NoVerify bool `json:"no_verify,omitempty"`
}

// Bounds of a cortex.yaml, and of the env files beside it.
const (
	MaxConfigBytes = 8 << 20
	MaxAPIs        = 2000

	MaxEnvFiles     = 20
	MaxEnvFileBytes = 64 << 10
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
	Spec                      *Deployed `json:"spec,omitempty"`
	Metadata                  *Metadata `json:"metadata,omitempty"`
	Status                    *Status   `json:"status,omitempty"`
	NumTrafficSplitterTargets *int      `json:"num_traffic_splitter_targets,omitempty"`
	Copies                    *Copies   `json:"copies,omitempty"` // of a TrafficSplitter with a shadow, where its front door is this program
	Endpoint                  string    `json:"endpoint,omitempty"`
	// HostEndpoint is where it is reached by its own host name, if it has one.
	HostEndpoint string       `json:"host_endpoint,omitempty"`
	DashboardURL string       `json:"dashboard_url,omitempty"`
	APIVersions  []APIVersion `json:"api_versions,omitempty"`
	// The jobs of a BatchAPI or TaskAPI: in a list those that have not ended, and the latest;
	// of one API the latest 10.
	BatchJobStatuses []Job `json:"batch_job_statuses,omitempty"`
	TaskJobStatuses  []Job `json:"task_job_statuses,omitempty"`
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
	Job      string        // of a BatchAPI or TaskAPI: whose workers' lines
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
