package store

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Calls keeps who called which API how often, by the hour. It is durable as a Store is; all
// methods may be called at once.
type Calls interface {
	// AddCalls adds to what is kept, all or nothing, and drops what began before the time
	// that is kept (workload.CallsKept before now).
	AddCalls(ctx context.Context, more []workload.Calls, now time.Time) error
	// EachCalls calls fn with what is kept of an API, or without a name of all, and of the
	// hours that begin at since or later: by API, hour and caller.
	EachCalls(ctx context.Context, api string, since time.Time, fn func(workload.Calls) error) error
}
