package bolt

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

var _ store.Calls = (*Store)(nil)

// maxDropped bounds what one AddCalls drops: the rest goes with the next ones.
const maxDropped = 1000

func callsKey(c *workload.Calls) string {
	return keyCalls + number(uint64(c.Hour.Unix())) + c.API + "\x00" + c.Caller //nolint:gosec // hours since 1970
}

// AddCalls adds to the records of the hours.
func (s *Store) AddCalls(ctx context.Context, more []workload.Calls, now time.Time) error {
	return s.update(ctx, "counting calls", len(more)*200, reserveGrow, func(t *txn) error {
		for i := range more {
			key := callsKey(&more[i])
			var counts workload.CallCounts
			old, err := t.get(key)
			if err != nil {
				return err
			}
			if old != nil {
				if err := json.Unmarshal(old, &counts); err != nil {
					return corrupt(s.path, "the calls %q cannot be read: %v", key, err)
				}
			}
			counts.Add(more[i].CallCounts)
			data, err := json.Marshal(counts)
			if err != nil {
				return err
			}
			if err := t.put(key, data); err != nil {
				return err
			}
		}
		return t.dropCalls(now.Add(-workload.CallsKept))
	})
}

// dropCalls removes what began before a time.
func (t *txn) dropCalls(before time.Time) error {
	var over []string
	end := keyCalls + number(uint64(max(before.Unix(), 0))) //nolint:gosec // not negative
	err := t.scan(keyCalls, keyCalls, func(key, _ []byte) (bool, error) {
		if string(key) >= end || len(over) == maxDropped {
			return false, nil
		}
		over = append(over, string(key))
		return true, nil
	})
	if err != nil {
		return err
	}
	return t.removeAll(over)
}

// EachCalls calls fn with what is kept since a time.
func (s *Store) EachCalls(_ context.Context, since time.Time, fn func(workload.Calls) error) error {
	from := keyCalls + number(uint64(max(since.Unix(), 0))) //nolint:gosec // not negative
	return s.view(func(r *reader) error {
		return r.scan(keyCalls, from, func(key, data []byte) (bool, error) {
			rest := key[len(keyCalls):]
			if len(rest) < 8 {
				return false, corrupt(s.path, "the calls %q cannot be read", key)
			}
			api, caller, _ := strings.Cut(string(rest[8:]), "\x00")
			c := workload.Calls{Hour: time.Unix(int64(numberOf(rest[:8])), 0).UTC(), API: api, Caller: caller} //nolint:gosec // as it was written
			if err := json.Unmarshal(data, &c.CallCounts); err != nil {
				return false, corrupt(s.path, "the calls %q cannot be read: %v", key, err)
			}
			return true, fn(c)
		})
	})
}
