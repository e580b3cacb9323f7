package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cortex.dev/cortex/internal/awsrest"
)

// Records keeps small records by their keys (records/…), of one program that writes them at a
// time. It is a jobs.Records. The parts of a key are between slashes and zero bytes.
//
// One object is written whole or not at all, several are not: so what changes several is
// first written down in one (journal), then done, and then the journal goes. Who begins to
// use the records does first what it finds there.
type Records struct {
	l  *Ledger
	mu sync.RWMutex // a reader sees all of a write or nothing
	// done says that the journal has nothing that is not done.
	done bool
}

// Records are kept in the bucket of the items.
func (l *Ledger) Records() *Records { return &Records{l: l} }

const (
	recordsOf  = "records/"
	journalKey = "journal.json"
	maxRecords = 1000
)

// object is where a key's record is. It is the same for a prefix that ends with a part.
func (r *Records) object(key string) (string, error) {
	parts := strings.FieldsFunc(key, func(c rune) bool { return c == '/' || c == 0 })
	for _, p := range parts {
		if !legalName().MatchString(p) {
			return "", fmt.Errorf("s3: %q is no key of a record", key)
		}
	}
	if len(parts) == 0 {
		return "", errors.New("s3: a record has no key")
	}
	return recordsOf + strings.Join(parts, "/"), nil
}

// key is the key of an object: its first part is before a slash, the others between zero bytes.
func (r *Records) key(object string) string {
	first, rest, _ := strings.Cut(strings.TrimPrefix(object, recordsOf), "/")
	return first + "/" + strings.ReplaceAll(rest, "/", "\x00")
}

// Write makes changes, all or none, and returns when they are kept; what is nil is removed.
func (r *Records) Write(ctx context.Context, doing string, changes map[string][]byte) error {
	if len(changes) > maxRecords {
		return fmt.Errorf("%s: %d records at once, and %d is the most", doing, len(changes), maxRecords)
	}
	objects := map[string][]byte{}
	for key, data := range changes {
		object, err := r.object(key)
		if err != nil {
			return err
		}
		objects[object] = data
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(objects) > 1 {
		data, err := json.Marshal(objects)
		if err != nil {
			return err
		}
		r.done = false // whether or not it is known to be kept
		if _, err := r.l.bucket.Put(ctx, journalKey, data, awsrest.If{}); err != nil {
			return unavailable(doing, err)
		}
		if err := r.perform(ctx, objects); err != nil {
			// It is kept, and done before anything else is.
			r.l.cfg.Log.Warn("what was written of jobs is not in its place yet", "error", err)
		}
		return nil
	}
	if err := r.place(ctx, objects); err != nil {
		return unavailable(doing, err)
	}
	return nil
}

// place writes records to their places.
func (r *Records) place(ctx context.Context, objects map[string][]byte) error {
	var keys []string
	for key := range objects {
		keys = append(keys, key)
	}
	return parallel(len(keys), func(n int) (err error) {
		if data := objects[keys[n]]; data != nil {
			_, err = r.l.bucket.Put(ctx, keys[n], data, awsrest.If{})
		} else {
			err = r.l.bucket.Delete(ctx, keys[n], "")
		}
		return err
	})
}

// perform does what the journal says, and drops it.
func (r *Records) perform(ctx context.Context, objects map[string][]byte) error {
	if err := r.place(ctx, objects); err != nil {
		return unavailable("writing records of jobs", err)
	}
	if err := r.l.bucket.Delete(ctx, journalKey, ""); err != nil {
		return unavailable("writing records of jobs", err)
	}
	r.done = true
	return nil
}

// begin does what the journal says, unless that is done.
func (r *Records) begin(ctx context.Context) error {
	r.mu.RLock()
	done := r.done
	r.mu.RUnlock()
	if done {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return nil
	}
	o, err := r.l.bucket.Get(ctx, journalKey, "")
	if missing(err) {
		r.done = true
		return nil
	}
	if err != nil {
		return unavailable("reading records of jobs", err)
	}
	var objects map[string][]byte
	if err := json.Unmarshal(o.Data, &objects); err != nil {
		return fmt.Errorf("the journal of jobs cannot be read: %w", err)
	}
	return r.perform(ctx, objects)
}

// Get returns a record; nil: there is none.
func (r *Records) Get(ctx context.Context, key string) ([]byte, error) {
	object, err := r.object(key)
	if err != nil {
		return nil, err
	}
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.read(ctx, object)
}

func (r *Records) read(ctx context.Context, object string) ([]byte, error) {
	o, err := r.l.bucket.Get(ctx, object, "")
	switch {
	case missing(err):
		return nil, nil
	case err != nil:
		return nil, unavailable("reading a record of jobs", err)
	}
	return o.Data, nil
}

// Scan calls fn with every record whose key begins with prefix, which ends with a part, in the
// order of the keys.
func (r *Records) Scan(ctx context.Context, prefix string, fn func(key string, data []byte) error) error {
	object, err := r.object(prefix)
	if err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	type record struct {
		key, object string
		data        []byte // nil: it was removed meanwhile
	}
	var all []record
	r.mu.RLock()
	_, err = r.l.bucket.List(ctx, object+"/", "", func(o awsrest.Listed) bool {
		all = append(all, record{key: r.key(o.Key), object: o.Key})
		return true
	})
	if err == nil {
		err = parallel(len(all), func(n int) (err error) {
			all[n].data, err = r.read(ctx, all[n].object)
			return err
		})
	}
	r.mu.RUnlock()
	if err != nil {
		return unavailable("reading records of jobs", err)
	}
	slices.SortFunc(all, func(a, b record) int { return strings.Compare(a.key, b.key) })
	for _, one := range all {
		if one.data == nil {
			continue
		}
		if err := fn(one.key, one.data); err != nil {
			return err
		}
	}
	return nil
}
