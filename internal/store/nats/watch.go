package nats

import (
	"context"
	"slices"

	"cortex.dev/cortex/internal/store"
)

// Watch calls fn with what is, with the marker and with what changes. A change
// that another of the same workload has overtaken may be left out.
//
// It reads what is there first and follows the stream from before that moment, so
// that nothing between the two is lost, and leaves out what was already told.
func (s *Store) Watch(ctx context.Context, fn func(store.Change)) error {
	present, last, err := s.present(ctx)
	if err != nil {
		return err
	}
	told := make(map[string]uint64, len(present))
	for _, name := range sortedNames(present) {
		w := present[name]
		told[name] = uint64(w.Version)
		fn(store.Change{Name: name, Workload: &w})
	}
	fn(store.Change{})
	return s.follow(ctx, streamWorkloads, prefixWorkloads+"*", last, func(m message) error {
		switch {
		case m.sequence <= told[m.name]:
		case m.operation != "":
			delete(told, m.name)
			fn(store.Change{Name: m.name})
		default:
			w, err := s.decodeWorkload(m.name, m.data, m.sequence)
			if err != nil {
				// One record that cannot be read must not blind the watcher to the others.
				s.cfg.Log.Error("store: record left out", "name", m.name, "error", err)
				return nil
			}
			told[m.name] = m.sequence
			fn(store.Change{Name: m.name, Workload: &w})
		}
		return nil
	})
}

func sortedNames(present map[string]store.Workload) []string {
	names := make([]string, 0, len(present))
	for name := range present {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
