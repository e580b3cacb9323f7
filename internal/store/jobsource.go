package store

import (
	"context"

	"cortex.dev/cortex/internal/workload"
)

// JobSource is a store into which others may submit jobs, past the operator: custom
// resources. A job never changes, so it is resolved once. All methods may be called at
// once.
type JobSource interface {
	// PendingJobs calls fn for every job that is not resolved yet, present ones first, then
	// as they come; one may be told again while it is not resolved. Fn is never called
	// twice at once. It returns ctx's error when ctx ends.
	PendingJobs(ctx context.Context, fn func(Submission)) error
	// ResolveJob tells whoever submitted the job what became of it: nil accepted,
	// otherwise why not. It is durable. A job that is gone is no error.
	ResolveJob(ctx context.Context, s Submission, err error) error
}

// Submission is a job that somebody submitted past the operator.
type Submission struct {
	ID       string
	Kind     workload.JobKind
	Spec     []byte // for workload.ParseSubmission
	Resource string // what to call it in messages: batchjobs.cortex.dev/69b183ed
	Version  string // opaque: which job of this id it is
}
