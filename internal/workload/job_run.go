package workload

import (
	"encoding/json"
	"time"
)

// Job is one job of a BatchAPI or TaskAPI as its submitters, and those who manage the API,
// see it (REFERENCE section 4.6).
type Job struct {
	JobID   string `json:"job_id"`
	APIName string `json:"api_name"`
	Kind    Kind   `json:"kind"`
	APIID   string `json:"api_id"`            // the version of the API that it runs
	SpecID  string `json:"spec_id,omitempty"` // likewise
	PodID   string `json:"pod_id,omitempty"`
	Workers int32  `json:"workers"`
	Parent  string `json:"parent,omitempty"` // the job whose batches it tries again

	Config             map[string]any      `json:"config"`
	Timeout            *int32              `json:"timeout"` // seconds
	SQSDeadLetterQueue *SQSDeadLetterQueue `json:"sqs_dead_letter_queue,omitempty"`

	Status  JobStatus   `json:"status"`
	Reason  *ItemReason `json:"reason,omitempty"`  // of an end that is no success or, before, why no worker works
	Warning string      `json:"warning,omitempty"` // what is not as the submission has it
	// Schedule is whose run the job is, and ScheduledTime when it was due.
	Schedule      string     `json:"schedule,omitempty"`
	ScheduledTime *time.Time `json:"scheduled_time,omitempty"`

	StartTime    time.Time     `json:"start_time"` // when it was submitted
	EndTime      *time.Time    `json:"end_time,omitempty"`
	WorkerCounts *WorkerCounts `json:"worker_counts,omitempty"` // while it runs

	// Of a BatchAPI.
	TotalBatchCount *int         `json:"total_batch_count,omitempty"` // once all of them are known
	BatchesInQueue  *int         `json:"batches_in_queue,omitempty"`
	Progress        *JobProgress `json:"progress,omitempty"`

	// Of a TaskAPI.
	Attempts []JobAttempt    `json:"attempts,omitempty"` // the latest 10
	Result   json.RawMessage `json:"result,omitempty"`   // what it left as its result: JSON as it is, anything else as a string
}

// JobProgress is how far a job of batches is.
type JobProgress struct {
	Total     int     `json:"total"` // enqueued so far
	Queued    int     `json:"queued"`
	Running   int     `json:"running"`
	Succeeded int     `json:"succeeded"`
	Failed    int     `json:"failed"`
	PerMinute float64 `json:"per_minute"`         // batches that ended lately
	Estimate  string  `json:"estimate,omitempty"` // how long the rest takes at that rate: 4m10s
}

// JobAttempt is one run of the worker of a task.
type JobAttempt struct {
	N         int         `json:"n"`
	Outcome   string      `json:"outcome,omitempty"` // succeeded, error, oom, timeout, stopped, interrupted; empty while it runs
	ExitCode  *int        `json:"exit_code,omitempty"`
	Reason    *ItemReason `json:"reason,omitempty"`
	Replica   string      `json:"replica,omitempty"`
	StartedAt time.Time   `json:"started_at"`
	Duration  string      `json:"duration,omitempty"`
}

// WorkerCounts counts the workers of a job by what they do; the words are those of 0.42.
type WorkerCounts struct {
	Pending      int `json:"pending,omitempty"`
	Creating     int `json:"creating,omitempty"`
	NotReady     int `json:"not_ready,omitempty"`
	Ready        int `json:"ready,omitempty"`
	Succeeded    int `json:"succeeded,omitempty"`
	ErrImagePull int `json:"err_image_pull,omitempty"`
	Terminating  int `json:"terminating,omitempty"`
	Failed       int `json:"failed,omitempty"`
	Killed       int `json:"killed,omitempty"`
	KilledOOM    int `json:"killed_oom,omitempty"`
	Stalled      int `json:"stalled,omitempty"`
	Unknown      int `json:"unknown,omitempty"`
}

// JobMetrics is how the batches of a job went.
type JobMetrics struct {
	Succeeded           int     `json:"succeeded"`
	Failed              int     `json:"failed"`
	AverageTimePerBatch float64 `json:"average_time_per_batch"` // seconds
}

// JobResponse is one job with what it is a job of.
type JobResponse struct {
	APISpec   *Deployed   `json:"api_spec,omitempty"`
	JobStatus Job         `json:"job_status"`
	Metrics   *JobMetrics `json:"metrics,omitempty"`
	Endpoint  string      `json:"endpoint"`
}

// JobLine is the outcome of one batch: a line of the results of a job, or of its errors.
type JobLine struct {
	Index      int             `json:"index"`               // of the batch, from 0
	CustomID   string          `json:"custom_id,omitempty"` // of a request of a file in OpenAI's form
	Status     int             `json:"status,omitempty"`
	Body       json.RawMessage `json:"body,omitempty"`      // of the answer: JSON as it is, anything else as a string
	BodyFile   string          `json:"body_file,omitempty"` // of an answer that is too large for a line: JobAnswer has it
	Attempts   int             `json:"attempts,omitempty"`  // of one that failed
	HTTPStatus int             `json:"http_status,omitempty"`
	Reason     *ItemReason     `json:"reason,omitempty"`
	Items      json.RawMessage `json:"items,omitempty"` // of one that failed, if they are not too large
}

// JobRequest is a submission as it is sent to the management API.
type JobRequest struct {
	// Job is a BatchSubmission or a TaskSubmission; api_name may be left out.
	Job json.RawMessage `json:"job"`
	// DryRun says what would be done, and does nothing.
	DryRun bool `json:"dry_run,omitempty"`
}

// JobSubmitted is what a submission is answered with: the job or, of a dry run, what it
// would read.
type JobSubmitted struct {
	Job   *Job     `json:"job,omitempty"`
	Files []string `json:"files,omitempty"` // at most MaxDryRunFiles
}

// MaxDryRunFiles is how many files a dry run names.
const MaxDryRunFiles = 1000

// JobQuery selects jobs of one API, the newest first.
type JobQuery struct {
	API      string
	Statuses []string      // empty: all
	Since    time.Duration // submitted so long ago at most; 0: all that are kept
	Limit    int           // 0: MaxJobs
}

// MaxJobs is how many jobs one call lists at most.
const MaxJobs = 1000

// JobLinesQuery selects lines of the results of a job, or of its errors.
type JobLinesQuery struct {
	API, Job string
	Errors   bool
}

// JobAnswerQuery selects what one batch of a job was answered with.
type JobAnswerQuery struct {
	API, Job string
	Batch    int // from 0
}

// JobPart is a part of an answer; they come in their order.
type JobPart struct {
	Data []byte `json:"data"` // base64 in JSON
}

// InProgress reports whether a job may still change.
func (s JobStatus) InProgress() bool {
	return s == JobPending || s == JobEnqueuing || s == JobRunning
}
