package store

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Source is a store whose workloads others may write too, past the operator:
// custom resources. What they write is a wish until the operator has resolved it; what
// is deployed stays as it is until then. All methods may be called at once.
type Source interface {
	// Pending calls fn for every specification that somebody wrote and that is not resolved
	// yet, present ones first, then as they come; one that a later one of the same
	// resource has overtaken may be left out. Fn is never called twice at once. It
	// returns ctx's error when ctx ends.
	Pending(ctx context.Context, fn func(Declaration)) error
	// Resolve tells the writer what became of d: nil accepted, otherwise why not. It is
	// durable. A declaration that was changed meanwhile is not resolved by it. A refusal
	// of the kind fault.Conflict is for now, because of what else is there: it is shown
	// as any other, and the next call of Pending tells the declaration again, if it
	// is still there.
	Resolve(ctx context.Context, d Declaration, err error) error
	// Refusals returns every specification that was refused and is still there, by
	// resource.
	Refusals() []Refusal
	// Publish shows what a workload is doing, and where it is reached, beside its
	// specification. An unknown name is no error.
	Publish(ctx context.Context, name string, s workload.Status, endpoint string) error
}

// Declaration is a specification that somebody wrote past the operator.
type Declaration struct {
	Name     string
	Kind     workload.Kind
	Config   string // a cortex.yaml with this one API, as JSON
	Resource string // what to call it in messages: realtimeapis.cortex.dev/iris
	Version  string // opaque: which writing this is
}

// Refusal is a declaration that was refused, and why. What was deployed before it, if
// anything was, stays.
type Refusal struct {
	Name     string
	Kind     workload.Kind
	Resource string
	Message  string
	Waiting  bool // for now: it is judged again when what else is there changes
	Since    time.Time
}
