package store

import "context"

// Schedules keeps what is remembered of each schedule of each API. It is durable as a Store
// is. All methods may be called at once; of two writes of one schedule at once either wins.
type Schedules interface {
	// ScheduleStates calls fn with everything that is kept.
	ScheduleStates(ctx context.Context, fn func(api, schedule string, data []byte)) error
	// SetScheduleState keeps data; nil forgets. What is not there is forgotten already.
	SetScheduleState(ctx context.Context, api, schedule string, data []byte) error
}
