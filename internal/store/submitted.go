package store

import (
	"context"

	"cortex.dev/cortex/internal/workload"
)

// Submittable is a store into which others may submit jobs, past the operator: custom
// resources. A job never changes, so it is judged once. All methods may be called at
// once.
type Submittable interface {
	// Submitted calls fn for every job that nobody judged yet, present ones first, then
	// as they come; one may be told again while it is not judged. Fn is never called
	// twice at once. It returns ctx's error when ctx ends.
	Submitted(ctx context.Context, fn func(Submission)) error
	// JudgedJob tells whoever submitted the job what became of it: nil accepted,
	// otherwise why not. It is durable. A job that is gone is no error.
	JudgedJob(ctx context.Context, s Submission, err error) error
}

// Submission is a job that somebody submitted past the operator.
type Submission struct {
	ID     string
	Kind   workload.JobKind
	Spec   []byte // for workload.ParseSubmission
	Source string // what to call it in messages: batchjobs.cortex.dev/69b183ed
	Mark   string // opaque: which job of this id it is
}
