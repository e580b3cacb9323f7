package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// record is what is kept of a job. Its JSON is a format: a daemon of tomorrow reads what
// one of today wrote.
type record struct {
	API        string               `json:"api"`
	ID         string               `json:"id"`
	Kind       workload.JobKind     `json:"kind"`
	Status     workload.JobStatus   `json:"status"`
	Parent     string               `json:"parent,omitempty"`
	OnlyFailed bool                 `json:"only_failed,omitempty"` // of a job with a parent
	Submitted  time.Time            `json:"submitted"`
	Started    time.Time            `json:"started,omitzero"` // for the first time
	Ended      time.Time            `json:"ended,omitzero"`
	Ending     string               `json:"ending,omitempty"` // why it is to end before its time: a status
	Reason     *workload.ItemReason `json:"reason,omitempty"`
	Warning    string               `json:"warning,omitempty"`
	Schedule   string               `json:"schedule,omitempty"` // whose run it is, and of which time
	Scheduled  time.Time            `json:"scheduled,omitzero"`

	APIID   string         `json:"api_id"`
	SpecID  string         `json:"spec_id"`
	PodID   string         `json:"pod_id"`
	Workers int32          `json:"workers"`
	Config  map[string]any `json:"config,omitempty"`
	Timeout *int32         `json:"timeout,omitempty"`

	// Of a task.
	Retry    *workload.JobRetry    `json:"retry,omitempty"`
	Charged  int                   `json:"charged,omitempty"` // runs that count as attempts
	Runs     int                   `json:"runs,omitempty"`    // that began
	Attempts []workload.JobAttempt `json:"attempts,omitempty"`

	// Of batches.
	DeadLetter *workload.SQSDeadLetterQueue `json:"dead_letter,omitempty"`
	// How far the file of errors was sent to that queue, how many batches of it were, how many
	// the queue refused, and why the latest of them.
	LettersAt      int64  `json:"letters_at,omitempty"`
	LettersSent    int    `json:"letters_sent,omitempty"`
	LettersRefused int    `json:"letters_refused,omitempty"`
	LetterError    string `json:"letter_error,omitempty"`

	OpenAI      *openAIJob    `json:"openai,omitempty"` // nil: it was not submitted in that form
	MaxFailures string        `json:"max_failures,omitempty"`
	Enqueued    cursor        `json:"enqueued,omitzero"`
	Batches     int           `json:"batches,omitempty"` // enqueued
	ItemBytes   int64         `json:"item_bytes,omitempty"`
	OutputBytes int64         `json:"output_bytes,omitempty"`
	ErrorBytes  int64         `json:"error_bytes,omitempty"`
	Succeeded   int           `json:"succeeded,omitempty"`
	Failed      int           `json:"failed,omitempty"`
	Worked      time.Duration `json:"worked,omitempty"` // on batches that have ended
}

func (r *record) key() key { return key{r.API, r.ID} }

// file is the name of one of a job's files.
func (k key) file(name string) string { return k.api + "/" + k.id + "/" + name }

// The files of a job.
const (
	fileJob        = "job.json" // as its workers have it
	fileSubmission = "submission.json"
	fileRevision   = "revision.json"
	fileResult     = "result"
	fileItems      = "batches.jsonl"
	fileOutput     = "output.jsonl"
	fileErrors     = "errors.jsonl"
	fileManifest   = "manifest.json"
	dirBodies      = "output"
)

// each calls fn with the record of every job of an API, or of all.
func (s *Service) each(ctx context.Context, api string, fn func(record)) error {
	prefix := "j/"
	if api != "" {
		prefix += api + "\x00"
	}
	return s.cfg.Records.Scan(ctx, prefix, func(key string, data []byte) error {
		var r record
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("the record of the job %s cannot be read: %w", strings.ReplaceAll(key[2:], "\x00", "/"), err)
		}
		fn(r)
		return nil
	})
}

// read returns the record of a job as it is on the disk.
func (s *Service) read(ctx context.Context, k key) (r record, _ error) {
	data, err := s.cfg.Records.Get(ctx, k.record())
	if err != nil {
		return r, err
	}
	if data == nil {
		return r, unknown(k.api, k.id)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("the record of the job %s of %s cannot be read: %w", k.id, k.api, err)
	}
	return r, nil
}

func unknown(api, id string) error {
	return fault.New(fault.NotFound, CodeUnknown, "%s has no job %q", api, id).
		WithHint("cortex jobs %s lists those that are kept: the last %d, for %d days", api, keptJobs, keptFor/(24*time.Hour))
}

// writeFiles puts down what a job is made of.
func (s *Service) writeFiles(ctx context.Context, r record, rev *workload.Revision, submission []byte) error {
	job, err := json.MarshalIndent(s.show(r, nil), "", "  ")
	if err != nil {
		return err
	}
	revision, err := json.Marshal(rev)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{fileJob, job}, {fileSubmission, submission}, {fileRevision, revision}} {
		if _, err := s.cfg.Files.Put(ctx, r.key().file(f.name), bytes.NewReader(f.data)); err != nil {
			return err
		}
	}
	return nil
}

// readFile returns a file that was put down whole, and is no larger than one of a job may
// be that is read at once.
func (s *Service) readFile(ctx context.Context, k key, name string) ([]byte, error) {
	f, err := s.cfg.Files.Open(ctx, k.file(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSubmission+1))
	if err == nil && len(data) > maxSubmission {
		err = fmt.Errorf("%s is too large", k.file(name))
	}
	return data, err
}

func (s *Service) readRevision(ctx context.Context, k key) (*workload.Revision, error) {
	data, err := s.readFile(ctx, k, fileRevision)
	if err != nil {
		return nil, err
	}
	rev := new(workload.Revision)
	return rev, json.Unmarshal(data, rev)
}

// show is a job as callers see it; j has what is known while it has not ended.
func (s *Service) show(r record, j *job) workload.Job {
	shown := workload.Job{
		JobID: r.ID, APIName: r.API, Kind: r.Kind.Of(), APIID: r.APIID, SpecID: r.SpecID, PodID: r.PodID, Workers: r.Workers, Parent: r.Parent,
		Config: r.Config, Timeout: r.Timeout, SQSDeadLetterQueue: r.DeadLetter,
		Status: r.Status, Reason: r.Reason, Warning: r.Warning, StartTime: r.Submitted, Schedule: r.Schedule, Attempts: slices.Clone(r.Attempts),
	}
	if !r.Scheduled.IsZero() {
		shown.ScheduledTime = &r.Scheduled
	}
	if !r.Ended.IsZero() {
		shown.EndTime = &r.Ended
	}
	if j != nil {
		shown.WorkerCounts = j.workerCounts()
		if shown.Reason == nil {
			shown.Reason = j.hindrance()
		}
	}
	if r.Kind != workload.BatchJob {
		return shown
	}
	p := workload.JobProgress{Total: r.Batches, Succeeded: r.Succeeded, Failed: r.Failed}
	if j != nil {
		j.progress(&p)
	}
	p.Queued = p.Total - p.Succeeded - p.Failed - p.Running
	if r.Enqueued.Done {
		shown.TotalBatchCount = &p.Total
	}
	shown.BatchesInQueue, shown.Progress = &p.Queued, &p
	return shown
}

// Get returns one job, with its result.
func (s *Service) Get(ctx context.Context, api, id string) (workload.Job, *workload.JobMetrics, error) {
	r, j, err := s.latest(ctx, api, id)
	if err != nil {
		return workload.Job{}, nil, err
	}
	shown := s.show(r, j)
	if r.Kind == workload.TaskJob {
		if shown.Result, err = s.readResult(ctx, r.key()); err != nil {
			return workload.Job{}, nil, err
		}
		return shown, nil, nil
	}
	m := &workload.JobMetrics{Succeeded: shown.Progress.Succeeded, Failed: shown.Progress.Failed}
	if n := m.Succeeded + m.Failed; n > 0 {
		m.AverageTimePerBatch = r.Worked.Seconds() / float64(n)
	}
	return shown, m, nil
}

// latest returns what is known of a job now.
func (s *Service) latest(ctx context.Context, api, id string) (record, *job, error) {
	if j := s.existing(api, id); j != nil {
		return j.snapshot(), j, nil
	}
	r, err := s.read(ctx, key{api, id})
	return r, nil, err
}

// Status returns what a job is doing, or how it ended.
func (s *Service) Status(ctx context.Context, api, id string) (workload.JobStatus, error) {
	r, _, err := s.latest(ctx, api, id)
	return r.Status, err
}

// List returns jobs without their results, the newest first.
func (s *Service) List(ctx context.Context, q workload.JobQuery) ([]workload.Job, error) {
	var list []record
	now := time.Now()
	err := s.each(ctx, q.API, func(r record) {
		if q.Since > 0 && now.Sub(r.Submitted) > q.Since {
			return
		}
		list = append(list, r)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, newest)
	if q.Limit <= 0 || q.Limit > workload.MaxJobs {
		q.Limit = workload.MaxJobs
	}
	shown := []workload.Job{}
	for _, r := range list {
		j := s.existing(r.API, r.ID)
		if j != nil {
			r = j.snapshot()
		}
		if len(q.Statuses) > 0 && !slices.Contains(q.Statuses, string(r.Status)) {
			continue
		}
		if shown = append(shown, s.show(r, j)); len(shown) == q.Limit {
			break
		}
	}
	return shown, nil
}

// Revision is the version that a job runs; nil: it cannot be read.
func (s *Service) Revision(ctx context.Context, api, id string) *workload.Revision {
	rev, err := s.readRevision(ctx, key{api, id})
	if err != nil {
		return nil
	}
	return rev
}

// logsAfterEnd is how long who follows the logs of a job waits for what is still written.
const logsAfterEnd = 300 * time.Millisecond

// Logs calls fn for the lines that the workers of a job wrote. Who follows them does until
// the job has ended.
func (s *Service) Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	_, j, err := s.latest(ctx, q.Name, q.Job)
	if err != nil {
		return err
	}
	if j == nil {
		q.Follow = false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if q.Follow {
		go func() { // it ends with ctx
			select {
			case <-j.over:
				wait(ctx, logsAfterEnd)
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	return s.cfg.Runner.RunLogs(ctx, key{q.Name, q.Job}.runs(), q, fn)
}

// readResult returns what a task left as its result; nil: nothing.
func (s *Service) readResult(ctx context.Context, k key) (json.RawMessage, error) {
	data, err := s.readFile(ctx, k, fileResult)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the result of %s: %w", k.id, err)
	}
	return asJSON(data), nil
}

// asJSON is a text as part of a JSON document: as it is if it is JSON, else as a string.
func asJSON(data []byte) json.RawMessage {
	if json.Valid(data) {
		return data
	}
	text, err := json.Marshal(strings.ToValidUTF8(string(data), "\uFFFD"))
	if err != nil {
		return nil
	}
	return text
}
