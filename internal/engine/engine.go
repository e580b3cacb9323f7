// Package engine is the port through which replicas run: what the rest of the
// product may ask of a place where containers run, and the pure plan of a rolling
// update that the one-machine engine follows (Kubernetes has its own).
//
// It promises nothing about how: enginetest holds every implementation to the
// same behaviour. It must not start a process or speak to a daemon.
package engine

import (
	"context"
	"net/http"

	"cortex.dev/cortex/internal/workload"
)

// Deployment is what an engine is asked to keep running.
type Deployment struct {
	Revision *workload.Revision // never changed after it was handed over
	Replicas int                // 0 is a legal number
	// Serving is the last revision that was live, where Revision has not been. It is
	// kept running, and started, until Revision carries the load. Nil: there is none.
	Serving *workload.Revision
	// Failed is why Revision could not become ready, where that was found earlier.
	Failed *workload.Reason
	// Trial asks for one replica of Revision although Replicas is 0, so that it
	// becomes known whether it can become ready.
	Trial bool
	// Owner identifies what everything that runs for the workload ends with, as
	// store.Workload.Owner. Empty: it ends with Remove only.
	Owner string
}

// CodeNothingRuns is the code of the fault that nothing runs in which a command could.
const CodeNothingRuns = "exec.nothing_runs"

// Executor is an Engine that can run a command in a replica, as workload.Service.Exec.
// The request was checked.
type Executor interface {
	Exec(ctx context.Context, req workload.ExecRequest, streams workload.ExecStreams) (code int, err error)
}

// Runner is an Engine that can run a pod to its end, which is what jobs are made of.
type Runner interface {
	// StartRun starts a pod of which no container is started again: the end of its first
	// container to end is the end of all. It returns when that is accepted, and waits for
	// an engine that is about to run. A run of that name and id that is there already
	// (Runs) is taken over.
	StartRun(ctx context.Context, r Run) (Running, error)
	// Runs returns the runs that are there, whether they have ended or not, and that nobody
	// has forgotten: where runs outlive the process that began them, those of processes
	// before this one too. Elsewhere there are none.
	Runs(ctx context.Context) ([]RunName, error)
	// EndRun stops a run that nobody takes over, and forgets it. One that is gone is no
	// error.
	EndRun(ctx context.Context, r RunName) error
	// RunLogs is Logs, of the runs of a name, also when they have ended.
	RunLogs(ctx context.Context, name string, q workload.LogQuery, fn func(workload.LogLine) error) error
	// ForgetRuns drops the logs of the runs of a name.
	ForgetRuns(ctx context.Context, name string)
}

// RunName is what tells runs apart.
type RunName struct {
	Name string // by which their logs are found; several may have one. API.JOB, without a path separator
	ID   string // among those of the name: lower-case letters and digits, at most 20
}

// Run is a pod that is to run to its end.
type Run struct {
	RunName
	Revision *workload.Revision // whose pod it is; never changed after it was handed over
	Owner    string             // as Deployment.Owner
	Env      map[string]string  // beside what every container has
	Files    []RunFile          // that its containers read
	Result   *RunFile           // that they may write; nil: none
}

// RunFile is a file that containers of a run have.
type RunFile struct {
	Target   string // where it is, in containers that have an image
	Variable string // names to each where it is
	Data     []byte
}

// Running is a run that was started. All methods may be called at once.
type Running interface {
	ID() string // of the replica that it is
	// AwaitReady returns true as soon as it receives requests, and false when it has ended
	// or ctx has.
	AwaitReady(ctx context.Context) bool
	// Reason says why it is not ready; nil: it is.
	Reason() *workload.Reason
	// Send gives its container a request, once it is ready, and returns the answer. The
	// error is that of a connection that cannot be opened (a net.OpError of "dial") where
	// nothing of it has reached the container. Where runs outlive processes, a request of
	// an id that was sent before is not sent again, and the answer is that to the first.
	// An id has letters, digits, dots and dashes.
	Send(r *http.Request, id string) (*http.Response, error)
	// Sent returns the ids of requests that are not settled, of a run that was taken over.
	Sent(ctx context.Context) ([]string, error)
	// Settle has answers forgotten: what they came to is written down.
	Settle(ctx context.Context, ids []string)
	// Stop has it end, as replicas do: asked first, and killed when its grace is over.
	Stop(why string)
	// Leave is for a process that ends: where runs outlive it this one goes on, and its
	// Done is closed; elsewhere it is Stop.
	Leave()
	// Done is closed when nothing of it runs any more.
	Done() <-chan struct{}
	// End says how it ended; valid after Done.
	End() RunEnd
	// Result returns what it left in Run.Result, at most so many bytes and one; valid after
	// Done. Nothing is no error.
	Result(ctx context.Context, most int) ([]byte, error)
	// Forget drops what is there of it but its logs: what it came to is written down.
	// Valid after Done, and of a run that was left it does nothing.
	Forget(ctx context.Context)
}

// RunEnd is how a run ended.
type RunEnd struct {
	Stopped bool             // somebody called Stop or Leave before it ended, and the rest says nothing
	Code    int              // exit code of the first container that ended; 128+n for signal n
	OOM     bool             // it was ended because memory ran out
	Reason  *workload.Reason // of an end with another code than 0, or why it did not start
	Unmade  bool             // it did not start
	Left    bool             // it goes on; nobody here knows how it ends
}

// Engine keeps deployments running. All methods may be called at once.
type Engine interface {
	// Apply makes d the desired deployment of d.Revision.Name and returns when
	// that is accepted, not when it is reached. It is idempotent. Going to a
	// revision whose pod differs is a rolling update within UpdateStrategy; a
	// revision that never becomes ready never replaces one that is, and as long as it
	// is not ready d.Serving carries the load, also from nothing. Going to one
	// whose pod is the same (Revision.SamePod) restarts nothing.
	Apply(ctx context.Context, d Deployment) error
	// Remove drains and stops every replica of the named workload and forgets it.
	// It returns when that is accepted; unknown names are no error, and nothing is
	// removed that this engine did not make.
	Remove(ctx context.Context, name string) error
	// Status returns the present state of one workload, fault.NotFound if unknown.
	Status(ctx context.Context, name string) (Status, error)
	// Watch calls fn, never twice at once, with every present workload and then
	// with each one that changes, soon after the change; states in between may be
	// left out. It returns ctx's error when ctx ends.
	Watch(ctx context.Context, fn func(Status)) error
	// Logs calls fn for the lines of a workload, as workload.Service.Logs.
	Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error
	// Run starts from what an earlier life left behind (stopping what must not
	// live on), works until ctx ends, then drains and stops every replica.
	Run(ctx context.Context) error
}

// Status is an immutable picture of one workload's replicas.
type Status struct {
	Name     string
	Revision string // id of the desired revision
	Desired  int
	Replicas []Replica // oldest first; terminating ones included until they are gone
	// Failed is set when the desired revision has proven unable to become ready
	// (a crash loop, an executable that does not exist, an image that cannot be
	// pulled); the rollout stands still and older replicas stay. It clears itself
	// when a replica of the revision becomes ready.
	Failed *workload.Reason
	// Shortage says why there are fewer replicas than desired, where none of them can say
	// it because it does not exist: a quota, a policy. Nil when nothing is known to.
	Shortage *workload.Reason
	// Drifted says that somebody else changed or deleted what was applied. Another Apply
	// puts it right.
	Drifted bool
	// Removed marks the last status of a workload.
	Removed bool
	// Events since the previous status given to this watcher; a watcher that
	// starts gets none of before.
	Events []workload.Event
}

// Ready returns the number of replicas that receive requests, and how many of
// them are of the desired revision.
func (s Status) Ready() (ready, upToDate int) {
	for _, r := range s.Replicas {
		if r.Ready() {
			ready++
			if r.UpToDate {
				upToDate++
			}
		}
	}
	return ready, upToDate
}

// Replica is one running copy.
type Replica struct {
	workload.Replica        // Address is host:port of the container port, set once known
	DeploymentID     string // of the revision it was started from
	MaxConcurrency   int64  // of its pod: how many requests it takes at once
	MaxQueueLength   int64  // of its pod: how many more may wait for it
}

// Ready reports whether the replica receives requests.
func (r Replica) Ready() bool {
	return r.State == workload.Ready || r.State == workload.ReadyOutOfDate
}
