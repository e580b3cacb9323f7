package bolt

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

type pastRecord struct {
	Revision *workload.Revision `json:"revision"`
	Cause    string             `json:"cause"`
	Outcome  workload.Outcome   `json:"outcome,omitzero"`
}

// Remember appends to the workload's history, or says anew what is known of a
// revision that is in it. The oldest go.
func (s *Store) Remember(ctx context.Context, p store.Past) error {
	if p.Revision == nil || !legalName().MatchString(p.Revision.Name) {
		return illegalName(p.Revision)
	}
	name, id := p.Revision.Name, append([]byte(p.Revision.ID), '\n')
	data, err := encode(pastRecord(p))
	if err != nil {
		return fmt.Errorf("remembering %s: %w", name, err)
	}
	data = slices.Concat(id, data)
	prefix := keyHistory + name + "\x00"
	return s.update(ctx, "remembering "+name, len(data), reserveGrow, func(t *txn) error {
		var kept []string
		known := ""
		if err := t.scan(prefix, prefix, func(key, old []byte) (bool, error) {
			kept = append(kept, string(key))
			if bytes.HasPrefix(old, id) {
				known = string(key)
			}
			return known == "", nil
		}); err != nil {
			return err
		}
		if known != "" {
			return t.put(known, data)
		}
		if more := len(kept) + 1 - store.MaxHistory; more > 0 {
			if err := t.removeAll(kept[:more]); err != nil {
				return err
			}
		}
		return t.put(prefix+number(t.next()), data)
	})
}

// History returns the kept revisions of a workload, newest first.
func (s *Store) History(_ context.Context, name string) (list []store.Past, _ error) {
	if !legalName().MatchString(name) {
		return nil, nil
	}
	prefix := keyHistory + name + "\x00"
	err := s.view(func(r *reader) error {
		return r.scan(prefix, prefix, func(_, data []byte) (bool, error) {
			var p pastRecord
			_, text, _ := bytes.Cut(data, []byte("\n"))
			if err := decode(text, &p); err != nil || p.Revision == nil {
				return false, corrupt(s.path, "the history of %s cannot be read: %v", name, err)
			}
			list = append(list, store.Past(p))
			return true, nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	return list, nil
}
