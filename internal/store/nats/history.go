package nats

import (
	"context"
	"fmt"
	"slices"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

type pastRecord struct {
	Revision *workload.Revision `json:"revision"`
	Cause    string             `json:"cause"`
	Outcome  workload.Outcome   `json:"outcome,omitzero"`
}

// Remember appends to the workload's history. The stream drops the oldest.
func (s *Store) Remember(ctx context.Context, p store.Past) error {
	if p.Revision == nil || !legalName().MatchString(p.Revision.Name) {
		return illegalName(p.Revision)
	}
	data, err := encode(pastRecord(p))
	if err != nil {
		return fmt.Errorf("remembering %s: %w", p.Revision.Name, err)
	}
	defer s.names.share(p.Revision.Name)()
	ss, ctx, done, err := s.begin(ctx, len(data), reserveGrow)
	if err != nil {
		return err
	}
	defer done()
	if _, err := ss.js.Publish(ctx, prefixHistory+p.Revision.Name, data); err != nil {
		return s.failure(ctx, "remembering "+p.Revision.Name, err)
	}
	return nil
}

// History returns the kept revisions of a workload, newest first.
func (s *Store) History(ctx context.Context, name string) ([]store.Past, error) {
	if !legalName().MatchString(name) {
		return nil, nil
	}
	ss, ctx, done, err := s.begin(ctx, 0, 0)
	if err != nil {
		return nil, err
	}
	defer done()
	var list []store.Past
	err = s.scan(ctx, ss, streamHistory, prefixHistory+name, func(m message) error {
		if m.operation != "" {
			list = nil
			return nil
		}
		var p pastRecord
		if err := decode(m.data, &p); err != nil || p.Revision == nil {
			return fault.New(fault.Unavailable, "store.corrupt", "the history of %s in %s cannot be read: %v", name, s.cfg.place(), err)
		}
		// Messages are never changed: a later one about the same revision counts.
		if i := slices.IndexFunc(list, func(q store.Past) bool { return q.Revision.ID == p.Revision.ID }); i >= 0 {
			list[i] = store.Past(p)
			return nil
		}
		list = append(list, store.Past(p))
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	return list[:min(len(list), store.MaxHistory)], nil
}
