package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Record appends an event. A text that is too long is cut.
func (s *Store) Record(ctx context.Context, e workload.Event) error {
	if !legalName().MatchString(e.API) {
		return fault.New(fault.Invalid, "store.illegal_name", "%q cannot be the name of an API", e.API)
	}
	if len(e.Message) > maxEventBytes {
		e.Message = e.Message[:maxEventBytes] + "…"
	}
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("recording an event of %s: %w", e.API, err)
	}
	defer s.names.share(e.API)()
	ss, ctx, done, err := s.begin(ctx, len(data), reserveGrow)
	if err != nil {
		return err
	}
	defer done()
	if _, err := ss.js.Publish(ctx, prefixEvents+e.API, data); err != nil {
		return s.failure(ctx, "recording an event of "+e.API, err)
	}
	return nil
}

// Events calls fn for the events of q.
func (s *Store) Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	subject := prefixEvents + "*"
	if q.Name != "" {
		if !legalName().MatchString(q.Name) {
			return nil
		}
		subject = prefixEvents + q.Name
	}
	var since time.Time
	if q.Since > 0 {
		since = time.Now().Add(-q.Since)
	}
	kept, last, err := s.keptEvents(ctx, subject)
	if err != nil {
		return quietEnd(ctx, err)
	}
	for _, e := range kept {
		if e.Time.Before(since) {
			continue
		}
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
	return quietEnd(ctx, s.follow(ctx, streamEvents, subject, last, func(m message) error {
		var e workload.Event
		if m.operation != "" || json.Unmarshal(m.data, &e) != nil {
			return nil
		}
		return fn(e)
	}))
}

// keptEvents returns the events that are there in order of time, and the sequence
// after which new ones come; see present.
func (s *Store) keptEvents(ctx context.Context, subject string) (kept []workload.Event, last uint64, err error) {
	ss, ctx, done, err := s.begin(ctx, 0, 0)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	if err := s.scan(ctx, ss, streamEvents, subject, func(m message) error {
		last = max(last, m.sequence)
		if m.operation != "" {
			kept = slices.DeleteFunc(kept, func(e workload.Event) bool { return e.API == m.name })
			return nil
		}
		var e workload.Event
		if err := json.Unmarshal(m.data, &e); err == nil {
			kept = append(kept, e)
		}
		return nil
	}); err != nil {
		return nil, 0, err
	}
	// Two sources may have recorded in another order than things happened.
	slices.SortStableFunc(kept, func(a, b workload.Event) int { return a.Time.Compare(b.Time) })
	return kept, last, nil
}

// quietEnd returns nil when err only says that ctx has ended.
func quietEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())) {
		return nil
	}
	return err
}
