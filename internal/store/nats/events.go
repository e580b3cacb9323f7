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
	if !legalName.MatchString(e.API) {
		return fault.New(fault.Invalid, "store.illegal_name", "%q cannot be the name of an API", e.API)
	}
	if len(e.Message) > maxEventBytes {
		e.Message = e.Message[:maxEventBytes] + "…"
	}
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("recording an event of %s: %w", e.API, err)
	}
	if err := s.ready(len(data), reserveGrow); err != nil {
		return err
	}
	if _, err := s.js.Publish(ctx, prefixEvents+e.API, data); err != nil {
		return s.failure(ctx, "recording an event of "+e.API, err)
	}
	return nil
}

// Events calls fn for the events of q.
func (s *Store) Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	subject := prefixEvents + "*"
	if q.Name != "" {
		if !legalName.MatchString(q.Name) {
			return nil
		}
		subject = prefixEvents + q.Name
	}
	var since time.Time
	if q.Since > 0 {
		since = time.Now().Add(-q.Since)
	}
	last, err := s.lastSequence(ctx, streamEvents)
	if err != nil {
		return quietEnd(ctx, err)
	}
	var kept []workload.Event
	if err := s.scan(ctx, streamEvents, subject, func(m message) error {
		last = max(last, m.sequence)
		var e workload.Event
		if err := json.Unmarshal(m.data, &e); err == nil && !e.Time.Before(since) {
			kept = append(kept, e)
		}
		return nil
	}); err != nil {
		return quietEnd(ctx, err)
	}
	// Two sources may have recorded in another order than things happened.
	slices.SortStableFunc(kept, func(a, b workload.Event) int { return a.Time.Compare(b.Time) })
	for _, e := range kept {
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
		if err := json.Unmarshal(m.data, &e); err != nil {
			return nil
		}
		return fn(e)
	}))
}

// quietEnd returns nil when err only says that ctx has ended.
func quietEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())) {
		return nil
	}
	return err
}
