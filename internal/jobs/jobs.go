// Package jobs is what BatchAPIs and TaskAPIs do: it accepts jobs, runs each to its end by
// an engine that runs pods, and keeps what became of it.
//
// It promises that a job whose id was given away is on the disk; that each job comes to one
// end and says why; that of a job of batches each batch is enqueued once and has one
// outcome, the first that was recorded; and that what was under way when this process ended
// goes on in the next, which is charged to nobody. A worker may run more than once, and a
// batch may be worked on more than once.
//
// It must not know how pods run (engine.Runner), how requests reach it, or who may submit.
package jobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/telemetry"
)

// Bounds of jobs on one machine.
const (
	MaxWorkers      = 100                // of one job
	maxAtOnce       = 20                 // jobs that run; others wait
	maxPending      = 1000               // jobs of one API that have not ended
	keptJobs        = 100                // of one API that have ended
	keptFor         = 7 * 24 * time.Hour // after their end, with logs and results
	maxConfig       = 256 << 10          // bytes of the config of a job
	maxSubmission   = 10 << 20           // bytes, as in 0.42
	shownAttempts   = 10
	forgetEvery     = time.Hour
	writeAgain      = time.Second // after a write that failed
	lastWriteWithin = 5 * time.Second
)

// Codes of what callers are told.
const (
	CodeUnknown     = "job.not_found"
	CodeEnded       = "job.job_is_not_in_progress"
	codeNotJobs     = "resources.operation_is_only_supported_for_kind"
	codeNoFiles     = "batchapi.no_s3_files_found"
	codeTooMany     = "jobs.too_many"
	codeWorkers     = "jobs.too_many_workers"
	codeConfig      = "jobs.config_too_large"
	codeLetterSize  = "jobs.letter_too_large"
	codeNoQueues    = "jobs.no_queues_here"
	codeS3          = "jobs.s3_not_here"
	codeFolder      = "jobs.folder_not_allowed"
	codeBadID       = "jobs.id_invalid"
	codeNothingLeft = "jobs.nothing_to_retry"
	codeNoBodyFile  = "job.no_body_file"
)

// Records keeps small records by their keys.
type Records interface {
	// Write makes changes, all or none, and returns when they are on the disk: what is nil
	// is removed.
	Write(ctx context.Context, doing string, changes map[string][]byte) error
	// Get returns a record; nil: there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Scan calls fn with every record whose key begins with prefix, in the order of the
	// keys. The data is valid until fn returns, and fn must not write.
	Scan(ctx context.Context, prefix string, fn func(key string, data []byte) error) error
}

// Deployed tells what is deployed. Every store.Store does.
type Deployed interface {
	Get(ctx context.Context, name string) (store.Workload, error)
	Watch(ctx context.Context, fn func(store.Change)) error
}

// Objects reads objects of S3. Package objects has the contract.
type Objects interface {
	List(ctx context.Context, bucket, prefix string, fn func(key string) bool) error
	Open(ctx context.Context, bucket, key string, from int64) (io.ReadCloser, error)
}

// Config is what a Service needs.
type Config struct {
	Records  Records
	Files    Files // where submissions and results are
	Runner   engine.Runner
	Deployed Deployed
	// Folders are those of the machine from which items may be read, beside the folder of
	// the file that the API is from.
	Folders []string
	// Objects reads what is in S3, of which S3Paths may be read: s3://BUCKET with or without
	// a prefix, or s3://* for all. Nil: nothing is.
	Objects Objects
	S3Paths []string
	// Queues has what failed for good sent to the queue that a job names. Nil: a job that names
	// one is refused.
	Queues Queues
	// Elsewhere says that workers run on other machines: no items are in files of this one.
	Elsewhere bool
	// MaxAnswer is the most bytes of an answer to a batch; 0: 1 GiB.
	MaxAnswer int64
	// CommitEvery is how often what has ended is written down; 0: 200 ms.
	CommitEvery time.Duration
	// Closed refuses what comes by Serve: who calls there has proven nothing.
	Closed    bool
	Telemetry *telemetry.Registry // nil: no metrics
	Log       *slog.Logger        // nil: none
}

// Service is the jobs of one environment. All methods may be called at once, also when Run
// is not running: then jobs are accepted and wait.
type Service struct {
	cfg Config
	log *slog.Logger

	loaded   atomic.Bool
	creating sync.Mutex // held from the look whether there is a job to its record

	mu      sync.Mutex
	open    map[key]*job // that have not ended
	waiting []*job       // of those, in the order in which they begin
	active  int
	run     context.Context // of jobs; nil unless Run is running
	tasks   sync.WaitGroup

	counts counts
}

type key struct{ api, id string }

func (k key) record() string { return "j/" + k.api + "\x00" + k.id }
func (k key) chunk(n int) string {
	return fmt.Sprintf("c/%s\x00%s\x00%06d", k.api, k.id, n)
}
func (k key) chunks() string { return "c/" + k.api + "\x00" + k.id + "\x00" }

// runs is the name of the runs of a job at the engine. No name of an API has a dot.
func (k key) runs() string { return k.api + "." + k.id }

// Open is New, of records that can be read now.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	return s, s.load(ctx)
}

// New returns the jobs of an environment, of which nothing is read before Run: until then
// none is accepted or stopped.
func New(cfg Config) (*Service, error) {
	if cfg.Records == nil || cfg.Runner == nil || cfg.Deployed == nil || cfg.Files == nil {
		return nil, errors.New("jobs: records, files, what runs pods and what is deployed are needed")
	}
	cfg.MaxAnswer, cfg.CommitEvery = cmp.Or(cfg.MaxAnswer, maxAnswer), cmp.Or(cfg.CommitEvery, commitEvery)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{cfg: cfg, log: cfg.Log, open: map[key]*job{}}
	s.register(cfg.Telemetry)
	return s, nil
}

// load reads which jobs have not ended. They go on with Run.
func (s *Service) load(ctx context.Context) error {
	if s.loaded.Load() {
		return nil
	}
	known, open := map[key]bool{}, map[key]*job{}
	var waiting []*job
	err := s.each(ctx, "", func(r record) {
		known[r.key()] = true
		if r.Status.InProgress() {
			j := newJob(s, r)
			open[r.key()] = j
			waiting = append(waiting, j)
		}
	})
	if err != nil {
		return fmt.Errorf("reading the jobs that have not ended: %w", err)
	}
	files, err := s.uploads(ctx, "")
	if err != nil {
		return fmt.Errorf("reading the files of batches: %w", err)
	}
	for _, u := range files {
		known[key{u.API, u.ID}] = true
	}
	slices.SortFunc(waiting, func(a, b *job) int { return a.rec.Submitted.Compare(b.rec.Submitted) })
	for _, j := range waiting {
		if j.rev, err = s.readRevision(ctx, j.rec.key()); err != nil {
			if fault.Is(err, fault.Unavailable) { // it is there, and not now
				return err
			}
			s.log.Warn("the version of the API that a job runs cannot be read", "job", j.rec.ID, "error", err)
		}
	}
	if err := s.sweep(ctx, known); err != nil {
		s.log.Warn("dropping what is left of jobs that were never accepted", "error", err)
	}
	s.mu.Lock()
	s.open, s.waiting = open, waiting
	s.mu.Unlock()
	s.loaded.Store(true)
	return nil
}

// ready says why no job can be accepted or stopped yet.
func (s *Service) ready() error {
	if s.loaded.Load() {
		return nil
	}
	return fault.New(fault.Unavailable, "store.unavailable", "the jobs of this environment are not read yet").
		WithHint("try again in a moment; if it stays so, what keeps them does not answer, and the log says why")
}

// sweep removes the files of which there is no job: its submission was never answered.
func (s *Service) sweep(ctx context.Context, known map[key]bool) error {
	var left []key
	if err := s.cfg.Files.Jobs(ctx, func(api, id string) {
		if k := (key{api, id}); !known[k] {
			left = append(left, k)
		}
	}); err != nil {
		return err
	}
	for _, k := range left {
		if err := s.cfg.Files.RemoveAll(ctx, k.api, k.id); err != nil {
			return err
		}
	}
	return nil
}

// endStrays ends the runs of which there is no job that has not ended: nobody asks what
// becomes of them.
func (s *Service) endStrays(ctx context.Context) {
	runs, err := s.cfg.Runner.Runs(ctx)
	for _, r := range runs {
		api, id, _ := strings.Cut(r.Name, ".")
		if s.existing(api, id) == nil {
			err = errors.Join(err, s.cfg.Runner.EndRun(ctx, r))
		}
	}
	if err != nil && ctx.Err() == nil {
		s.log.Warn("ending the workers of jobs that have ended", "error", err)
	}
}

// Why the run of a job is ended before its own end.
var (
	errShutdown = errors.New("the environment is stopping")
	errStopped  = errors.New("the job was stopped")
	errDeleted  = errors.New("its API was deleted")
	errTimedOut = errors.New("the job has taken as long as its timeout")
)

// Run runs jobs until ctx ends; then their workers are left, which ends them where nothing
// outlives a process, and the jobs go on in the next Run. It fails only when the jobs cannot be read, or what is
// deployed cannot be watched.
func (s *Service) Run(ctx context.Context) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	s.mu.Lock()
	s.run = run
	s.mu.Unlock()
	s.dispatch()

	watching, cease := context.WithCancel(ctx)
	defer cease()
	failed := make(chan error, 1)
	var others sync.WaitGroup
	others.Go(func() { failed <- s.follow(watching) })
	others.Go(func() { s.forgets(watching) })
	others.Go(func() { s.endStrays(watching) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		if ctx.Err() != nil {
			err = nil
		} else {
			err = fmt.Errorf("watching which APIs have jobs: %w", err)
		}
	}
	cease()
	s.mu.Lock()
	s.run = nil
	s.mu.Unlock()
	stop(errShutdown)
	s.tasks.Wait()
	others.Wait()
	return err
}

// follow ends the jobs of APIs that are deleted.
func (s *Service) follow(ctx context.Context) error {
	there, complete := map[string]bool{}, false
	return s.cfg.Deployed.Watch(ctx, func(c store.Change) {
		switch {
		case c.Name == "":
			complete = true
		case c.Workload == nil:
			delete(there, c.Name)
		default:
			there[c.Name] = true
		}
		if !complete || c.Workload != nil {
			return
		}
		s.mu.Lock()
		var gone []*job
		for k, j := range s.open {
			if !there[k.api] {
				gone = append(gone, j)
			}
		}
		s.mu.Unlock()
		for _, j := range gone {
			if err := j.end(context.WithoutCancel(ctx), errDeleted); err != nil {
				s.log.Warn("a job of an API that is deleted cannot be written down now", "job", j.rec.ID, "error", err)
			}
		}
	})
}

// dispatch begins jobs while there may be more.
func (s *Service) dispatch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.run != nil && s.active < maxAtOnce && len(s.waiting) > 0 {
		j, ctx := s.waiting[0], s.run
		s.waiting = s.waiting[1:]
		s.active++
		s.tasks.Go(func() {
			j.execute(ctx)
			s.mu.Lock()
			s.active--
			s.mu.Unlock()
			s.dispatch()
		})
	}
}

// existing returns a job that has not ended; nil: there is none.
func (s *Service) existing(api, id string) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[key{api, id}]
}

// Code returns the copies of code that jobs need which have not ended, by their digests.
func (s *Service) Code() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, j := range s.open {
		if j.rev != nil && j.rev.CodeDigest() != "" {
			all = append(all, j.rev.CodeDigest())
		}
	}
	return all
}

// Stop ends a job: its workers are asked to end, and killed when their grace is over. It
// returns when that is on the disk.
func (s *Service) Stop(ctx context.Context, api, id string) error {
	if err := s.ready(); err != nil {
		return err
	}
	j := s.existing(api, id)
	if j == nil { // it may be on the disk, and not in the line yet
		s.creating.Lock()
		j = s.existing(api, id)
		s.creating.Unlock()
	}
	if j != nil && !j.hasEnded() {
		return j.end(ctx, errStopped)
	}
	if _, err := s.read(ctx, key{api, id}); err != nil {
		return err
	}
	return fault.New(fault.Conflict, CodeEnded, "the job %s of %s has ended", id, api).WithHint("cortex get %s %s says how", api, id)
}

// forgets drops what has been kept for long enough, until ctx ends.
func (s *Service) forgets(ctx context.Context) {
	t := time.NewTicker(forgetEvery)
	defer t.Stop()
	for {
		if err := errors.Join(s.forget(ctx, "", time.Now()), s.forgetUploads(ctx, time.Now())); err != nil && ctx.Err() == nil {
			s.log.Warn("dropping jobs that were kept for long enough", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// forget drops the jobs of an API, or of all, that have been kept for long enough.
func (s *Service) forget(ctx context.Context, api string, now time.Time) error {
	ended := map[string][]record{}
	if err := s.each(ctx, api, func(r record) {
		if !r.Status.InProgress() {
			ended[r.API] = append(ended[r.API], r)
		}
	}); err != nil {
		return err
	}
	for _, list := range ended {
		slices.SortFunc(list, func(a, b record) int { return b.Ended.Compare(a.Ended) })
		for i, r := range list {
			if i < keptJobs && now.Sub(r.Ended) < keptFor {
				continue
			}
			if err := s.drop(ctx, r.key()); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop forgets a job that has ended.
func (s *Service) drop(ctx context.Context, k key) error {
	gone := map[string][]byte{k.record(): nil}
	if err := s.cfg.Records.Scan(ctx, k.chunks(), func(key string, _ []byte) error {
		gone[key] = nil
		return nil
	}); err != nil {
		return err
	}
	if err := s.cfg.Records.Write(ctx, "forgetting a job of "+k.api, gone); err != nil {
		return err
	}
	s.cfg.Runner.ForgetRuns(ctx, k.runs())
	_ = s.cfg.Files.RemoveAll(ctx, k.api, k.id) // what stays is removed at the next start
	return nil
}

// newID returns the id of a job: its time, and what makes it another one.
func newID(now time.Time) string {
	b := make([]byte, 5)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%011x", now.UnixMilli()) + hex.EncodeToString(b)
}

// newest orders jobs for lists.
func newest(a, b record) int {
	return cmp.Or(b.Submitted.Compare(a.Submitted), strings.Compare(b.ID, a.ID))
}
