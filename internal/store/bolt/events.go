package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// sweepEvery is how many versions pass between two looks at the events of all: the
// bound on all of them is kept within that.
const sweepEvery = 1024

// Record appends an event. A text that is too long is cut.
func (s *Store) Record(ctx context.Context, e workload.Event) error {
	if !legalName().MatchString(e.API) {
		return fault.New(fault.Invalid, "store.illegal_name", "%q cannot be the name of an API", e.API)
	}
	if len(e.Message) > maxEventBytes {
		e.Message = strings.ToValidUTF8(e.Message[:maxEventBytes], "") + "…"
	}
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("recording an event of %s: %w", e.API, err)
	}
	prefix := keyEvent + e.API + "\x00"
	return s.update(ctx, "recording an event of "+e.API, len(data), reserveGrow, func(t *txn) error {
		kept := t.keys(prefix)
		if more := len(kept) + 1 - store.MaxEvents; more > 0 {
			if err := t.removeAll(kept[:more]); err != nil {
				return err
			}
		}
		n := t.next()
		t.events = true
		if err := t.put(prefix+number(n), data); err != nil {
			return err
		}
		if n%sweepEvery == 0 {
			return t.sweep()
		}
		return nil
	})
}

// sweep drops the oldest events when there are too many of all workloads together.
func (t *txn) sweep() error {
	all := t.keys(keyEvent)
	if len(all) <= maxEvents {
		return nil
	}
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(a[len(a)-8:], b[len(b)-8:]) })
	return t.removeAll(all[:len(all)-maxEvents])
}

// Events calls fn for the events of q.
func (s *Store) Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	if q.Name != "" && !legalName().MatchString(q.Name) {
		return nil
	}
	since := time.Now().Add(-maxEventsAge)
	if q.Since > 0 && q.Since < maxEventsAge {
		since = time.Now().Add(-q.Since)
	}
	for after := uint64(0); ; {
		changed := s.events.wait()
		found, last, err := s.eventsAfter(q.Name, after)
		if err != nil {
			return err
		}
		if after == 0 { // of those that are new, none is left out and none waits for another
			found = slices.DeleteFunc(found, func(e workload.Event) bool { return !e.Time.IsZero() && e.Time.Before(since) })
			// Two sources may have recorded in another order than things happened.
			slices.SortStableFunc(found, func(a, b workload.Event) int { return a.Time.Compare(b.Time) })
		}
		after = max(last, 1)
		for _, e := range found {
			if ctx.Err() != nil {
				return nil
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		if !q.Follow {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		case <-s.closing.Done():
			return errClosed()
		}
	}
}

// eventsAfter returns the events that have a greater number than after, in the order
// in which they were recorded, and the greatest number.
func (s *Store) eventsAfter(name string, after uint64) (found []workload.Event, last uint64, _ error) {
	type numbered struct {
		n uint64
		e workload.Event
	}
	var list []numbered
	last = after
	err := s.view(func(r *reader) error {
		collect := func(prefix string) error {
			return r.scan(prefix, prefix+number(after+1), func(key, data []byte) (bool, error) {
				var e workload.Event
				if err := json.Unmarshal(data, &e); err != nil {
					return false, corrupt(s.path, "the event %q cannot be read: %v", key, err)
				}
				list = append(list, numbered{numberOf(key), e})
				return true, nil
			})
		}
		if name != "" {
			return collect(keyEvent + name + "\x00")
		}
		// From one name to the next: what is old is passed over, not read.
		for k := []byte(keyEvent); ; {
			var first []byte
			r.b.ascend(k, func(key, _ []byte) bool {
				first = key
				return false
			})
			if !bytes.HasPrefix(first, []byte(keyEvent)) {
				return nil
			}
			prefix, _, _ := bytes.Cut(first, []byte{0})
			if err := collect(string(prefix) + "\x00"); err != nil {
				return err
			}
			k = append(bytes.Clone(prefix), 1)
		}
	})
	slices.SortFunc(list, func(a, b numbered) int { return int(a.n) - int(b.n) })
	for _, x := range list {
		found, last = append(found, x.e), x.n
	}
	return found, last, err
}
