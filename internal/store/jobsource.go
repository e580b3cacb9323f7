package store

import (
	"context"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// JobSource is a store into which others may submit jobs, past the operator: custom
// resources. A job never changes, so it is resolved once. All methods may be called at
// once.
type JobSource interface {
	// PendingJobs calls fn for every job that is not resolved yet or, as far as was reported,
	// has not ended: present ones first, then as they come, and when one is gone. One may be
	// told again. Fn is never called twice at once. It returns ctx's error when ctx ends.
	PendingJobs(ctx context.Context, fn func(Submission)) error
	// ResolveJob tells whoever submitted the job what became of it: nil accepted,
	// otherwise why not. It is durable. A job that is gone is no error.
	ResolveJob(ctx context.Context, s Submission, err error) error
	// ReportJob tells whoever submitted the job what it is doing, or how it ended, and why.
	// It is durable. A job that is gone is no error.
	ReportJob(ctx context.Context, s Submission, status workload.JobStatus, why *workload.ItemReason) error
}

// Submission is a job that somebody submitted past the operator.
type Submission struct {
	ID       string
	Kind     workload.JobKind
	Spec     []byte // for workload.ParseSubmission
	Resource string // what to call it in messages: batchjobs.cortex.dev/69b183ed
	Version  string // opaque: which job of this id it is
	Created  time.Time
	Accepted bool // it was resolved so
	Gone     bool // whoever submitted it has taken it back
}

// ParseSubmission reads the submission of a job, or says which rules it breaks, by the paths
// of its keys below that of the whole; empty: it is the whole.
func ParseSubmission(kind workload.JobKind, spec []byte, below string) (workload.Submission, error) {
	submission, violations := workload.ParseSubmission(kind, spec)
	var problems []fault.Problem
	for _, v := range violations {
		problems = append(problems, fault.Problem{
			Path: strings.Trim(below+"."+v.Path, "."), Code: v.Code, Message: v.Message, Found: v.Found, Allowed: v.Allowed, Hint: v.Hint,
		})
	}
	if err := fault.OfProblems(problems); err != nil {
		return nil, err
	}
	return submission, nil
}
