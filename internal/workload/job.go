package workload

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// JobKind is one of the kinds of jobs: those of a BatchAPI and those of a TaskAPI.
type JobKind string

// The kinds of jobs.
const (
	BatchJob JobKind = "BatchJob"
	TaskJob  JobKind = "TaskJob"
)

// JobKinds returns the kinds of jobs, in the order of the kinds that have them.
func JobKinds() []JobKind { return []JobKind{BatchJob, TaskJob} }

// Of returns the kind of the API whose jobs are of kind k.
func (k JobKind) Of() Kind {
	if k == BatchJob {
		return Batch
	}
	return Task
}

// JobStatus is what a job is doing (REFERENCE section 4.6).
type JobStatus string

// The statuses of a job, in the order of its life.
const (
	JobPending         JobStatus = "pending"
	JobEnqueuing       JobStatus = "enqueuing"
	JobRunning         JobStatus = "running"
	JobEnqueueFailed   JobStatus = "enqueue_failed"
	JobWithFailures    JobStatus = "completed_with_failures"
	JobSucceeded       JobStatus = "succeeded"
	JobUnexpectedError JobStatus = "unexpected_error"
	JobWorkerError     JobStatus = "worker_error"
	JobWorkerOOM       JobStatus = "worker_oom"
	JobTimedOut        JobStatus = "timed_out"
	JobStopped         JobStatus = "stopped"
	JobUnknown         JobStatus = "unknown"
)

// JobStatuses returns every status that a job can have, in the order of its life.
func JobStatuses() []JobStatus {
	return []JobStatus{
		JobPending, JobEnqueuing, JobRunning, JobEnqueueFailed, JobWithFailures, JobSucceeded,
		JobUnexpectedError, JobWorkerError, JobWorkerOOM, JobTimedOut, JobStopped, JobUnknown,
	}
}

// Submission is what a user asks of one job: a *BatchSubmission or a *TaskSubmission.
//
// In both, a key without omitempty must be given, and a null says what an absent key
// does.
type Submission interface {
	// Validate returns every rule that the submission breaks by itself, in the order
	// of its keys (REFERENCE section 4.6). Whether its API is deployed, and whether
	// there are files, is for the operator to say.
	Validate() []Violation
	// API is the name of the API whose job it is.
	API() string
}

// API implements Submission.
func (b *BatchSubmission) API() string { return b.APIName }

// API implements Submission.
func (t *TaskSubmission) API() string { return t.APIName }

var (
	_ Submission = (*BatchSubmission)(nil)
	_ Submission = (*TaskSubmission)(nil)
)

// BatchSubmission is a job of a BatchAPI: batches of items for some workers. Exactly
// one of ItemList, FilePathLister and DelimitedFiles says where the items are.
type BatchSubmission struct {
	APIName            string              `json:"api_name"`
	Workers            int32               `json:"workers"`
	ItemList           *ItemList           `json:"item_list,omitempty"`
	FilePathLister     *FilePathLister     `json:"file_path_lister,omitempty"`
	DelimitedFiles     *DelimitedFiles     `json:"delimited_files,omitempty"`
	Config             map[string]any      `json:"config,omitempty"`  // for the containers, as it is
	Timeout            *int32              `json:"timeout,omitempty"` // seconds
	SQSDeadLetterQueue *SQSDeadLetterQueue `json:"sqs_dead_letter_queue,omitempty"`
	MaxFailures        string              `json:"max_failures,omitempty"` // a number of batches, or a share such as 5%: more end the job
}

// ItemList holds the items themselves.
type ItemList struct {
	Items     []json.RawMessage `json:"items"` // each at most MaxItemBytes
	BatchSize int32             `json:"batch_size"`
}

// FilePathLister makes an item of the path of each file.
type FilePathLister struct {
	S3Paths   []string `json:"s3_paths"`           // each begins the paths of files
	Includes  []string `json:"includes,omitempty"` // globs on the whole path, / separates; absent: every file
	Excludes  []string `json:"excludes,omitempty"` // likewise, after Includes
	BatchSize int32    `json:"batch_size"`
}

// DelimitedFiles makes an item of each JSON value in the files.
type DelimitedFiles FilePathLister

// SQSDeadLetterQueue is where batches go that failed too often.
type SQSDeadLetterQueue struct {
	ARN             string `json:"arn"`
	MaxReceiveCount int32  `json:"max_receive_count"`
}

// TaskSubmission is a job of a TaskAPI: a container that runs to its end once.
type TaskSubmission struct {
	APIName string         `json:"api_name"`
	Workers int32          `json:"workers,omitempty"` // TaskWorkers
	Config  map[string]any `json:"config,omitempty"`
	Timeout *int32         `json:"timeout,omitempty"` // seconds
	Retry   *JobRetry      `json:"retry,omitempty"`
}

// JobRetry is how often the worker of a task runs that does not end with exit code 0.
type JobRetry struct {
	Attempts    int32   `json:"attempts"`                // runs, the first one included
	OnExit      []int32 `json:"on_exit,omitempty"`       // exit codes after which it runs again; absent: all
	NeverOnExit []int32 `json:"never_on_exit,omitempty"` // and those after which it does not
}

// Again reports whether a worker runs again that ended with a code, in its n-th run.
func (r *JobRetry) Again(code int32, n int) bool {
	return r != nil && n < int(r.Attempts) && (len(r.OnExit) == 0 || slices.Contains(r.OnExit, code)) && !slices.Contains(r.NeverOnExit, code)
}

// TooManyFailures reports whether a job of so many batches is to end because so many have
// failed; max is MaxFailures of its submission.
func TooManyFailures(max string, failed, total int) bool {
	share, percent := strings.CutSuffix(max, "%")
	n, err := strconv.Atoi(share)
	switch {
	case max == "" || err != nil:
		return false
	case percent:
		return failed*100 > n*total
	}
	return failed > n
}

// MaxFailuresPattern is that of BatchSubmission.MaxFailures.
const MaxFailuresPattern = `^([0-9]{1,9}|([0-9]|[1-9][0-9]|100)%)$`

// TaskWorkers is how many workers a job of a TaskAPI has, said or not.
const TaskWorkers = 1

// MaxItemBytes bounds the JSON of one item of a list: what a message of a queue can
// carry.
const MaxItemBytes = 250 << 10

// MaxJobIDLength bounds the name of a job, which is the value of a label.
const MaxJobIDLength = 63

// Patterns of the strings of a job, as those of a spec.
const (
	JobIDPattern  = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`                // DNS-1123
	S3PathPattern = `^(s3://[a-zA-Z0-9._-]{3,255}(/.*)?|file://.+)$` // or, on one machine, of a folder or file
)

// JobSources returns the keys of a BatchSubmission of which exactly one is given.
func JobSources() []string { return []string{"item_list", "file_path_lister", "delimited_files"} }

// NewSubmission returns an empty submission with its defaults.
func NewSubmission(k JobKind) Submission {
	if k == BatchJob {
		return &BatchSubmission{}
	}
	return &TaskSubmission{Workers: TaskWorkers}
}
