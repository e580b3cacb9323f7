package bolt

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

var _ store.Keys = (*Store)(nil)

// keyRecord is an access key on the disk; its name and id are those of the record.
type keyRecord struct {
	Hash      []byte            `json:"hash"`
	APIs      []string          `json:"apis,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedBy string            `json:"created_by,omitempty"`
	CreatedAt time.Time         `json:"created_at"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
}

func accessKey(name, id string) string { return keyAccess + name + "\x00" + id }

// ChangeKeys has fn change the keys of a name within one write. It leaves as little room on
// the disk as what makes it smaller: a key must not be good because the disk is full.
func (s *Store) ChangeKeys(ctx context.Context, name string, fn func(old []store.Key) (now []store.Key, err error)) error {
	if !workload.IsKeyName(name) {
		return fault.New(fault.Invalid, store.CodeIllegalName, "%q cannot be the name of a key", name)
	}
	return s.update(ctx, "changing the key "+name, 0, reserveShrink, func(t *txn) error {
		old, err := t.accessKeys(accessKey(name, ""))
		if err != nil {
			return err
		}
		now, err := fn(slices.Clone(old))
		if err != nil {
			return refusal{err}
		}
		if more := len(now) - len(old); more > 0 && len(t.keys(keyAccess))+more > workload.MaxKeys {
			return refusal{fault.New(fault.Conflict, workload.CodeTooManyKeys, "there are %d keys, the most that there may be", workload.MaxKeys).
				WithHint("revoke those that nobody uses: cortex keys list shows them")}
		}
		records, err := encodeKeys(name, now)
		if err != nil {
			return refusal{err}
		}
		for _, k := range old {
			if err := t.remove(accessKey(name, k.ID)); err != nil {
				return err
			}
		}
		for id, data := range records {
			if err := t.put(accessKey(name, id), data); err != nil {
				return err
			}
		}
		t.access = true
		return nil
	})
}

// encodeKeys returns the records of the keys of a name, by their ids.
func encodeKeys(name string, keys []store.Key) (map[string][]byte, error) {
	records := make(map[string][]byte, len(keys))
	for _, k := range keys {
		if k.Name != name || k.ID == "" || strings.Contains(k.ID, "\x00") || records[k.ID] != nil {
			return nil, fault.New(fault.Invalid, store.CodeIllegalName, "%q of %q cannot be a key of %s", k.ID, k.Name, name)
		}
		data, err := json.Marshal(keyRecord{
			Hash: k.Hash[:], APIs: k.APIs, Labels: k.Labels, CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt.UTC(), ExpiresAt: k.ExpiresAt.UTC(),
		})
		if err != nil {
			return nil, err
		}
		records[k.ID] = data
	}
	return records, nil
}

// Keys returns all access keys.
func (s *Store) Keys(context.Context) (all []store.Key, _ error) {
	err := s.view(func(r *reader) (err error) {
		all, err = r.accessKeys(keyAccess)
		return err
	})
	return all, err
}

// accessKeys returns the access keys below a prefix, by name and then by age.
func (r *reader) accessKeys(prefix string) (all []store.Key, _ error) {
	err := r.scan(prefix, prefix, func(key, data []byte) (bool, error) {
		name, id, _ := strings.Cut(string(key[len(keyAccess):]), "\x00")
		var record keyRecord
		if err := json.Unmarshal(data, &record); err != nil {
			return false, corrupt(r.path, "the key %s of %s cannot be read: %v", id, name, err)
		}
		k := store.Key{
			Name: name, ID: id, APIs: record.APIs, Labels: record.Labels,
			CreatedBy: record.CreatedBy, CreatedAt: record.CreatedAt, ExpiresAt: record.ExpiresAt,
		}
		if len(record.Hash) != len(k.Hash) {
			return false, corrupt(r.path, "the key %s of %s has a hash of %d bytes", id, name, len(record.Hash))
		}
		copy(k.Hash[:], record.Hash)
		all = append(all, k)
		return true, nil
	})
	slices.SortStableFunc(all, func(a, b store.Key) int {
		if byName := strings.Compare(a.Name, b.Name); byName != 0 {
			return byName
		}
		return a.CreatedAt.Compare(b.CreatedAt)
	})
	return all, err
}

// WatchKeys calls fn with all keys, now and after each commit that changed some.
func (s *Store) WatchKeys(ctx context.Context, fn func([]store.Key)) error {
	for {
		changed := s.access.wait()
		all, err := s.Keys(ctx)
		if err != nil {
			return err
		}
		fn(all)
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.closing.Done():
			return errClosed()
		}
	}
}
