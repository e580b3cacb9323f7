package bolt

import (
	"bytes"
	"context"
	"strings"

	"cortex.dev/cortex/internal/fault"
)

// ScheduleStates calls fn with everything that is kept of schedules.
func (s *Store) ScheduleStates(_ context.Context, fn func(api, schedule string, data []byte)) error {
	return s.view(func(r *reader) error {
		return r.scan(keySchedule, keySchedule, func(key, data []byte) (bool, error) {
			api, schedule, _ := strings.Cut(string(key[len(keySchedule):]), "\x00")
			fn(api, schedule, bytes.Clone(data))
			return true, nil
		})
	})
}

// SetScheduleState keeps data of a schedule; nil forgets.
func (s *Store) SetScheduleState(ctx context.Context, api, schedule string, data []byte) error {
	if !legalName().MatchString(api) || !legalName().MatchString(schedule) {
		return fault.New(fault.Invalid, "store.illegal_name", "%q of %q cannot be the name of a schedule", schedule, api)
	}
	if len(data) > maxRecordBytes {
		return fault.New(fault.Invalid, "store.too_large", "what is remembered of %s of %s takes %d bytes, more than the %d that it may", schedule, api, len(data), maxRecordBytes)
	}
	key := keySchedule + api + "\x00" + schedule
	return s.update(ctx, "remembering "+schedule+" of "+api, len(data), reserveGrow, func(t *txn) error {
		if data == nil {
			return t.remove(key)
		}
		return t.put(key, data)
	})
}
