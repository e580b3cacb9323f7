package bolt

import (
	"bytes"
	"context"

	"cortex.dev/cortex/internal/fault"
)

// Keyed is a file of records by their keys, which is kept as Store keeps the state. What
// the keys and records are is the business of whoever keeps them.
type Keyed struct{ s *Store }

// OpenKeyed takes a folder for this process, as Open does, with the same faults.
func OpenKeyed(ctx context.Context, cfg Config) (*Keyed, error) {
	s, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Keyed{s}, nil
}

// Close is Store.Close.
func (k *Keyed) Close() error { return k.s.Close() }

// keyKeyed begins the keys of such records, so that none is taken for one of the others.
const keyKeyed = "x/"

// Write makes changes, all or none: what is nil is removed.
func (k *Keyed) Write(ctx context.Context, doing string, changes map[string][]byte) error {
	size := 0
	for _, data := range changes {
		if size += len(data); len(data) > maxRecordBytes {
			return fault.New(fault.Invalid, "store.too_large", "%s: a record of %d bytes is more than the %d that one may have", doing, len(data), maxRecordBytes)
		}
	}
	return k.s.update(ctx, doing, size, reserveGrow, func(t *txn) error {
		for key, data := range changes {
			if data == nil {
				if err := t.remove(keyKeyed + key); err != nil {
					return err
				}
			} else if err := t.put(keyKeyed+key, data); err != nil {
				return err
			}
		}
		return nil
	})
}

// Get returns a record; nil: there is none.
func (k *Keyed) Get(_ context.Context, key string) (data []byte, err error) {
	err = k.s.view(func(r *reader) error {
		found, err := r.get(keyKeyed + key)
		data = bytes.Clone(found)
		return err
	})
	return data, err
}

// Scan calls fn with every record whose key begins with prefix, in the order of the keys.
// What it gives to fn is valid until that returns.
func (k *Keyed) Scan(_ context.Context, prefix string, fn func(key string, data []byte) error) error {
	return k.s.view(func(r *reader) error {
		return r.scan(keyKeyed+prefix, keyKeyed+prefix, func(key, data []byte) (bool, error) {
			return true, fn(string(key[len(keyKeyed):]), data)
		})
	})
}
