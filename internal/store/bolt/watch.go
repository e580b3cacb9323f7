package bolt

import (
	"context"
	"maps"
	"slices"

	"cortex.dev/cortex/internal/store"
)

// Watch calls fn with what is, with the marker and with what changes. A change
// that another of the same workload has overtaken may be left out: it compares the
// versions of all workloads after each commit that touched one.
func (s *Store) Watch(ctx context.Context, fn func(store.Change)) error {
	told := map[string]store.Version{}
	for first := true; ; first = false {
		changed := s.workloads.wait()
		news, err := s.news(told)
		if err != nil {
			return err
		}
		for _, c := range news {
			fn(c)
		}
		if first {
			fn(store.Change{})
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.closing.Done():
			return errClosed()
		}
	}
}

// news returns what is different from what was told, in the order in which it was
// written, deletions first, and notes it as told.
func (s *Store) news(told map[string]store.Version) (list []store.Change, _ error) {
	gone := maps.Clone(told)
	err := s.view(func(r *reader) error {
		return r.scan(keyWorkload, keyWorkload, func(key, data []byte) (bool, error) {
			name := string(key[len(keyWorkload):])
			delete(gone, name)
			if told[name] == version(data) {
				return true, nil
			}
			told[name] = version(data)
			w, err := s.decodeWorkload(name, data)
			if err != nil {
				// One record that cannot be read must not blind the watcher to the others.
				s.cfg.Log.Error("store: record left out", "name", name, "error", err)
				return true, nil
			}
			list = append(list, store.Change{Name: name, Workload: &w})
			return true, nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b store.Change) int { return int(a.Workload.Version) - int(b.Workload.Version) })
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		delete(told, name)
		list = slices.Insert(list, 0, store.Change{Name: name})
	}
	return list, nil
}
