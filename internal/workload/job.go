package workload

import "encoding/json"

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

// JobStatuses returns every status that a job can have, in the order of its life.
func JobStatuses() []JobStatus {
	return []JobStatus{
		"pending", "enqueuing", "running", "enqueue_failed", "completed_with_failures", "succeeded",
		"unexpected_error", "worker_error", "worker_oom", "timed_out", "stopped", "unknown",
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
}

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
}

// TaskWorkers is how many workers a job of a TaskAPI has, said or not.
const TaskWorkers = 1

// MaxItemBytes bounds the JSON of one item of a list: what a message of a queue can
// carry.
const MaxItemBytes = 250 << 10

// MaxJobIDLength bounds the name of a job, which is the value of a label.
const MaxJobIDLength = 63

// Patterns of the strings of a job, as those of a spec.
const (
	JobIDPattern  = `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$` // DNS-1123
	S3PathPattern = `^s3://[a-zA-Z0-9._-]{3,255}(/.*)?$`
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
