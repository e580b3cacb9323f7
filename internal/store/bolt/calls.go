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

// hourOf is how an hour stands in a key, where it sorts by time.
func hourOf(t time.Time) string { return number(uint64(max(t.Unix(), 0))) } //nolint:gosec // not negative

// AddCalls adds to the records of the hours.
func (s *Store) AddCalls(ctx context.Context, more []workload.Calls, now time.Time) error {
	return s.update(ctx, "counting calls", len(more)*200, reserveGrow, func(t *txn) error {
		for i := range more {
			key := keyCalls + more[i].API + "\x00" + hourOf(more[i].Hour) + more[i].Caller
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
		var over []string
		err := t.calls("", time.Time{}, func(key string, c *workload.Calls, _ []byte) (bool, error) {
			if old := c.Hour.Before(now.Add(-workload.CallsKept)); old && len(over) < maxDropped {
				over = append(over, key)
				return true, nil
			}
			return false, nil // of this API
		})
		if err != nil {
			return err
		}
		return t.removeAll(over)
	})
}

// EachCalls calls fn with what is kept since a time.
func (s *Store) EachCalls(_ context.Context, api string, since time.Time, fn func(workload.Calls) error) error {
	return s.view(func(r *reader) error {
		return r.calls(api, since, func(key string, c *workload.Calls, data []byte) (bool, error) {
			if err := json.Unmarshal(data, &c.CallCounts); err != nil {
				return false, corrupt(s.path, "the calls %q cannot be read: %v", key, err)
			}
			return true, fn(*c)
		})
	})
}

// calls calls fn with the records of an API, or of each, since a time, until it says that no
// more of that API are wanted.
func (r *reader) calls(api string, since time.Time, fn func(key string, c *workload.Calls, data []byte) (more bool, err error)) error {
	each := func(api string) error {
		prefix := keyCalls + api + "\x00"
		return r.scan(prefix, prefix+hourOf(since), func(key, data []byte) (bool, error) {
			rest := key[len(prefix):]
			if len(rest) < 8 {
				return false, corrupt(r.path, "the calls %q cannot be read", key)
			}
			c := workload.Calls{API: api, Caller: string(rest[8:]), Hour: time.Unix(int64(numberOf(rest[:8])), 0).UTC()} //nolint:gosec // as it was written
			return fn(string(key), &c, data)
		})
	}
	if api != "" {
		return each(api)
	}
	for from := keyCalls; ; {
		next, found := "", false
		err := r.scan(keyCalls, from, func(key, _ []byte) (bool, error) {
			next, _, found = strings.Cut(string(key[len(keyCalls):]), "\x00")
			return false, nil
		})
		if err != nil || !found {
			return err
		}
		if err := each(next); err != nil {
			return err
		}
		from = keyCalls + next + "\x01" // no name has it
	}
}
