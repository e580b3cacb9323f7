package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

var idShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(workload.JobIDPattern) })

// Submit accepts a job of an API: spec is a submission as JSON, in which api_name may be
// left out. With an id that a job of the API has already it accepts nothing, and replayed
// is true; without one it makes one. The job is on the disk when it returns nil.
func (s *Service) Submit(ctx context.Context, api string, spec []byte, id string) (jobID string, replayed bool, err error) {
	return s.submit(ctx, api, spec, id, func(*record) {})
}

// submit is Submit of a job that whoever submits it says more of.
func (s *Service) submit(ctx context.Context, api string, spec []byte, id string, say func(*record)) (jobID string, replayed bool, err error) {
	if id != "" {
		if len(id) > workload.MaxJobIDLength || !idShape().MatchString(id) {
			return "", false, fault.New(fault.Invalid, codeBadID, "%q cannot be the id of a job", id).
				WithHint("use at most %d lower-case letters, digits and dashes", workload.MaxJobIDLength)
		}
		if _, _, err := s.latest(ctx, api, id); err == nil {
			return id, true, nil
		}
	}
	r, rev, _, err := s.prepare(ctx, api, spec)
	if err != nil {
		return "", false, err
	}
	r.ID = id
	say(&r)
	return s.accept(ctx, r, rev, spec)
}

// Retry submits a job for what another one has not done: the batches that failed and, but
// with onlyFailed, those that it never came to.
func (s *Service) Retry(ctx context.Context, api, id string, onlyFailed bool) (string, error) {
	parent, _, err := s.latest(ctx, api, id)
	if err != nil {
		return "", err
	}
	left := parent.Batches - parent.Succeeded
	if onlyFailed {
		left = parent.Failed
	}
	switch {
	case parent.Kind != workload.BatchJob:
		return "", fault.New(fault.Invalid, codeNotJobs, "%s is a job of a TaskAPI, of which nothing is done in part", id).WithHint("submit it again")
	case parent.Status.InProgress():
		return "", fault.New(fault.Conflict, "job.in_progress", "the job %s of %s has not ended", id, api).WithHint("wait for its end, or stop it: cortex delete %s %s", api, id)
	case left == 0:
		return "", fault.New(fault.Conflict, codeNothingLeft, "the job %s of %s has nothing to try again", id, api)
	}
	rev, err := s.readRevision(ctx, parent.key())
	if err != nil {
		return "", fmt.Errorf("reading the version that %s ran: %w", id, err)
	}
	if w, err := s.cfg.Deployed.Get(ctx, api); err != nil {
		return "", err
	} else if w.Revision.Kind == workload.Batch {
		rev = w.Revision // what was mended since
	}
	r := record{
		API: api, Kind: workload.BatchJob, Parent: id, OnlyFailed: onlyFailed, Workers: parent.Workers, Config: parent.Config, Timeout: parent.Timeout,
		DeadLetter: parent.DeadLetter, MaxFailures: parent.MaxFailures, OpenAI: parent.OpenAI,
	}
	again, _, err := s.accept(ctx, r, rev, []byte("{}"))
	return again, err
}

// accept puts a job on the disk, and in the line.
func (s *Service) accept(ctx context.Context, r record, rev *workload.Revision, submission []byte) (string, bool, error) {
	if err := s.ready(); err != nil {
		return "", false, err
	}
	s.creating.Lock()
	defer s.creating.Unlock()
	now := time.Now().UTC()
	if r.ID == "" {
		r.ID = newID(now)
	} else if _, _, err := s.latest(ctx, r.API, r.ID); err == nil {
		return r.ID, true, nil // somebody else was faster
	}
	if n := s.unended(r.API); n >= maxPending {
		return "", false, fault.New(fault.Unavailable, codeTooMany, "%s has %d jobs that have not ended, and takes no more", r.API, n).
			WithHint("wait for some of them, or stop them: cortex jobs %s", r.API)
	}
	r.Status, r.Submitted = workload.JobPending, now
	r.APIID, r.SpecID, r.PodID = rev.ID, rev.SpecID, rev.PodID
	if err := s.writeFiles(ctx, r, rev, submission); err != nil {
		_ = s.cfg.Files.RemoveAll(ctx, r.API, r.ID) // or at the next start
		if fault.Code(err) != "" {
			return "", false, err
		}
		return "", false, fault.New(fault.Unavailable, "store.unavailable", "the job cannot be kept: %w", err).WithHint("make room where the state of this environment is, and let its user write there")
	}
	data, err := json.Marshal(r)
	if err != nil {
		return "", false, err
	}
	if err := s.cfg.Records.Write(context.WithoutCancel(ctx), "accepting a job of "+r.API, map[string][]byte{r.key().record(): data}); err != nil {
		_ = s.cfg.Files.RemoveAll(ctx, r.API, r.ID)
		return "", false, err
	}
	j := newJob(s, r)
	j.rev = rev
	s.mu.Lock()
	s.open[r.key()] = j
	s.waiting = append(s.waiting, j)
	s.mu.Unlock()
	s.dispatch()
	return r.ID, false, nil
}

func (s *Service) unended(api string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.open {
		if k.api == api {
			n++
		}
	}
	return n
}

// prepare reads a submission, and checks all that can be before it is accepted.
func (s *Service) prepare(ctx context.Context, api string, spec []byte) (r record, rev *workload.Revision, sub workload.Submission, _ error) {
	w, err := s.cfg.Deployed.Get(ctx, api)
	if err != nil {
		return r, nil, nil, err
	}
	rev = w.Revision
	kind := workload.TaskJob
	switch rev.Kind {
	case workload.Batch:
		kind = workload.BatchJob
	case workload.Task:
	default:
		return r, nil, nil, fault.New(fault.Invalid, codeNotJobs, "jobs are of a BatchAPI or a TaskAPI, and %s is a %s", api, rev.Kind)
	}
	sub, err = parse(kind, api, spec)
	if err != nil {
		return r, nil, nil, err
	}
	r = record{API: api, Kind: kind}
	switch b := sub.(type) {
	case *workload.TaskSubmission:
		r.Workers, r.Config, r.Timeout, r.Retry = b.Workers, b.Config, b.Timeout, b.Retry
	case *workload.BatchSubmission:
		r.Workers, r.Config, r.Timeout, r.DeadLetter, r.MaxFailures = b.Workers, b.Config, b.Timeout, b.SQSDeadLetterQueue, b.MaxFailures
		if b.SQSDeadLetterQueue != nil {
			if err := s.checkQueue(ctx, b.SQSDeadLetterQueue.ARN); err != nil {
				return r, nil, nil, err
			}
		}
		if r.Workers > MaxWorkers {
			return r, nil, nil, fault.New(fault.Invalid, codeWorkers, "%d workers are asked for, and a job has at most %d", r.Workers, MaxWorkers)
		}
		if err := s.checkSources(ctx, rev, b); err != nil {
			return r, nil, nil, err
		}
	}
	if config, err := json.Marshal(r.Config); err != nil || len(config) > maxConfig {
		return r, nil, nil, fault.New(fault.Invalid, codeConfig, "the config of a job may have %d bytes", maxConfig).WithHint("put it into a file, and its path into the config")
	}
	return r, rev, sub, nil
}

// checkQueue refuses a queue to which nothing can be sent. One that is away now may be there
// when there is something to send.
func (s *Service) checkQueue(ctx context.Context, queue string) error {
	if s.cfg.Queues == nil {
		return fault.New(fault.Unsupported, codeNoQueues, "nothing can be sent to %s from here", queue).
			WithHint("leave sqs_dead_letter_queue out: batches that failed stay with the job, where `cortex results --errors` shows them and `cortex retry --failed` tries them again")
	}
	err := s.cfg.Queues.Check(ctx, queue)
	switch {
	case err == nil, fault.Is(err, fault.Unavailable):
		return nil
	case fault.Is(err, fault.NotFound): // of what the submission says, and not the API
		return fault.New(fault.Invalid, fault.Code(err), "sqs_dead_letter_queue: %w", err).WithHint("%s", fault.From(err).Hint)
	}
	return err
}

// parse reads the submission of a job of an API, which need not name it.
func parse(kind workload.JobKind, api string, spec []byte) (workload.Submission, error) {
	if len(spec) > maxSubmission {
		return nil, fault.New(fault.Malformed, "configreader.too_long", "the job has %d bytes, more than the %d that it may have", len(spec), maxSubmission).
			WithHint("put its items into files: file_path_lister, delimited_files")
	}
	spec = withName(api, spec)
	submission, err := store.ParseSubmission(kind, spec, "")
	if err != nil {
		return nil, err
	}
	if named := submission.API(); named != api {
		return nil, fault.New(fault.Invalid, "job.other_api", "the job is of %s, and was submitted to %s", named, api).WithHint("leave api_name out")
	}
	return submission, nil
}

// withName adds the name of the API to a submission that has none. What is no object stays
// as it is, and is refused for that.
func withName(api string, spec []byte) []byte {
	var keys map[string]json.RawMessage
	if len(bytes.TrimSpace(spec)) == 0 {
		spec = []byte("{}") // a task needs nothing
	}
	if json.Unmarshal(spec, &keys) != nil || keys == nil {
		return spec
	}
	if _, named := keys["api_name"]; named {
		return spec
	}
	begin := bytes.IndexByte(spec, '{')
	comma := ","
	if len(keys) == 0 {
		comma = ""
	}
	return []byte(`{"api_name":"` + strings.ReplaceAll(api, `"`, ``) + `"` + comma + string(spec[begin+1:]))
}

// DryRun checks a submission as Submit does, and returns which files it would read.
func (s *Service) DryRun(ctx context.Context, api string, spec []byte) ([]string, error) {
	_, rev, submission, err := s.prepare(ctx, api, spec)
	b, ok := submission.(*workload.BatchSubmission)
	if err != nil || !ok {
		return nil, err
	}
	l := b.FilePathLister
	if l == nil {
		l = (*workload.FilePathLister)(b.DelimitedFiles)
	}
	if l == nil {
		return nil, nil
	}
	return s.files(ctx, rev, l, workload.MaxDryRunFiles)
}
